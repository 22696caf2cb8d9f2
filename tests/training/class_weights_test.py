"""A class counts as much as its weight says, in mixed examples by their shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.training import class_weights
from lthjax.training.objective import CLASSIFICATION, NEXT_TOKEN

WEIGHTS = (2.0, 0.5, 1.0)
LOGITS = jax.random.normal(jax.random.key(0), (4, 3))
LABELS = jnp.array([0, 1, 2, 1])


@pytest.mark.parametrize("smoothing", [None, 0.1])
def test_an_example_of_one_class_counts_alike_as_a_label_and_as_shares(smoothing):
    found = class_weights.weighted(CLASSIFICATION, WEIGHTS)
    given = () if smoothing is None else (smoothing,)
    name = "loss" if smoothing is None else "smoothed"
    plain = getattr(CLASSIFICATION, name)(LOGITS, LABELS, *given)
    values = getattr(found, name)(LOGITS, LABELS, *given)
    expected = np.array(WEIGHTS)[np.array(LABELS)] * plain
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    shares = jax.nn.one_hot(LABELS, 3)
    mixed = getattr(found, name)(LOGITS, shares, *given)
    np.testing.assert_allclose(mixed, values, rtol=1e-5)


def test_a_mixed_example_has_the_mean_of_the_weights_of_its_classes():
    found = class_weights.weighted(CLASSIFICATION, WEIGHTS)
    shares = jnp.array([[0.25, 0.75, 0.0]])
    plain = CLASSIFICATION.loss(LOGITS[:1], shares)
    value = found.loss(LOGITS[:1], shares)
    np.testing.assert_allclose(value, (0.25 * 2 + 0.75 * 0.5) * plain, rtol=1e-6)


def test_balanced_weights_are_one_in_the_mean_and_need_every_class():
    counts = (10, 30, 60)
    found = class_weights.balanced(counts)
    assert np.dot(found, counts) / sum(counts) == pytest.approx(1)
    assert found[0] == pytest.approx(6 * found[2])
    with pytest.raises(ValueError, match="got none of 1"):
        class_weights.balanced((1, 0))


def test_a_weight_must_be_there_for_every_class():
    found = class_weights.weighted(CLASSIFICATION, [1.0, 2.0])
    with pytest.raises(ValueError, match="a weight of each class.* for 3 classes"):
        found.loss(jnp.zeros((3, 3)), jnp.array([0, 1, 2]))
    with pytest.raises(ValueError, match="a weight of each class.* for 3 classes"):
        found.smoothed(jnp.zeros((3, 3)), jnp.array([0, 1, 2]), 0.1)


@pytest.mark.parametrize("shape, labels", [((2, 2, 8), (2, 2)), ((2, 8), (2, 1))])
def test_they_are_of_examples_and_not_of_places(shape, labels):
    weighted = class_weights.weighted(NEXT_TOKEN, [1.0] * 8)
    for loss in (weighted.loss, lambda *given: weighted.smoothed(*given, 0.1)):
        with pytest.raises(ValueError, match="one class an example"):
            loss(jnp.zeros(shape), jnp.zeros(labels, jnp.int32))
