"""A configuration is made small, or has keys changed; the one given stays."""

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict


def changed(config: ConfigDict, values: Mapping[str, Any]) -> ConfigDict:
    """Returns a copy of a config with other values.

    Args:
      config: The config.
      values: {dotted key: value}.
    """
    found = config.copy_and_resolve_references()
    with found.unlocked(), found.ignore_type():
        for key, value in values.items():
            *parents, name = key.split(".")
            part = functools.reduce(functools.partial(_section, key), parents, found)
            part[name] = ConfigDict(value) if isinstance(value, dict) else value
    return found


def _section(key, part, name):
    """Returns a section of a config, one of options made where there was none."""
    if name not in part:
        part[name] = ConfigDict()
    if not isinstance(part[name], ConfigDict):
        raise ValueError(
            f"a config key must lie in sections, got {key}, where {name} = "
            f"{part[name]!r}"
        )
    return part[name]


def shrunk(
    config: ConfigDict, own: Callable[[Any], None], *, steps: int = 4
) -> ConfigDict:
    """Returns a config that takes the same path in seconds: for tests and `--smoke`.

    Made-up data of the set's shape (at most 32 pixels wide; of `characters` the first
    2,000 of the text that a grammar makes), a narrow network, one
    level, two seeds at most, a few steps.

    Args:
      config: Any config; it is not changed.
      own: config -> None, which makes the keys small that its method reads.
      steps: Of the dense training.
    """
    small = copy.deepcopy(config)
    if small.data.name == "characters":
        small.data.options = ConfigDict({"length": 8, "letters": 2000})
    elif not small.data.name.startswith("synthetic"):
        like = small.data.options.get("set", small.data.name)  # of `packed`
        options = {"like": like, "train": 96, "test": 32}
        if small.data.name == "imagenet":
            options["image_shape"] = (32, 32, 3)
        small.data.update(name="synthetic", options=ConfigDict(options))
    small.data.update(validation=32, limit=0, size=0)
    small.model.width = min(small.model.width, 0.25)
    small.model.weights = ""  # they would not fit
    small.train.update(epochs=0, steps=steps, batch_size=16)
    small.train.accumulate = math.gcd(small.train.accumulate, 16)
    small.search.levels = min(small.search.levels, 1)
    small.search.sparsities = tuple(small.search.sparsities)[:1]
    small.search.rewind_to = min(small.search.rewind_to, steps // 2)
    small.retraining.levels = ()
    own(small)
    _shrink_schedule(small)
    small.seeds = tuple(small.seeds)[:2]
    small.update(eval_every=2, eval_batch=32)
    small.logging.tensorboard = False
    return small


def _shrink_schedule(small):
    """Puts one drop in the middle of the steps, and warm-up where it fits."""
    steps, batch = small.train.steps, small.train.batch_size
    left = small.data.options.get("train", 512) - small.data.validation
    epoch = -(-left // batch)
    small.schedule.warmup = min(small.schedule.warmup, steps // epoch)
    if small.schedule.drops:
        small.schedule.drops = (max(1, steps // 2) / epoch,)
