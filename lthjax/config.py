"""What makes a configuration valid, and how it is read, shrunk, saved and compared."""

import copy
import json
import os
import runpy
from typing import Any

from ml_collections import ConfigDict

from lthjax.defaults import default as default
from lthjax.names import suggestion

COUNTS = (
    "data.crop",
    "data.limit",
    "data.size",
    "data.validation",
    "data.workers",
    "train.epochs",
    "train.steps",
    "schedule.tune",
    "schedule.warmup",
    "search.gates.penalty",
    "search.gates.period",
    "search.gates.learning_rate",
    "eval_every",
    "search.minimum",
    "search.rounds",
)
POSITIVE = (
    "train.batch_size",
    "eval_batch",
    "optimizer.learning_rate",
    "search.batches",
    "dynamic.every",
)
SCOPES = ("global", "layer", "erdos_renyi", "erdos_renyi_kernel")
# Keys that may change between two runs of one workdir: they choose what is trained
# next or how it is shown, never what a training computes.
FREE = ("seeds", "controls", "search.levels", "data_dir", "logging", "studies")
FREE += ("retraining.arms", "retraining.levels", "mesh", "data.workers")


def load(path: str | os.PathLike, variant: str | None = None) -> ConfigDict:
    """Returns the config of a file such as `configs/mnist.py`, to be changed at will.

    Args:
      path: The file, which defines `get_config`.
      variant: Its argument, if it takes one.
    """
    module = runpy.run_path(os.fspath(path))
    return module["get_config"](*([variant] if variant else []))


def shrunk(config: ConfigDict, *, steps: int = 4) -> ConfigDict:
    """Returns a config that takes the same path in seconds: for tests and `--smoke`.

    Made-up data of the set's shape (at most 32 pixels wide), a narrow network, one
    level, two seeds at most, a few steps.

    Args:
      config: Any config; it is not changed.
      steps: Of the dense training.
    """
    small = copy.deepcopy(config)
    if not small.data.name.startswith("synthetic"):
        options = {"like": small.data.name, "train": 96, "test": 32}
        if small.data.name == "imagenet":
            options["image_shape"] = (32, 32, 3)
        small.data.update(name="synthetic", options=ConfigDict(options))
    small.data.update(validation=32, limit=0, size=0)
    small.model.width = min(small.model.width, 0.25)
    small.train.update(epochs=0, steps=steps, batch_size=16)
    small.search.levels = min(small.search.levels, 1)
    small.search.sparsities = tuple(small.search.sparsities)[:1]
    small.search.rewind_to = min(small.search.rewind_to, steps // 2)
    small.retraining.levels = ()
    small.retraining.rescaling.iterations = 2
    if small.search.method != "soft_threshold":
        # A few steps open no gate that begins closed.
        small.search.gates.initial = (0.05, 0.1)[: len(small.search.gates.initial)]
    small.search.gates.period = 1
    small.dynamic.every = 1
    if small.search.method == "early_bird":  # an epoch is a step
        small.train.batch_size = 64
    small.forward.update(number=2, most=2, batch_size=8, check=16)
    small.forward.tune = min(small.forward.tune, steps)
    small.forward.draw_at = min(small.forward.draw_at, steps)
    small.seeds = tuple(small.seeds)[:2]
    small.update(eval_every=2, eval_batch=32)
    small.logging.tensorboard = False
    return small


def flat(config: ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
    """Returns {"a.b.c": value}; an empty dict is a value."""
    rows = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict | dict) and len(value)
        inner = flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
        rows |= inner
    return rows


def validate(config: ConfigDict) -> None:
    """Checks the keys and the values that no later step checks.

    Raises:
      ValueError: A key is unknown (the nearest one is named), its type is wrong, or a
        value is out of its range.
    """
    _check_keys(config)
    train = config.train
    if (train.epochs > 0) == (train.steps > 0):
        raise ValueError(
            "exactly one of train.epochs and train.steps must be positive, got "
            f"train.epochs = {train.epochs}, train.steps = {train.steps}"
        )
    _check_seeds(config.seeds)
    initial = config.search.gates.initial
    numbers = all(_same_type(logit, 0.0) for logit in initial)
    _require(numbers, "first logits must be numbers", "search.gates.initial", initial)
    several = len(initial) > 0 and len(set(initial)) == len(initial)
    name = "search.gates.initial"
    _require(several, f"{name} must be one logit or different ones", name, initial)
    for name in POSITIVE:
        value = flat(config)[name]
        _require(value > 0, f"{name} must be positive", name, value)
    for name in COUNTS:
        value = flat(config)[name]
        _require(value >= 0, f"{name} must be at least 0", name, value)
    best = config.best_by
    choice = best in ("accuracy", "loss")
    _require(choice, "best_by must be 'accuracy' or 'loss'", "best_by", repr(best))
    for name in ("controls", "retraining.arms"):
        names = flat(config)[name]
        different = len(set(names)) == len(names)
        _require(different, f"{name} must all be different", name, names)
    scope = config.search.scope
    choice = f"search.scope must be one of {', '.join(SCOPES)}"
    _require(scope in SCOPES, choice, "search.scope", repr(scope))
    given = config.dynamic
    ordered = 0 <= given.begin < given.end <= 1
    window = f"begin = {given.begin}, end = {given.end}"
    _require(ordered, "dynamic needs 0 <= begin < end <= 1", "dynamic", window)


def _check_seeds(seeds):
    integers = seeds and all(isinstance(seed, int) for seed in seeds)
    if not integers or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"seeds must be one integer or several different ones, got seeds = {seeds}"
        )


def _require(holds, sentence, name, value):
    if not holds:
        raise ValueError(f"{sentence}, got {name} = {value}")


def _check_keys(config):
    known = flat(default())
    for name, value in flat(config).items():
        if any(name.startswith(f"{part}.options") for part in ("data", "model")):
            continue
        if name not in known:
            raise ValueError(
                f"every config key must be known, got config.{name}"
                f"{suggestion(name, known)}"
            )
        if not _same_type(value, known[name]):
            raise ValueError(
                f"config.{name} must be of type {type(known[name]).__name__}, got "
                f"config.{name} = {value!r}"
            )


def _same_type(value, example):
    if isinstance(example, tuple | list):
        return isinstance(value, tuple | list)
    if isinstance(example, float):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(example)


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text, keys sorted."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=list) + "\n"


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote; keys it lacks are at their defaults."""
    found = default()
    with found.unlocked(), found.ignore_type():
        found.update(_tuples(json.loads(text)))
    return found


def _tuples(value):
    """Returns what JSON holds, lists as the tuples that they were."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def changed(old: dict, new: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Returns {key: (old, new)} of the differences that forbid continuing a workdir.

    Keys in `FREE` may differ, and keys that `old` lacks may be at their default.

    Args:
      old: What `config.json` of the workdir holds.
      new: The configuration asked for now.
    """
    old, defaults = flat(old), flat(json.loads(to_json(default())))
    new = flat(json.loads(to_json(new)))
    rows = {}
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name, defaults.get(name)), new.get(name)
        if before != now and not _free(name, before, now):
            rows[name] = (before, now)
    return rows


def _free(name, before, now):
    if name == "search.sparsities":
        before, now = list(before or ()), list(now or ())
        return bool(before) and now[: len(before)] == before
    return any(name == key or name.startswith(key + ".") for key in FREE)
