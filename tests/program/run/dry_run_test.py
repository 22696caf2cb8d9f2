"""A dry run prints what a run would do, and leaves nothing."""

import functools
import re

import numpy as np
import pytest
import tiny
from flax import linen as nn

from lthjax.data import objects
from lthjax.data.splits import Source, Split
from lthjax.program.run import check, dry_run, target_step
from lthjax.training import extras


def test_levels_counts_steps_and_time_are_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"controls": tiny.ALL, "search.levels": 2, "eval_every": 0}
    dry_run.show(tiny.config(changes))
    text = capsys.readouterr().out
    # 64 x 8 and 8 x 10 weights, of which a level keeps four fifths.
    for level in range(3):
        kept, share = round(592 * 0.8**level), 100 * round(592 * 0.8**level) / 592
        assert re.search(rf"{level} +│ +{kept} +│ +{share:.2f} ", text)
    assert "610 parameters, 592 of them prunable in 2 layers: dense1/kernel 512" in text
    assert "32 training images, batch 12, 3 steps an epoch, 4 steps dense" in text
    # Two seeds: the dense network, and four arms at two levels.
    assert "2 seeds, 4 arms: 18 trainings" in text
    assert re.search(r"estimated time here \(cpu\): \d+ s", text)
    assert not list(tmp_path.iterdir())


def test_data_that_are_not_there_are_told_after_the_plan(tmp_path, capsys):
    changes = {"data.name": "mnist", "data.options": {}, "data_dir": str(tmp_path)}
    dry_run.show(tiny.config(changes))
    *_, time, told = capsys.readouterr().out.splitlines()
    assert time.startswith("estimated time")
    assert told.startswith(f"mnist not found at {tmp_path}: a run will refuse")


EARLY = {"search.method": "early_bird", "early_bird.watch": "weights"}
EARLY |= {"search.levels": 1, "search.sparsities": (0.5,), "train.steps": 8}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"search.rewind_to": 4}, "rewind_to"),
        ({"controls": ("shufle",)}, "did you mean 'shuffle'"),
        ({"train.batch_size": 99}, "train.batch_size = 99"),
        ({"data.validation": 48}, "data.validation = 48"),
        ({"data.limit": 33}, "to the 32 training images .* data.limit = 33"),
        ({"data.options": {"num_classes": 1}}, "two classes.* got .* num_classes = 1"),
        ({"data.cut": "last"}, "one of '', 'first', .* got data.cut = 'last'"),
        ({"search.sparsities": (1.0,)}, r"in \[0, 1\)"),
        ({"optimizer.name": "adm"}, "did you mean 'adam"),
        ({"retraining.arms": ("skips",)}, "3x3 convolutions .* got MLP, which has no"),
        ({"retraining.arms": ("frozen_skips",)}, "3x3 convolutions .* got MLP"),
        (
            {**EARLY, "retraining.arms": ("vanilla", "distillation+neurons")},
            r"trained to its end, got .* \('distillation\+neurons',\) with .*_bird', "
            ".* before; name one by retraining.distillation.teacher",
        ),
    ],
)
def test_what_a_run_would_refuse_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dry_run.show(tiny.config(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"train.batch_size": 96, "train.accumulate": 3},
        {"train.class_weights": ("balanced",)},
        {"search.score": "snip", "search.examples": 90, "train.batch_size": 12},
        {"mesh.data": 3, "train.batch_size": 90, "eval_batch": 300},
        {"schedule.name": "piecewise", "schedule.drops": (1.2, 1.4)}
        | {"train.epochs": 0, "train.steps": 40},
        {"retraining.levels": (20,)},  # without an arm it is not read
    ],
)
def test_what_a_run_accepts_is_planned(changes, capsys):
    sizes = {"data.options": {"train": 120, "test": 120}, "data.validation": 12}
    config = tiny.config({**sizes, "search.levels": 1, **changes})
    check.check(config)
    dry_run.show(config)
    assert "estimated time here" in capsys.readouterr().out


