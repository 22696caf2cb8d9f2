"""What mirrors a pruned weight is zero too, and `keep` goes outermost."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.training import mirrors, optimizers, zeros

PARAMS = {"kernel": jnp.array([[0.5, -1.0], [2.0, 1.5]]), "bias": jnp.ones(2)}
GOAL = {"kernel": jnp.array([[0.1, 0.3], [-0.2, 0.4]]), "bias": jnp.array([0.2, -0.1])}


MASKS = {"kernel": jnp.array([[True, False], [False, True]]), "bias": None}


def test_the_evaluation_weights_of_schedule_free_are_those_of_the_pruned_network():
    tx, tree = zeros.keep(optax.contrib.schedule_free_sgd(0.1)), MASKS
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(2):
        updates, state = tx.update(GOAL, state, params, masks=tree)
        params = optax.apply_updates(params, updates)
    found = optax.contrib.schedule_free_eval_params(state, params)["kernel"]
    np.testing.assert_array_equal(found != 0.0, tree["kernel"])


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: optax.partition({"a": tx}, {"kernel": "a", "bias": "a"}),
        lambda tx: optax.masked(tx, {"kernel": True, "bias": False}),
        lambda tx: optax.lookahead(tx, 5, 0.5),
        lambda tx: optax.contrib.schedule_free(tx, 0.1),
        lambda tx: optax.MultiSteps(tx, 2),
        lambda tx: optax.chain(optax.clip(1.0), tx),
    ],
)
def test_keep_inside_of_another_optimizer_says_that_it_goes_outermost(around):
    tx, params = around(zeros.keep(optax.sgd(0.1))), PARAMS
    if "fast" in str(jax.eval_shape(tx.init, PARAMS)):
        params = optax.LookaheadParams.init_synced(PARAMS)
    with pytest.raises(ValueError, match="outermost"):
        tx.update(PARAMS, tx.init(params), params)


def test_keep_around_lookahead_a_factory_or_hidden_weights_is_refused():
    pair = optax.LookaheadParams.init_synced(PARAMS)
    tx = zeros.keep(optax.lookahead(optax.sgd(0.1), 5, 0.5))
    for params in (pair, PARAMS):
        with pytest.raises(ValueError, match="of one network.*prune without"):
            tx.init(params)
    with pytest.raises(ValueError, match="call its factory first"):
        zeros.keep(optax.contrib.schedule_free_sgd)
    tx = zeros.keep(optax.sgd(0.1))
    hidden = PARAMS | {"kernel": optax.MaskedNode()}
    with pytest.raises(ValueError, match="masks of its parameters.*around optax.part"):
        tx.update(hidden, tx.init(hidden), hidden, masks=MASKS)


def test_mirrors_are_found_by_path_and_what_only_looks_like_one_is_not():
    # Six rates of Mechanic beside six weights; the vector of optax.flatten.
    tx = optax.contrib.mechanize(optax.sgd(0.1, momentum=0.9))
    state = tx.init(PARAMS)
    found = mirrors.mirrors(tx, state, PARAMS)
    rows = jax.tree_util.tree_leaves_with_path(state)
    names = [jax.tree_util.keystr(path) for path, _ in rows]
    mirrored = [name for name, at in zip(names, found, strict=True) if at is not None]
    assert mirrored == [n for n in names if "kernel" in n or "bias" in n]
    flat = optax.flatten(optax.sgd(0.1, momentum=0.9))
    assert mirrors.mirrors(flat, flat.init(PARAMS), PARAMS) == [-1]
    ones = jax.tree.map(jnp.ones_like, flat.init(PARAMS))
    (cleared,) = jax.tree.leaves(zeros.cleared(flat, ones, PARAMS, MASKS))
    np.testing.assert_array_equal(cleared, [1, 1, 1, 0, 0, 1])


class Pair(NamedTuple):
    """Parameters as a user may hold them."""

    bias: jax.Array
    kernel: jax.Array


SHAPES = {
    "named": lambda tree: Pair(**tree),
    "tuple": lambda tree: (tree["bias"], tree["kernel"]),
    "nested": lambda tree: {"a": ((tree["bias"],), [tree["kernel"]])},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["sgd", "adam", "lion", "rmsprop"])
def test_parameters_in_tuples_move_as_those_in_a_dict(name, shape):
    params = {"bias": jnp.array([0.4, -0.6]), "kernel": jnp.array([0.5, -1.0, 2.0])}
    masks = {"bias": None, "kernel": jnp.array([True, False, True])}

    def moved(form):
        tx = optimizers.build(name, 0.1)
        own, on = form(params), form(masks)
        state = tx.init(own)
        for step in range(3):
            grads = jax.tree.map(jnp.ones_like, own)
            updates, state = tx.update(grads, state, own, masks=on, step=step)
            own = optax.apply_updates(own, updates)
        return jax.tree.leaves(own)

    for one, other in zip(moved(SHAPES[shape]), moved(dict), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "tx", [optax.rprop(0.1), optax.rmsprop(0.1, initial_scale=1.0), optax.sgd(0.1)]
)
def test_a_weight_that_comes_back_begins_as_one_that_is_new(tx):
    kept = zeros.keep(tx)
    w, on, off = (
        jnp.array([1.0, 2.0]),
        jnp.array([True, True]),
        jnp.array([True, False]),
    )
    params, state = jnp.where(off, w, 0), kept.init(jnp.where(off, w, 0))
    for _ in range(3):
        updates, state = kept.update(jnp.ones(2), state, params, masks=off)
        params = optax.apply_updates(params, updates)
    state = zeros.cleared(kept, state, params, off)
    new, fresh = jnp.zeros(2), kept.init(jnp.zeros(2))
    for _ in range(3):
        updates, state = kept.update(jnp.ones(2), state, params, masks=on)
        params = optax.apply_updates(params, updates)
        updates, fresh = kept.update(jnp.ones(2), fresh, new, masks=on)
        new = optax.apply_updates(new, updates)
    assert params[1] == new[1] != 0
