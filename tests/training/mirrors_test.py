"""Which weights a user's own state holds: by path, and by what it grows with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.training import mirrors, zeros

# Two of one shape, one of them square on the other's axes, and a vector as long.
SHAPES = {"a": (2, 2), "b": {"bias": (2,), "kernel": (2, 2)}, "c": (2, 3)}
PARAMS = jax.tree.map(
    lambda shape: jnp.arange(1.0, 1 + np.prod(shape)).reshape(shape),
    SHAPES,
    is_leaf=lambda x: isinstance(x, tuple),
)
MASKS = jax.tree.map(lambda w: w % 2 == 1, PARAMS)


class Averages(NamedTuple):
    """The averages of the weights, held in some way, and a count."""

    slow: Any
    count: jax.Array


class Two(NamedTuple):
    """What a user holds of one leaf."""

    slow: jax.Array
    twice: jax.Array


def named(tree):
    rows = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): x for path, x in rows}


HELD = {
    "a list": jax.tree.leaves,
    "a list turned round": lambda tree: jax.tree.leaves(tree)[::-1],
    "names": named,
    "numbers": lambda tree: dict(enumerate(jax.tree.leaves(tree)[::-1])),
    "a pair of each": lambda tree: jax.tree.map(lambda x: Two(x, 2 * x), tree),
    "two in one": lambda tree: [jnp.stack([x, x]) for x in jax.tree.leaves(tree)],
}


def averaging(held):
    """Returns a user's own transformation, which averages the weights."""

    def init(params):
        return Averages(held(params), jnp.zeros((), int))

    def update(updates, state, params=None):
        slow = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.slow, held(params))
        return updates, Averages(slow, state.count + 1)

    return optax.GradientTransformation(init, update)


@pytest.mark.parametrize("name", HELD)
def test_averages_of_pruned_weights_are_zero_however_they_are_held(name):
    tx = zeros.keep(optax.chain(optax.sgd(0.1), averaging(HELD[name])))
    pruned = jax.tree.map(lambda w, mask: jnp.where(mask, w, 0), PARAMS, MASKS)
    update = jax.jit(tx.update)
    _, state = update(PARAMS, tx.init(PARAMS), pruned, masks=MASKS)
    expected = jax.tree.leaves(HELD[name](pruned))
    for one, other in zip(jax.tree.leaves(state[1].slow), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_has_the_shape_of_a_parameter_but_grows_otherwise_is_no_mirror():
    def init(params):
        kernels = [w for w in jax.tree.leaves(params) if w.ndim == 2]
        rows = [jnp.ones((w.shape[0],)) for w in kernels]
        squares = [jnp.ones((w.shape[1],) * 2) for w in kernels]
        return rows, squares, jnp.ones((2, 2)), jnp.ones(2)

    tx = optax.GradientTransformation(init, lambda u, s, p=None: (u, s))
    state = tx.init(PARAMS)
    assert set(mirrors.mirrors(tx, state, PARAMS)) == {None}
    found = zeros.cleared(tx, state, PARAMS, MASKS)
    assert all(leaf.all() for leaf in jax.tree.leaves(found))


def test_what_cannot_be_told_is_refused_by_its_path():
    def fixed(params):
        if jax.tree.leaves(params)[0].shape != (2, 2):
            raise TypeError("square")
        return jax.tree.leaves(params)

    def changing(params):
        wide = jax.tree.leaves(params)[0].shape != (2, 2)
        return jax.tree.leaves(params)[: 2 if wide else None]

    for init in (fixed, changing):
        tx = optax.GradientTransformation(init, lambda u, s, p=None: (u, s))
        kept = zeros.keep(optax.chain(tx, optax.sgd(0.1)))
        message = r"got state\[0\]\[0\], .* in a tree like the parameters"
        with pytest.raises(ValueError, match=message):
            kept.update(PARAMS, kept.init(PARAMS), PARAMS, masks=MASKS)


def test_a_history_beside_given_weights_is_no_mirror():
    def init(params):
        pull = jax.tree.map(lambda w, anchor: w - anchor, params, PARAMS)
        return {"history": jnp.zeros(2), "pull": pull}

    tx = optax.GradientTransformation(init, lambda grads, state, params: (grads, state))
    state = init(PARAMS)
    found = mirrors.mirrors(tx, state, PARAMS)
    assert found == [None, *range(len(jax.tree.leaves(PARAMS)))]
