"""ADMM: the exact projection, its fixed point, and the pull of the sparse copy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from trees import assert_same

from lthjax import dynamic
from lthjax.dynamic import multipliers
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.training import zeros

# No two of one magnitude; the five largest are 3.0, 2.7, 2.4, 2.1 and 1.8.
GOAL = jnp.array([0.3, -3.0, 0.6, 2.7, -0.9, 2.4, 1.2, -2.1, 1.5, 1.8])
FULL = jnp.ones(10, bool)


@functools.partial(jax.jit, static_argnums=(0, 1))
def solve(tx, steps, w, state):
    """Minimises (w - a)^2 / 2; returns the end, and U after each step."""

    def one(carry, at):
        w, state = carry
        updates, state = tx.update(w - GOAL, state, w, masks=FULL, step=at)
        return (optax.apply_updates(w, updates), state), state.dual

    (w, state), duals = jax.lax.scan(one, (w, state), jnp.arange(steps))
    return w, state, duals


def test_on_a_quadratic_the_copy_finds_the_largest_and_the_multipliers_settle():
    tx = dynamic.admm(optax.sgd(0.5), steps=2000, updates=100, rho=1.0, last=1.0)
    first = jnp.ones(10)
    start = multipliers.begin(tx.init(first), first, FULL, 5)
    w, state, duals = solve(tx, 2000, first, start)
    expected = jnp.abs(GOAL) >= 1.8
    np.testing.assert_array_equal(multipliers.support(state), expected)
    # At the fixed point W = Z and the gradient of L is -rho U: a on what is not kept.
    np.testing.assert_allclose(w, jnp.where(expected, GOAL, 0), atol=1e-4)
    np.testing.assert_allclose(state.dual, jnp.where(expected, 0, GOAL), atol=1e-4)
    changes = jnp.abs(jnp.diff(duals[19::20], axis=0)).max(axis=1)
    assert changes[-1] < 1e-4 < 1e-2 < changes[0]
    assert multipliers.residual(w, state) < 1e-4


@pytest.mark.parametrize("kept", [77, [60, 17]])
def test_the_projection_keeps_exactly_so_many_the_largest(kept):
    full = masks_lib.full(toy.PARAMS)
    tx = dynamic.admm(optax.sgd(0.1), steps=4, updates=2)
    state = multipliers.begin(tx.init(toy.PARAMS), toy.PARAMS, full, kept)
    expected = choose.prune(full, scores.magnitude(toy.PARAMS, full), kept=kept)
    toy.same(multipliers.support(state), expected)
    toy.same(state.copy, masks_lib.apply(_prunable(toy.PARAMS, full), expected))
    params, state = _train(tx, 4, (toy.PARAMS, state))
    found = multipliers.support(state)
    counts = toy.counts(found)
    assert counts == kept if isinstance(kept, list) else sum(counts) == kept
    toy.same(found, jax.tree.map(lambda z: z != 0, state.copy))
    total = jax.tree.map(jnp.add, state.copy, state.dual)
    assert not np.allclose(toy.flat(total), toy.flat(_prunable(params, full)))


def _prunable(tree, full):
    return jax.tree.map(lambda w, m: None if m is None else w, tree, full)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train(tx, stop, carry, start=0):
    full = masks_lib.full(toy.PARAMS)

    def body(at, carry):
        params, state = carry
        grads = jax.grad(toy.loss)(params)
        updates, state = tx.update(grads, state, params, masks=full, step=at)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(start, stop, body, carry)


def test_the_pull_is_the_gradient_of_the_penalty_and_the_updates_are_those_of_admm():
    """Against the equations, written out, over three parts of two steps."""
    full, kept = masks_lib.full(toy.PARAMS), 50
    tx = dynamic.admm(optax.sgd(0.1), steps=7, updates=3, rho=0.1, last=0.4)
    first = multipliers.begin(tx.init(toy.PARAMS), toy.PARAMS, full, kept)
    params, state = _train(tx, 7, (toy.PARAMS, first))

    @jax.jit
    def step(w, z, u, rho):
        def penalised(w):
            rows = [w[k]["kernel"] - z[k] + u[k] for k in z]
            return toy.loss(w) + rho / 2 * sum(jnp.sum(row**2) for row in rows)

        return jax.tree.map(lambda w, g: w - 0.1 * g, w, jax.grad(penalised)(w))

    def project(tree):
        sizes = np.sort(np.abs(np.concatenate([v.ravel() for v in tree.values()])))
        return {k: jnp.where(jnp.abs(v) >= sizes[-kept], v, 0) for k, v in tree.items()}

    w, u = toy.PARAMS, {k: jnp.zeros_like(toy.PARAMS[k]["kernel"]) for k in toy.PARAMS}
    z = project({k: w[k]["kernel"] for k in w})
    for part, rho in enumerate((0.1, 0.2, 0.4)):
        for _ in range(3 if part == 2 else 2):  # the last takes what is left over
            w = step(w, z, u, rho)
        total = {k: w[k]["kernel"] + u[k] for k in u}
        z = project(total)
        u = {k: (total[k] - z[k]) / (2 if part < 2 else 1) for k in u}
    toy.same(params, w)
    toy.same([state.copy[k]["kernel"] for k in z], list(z.values()))
    toy.same([state.dual[k]["kernel"] for k in u], list(u.values()), atol=1e-6)


def test_cut_anywhere_it_goes_on_with_the_same_bits():
    full = masks_lib.full(toy.PARAMS)
    tx = dynamic.admm(optax.sgd(0.1, momentum=0.9), steps=7, updates=3)
    start = multipliers.begin(tx.init(toy.PARAMS), toy.PARAMS, full, 50)
    whole = _train(tx, 7, (toy.PARAMS, start))
    for cut in (1, 2, 5):
        halves = _train(tx, 7, _train(tx, cut, (toy.PARAMS, start)), cut)
        assert_same(halves, whole)


def test_outside_of_jit_it_does_what_it_does_inside():
    tx = dynamic.admm(optax.sgd(0.1), steps=2, updates=2)
    w = jnp.ones(10)
    state = multipliers.begin(tx.init(w), w, FULL, 5)
    expected = jax.jit(lambda g, s, w: tx.update(g, s, w, masks=FULL))(
        w - GOAL, state, w
    )
    toy.same(tx.update(w - GOAL, state, w, masks=FULL), expected)


def test_without_a_copy_it_is_keep():
    full = masks_lib.full(toy.PARAMS)
    masks = toy.draw(1)
    pair = optax.sgd(0.1, momentum=0.9)
    found = dynamic.admm(pair, steps=9), zeros.keep(pair)
    params = masks_lib.apply(toy.PARAMS, masks)
    grads, ends = jax.grad(toy.loss)(params), []
    for tx in found:
        updates, state = tx.update(grads, tx.init(params), params, masks=masks)
        ends.append((updates, state))
    assert_same(*ends)
    assert full.keys() == masks.keys()
    assert all(map(zeros.is_kept, found))  # so that nothing keeps it once more


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 4, "updates": 5}, "a step for each update, got updates = 5"),
        ({"steps": 4, "updates": 2, "rho": 0.0}, "rho must be above 0, got rho = 0"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"steps": 10.5, "updates": 2}, "whole number of at least 1, got steps ="),
    ],
)
def test_numbers_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dynamic.admm(optax.sgd(0.1), **options)


def test_the_distance_of_weights_in_tuples_is_that_of_weights_in_a_dict():
    w = {"a": jnp.array([3.0, 0.5]), "b": jnp.array([0.1, -2.0, 1.0])}
    tx = dynamic.admm(optax.sgd(0.1), steps=4, updates=2)

    def distance(params):
        state = tx.init(params)
        full = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), params)
        return multipliers.residual(params, multipliers.begin(state, params, full, 2))

    apart = (0.5**2 + 0.1**2 + 1.0) / (9 + 0.25 + 0.01 + 4 + 1)
    for params in (w, tuple(w.values()), {"x": (w["a"], [w["b"]])}):
        np.testing.assert_allclose(distance(params), apart**0.5, rtol=1e-6)
