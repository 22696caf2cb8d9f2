"""A training of twenty images, for the tests of its steps and of populations."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax

from lthjax import models
from lthjax.data import batches
from lthjax.data.in_memory import Split
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket
from lthjax.training import evaluate, optimizers
from lthjax.training import steps as steps_lib

KEY = jax.random.key(0)
SIZE, BATCH, CLASSES = 20, 6, 3
IMAGES = jax.random.normal(KEY, (SIZE, 4, 4, 1))
LABELS = jax.random.randint(KEY, (SIZE,), 0, CLASSES)


class Data(NamedTuple):
    span: tuple[int, int]
    train: Split
    validation: tuple
    test: tuple


def examples(first, last):
    split = Split(np.asarray(IMAGES[first:last]), np.asarray(LABELS[first:last]))
    return jax.device_put(batches.chunks(split, 4))


def data(start=0, until=10):
    return Data((start, until), Split(IMAGES, LABELS), examples(0, 7), examples(7, 20))


@functools.cache
def network(axis_name=None):
    """A perceptron, or for a mesh axis (or "one") a convolution and batch norm."""
    if axis_name is None:
        return models.build("mlp", CLASSES, options={"hidden": (5,)})
    options = {"blocks": (), "channels": (4,)}
    axis_name = None if axis_name == "one" else axis_name
    return models.build("resnet20", CLASSES, axis_name=axis_name, options=options)


def apply_fn(params, model_state, images, train, *, model=None):
    model = model or network()
    return models.apply(model, params, model_state, images, train=train)


TX = optimizers.build(
    "sgd", optax.linear_schedule(0.5, 0.0, 60), weight_decay=1e-3, clip=1.0
)
STEP = steps_lib.step(steps_lib.supervised(apply_fn), TX)
EVALUATE = jax.jit(evaluate.evaluator(apply_fn, lambda images: images))


def fetch(key, data, indices):
    """A batch with noise on the images, as augmentation would have it."""
    images, labels = batches.take(data.train, indices)
    return images + 0.1 * jax.random.normal(key, images.shape), labels


@functools.partial(jax.jit, static_argnums=1)
def draw(key, model):
    params, state = models.initialise(model, key, IMAGES[:1])
    full = masks_lib.full(params)
    kept = jax.tree.map(lambda m: jax.random.bernoulli(key, 2 / 3, m.shape), full)
    return params, state, kept


def ticket(seed=0, model=None, **changes):
    """A ticket with about a third of its weights pruned."""
    drawn = draw(jax.random.key(seed), model or network())
    return Ticket(1, 0, 10, *drawn)._replace(**changes)


POINTS = 4
begin = jax.jit(functools.partial(steps_lib.begin, TX, points=POINTS))


def member(ticket):
    return begin(ticket), ticket.masks, jax.random.key(3)


def run_of(step_fn=STEP, *measure, every=None):
    options = {"size": SIZE, "batch_size": BATCH, "every": every}
    return steps_lib.runner(step_fn, fetch, *measure, **options)


EVERY = 3  # steps; an epoch has four
MEASURE = steps_lib.validation(EVALUATE, every=EVERY)
plain = jax.jit(run_of())
validated = jax.jit(run_of(STEP, MEASURE, every=EVERY))
