"""Factors: their product stays, their squares keep apart, signs go through zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

import lthjax as lth
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import factors
from lthjax.training import optimizers, schedules

THETA = jnp.array([-3.0, -0.5, 0.0, 1e-3, 2.0])
PARAMS = {"kernel": THETA.reshape(1, 5), "bias": jnp.ones(5)}
MASKS = {"kernel": jnp.array([[True, True, True, False, True]]), "bias": None}
GRADS = {"kernel": jnp.linspace(-1, 1, 5).reshape(1, 5), "bias": jnp.ones(5)}


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_balanced_factors_are_of_the_product_and_differ_by_beta(beta):
    m, w = factors.balanced(THETA, beta)
    np.testing.assert_allclose(m * w, THETA, rtol=1e-6)
    # Of two squares of which the larger is below 10 + beta.
    np.testing.assert_allclose(m**2 - w**2, beta, atol=1e-5)
    speed = jnp.sqrt(beta**2 + 4 * THETA**2)
    np.testing.assert_allclose(m**2 + w**2, speed, rtol=1e-5)


def test_rebalancing_leaves_the_product_and_the_sign_of_the_first_factor():
    m, w = jnp.array([-2.0, 0.5, 0.0]), jnp.array([1.0, -3.0, 7.0])
    first, second = factors.rebalanced(m, w, 1.0)
    np.testing.assert_allclose(first * second, m * w, rtol=1e-6)
    np.testing.assert_allclose(first**2 - second**2, 1, rtol=1e-5)
    assert (jnp.sign(first) == jnp.array([-1, 1, 1])).all()


def stepped(tx, count, *, params=PARAMS, masks=MASKS, grads=GRADS, state=None, at=0):
    params = masks_lib.apply(params, masks)
    state = tx.init(params) if state is None else state
    for step in range(at, at + count):
        updates, state = tx.update(grads, state, params, masks=masks, step=step)
        params = optax.apply_updates(params, updates)
    return params, state


def test_a_weight_moves_at_the_sum_of_the_squares():
    rate, beta = 1e-3, 0.5
    tx = factors.sign_in(lth.keep(optax.sgd(rate)), beta, every=100)
    params, _ = stepped(tx, 1)
    moved = (params["kernel"] - PARAMS["kernel"]) / (-rate * GRADS["kernel"])
    speed = jnp.sqrt(beta**2 + 4 * PARAMS["kernel"] ** 2)
    kept = np.asarray(MASKS["kernel"]) & (np.asarray(GRADS["kernel"]) != 0)
    # Beside rate theta grad, the product of both factors' steps.
    np.testing.assert_allclose(moved[kept], speed[kept], rtol=4e-3)
    plain, _ = stepped(lth.keep(optax.sgd(rate)), 1)
    np.testing.assert_array_equal(params["bias"], plain["bias"])


@pytest.mark.parametrize("inner", ["sgd", "adamw"])
def test_pruned_weights_are_zero_and_their_factors(inner):
    tx = optimizers.build(inner, 0.1, momentum=0.9, weight_decay=0.1)
    tx = factors.sign_in(tx, 2.0, every=2)
    params, state = stepped(tx, 4)
    off = ~np.asarray(MASKS["kernel"])
    for tree in (params, *state.factors):
        assert (np.asarray(tree["kernel"])[off] == 0).all()
    m, w = (tree["kernel"] for tree in state.factors)
    np.testing.assert_allclose(m * w, params["kernel"], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose((m**2 - w**2)[~off], 2.0, rtol=1e-5)
    assert state.factors.m["bias"] is None and state.factors.w["bias"] is None


@pytest.mark.parametrize("inner", [optax.lamb(0.1), optax.lars(0.1)])
def test_norms_over_a_layer_see_no_factor_of_a_pruned_weight(inner):
    tx, kept = factors.sign_in(lth.keep(inner), every=9), MASKS["kernel"][0]
    found, _ = stepped(tx, 1)
    alone = [{**x, "kernel": x["kernel"][:, kept]} for x in (PARAMS, GRADS)]
    full = {"kernel": jnp.ones((1, 4), bool), "bias": None}
    only, _ = stepped(tx, 1, params=alone[0], grads=alone[1], masks=full)
    np.testing.assert_allclose(found["kernel"][:, kept], only["kernel"], rtol=1e-6)


def test_between_two_rebalancings_the_factors_go_their_own_ways():
    tx = factors.sign_in(optimizers.build("sgd", 0.1, weight_decay=0.1), every=3)
    distance = []
    for count in (2, 3):
        m, w = (tree["kernel"] for tree in stepped(tx, count)[1].factors)
        distance.append(float(jnp.abs(m**2 - w**2 - 1)[0, 0]))
    assert distance[0] > 1e-2 and distance[1] < 1e-5


def test_cut_and_gone_on_it_has_the_same_bits():
    tx = factors.sign_in(optimizers.build("sgd", 0.1), every=2)
    whole = stepped(tx, 5)
    params, state = stepped(tx, 3)
    again = stepped(tx, 2, params=params, state=state, at=3)
    assert_same(whole, again)


def test_its_clock_is_moved_with_the_schedules():
    tx = factors.sign_in(
        optimizers.build("sgd", optax.linear_schedule(1, 0, 9)), every=2
    )
    state = schedules.at_step(tx.init(PARAMS), 7, tx=tx, params=PARAMS)
    assert int(state.clock.count) == 7


def crossing(tx, start=-1.0, limit=200):
    """The steps until a weight that must be 1 has the right sign, of (w - 1)^2 / 2."""
    params, masks = (
        {"kernel": jnp.full((1, 1), start)},
        {"kernel": jnp.ones((1, 1), bool)},
    )

    @jax.jit
    def step(params, state):
        grads = jax.tree.map(lambda w: w - 1, params)
        updates, state = tx.update(grads, state, params, masks=masks)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for count in range(limit):
        if params["kernel"][0, 0] > 0:
            return count
        params, state = step(params, state)
    return limit


def test_a_sign_goes_through_zero_where_balanced_factors_hold_it():
    rate, inner = 0.02, lth.keep(optax.sgd(0.02))
    # Flow from -1 to 0 takes log(2) of plain descent; of the factors, whose speed is
    # sqrt(1 + 4 theta^2), the integral of 1 / ((1 - theta) speed), which is less.
    theta = np.linspace(-1, 0, 10_001)
    speed = np.sqrt(1 + 4 * theta**2)
    expected = np.trapezoid(1 / ((1 - theta) * speed), theta) / rate
    plain = crossing(inner)
    assert abs(plain - np.log(2) / rate) <= 2
    found = crossing(factors.sign_in(inner, 1.0, every=5))
    assert abs(found - expected) <= 2 and found < plain
    # Where beta vanishes so does the speed at zero: the sign stays.
    assert crossing(factors.sign_in(inner, 1e-8, every=5)) == 200


BAD = [
    ({"beta": 0.0, "every": 1}, "beta must be positive, got beta = 0.0"),
    ({"every": 0}, "every must be a step at least, got every = 0"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_numbers_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        factors.sign_in(lth.keep(optax.sgd(0.1)), **given)


def test_an_optimizer_that_knows_no_masks_is_refused():
    with pytest.raises(ValueError, match="holds pruned weights at zero, got inner ="):
        factors.sign_in(optax.sgd(0.1), every=1)


def test_a_train_state_hands_it_the_masks():
    tx = factors.sign_in(lth.keep(optax.sgd(0.1)), every=1)
    given = {"apply_fn": None, "params": PARAMS, "tx": tx}
    state = lth.training.TrainState.create(**given).pruned(MASKS)
    state = state.apply_gradients(grads=GRADS, masks=MASKS)
    params, opt_state = stepped(tx, 1)
    assert_same(state.params, params)
    assert_same(state.opt_state, opt_state)


def test_parameters_and_masks_must_be_given():
    tx = factors.sign_in(lth.keep(optax.sgd(0.1)), every=1)
    with pytest.raises(ValueError, match="got no masks; call update"):
        tx.update(GRADS, tx.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match="got no parameters; call update"):
        tx.update(GRADS, tx.init(PARAMS), masks=MASKS)
