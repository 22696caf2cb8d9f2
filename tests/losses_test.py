"""The losses of a batch, example by example."""

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import losses

LOGITS = jax.random.normal(jax.random.key(0), (6, 5))
LABELS = jnp.array([0, 1, 2, 3, 4, 0])


def test_cross_entropy_is_minus_the_log_of_the_labels_probability():
    probabilities = np.asarray(jax.nn.softmax(LOGITS))[np.arange(6), LABELS]
    found = losses.cross_entropy(LOGITS, LABELS)
    np.testing.assert_allclose(found, -np.log(probabilities), rtol=1e-5)


def test_knowing_nothing_costs_the_log_of_the_classes():
    found = losses.cross_entropy(jnp.zeros((6, 5)), LABELS)
    np.testing.assert_allclose(found, np.full(6, np.log(5)), rtol=1e-5)


def test_large_logits_stay_finite():
    found = losses.cross_entropy(jnp.array([[1e4, -1e4]] * 2), jnp.array([0, 1]))
    np.testing.assert_array_equal(found, [0.0, 2e4])


def test_correct_is_one_where_the_highest_logit_is_the_labels():
    found = losses.correct(jax.nn.one_hot(jnp.array([0, 1, 2, 3, 3, 3]), 5), LABELS)
    np.testing.assert_array_equal(found, [1, 1, 1, 1, 0, 0])
    assert found.dtype == jnp.float32