def test_no_image_is_needed(capsys, tmp_path):
    changes = {"data.name": "cifar10", "data.options": {}, "data_dir": str(tmp_path)}
    dry_run.show(tiny.config({**changes, "data.validation": 5000}))
    assert "cifar10: 45,000 training images" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def brings_validation():
    def draw(size):
        labels = np.arange(size) % 4 // 3  # three in four are of class 0
        return Split(np.zeros((size, 8, 8, 1), np.uint8), labels)

    return Source(draw(20), draw(8), draw(12), 2, (0.5,), (0.5,))


def test_an_own_set_is_counted_with_what_it_brings(capsys):
    changes = {"data.name": f"{__name__}:brings_validation", "data.options": {}}
    changes |= {"data.validation": 0, "search.levels": 1}
    dry_run.show(tiny.config(changes))
    text = capsys.readouterr().out
    assert f"{__name__}:brings_validation: 20 training images" in text
    assert "always saying the largest class: 75.00 % of the test images" in text
    with pytest.raises(ValueError, match="validation must be 8, as .* = 5"):
        check.check(tiny.config(changes | {"data.validation": 5}))


class Pixels(nn.Module):
    """Says a class of every pixel by its own values."""

    num_classes: int

    @nn.compact
    def __call__(self, images):
        """Returns logits [n, h, w, classes]."""
        return nn.Dense(self.num_classes)(images)


def maps():
    """Classes of pixels, as a set of one's own has them."""
    images = np.zeros((40, 6, 6, 1), np.uint8)
    split = Split(images, np.zeros((40, 6, 6), np.int32))
    follow = objects.follower((6, 6), "int32", (6, 6, 1))
    return Source(split, split, split, 3, (0.5,), (0.5,), follow)


def test_classes_of_pixels_that_move_are_planned(capsys):
    changes = {"data.name": f"{__name__}:maps", "data.options": {}, "data.crop": 1}
    changes |= {"objective": "segmentation", "best_by": "miou", "data.flip": True}
    changes |= {"model.name": f"{__name__}:Pixels", "model.options": {}}
    changes |= {"data.validation": 40}
    config = tiny.config({**changes, "search.levels": 1})
    dry_run.show(config)
    assert "estimated time here" in capsys.readouterr().out


def pointed(points):
    """Objects with points, as a set of one's own has them."""
    images = np.zeros((40, 16, 16, 1), np.uint8)
    split = Split(images, np.zeros((40, 2, objects.WIDTH + 3 * points)))
    pairs = tuple(range(points))
    follow = functools.partial(objects.follow_objects, pairs=pairs)
    return Source(split, split, split, 2, (0.5,), (0.5,), follow)


def test_objects_that_move_are_planned(monkeypatch):
    changes = {"data.name": f"{__name__}:pointed", "data.options": {"points": 2}}
    changes |= {"objective": "keypoints", "data.flip": True, "data.crop": 2}
    options = {"backbone": "resnet8", "features": 4, "stride": 4, "points": 2}
    changes |= {"model.name": "keypoints", "model.options": options}
    changes |= {"search.exclude": ("^neck/", "^heads/"), "data.validation": 40}
    monkeypatch.setattr(dry_run, "_timed", lambda *given: (1.0, 0.0))
    config = tiny.config(changes)
    assert dry_run.pace(config) > 0
    facts, held_out, ground = check.check(config)
    assert target_step.of(config, facts, held_out, ground.plan).images > 0


def test_no_early_stop_leaves_out_steps_that_are_timed(monkeypatch):
    def timed(run, states, *rest):
        assert extras.stop(states.opt_state) is None
        return 1.0, 0.0

    monkeypatch.setattr(dry_run, "_timed", timed)
    asked = {"train.stop.by": "loss", "train.stop.patience": 2, "train.ema": 0.5}
    assert dry_run.pace(tiny.config(asked)) > 0
