"""A run's functions train and measure by the objective that their ground has."""

import jax
import numpy as np
import pytest
import tiny

from lthjax.data.splits import Source, Split
from lthjax.program.build import assemble
from lthjax.program.build import plan as plan_lib
from lthjax.training.objective import REGRESSION, columns
from lthjax.training.steps import stack

STEPS = 40
CONFIG = {"train.epochs": 0, "train.steps": STEPS, "eval_every": STEPS // 2}


def plane(size):
    """Points and their heights on a plane."""
    points = np.random.default_rng(size).standard_normal((size, 3)).astype(np.float32)
    return Split(points, points @ np.array([[1.0], [-2.0], [0.5]], np.float32))


SOURCE = Source(plane(64), plane(16), plane(17), 1, (), ())


def test_a_regression_on_vectors_is_trained_and_measured():
    config = tiny.config({**CONFIG, "objective": "regression"})
    ground = plan_lib.of(config, SOURCE)
    parts = assemble.functions(ground)
    params, state = parts.init_fn(jax.random.key(0))
    masks = parts.masks_fn(params)
    before = parts.data.evaluation(parts.apply_fn)(params, state)
    _, ticket = parts.search.init(jax.random.key(0), params, state, masks)
    one = parts.begin(ticket), ticket.masks, jax.random.key(0)
    states, *fixed = stack([one])
    after = parts.run(states, tuple(fixed), (0, STEPS), 0, STEPS)
    curve = np.asarray(after.curve[0, :2])
    assert curve.shape == (2, len(columns(REGRESSION)))
    assert np.isfinite(curve).all()
    assert set(before) == set(columns(REGRESSION)[1:])
    assert curve[-1, 1] < before["validation_loss"] / 2


def test_targets_are_refused_for_classification():
    with pytest.raises(ValueError, match=r"objective = 'classification'"):
        plan_lib.of(tiny.config(CONFIG), SOURCE)


def test_classes_that_are_no_whole_numbers_are_refused():
    one = SOURCE.train
    labels = (np.arange(len(one.labels)) % 2).astype(np.float32)
    split = Split(one.images, labels)
    source = Source(split, split, split, 1, (), ())
    with pytest.raises(ValueError, match="whole numbers, got float32 with objective"):
        plan_lib.of(tiny.config(CONFIG), source)
