"""What a task is: its losses and measures by hand, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.training import objective as objective_lib
from lthjax.training import objective_checks
from lthjax.training.objective import CLASSIFICATION, NEXT_TOKEN, REGRESSION, Objective

FEW = jnp.log(jnp.array([[1.0, 3.0], [2.0, 2.0], [4.0, 1.0]]))
LABELS = jnp.array([1, 0, 1])


def shape(*sides, dtype="float32"):
    return jax.ShapeDtypeStruct(sides, dtype)


LOGITS, CLASSES = shape(4, 3), shape(4, dtype="int32")


def values(objective, name, outputs, labels):
    return objective_lib.measured(objective)[name](outputs, labels)


def mean(outputs, labels):
    return jnp.mean(outputs)


def each(outputs, labels):
    return jnp.mean(outputs, axis=1)


# What ours are.


def test_classification_is_the_loss_in_nats_and_the_accuracy():
    found = values(CLASSIFICATION, "loss", FEW, LABELS)
    wanted = [math.log(4 / 3), math.log(2), math.log(5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    found = values(CLASSIFICATION, "accuracy", FEW, LABELS)
    np.testing.assert_array_equal(found, [1, 1, 0])


def test_its_columns_are_those_of_the_records():
    assert objective_lib.columns(CLASSIFICATION) == (
        "train_loss",
        "validation_loss",
        "validation_accuracy",
        "test_loss",
        "test_accuracy",
    )
    assert CLASSIFICATION.best_by == "accuracy"


def test_regression_is_the_mean_square_and_the_mean_absolute_error():
    outputs = jnp.array([[1.0, 2.0], [0.0, -1.0]])
    targets = jnp.array([[1.0, 4.0], [3.0, 0.0]])
    found = values(REGRESSION, "loss", outputs, targets)
    np.testing.assert_array_equal(found, [2.0, 5.0])
    found = values(REGRESSION, "absolute_error", outputs, targets)
    np.testing.assert_array_equal(found, [1.0, 2.0])


def test_one_number_an_example_may_come_without_its_axis():
    found = values(REGRESSION, "loss", jnp.array([[1.0], [5.0]]), jnp.array([3, 4]))
    np.testing.assert_array_equal(found, [4.0, 1.0])


@pytest.mark.parametrize(
    "outputs, targets",
    [((2, 3), (3, 2)), ((2, 3), (6, 1)), ((2, 4, 4, 3), (2, 3, 4, 4))],
)
def test_examples_and_axes_are_not_taken_for_each_other(outputs, targets):
    for error in (objective_lib.squared_error, objective_lib.absolute_error):
        with pytest.raises(ValueError, match="axes in one order"):
            error(jnp.zeros(outputs), jnp.zeros(targets))


@pytest.mark.parametrize(
    "outputs, targets",
    [
        ((2, 6), (2, 2, 3)),
        ((2, 2, 3), (2, 6)),
        ((2, 1, 3), (2, 3, 1)),
        ((0, 2), (0, 2)),
    ],
)
def test_flat_outputs_axes_of_one_place_and_no_example_are_fine(outputs, targets):
    found = objective_lib.squared_error(jnp.ones(outputs), jnp.zeros(targets))
    assert found.tolist() == [1.0] * outputs[0]


def test_targets_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"as many as targets.*\(4, 3\).*\(4,\)"):
        objective_checks.check(REGRESSION, LOGITS, shape(4))


def test_the_next_token_is_measured_over_the_places_of_an_example():
    logits, tokens = FEW[:2][None], jnp.array([[1, 1]])
    nats = (math.log(4 / 3) + math.log(2)) / 2
    found = values(NEXT_TOKEN, "loss", logits, tokens)
    np.testing.assert_allclose(found, [nats], rtol=1e-6)
    assert values(NEXT_TOKEN, "accuracy", logits, tokens) == 0.5


def test_a_place_without_a_token_does_not_count():
    logits = jnp.concatenate([FEW[:2], 9 * FEW[2:3]])[None]
    whole, none = jnp.array([[1, 1, -1]]), jnp.array([[-1, -1, -1]])
    for name in ("loss", "accuracy"):
        known = values(NEXT_TOKEN, name, logits[:, :2], whole[:, :2])
        np.testing.assert_allclose(
            values(NEXT_TOKEN, name, logits, whole), known, rtol=1e-6
        )
        assert values(NEXT_TOKEN, name, logits, none) == 0
    smoothed = NEXT_TOKEN.smoothed(logits, whole, 0.1)
    known = NEXT_TOKEN.smoothed(logits[:, :2], whole[:, :2], 0.1)
    np.testing.assert_allclose(smoothed, known, rtol=1e-6)


def test_perplexity_is_the_exponential_of_a_mean_not_a_mean_of_exponentials():
    loss, accuracy, perplexity = objective_lib.finished(NEXT_TOKEN, [2.0, 0.5, 2.0])
    assert (loss, accuracy) == (2.0, 0.5)
    np.testing.assert_allclose(perplexity, math.exp(2), rtol=1e-6)


@pytest.mark.parametrize(
    "name, outputs, labels",
    [
        ("classification", LOGITS, CLASSES),
        ("regression", shape(4, 1), shape(4)),
        ("next_token", shape(4, 7, 11), shape(4, 7, dtype="int32")),
        ("detection", shape(4, 8, 8, 7), shape(4, 5, 7)),
        ("keypoints", shape(4, 8, 8, 15), shape(4, 5, 13)),
        ("segmentation", shape(4, 8, 8, 3), shape(4, 8, 8, dtype="int32")),
    ],
)
def test_ours_are_sound(name, outputs, labels):
    objective_checks.check(objective_lib.OBJECTIVES[name], outputs, labels, name=name)


# What is refused.


@pytest.mark.parametrize(
    "objective, text",
    [
        (each, "must be a training.objective.Objective"),
        (Objective(mean), r"loss of .* one float for each example, \[4\], got float32"),
        (Objective(each, {"off": mean}), r"off of .* \[4\], got float32 \[\]"),
        (Objective(lambda x, y: x), r"got float32 \[4, 3\].*take the mean"),
        (Objective(lambda x, y: y), r"got int32 \[4\]"),
        (Objective(lambda x, y: None), "got NoneType"),
        (Objective(lambda x: x), "take float32.*raised TypeError"),
        (Objective(each, {"top 5": each}), r"named as.*\['top 5'\]"),
        (Objective(each, {"loss": each}), r"not loss.*\['loss'\]"),
        (
            Objective(each, best_by="accuracy"),
            "best_by .* among loss, got .*'accuracy'",
        ),
        (
            Objective(each, ["top"]),
            r"a dict of functions by name, got measures = \['top",
        ),
        (Objective(each, {"a": each}, higher="a"), "set of names, got .* write {'a'}"),
        (Objective(each, higher=frozenset({"a"})), "higher .* among loss"),
        (Objective(each, finish={"a": jnp.exp}), "finish .* among loss"),
        (Objective(each, finish={"loss": lambda x: x[None]}), "a single float"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(objective, text):
    with pytest.raises(ValueError, match=text) as error:
        objective_checks.check(objective, LOGITS, CLASSES, name="mine:it")
    assert "\n" not in str(error.value)
    assert "'mine:it'" in str(error.value)


@pytest.mark.parametrize("tweak", ["smoothed", "distilled"])
@pytest.mark.parametrize(
    "fn, text",
    [
        (lambda x, y, number: mean(x, y), r"one float for each example, \[4\]"),
        (lambda x, y: each(x, y), "raised TypeError"),
    ],
)
def test_what_tweaks_call_is_called_before_a_run(tweak, fn, text):
    own = objective_lib.CLASSIFICATION._replace(**{tweak: fn})
    with pytest.raises(ValueError, match=text) as error:
        objective_checks.check(own, LOGITS, CLASSES, name="mine:it")
    assert tweak in str(error.value)
