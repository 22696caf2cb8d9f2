"""Measures by name: against sums by hand, streamed or not, and refused in time."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data import batches, splits
from lthjax.training import evaluate, measures
from lthjax.training import objective as objective_lib
from lthjax.training.objective import CLASSIFICATION, NEXT_TOKEN, REGRESSION, Counted

KEY = jax.random.key(0)
LOGITS = 3 * jax.random.normal(KEY, (40, 7))
# No example of class 6, and few of the others but 0.
LABELS = jax.random.randint(jax.random.key(1), (40,), 0, 6) * (jnp.arange(40) % 3 > 0)
ALL = ("top5", "balanced_accuracy", "calibration_error", "perplexity")
TABLES = ("class_accuracy", "confusion")


def measured(objective, *, batch):
    """Returns what an objective measures in batches, the last of them padded."""
    parts = -(-40 // batch)
    filled = [
        jnp.pad(x, [(0, parts * batch - 40)] + [(0, 0)] * (x.ndim - 1)).reshape(
            parts, batch, *x.shape[1:]
        )
        for x in (LOGITS, LABELS, jnp.ones(40))
    ]
    apply_fn = lambda params, state, inputs, train: (inputs, state)  # noqa: E731
    found = evaluate.evaluator(apply_fn, lambda x: x, objective=objective)
    values = jax.jit(found)({}, {}, filled)
    return dict(zip(objective_lib.names(objective), values, strict=True))


@pytest.fixture(scope="module")
def values():
    asked = measures.with_measures(CLASSIFICATION, (*ALL, *TABLES))
    return measured(asked, batch=16) | measured(measures.tables(asked), batch=16)


def by_hand():
    """Returns the same in numpy, from its definitions."""
    logits, labels = np.float64(LOGITS), np.asarray(LABELS)
    soft = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said, counts = logits.argmax(1), np.zeros((7, 7))
    np.add.at(counts, (labels, said), 1)
    shares = [np.mean(said[labels == c] == c) for c in range(6)]
    sure, error = soft.max(1), 0.0
    for low in np.arange(15) / 15:
        own = (sure > low) & (sure <= low + 1 / 15)
        if own.any():
            gap = np.mean(said[own] == labels[own]) - sure[own].mean()
            error += own.mean() * abs(gap)
    order = np.argsort(-logits, axis=1)[:, :5]
    return {
        "top5": np.mean((order == labels[:, None]).any(1)),
        "balanced_accuracy": np.mean(shares),
        "calibration_error": error,
        "perplexity": np.exp(-np.log(soft[np.arange(40), labels]).mean()),
        "class_accuracy": [*shares, np.nan],
        "confusion": counts,
    }


@pytest.mark.parametrize("name", [*ALL, *TABLES])
def test_a_measure_is_what_its_definition_says(values, name):
    np.testing.assert_allclose(values[name], by_hand()[name], rtol=1e-5)


def test_batches_and_padding_change_nothing(values):
    asked = measures.with_measures(CLASSIFICATION, ALL)
    whole = measured(asked, batch=40)
    for name in ALL:
        np.testing.assert_allclose(values[name], whole[name], rtol=1e-5)


def test_what_is_measured_already_stays_and_what_is_asked_for_comes_after():
    asked = measures.with_measures(CLASSIFICATION, ("accuracy", "top5", "confusion"))
    assert objective_lib.names(asked) == ("loss", "accuracy", "top5")
    assert asked.measures["accuracy"] is CLASSIFICATION.measures["accuracy"]
    assert asked.higher == {"accuracy", "top5"} and list(asked.tables) == ["confusion"]
    assert measures.with_measures(NEXT_TOKEN, ("perplexity",)) is NEXT_TOKEN


def test_places_of_an_example_count_alike():
    logits, tokens = LOGITS.reshape(8, 5, 7), LABELS.reshape(8, 5)
    counts = measures.confusion(logits, tokens, jnp.ones(8))
    np.testing.assert_array_equal(counts, by_hand()["confusion"])
    alone = measures.confusion(logits, tokens, jnp.eye(8)[0])
    assert alone.sum() == 5
    share = measures.in_top(logits, tokens)
    np.testing.assert_allclose(share.mean(), by_hand()["top5"], rtol=1e-5)


def test_classes_given_as_bytes_are_counted_as_those_of_int32():
    labels = jnp.array([20, 3, 19])
    given = jax.nn.one_hot(labels, 21), labels.astype(jnp.uint8), jnp.ones(3)
    counts = measures.confusion(*given)
    np.testing.assert_array_equal(counts, jnp.diag(jax.nn.one_hot(labels, 21).sum(0)))


def test_what_answers_nan_is_of_no_class_right():
    labels = jnp.array([0, 0, 1, 2])
    given = jax.nn.one_hot(labels, 3).at[1:].set(jnp.nan), labels, jnp.ones(4)
    counts = measures.confusion(*given)
    np.testing.assert_array_equal(counts.sum(axis=1), [2, 1, 1])
    np.testing.assert_array_equal(measures.class_accuracy(counts), [0.5, 0, 0])


FAR = measures.Measure(objective_lib.absolute_error)
WORST = measures.Measure(Counted(lambda o, y, w: jnp.sum(w), lambda x: x), higher=True)


def test_a_measure_of_ones_own_is_a_column_of_its_name():
    asked = [f"{__name__}:FAR", f"{__name__}:WORST"]
    found = measures.with_measures(REGRESSION, asked)
    assert objective_lib.names(found) == ("loss", "absolute_error", "FAR", "WORST")
    assert found.higher == {"WORST"}


class Other:
    """Another module's measures, of names that are there already."""

    FAR = measures.Measure(objective_lib.squared_error)
    loss = measures.Measure(objective_lib.absolute_error)


