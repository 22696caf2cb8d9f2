"""The losses of a batch, example by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.training import losses

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


@pytest.mark.parametrize("where", [0, 1, slice(None)])
def test_no_example_with_a_logit_of_nan_is_right(where):
    logits = jnp.array([[5.0, 1.0], [1.0, 5.0]]).at[:, where].set(jnp.nan)
    for dtype in (jnp.int32, jnp.uint8):
        found = losses.correct(logits, jnp.array([0, 1], dtype))
        np.testing.assert_array_equal(found, [0, 0])


# Smoothed labels.


@pytest.mark.parametrize("convention", losses.CONVENTIONS)
def test_smoothed_is_the_cross_entropy_against_the_smoothed_labels(convention):
    targets = losses.smoothed_labels(LABELS, 5, 0.3, convention=convention)
    np.testing.assert_allclose(targets.sum(-1), np.ones(6), rtol=1e-6)
    expected = -jnp.sum(targets * jax.nn.log_softmax(LOGITS), axis=-1)
    found = losses.smoothed(LOGITS, LABELS, 0.3, convention=convention)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_others_share_what_the_true_class_gives_away():
    targets = losses.smoothed_labels(LABELS, 5, 0.2, convention="others")
    true = jax.nn.one_hot(LABELS, 5)
    expected = jnp.where(true == 1, 0.8, 0.2 / 4)
    np.testing.assert_allclose(targets, expected, rtol=1e-6)


def test_the_conventions_differ_by_a_factor_of_the_smoothing():
    others = losses.smoothed(LOGITS, LABELS, 0.2, convention="others")
    uniform = losses.smoothed(LOGITS, LABELS, 0.2 * 5 / 4, convention="uniform")
    np.testing.assert_allclose(others, uniform, rtol=1e-6)


@pytest.mark.parametrize("convention", losses.CONVENTIONS)
def test_no_smoothing_is_the_plain_loss_bit_for_bit_in_value_and_gradient(convention):
    def value_and_grad(loss):
        total = lambda logits: jnp.sum(loss(logits))  # noqa: E731
        return jax.jit(jax.value_and_grad(total))(LOGITS)

    def zero(logits):
        return losses.smoothed(logits, LABELS, jnp.float32(0), convention=convention)

    plain = value_and_grad(lambda logits: losses.cross_entropy(logits, LABELS))
    assert_same(value_and_grad(zero), plain)


# Of smoothing 0.1 by "others": the same by "uniform", the entropy in nats, and how far
# the best logits lie apart; of the released code of arXiv:2206.12755, derived.
SMOOTHED = {10: (1 / 9, 0.5448, 4.394), 100: (0.10101, 0.7846, 6.792)}
SMOOTHED |= {200: (0.100503, 0.8544, 7.491)}


@pytest.mark.parametrize("classes", SMOOTHED)
def test_the_least_smoothed_loss_is_the_entropy_of_the_labels(classes):
    e, (share, entropy, gap) = 0.1, SMOOTHED[classes]
    np.testing.assert_allclose(losses.uniform(e, classes, "others"), share, rtol=1e-5)
    label = jnp.zeros(1, jnp.int32)
    best = jnp.log(losses.smoothed_labels(label, classes, e, convention="others"))
    found, slope = jax.value_and_grad(
        lambda z: losses.smoothed(z, label, e, convention="others").sum()
    )(best)
    np.testing.assert_allclose(found, entropy, atol=5e-5)
    np.testing.assert_allclose(best[0, 0] - best[0, 1], gap, atol=5e-4)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=rf"in \[0, 1\), got smoothing = {smoothing}"):
        losses.smoothed(LOGITS, LABELS, smoothing)
    with pytest.raises(ValueError, match="others, uniform, got convention = 'all'"):
        losses.smoothed(LOGITS, LABELS, 0.1, convention="all")


# Distillation.

TEACHER = jax.random.normal(jax.random.key(1), (6, 5))


def test_a_student_like_its_teacher_has_nothing_to_learn():
    gradient = jax.grad(lambda z: jnp.sum(losses.distillation(z, TEACHER, 3.0)))
    np.testing.assert_allclose(gradient(TEACHER), np.zeros((6, 5)), atol=1e-6)
    found = losses.distillation(TEACHER, TEACHER, 3.0)
    np.testing.assert_allclose(found, np.zeros(6), atol=1e-6)


def test_distillation_is_the_divergence_from_the_teacher():
    p, q = (np.asarray(jax.nn.softmax(z / 2)) for z in (TEACHER, LOGITS))
    expected = 4 * np.sum(p * np.log(p / q), axis=-1)
    found = losses.distillation(LOGITS, TEACHER, 2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_hot_teacher_pulls_at_the_centred_logits():
    gradient = jax.grad(lambda z: jnp.sum(losses.distillation(z, TEACHER, 1e3)))
    centred = [z - z.mean(-1, keepdims=True) for z in (LOGITS, TEACHER)]
    # The next term of the series is of order 1 / T, and T = 1e3 costs float32 digits.
    expected = (centred[0] - centred[1]) / 5
    np.testing.assert_allclose(gradient(LOGITS), expected, atol=5e-3)


def test_nothing_flows_into_the_teacher():
    gradient = jax.grad(lambda z: jnp.sum(losses.distillation(LOGITS, z, 2.0)))
    np.testing.assert_array_equal(gradient(TEACHER), np.zeros((6, 5)))


def test_the_mean_over_classes_is_smaller_by_their_number_exactly():
    mean = losses.distillation(LOGITS, TEACHER, 2.0, mean_over_classes=True)
    whole = losses.distillation(LOGITS, TEACHER, 2.0)
    np.testing.assert_array_equal(mean, whole / 5)


@pytest.mark.parametrize(
    "temperature, mean, coefficient", [(5.0, True, 2.25), (4.0, False, 14.4)]
)
def test_the_released_codes_weigh_a_divergence_so(temperature, mean, coefficient):
    pair = jax.random.normal(jax.random.key(2), (2, 6, 10))
    p, q = (np.asarray(jax.nn.softmax(z / temperature)) for z in pair)
    expected = coefficient * np.sum(p * np.log(p / q), axis=-1)
    how = {"mean_over_classes": mean}
    found = 0.9 * losses.distillation(pair[1], pair[0], temperature, **how)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_teacher_stops_at_its_step():
    weights = jax.jit(losses.distillation_weights)
    for step, expected in ((0, (0.9, 0.1)), (6, (0.9, 0.1)), (7, (0, 1)), (8, (0, 1))):
        found = weights(jnp.int32(step), 0.9, 0.1, 7)
        np.testing.assert_array_equal(found, np.float32(expected))


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(6, 4\) for logits = \(6, 5\)"):
        losses.distillation(LOGITS, TEACHER[:, :4])


def test_one_class_alone_can_be_smoothed_but_not_by_the_others():
    logits, labels = jnp.zeros((2, 1)), jnp.zeros(2, int)
    assert losses.smoothed(logits, labels, 0.1).tolist() == [0, 0]
    with pytest.raises(ValueError, match="needs other classes, got num_classes = 1"):
        losses.smoothed(logits, labels, 0.1, convention="others")


def test_float_labels_are_distributions_over_the_classes():
    logits = jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    found = losses.cross_entropy(logits, jnp.eye(3)[jnp.array([1, 2])])
    expected = losses.cross_entropy(logits, jnp.array([1, 2]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for wrong in (jnp.array([1.0, 2.0]), jnp.ones((2, 1))):
        with pytest.raises(ValueError, match=r"as large as the logits \[2, 3\]"):
            losses.cross_entropy(logits, wrong)


def test_a_class_that_cannot_be_adds_nothing_where_it_has_no_weight():
    logits = jnp.array([[0.0, 1.0, -jnp.inf]])
    plain, found = losses.cross_entropy, jax.value_and_grad
    nats, slope = found(lambda x: plain(x, jnp.array([1])).sum())(logits)
    kinds = {
        "smoothed": lambda x: losses.smoothed(x, jnp.array([1]), 0.0),
        "traced": lambda x: losses.smoothed(x, jnp.array([1]), jnp.float32(0)),
        "a distribution": lambda x: plain(x, jnp.array([[0.0, 1.0, 0.0]])),
    }
    for name, fn in kinds.items():
        value, own = found(lambda x, fn=fn: fn(x).sum())(logits)
        np.testing.assert_allclose(value, nats, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(own, slope, rtol=1e-6, err_msg=name)
    same, slope = found(lambda x: losses.distillation(x, logits).sum())(logits)
    np.testing.assert_allclose([same, *slope[0]], 0, atol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        jnp.array([1]),
        jnp.array([[1], [2], [3]]),
        jnp.zeros((3, 8), jnp.int32),
        jnp.zeros((8, 3)),
        jnp.ones(3, bool),
    ],
)
@pytest.mark.parametrize("asked", [losses.cross_entropy, losses.correct])
def test_labels_that_would_be_spread_over_rows_are_refused(asked, labels):
    with pytest.raises(ValueError, match="labels must be integers"):
        asked(jnp.zeros((3, 8)), labels)


def test_of_a_number_that_is_no_class_the_loss_is_nan_and_nothing_is_right():
    logits = jnp.zeros((3, 8)).at[:, 7].set(5.0)
    labels = jnp.array([-1, 8, 7])
    assert jnp.isnan(losses.cross_entropy(logits, labels)).tolist() == [
        True,
        True,
        False,
    ]
    assert losses.correct(logits, labels).tolist() == [0, 0, 1]


def test_distributions_are_not_smoothed_as_if_they_were_classes():
    with pytest.raises(ValueError, match="must be integers, got float32"):
        losses.smoothed_labels(jnp.eye(3), 3, 0.1)
