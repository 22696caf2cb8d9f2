"""A run's functions train and measure by the objective that their ground has."""

import jax
import numpy as np
import pytest
import tiny

from lthjax.data.splits import Source, Split
from lthjax.program.build import assemble, objective
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Trained
from lthjax.training.members import stack
from lthjax.training.objective import DETECTION, REGRESSION, columns

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


@pytest.mark.parametrize(
    ("network", "goal"),
    [("Forked", "FORKED"), ("Embedded", "SPREAD"), ("Likely", "LIKELIHOOD")],
)
def test_an_objective_of_one_s_own_takes_what_the_network_returns(network, goal):
    changes = {"model.name": f"own_networks:{network}", "model.options": {}}
    changes |= {"objective": f"own_networks:{goal}", "search.score": "snip"}
    changes |= {"search.method": "at_init", "search.levels": 1}
    config = tiny.config(changes)
    source = source_lib.load(config)
    parts = assemble.build(config, source)
    params, state = parts.init_fn(jax.random.key(0))
    found = parts.data.evaluation(parts.apply_fn)(params, state)
    assert all(np.isfinite(value) for value in found.values())
    trained = Trained(params, state, parts.masks_fn(params))
    masks = parts.prune_fn(jax.random.key(0), trained, parts.plan.targets[0])
    assert 0 < masks_lib.sparsity(masks) < 1


@pytest.mark.parametrize("network", ["Forked", "Embedded", "Likely"])
def test_ours_take_one_logit_for_each_class(network):
    changes = {"model.name": f"own_networks:{network}", "model.options": {}}
    config = tiny.config(changes)
    with pytest.raises(ValueError, match="a network must return .*logits?"):
        assemble.build(config, source_lib.load(config))


@pytest.mark.parametrize(
    "dtype, message", [("int32", r"int32 \[n, 3\] .* give"), ("float32", "rows")]
)
def test_one_hot_labels_are_told_from_classes(dtype, message):
    one = Split(SOURCE.train.images, np.eye(64, 3, dtype=dtype))
    source = Source(one, one, one, 3, (), ())
    with pytest.raises(ValueError, match=rf"{message} labels.argmax\(1\)"):
        plan_lib.of(tiny.config(CONFIG), source)


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


@pytest.mark.parametrize("name", ["detection", "keypoints"])
def test_objects_are_not_mixed(name):
    images = np.zeros((40, 16, 16, 1), np.uint8)
    split = Split(images, np.full((40, 2, 7 if name == "detection" else 10), -1.0))
    source = Source(split, split, split, 2, (0.5,), (0.5,))
    model = {"detection": "detector"}.get(name, name)
    options = {"backbone": "resnet8"} | ({"points": 1} if model == name else {})
    changes = {**CONFIG, "objective": name, "model.name": model}
    changes |= {"model.options": options, "data.augment": "mixup"}
    with pytest.raises(ValueError, match="rows of objects, got .* give 'cutout'"):
        plan_lib.of(tiny.config(changes), source)


def test_an_npz_file_holds_no_objects():
    config = tiny.config({"objective": "detection", "data.name": "npz"})
    with pytest.raises(ValueError, match="number of their classes, which an npz file"):
        objective.check(DETECTION, config, None, None)
