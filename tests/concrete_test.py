"""Hard concrete gates, against published values and their own distribution."""

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import concrete

LOGITS = jnp.array([0.0, 3.0, -3.0, 0.5])


def test_probabilities_and_test_gates_are_the_published_ones():
    open_ = concrete.open_probability(LOGITS)
    np.testing.assert_allclose(open_, [0.8318, 0.9900, 0.1976, 0.8908], atol=5e-5)
    np.testing.assert_allclose(concrete.mean(LOGITS), [0.5, 1, 0, 0.6470], atol=5e-5)


def test_gates_are_open_as_often_as_their_probability_says():
    drawn = concrete.sample(jax.random.key(0), jnp.tile(LOGITS, (20_000, 1)))
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert (drawn == 0).any() and (drawn == 1).any()
    share = jnp.mean(drawn > 0, axis=0)
    # Four standard deviations of a share of 20,000 draws are below 4 (1/2) / 141.
    np.testing.assert_allclose(share, concrete.open_probability(LOGITS), atol=0.0142)


def test_what_has_no_gate_stays_without():
    tree = {"kernel": LOGITS, "bias": None}
    assert concrete.sample(jax.random.key(0), tree)["bias"] is None
    assert concrete.mean(tree)["bias"] is None
