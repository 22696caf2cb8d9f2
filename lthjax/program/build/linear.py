"""The network as SynFlow wants it, and whether it is one that SynFlow is made for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax import models
from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.models.layers import Network
from lthjax.program.build import plan
from lthjax.pruning import cuts, flows
from lthjax.pruning import masks as masks_lib


def checker(config, network: Callable, source: in_memory.Source) -> Callable:
    """Returns trained -> None, which refuses a network that SynFlow is not made for.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set, for the shape of its images.

    Raises:
      ValueError: In a call: a user's own network is not linear above zero.
    """
    shape = splits_lib.image_shape(source.train)
    if models.is_ours(plan.model(config, plan.kind(source))):
        return lambda trained: None

    @jax.jit
    def degree(trained):
        def logits_fn(params, images):
            return network(params, neutral(trained.model_state), images, False)[0]

        return flows.degree(logits_fn, trained.params, trained.masks, shape)

    return lambda trained: cuts.check_linear(float(degree(trained)))


def judge(config, trained: Any, cut: cuts.Cut, source: in_memory.Source) -> None:
    """Refuses where SynFlow cut.

    Args:
      config: A validated config.
      trained: What was pruned: its masks.
      cut: Where.
      source: The data set.

    Raises:
      ValueError: Scores are negative, or the first choice in a user's own network fell
        among weights that nothing flows through.
    """
    names, inverted = masks_lib.names(trained.masks), config.search.invert
    cuts.check_flow(names, cut, inverted=inverted)
    ours = models.is_ours(plan.model(config, plan.kind(source)))
    if not ours and masks_lib.sparsity(trained.masks) == 0:
        cuts.check_dead(cut)


def linear(config, network: Callable, source: in_memory.Source) -> Callable:
    """Returns the network, ours with an activation that is linear above zero.

    That is relu in place of relu6, which passes nothing on beyond its bound, and in
    place of what a user's own `layers.Network` has.

    Args:
      config: A validated config.
      network: As for `checker`.
      source: The data set.
    """
    module = plan.model(config, plan.kind(source))
    if not isinstance(module, Network) or module.activation is nn.relu:
        return network
    open_ended = module.clone(activation=nn.relu)

    def apply_fn(params, model_state, images, train):
        return models.apply(open_ended, params, model_state, images, train=train)

    return apply_fn


def neutral(model_state: Any) -> Any:
    """Returns batch statistics that change nothing: mean 0, variance 1."""
    fill = {"mean": jnp.zeros_like, "var": jnp.ones_like}

    def neutral(path, leaf):
        name = masks_lib.path_name(path).rpartition("/")[2]
        return fill.get(name, lambda same: same)(leaf)

    return jax.tree_util.tree_map_with_path(neutral, model_state)