def test_two_measures_of_one_name_are_refused(monkeypatch):
    other = types.ModuleType("other_measures")
    other.FAR, other.loss = Other.FAR, Other.loss
    monkeypatch.setitem(sys.modules, "other_measures", other)
    ours = f"{__name__}:FAR"
    same = measures.with_measures(REGRESSION, [ours, ours])
    assert objective_lib.names(same) == ("loss", "absolute_error", "FAR")
    other.top5 = Other.FAR._replace(classes=None)
    with pytest.raises(ValueError, match="got 'top5' for the column 'top5', which is"):
        measures.with_measures(CLASSIFICATION, ["other_measures:top5", "top5"])
    for asked in ([ours, "other_measures:FAR"], ["other_measures:loss"]):
        with pytest.raises(ValueError, match=f"got '{asked[-1]}' for the column"):
            measures.with_measures(REGRESSION, asked)


@pytest.mark.parametrize(
    "objective, name, message",
    [
        (CLASSIFICATION, "top_5", "must be one of .*did you mean 'top5'"),
        (CLASSIFICATION, "squared_error", "is of outputs that are numbers, no classes"),
        (REGRESSION, "confusion", "is of outputs that are logits"),
        (REGRESSION, f"{__name__}:KEY", "must be a training.measures.Measure, got"),
    ],
)
def test_what_does_not_go_with_an_objective_is_refused(objective, name, message):
    with pytest.raises(ValueError, match=message):
        measures.with_measures(objective, (name,))


def test_five_of_five_classes_are_no_measure():
    asked = measures.with_measures(CLASSIFICATION, ("top5",))
    with pytest.raises(ValueError, match="more than 5 classes, got 5"):
        measures.check(asked, LOGITS[:, :5], LABELS)


def test_a_network_that_says_nothing_has_its_label_on_top_by_chance():
    labels = jnp.arange(100)
    flat = measures.in_top(jnp.zeros((100, 100)), labels)
    assert flat.mean() == pytest.approx(0.05)
    assert measures.in_top(jnp.full((100, 100), jnp.nan), labels).sum() == 0
    found = jax.lax.top_k(jnp.zeros(100), measures.TOP)[1]
    assert set(found.tolist()) == {0, 1, 2, 3, 4}  # the same choice as here


@pytest.mark.parametrize("name", ["calibration_error", "balanced_accuracy"])
def test_what_fills_a_batch_makes_no_measure_nan(name):
    def apply_fn(params, state, images, train):
        flat = images.reshape(len(images), -1)
        return flat / jnp.linalg.norm(flat, axis=1, keepdims=True), state

    images = np.random.default_rng(0).random((5, 1, 3, 1)).astype(np.float32)
    asked = measures.with_measures(CLASSIFICATION, (name,))
    split = splits.Split(images, np.array([0, 1, 2, 0, 1], np.int32))
    evaluator = evaluate.evaluator(apply_fn, lambda x: x, objective=asked)
    column = objective_lib.names(asked).index(name)
    whole, short = (
        evaluator({}, {}, batches.chunks(split, batch))[column] for batch in (5, 4)
    )
    assert np.isfinite(whole)
    np.testing.assert_allclose(short, whole, rtol=1e-6)


def test_places_of_no_token_count_in_no_measure():
    tokens = jnp.array([[3, -1, 7], [2, 5, -1]])
    logits = jax.random.normal(jax.random.key(0), (2, 3, 8)).at[..., 7].add(3.0)
    known = np.asarray(tokens) >= 0
    rows, own = logits[known], tokens[known]
    top = np.asarray(measures.in_top(rows, own))
    first, second = top[:2].mean(), top[2:].mean()
    np.testing.assert_allclose(measures.in_top(logits, tokens), [first, second], 1e-6)
    for sums in (measures.confidences, measures.confusion):
        expected = sums(rows, own, jnp.array([1.0, 1, 2, 2]))
        found = sums(logits, tokens, jnp.array([1.0, 2]))
        np.testing.assert_allclose(found, expected, 1e-6)
