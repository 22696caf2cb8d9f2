"""A network of two layers, each gradient of it of all weights, and its training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax import dynamic
from lthjax.pruning import masks as masks_lib

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 5)
PARAMS = {
    "first": {
        "kernel": jax.random.normal(KEYS[0], (6, 20)),
        "bias": jax.random.normal(KEYS[1], (1, 20)),
    },
    "second": {"kernel": jax.random.normal(KEYS[2], (20, 4))},
}
SIZES = [120, 80]
INPUTS = jax.random.normal(KEYS[3], (16, 6))
TARGETS = jax.random.normal(KEYS[4], (16, 4))


def loss(params):
    hidden = jnp.tanh(INPUTS @ params["first"]["kernel"] + params["first"]["bias"])
    return jnp.mean((hidden @ params["second"]["kernel"] - TARGETS) ** 2)


def step(tx, at, carry, **extra):
    """One update of (params, state), as a user of optax writes it."""
    params, state = carry
    grads = jax.grad(loss)(dynamic.forward(params, state))
    updates, state = tx.update(grads, state, params, **extra)
    return optax.apply_updates(params, updates), state


@functools.partial(jax.jit, static_argnums=0)
def train(tx, carry, start, stop):
    return jax.lax.fori_loop(
        start, stop, lambda at, carry: step(tx, at, carry, step=at), carry
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def path(tx, carry, steps):
    """Returns (params, masks) before the first step and after each, stacked."""

    def record(carry, at):
        carry = step(tx, at, carry, step=at)
        return carry, (carry[0], dynamic.masks(carry[1]))

    first = carry[0], dynamic.masks(carry[1])
    rest = jax.lax.scan(record, carry, jnp.arange(steps))[1]
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def begin(tx, masks=None, kept=None):
    """Returns (params, state) at step 0, pruned weights at zero."""
    state = tx.init(PARAMS)
    if masks is not None:
        state = dynamic.start(state, masks, kept)
    return masks_lib.apply(PARAMS, dynamic.masks(state)), state


def draw(seed, density=0.5):
    """Returns random masks."""
    full = masks_lib.full(PARAMS)
    keys = iter(jax.random.split(jax.random.key(seed), 2))
    return jax.tree.map(
        lambda mask: jax.random.bernoulli(next(keys), density, mask.shape), full
    )


def flat(tree):
    """Returns all leaves in one row; of stacked trees, a row for each."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def rows(stacked):
    """Returns the kept weights of each of a stack of masks, a row each."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(stacked)]
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)


def counts(masks):
    return [int(mask.sum()) for mask in jax.tree.leaves(masks)]


def same(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **(tolerance or {"rtol": 1e-5, "atol": 1e-6}))
