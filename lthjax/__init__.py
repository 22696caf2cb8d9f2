"""Lottery tickets in JAX: train, prune, rewind and retrain as pure functions."""

from lthjax import analysis as analysis
from lthjax import channels as channels
from lthjax import compact as compact
from lthjax import costs as costs
from lthjax import cpu as cpu
from lthjax import dynamic as dynamic
from lthjax import forward as forward
from lthjax import gates as gates
from lthjax import hull as hull
from lthjax import layerwise as layerwise
from lthjax import losses as losses
from lthjax import masks as masks
from lthjax import models as models
from lthjax import optimizers as optimizers
from lthjax import patterns as patterns
from lthjax import pruning as pruning
from lthjax import results as results
from lthjax import scores as scores
from lthjax import sparsities as sparsities
from lthjax import thresholds as thresholds
from lthjax import tickets as tickets
from lthjax import training as training
from lthjax import two_layer as two_layer
from lthjax import views as views
