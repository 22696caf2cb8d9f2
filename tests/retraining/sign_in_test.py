"""Sign-In: factors that multiply to the weights, and signs that flip."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.retraining import sign_in
from lthjax.training import optimizers

PARAMS = {
    "bias": jnp.array([0.3, -0.2]),
    "kernel": jnp.array([[0.5, -1.0], [2.0, 0.0]]),
}
MASKS = {"bias": None, "kernel": jnp.array([[True, True], [False, True]])}


def trained(tx, params, masks, steps, grad_fn):
    """Returns (parameters, state) after some steps."""

    def one(carry, _):
        params, state = carry
        updates, state = tx.update(grad_fn(params), state, params, masks=masks)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(one, (params, tx.init(params)), None, length=steps)[0]


@pytest.mark.parametrize("beta", [0.01, 1.0, 4.0])
def test_factors_are_balanced_and_multiply_to_the_weights(beta):
    theta = jnp.array([-30.0, -1.0, -1e-4, 0.0, 1e-6, 0.7, 5.0])
    m, w = sign_in.balanced(theta, beta)
    np.testing.assert_allclose(m * w, theta, rtol=1e-6)
    np.testing.assert_allclose(m**2 - w**2, beta, rtol=1e-4, atol=1e-3)
    assert (m > 0).all() and (jnp.sign(w) == jnp.sign(theta)).all()


def test_a_small_step_moves_a_weight_by_the_closed_form():
    rate, beta = 1e-3, 1.0
    masks = {"bias": None, "kernel": jnp.ones((2, 2), bool)}
    tx = sign_in.keep(optax.sgd(rate), beta=beta, every=1)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = tx.update(ones, tx.init(PARAMS), PARAMS, masks=masks)
    speed = jnp.sqrt(beta**2 + 4 * PARAMS["kernel"] ** 2)
    np.testing.assert_allclose(updates["kernel"], -rate * speed, rtol=2e-3)
    np.testing.assert_allclose(updates["bias"], -rate, rtol=1e-6)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_pruned_weights_are_zero_and_the_state_has_the_factors(name, every):
    inner = optimizers.unwrapped(name, 0.05, weight_decay=1e-2)
    tx = sign_in.keep(inner, every=every)
    params = {**PARAMS, "kernel": jnp.where(MASKS["kernel"], PARAMS["kernel"], 0)}
    run = jax.jit(
        lambda p: trained(tx, p, MASKS, 7, lambda p: jax.tree.map(lambda w: w - 0.3, p))
    )
    found, state = run(params)
    assert found["kernel"][1, 0] == 0.0
    np.testing.assert_allclose(
        state.m["kernel"] * state.w["kernel"], found["kernel"], atol=1e-6
    )
    assert state.m["bias"] is None and int(state.count) == 7


def test_a_sign_flips_where_the_balance_leaves_speed_at_zero():
    """The flow is sqrt(beta^2 + 4 theta^2) (theta - 1): at zero its speed is beta."""

    def end(beta):
        tx = sign_in.keep(optax.sgd(0.05), beta=beta, every=1, leaves=lambda *_: True)
        on, start = jnp.array([True]), jnp.array([-1.0])
        theta, _ = trained(tx, start, on, 200, lambda theta: theta - 1)
        return float(theta[0])

    assert end(1.0) == pytest.approx(1.0, abs=1e-3)
    assert abs(end(1e-5)) < 0.05


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"beta": 0.0}, "beta must be positive, got beta = 0.0"),
        ({"every": 0}, "every must be an update at least, got every = 0"),
        ({"leaves": lambda *_: False}, "must have factors, got none among .* kernel"),
    ],
)
def test_what_cannot_be_trained_so_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tx = sign_in.keep(optax.sgd(0.1), **{"every": 1, **changes})
        tx.init(PARAMS)
