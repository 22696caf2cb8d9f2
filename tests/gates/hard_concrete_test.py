"""Hard concrete gates, against published values and their own distribution."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

from lthjax.gates import families, hard_concrete

LOGITS = jnp.array([0.0, 3.0, -3.0, 0.5])


def test_probabilities_and_test_gates_are_the_published_ones():
    open_ = hard_concrete.open_probability(LOGITS)
    np.testing.assert_allclose(open_, [0.8318, 0.9900, 0.1976, 0.8908], atol=5e-5)
    np.testing.assert_allclose(
        hard_concrete.mean(LOGITS), [0.5, 1, 0, 0.6470], atol=5e-5
    )


def test_gates_are_open_as_often_as_their_probability_says():
    drawn = hard_concrete.sample(jax.random.key(0), jnp.tile(LOGITS, (20_000, 1)))
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn == 0).any() and (drawn == 1).any()
    share = jnp.mean(drawn > 0, axis=0)
    # Four standard deviations of a share of 20,000 draws are below 4 (1/2) / 141.
    np.testing.assert_allclose(
        share, hard_concrete.open_probability(LOGITS), atol=0.0142
    )


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_logits_in_half_precision_are_computed_with_in_float32(kind):
    half = {"kernel": jnp.tile(LOGITS.astype(kind), (250, 1)), "bias": None}
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), half)
    draw = functools.partial(hard_concrete.sample, jax.random.key(0))
    for of in (draw, hard_concrete.mean, hard_concrete.open_probability):
        assert_same(of(half), of(wide))
    price = families.hard_concrete().price
    assert_same(price(half, 1.0, 1.0), price(wide, 1.0, 1.0))


def test_what_has_no_gate_stays_without():
    tree = {"kernel": LOGITS, "bias": None}
    assert hard_concrete.sample(jax.random.key(0), tree)["bias"] is None
    assert hard_concrete.mean(tree)["bias"] is None


def test_a_step_takes_no_logit_beyond_its_bounds():
    tx = hard_concrete.bounded(optax.sgd(1.0))
    gates = {"kernel": jnp.array([0.0, 4.0, -4.0, 4.0]), "bias": None}
    pushed = {"kernel": jnp.array([-0.5, -9.0, 9.0, 1.0]), "bias": None}
    updates, _ = tx.update(pushed, tx.init(gates), gates)
    after = optax.apply_updates(gates, updates)["kernel"]
    np.testing.assert_allclose(after, [0.5, np.log(100), np.log(0.01), 3.0], rtol=1e-6)


def test_bounds_need_the_logits():
    tx = hard_concrete.bounded(optax.sgd(0.1))
    with pytest.raises(ValueError, match="got params = None; call update"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
