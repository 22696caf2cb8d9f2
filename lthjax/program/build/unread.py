"""What a config sets and no part of its run reads: told before anything is trained."""

import functools
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ml_collections import ConfigDict

from lthjax.program.build import by_gates, criterion, methods
from lthjax.program.config import defaults
from lthjax.program.config.validate import flat
from lthjax.retraining import arms
from lthjax.training import optax_names, optimizers

log = logging.getLogger(__name__)


class Reader(NamedTuple):
    """When some keys are read.

    Attributes:
      keys: The keys, or the sections, that are.
      reads: config -> whether anything reads them.
      needs: What has to hold for that, for a sentence; "" where something is in place.
      place: The key that is read in their place, where one is.
    """

    keys: tuple[str, ...]
    reads: Callable[[ConfigDict], bool]
    needs: str = ""
    place: str = ""

    @property
    def why(self) -> str:
        """Why they are not read, as the end of a sentence."""
        return (
            f"{self.place} is in its place" if self.place else f"it needs {self.needs}"
        )


def _tweak(name, *keys, without=""):
    """Returns the reader of a tweak's keys: an arm that has it, but not another one."""
    needs = f"an arm of retraining.arms with {name}" + _LACKING.get(without, "")
    return Reader(keys, functools.partial(_tweaked, {name}, {without}), needs)


_LACKING = {"kept": " that go", "frozen": " that are trained"}


def _tweaked(tweaks, without, config):
    own = map(arms.tweaks, arms.trained(config.retraining.arms))
    return any(found & tweaks and not found & without for found in own)


def _scored(config, flows=False):
    if not methods.reads(config.search.method, "search.batches"):
        return True  # refused, where it is set
    found = criterion.resolve(config)
    return found.reads or (flows and found.flows)


def _decays(config):
    return config.optimizer.name in optimizers.OPTIMIZERS | optax_names.optimizers()


READERS = (
    Reader(
        ("schedule.drops", "schedule.factor"),
        lambda config: config.schedule.name == "piecewise",
        "schedule.name = 'piecewise'",
    ),
    Reader(
        ("schedule.options",),
        lambda c: c.schedule.name not in ("constant", "piecewise", "cosine"),
        "a schedule.name of optax or of your own",
    ),
    Reader(
        ("optimizer.momentum", "optimizer.nesterov"),
        lambda config: config.optimizer.name == "sgd",
        "optimizer.name = 'sgd' (others have optimizer.options)",
    ),
    Reader(
        ("optimizer.nesterov",),
        lambda config: config.optimizer.momentum != 0,
        "optimizer.momentum",
    ),
    Reader(
        ("optimizer.weight_decay",),
        _decays,
        "an optimizer.name of ours or of optax; yours has optimizer.options",
    ),
    Reader(
        ("search.gates.momentum", "search.gates.nesterov"),
        lambda config: config.search.gates.optimizer == "sgd",
        "search.gates.optimizer = 'sgd'",
    ),
    Reader(
        ("search.batches", "search.examples"),
        _scored,
        "a search.score that reads examples, such as 'snip'",
    ),
    Reader(
        ("search.norms",),
        functools.partial(_scored, flows=True),
        "a search.score of what a network computes, such as 'snip'",
    ),
    Reader(
        ("search.rate",),
        lambda config: not config.search.sparsities,
        place="search.sparsities",
    ),
    Reader(
        ("search.rate",),
        lambda config: config.search.method not in by_gates.READ,
        "a search.method that prunes by a share: gates learn how many they close",
    ),
    Reader(
        ("search.minimum",),
        lambda config: ":" not in config.search.pattern,
        "another search.pattern: n of every m keep the same of every layer",
    ),
    Reader(
        ("search.levels",),
        lambda c: len(c.search.sparsities) in (0, c.search.levels),
        place="search.sparsities",
    ),
    Reader(
        ("search.levels",),
        lambda c: c.search.method != "elastic" or not c.elastic.levels,
        place="elastic.levels",
    ),
    Reader(
        ("search.levels",),
        lambda c: c.search.method != "transplant" or not c.transplant.levels,
        place="transplant.levels",
    ),
    Reader(
        ("search.rewind_to",),
        lambda config: config.search.restart != "continue",
        "another search.restart: what goes on is not rewound",
    ),
    Reader(
        ("search.gates.start",),
        lambda config: config.search.restart == "weights",
        "search.restart = 'weights'",
    ),
    Reader(
        ("forward.number",),
        lambda config: config.forward.candidates != "all",
        "forward.candidates = 'random' or 'gradient'",
    ),
    Reader(
        ("transplant.heads",),
        lambda config: config.transplant.way not in ("ticket", "mask"),
        "transplant.way = 'task' or 'rewound'",
    ),
    Reader(
        ("retraining.pools.examples",),
        lambda config: config.retraining.pools.statistics != "averaged",
        "retraining.pools.statistics = 'recomputed'",
    ),
    Reader(
        ("model.frozen_statistics",),
        lambda config: ":" in config.model.name,
        "a network of your own, model.name = 'package.module:Net'",
    ),
    Reader(
        ("data.workers",),
        lambda config: config.data.stream,
        "data.stream = True",
    ),
    Reader(
        ("data.augment_options",),
        lambda config: bool(config.data.augment),
        "data.augment",
    ),
    Reader(
        ("elastic.order",),
        lambda config: not config.elastic.map,
        place="elastic.map",
    ),
    Reader(
        ("retraining.levels",),
        lambda config: bool(config.retraining.arms),
        "an arm in retraining.arms",
    ),
    Reader(
        ("retraining.law",),
        functools.partial(_tweaked, {"neurons", "skips"}, {"kept"}),
        "an arm of retraining.arms with neurons or skips that go",
    ),
    *[
        _tweak(ghost, f"retraining.{ghost}.{key}", without="kept")
        for ghost in ("neurons", "skips")
        for key in ("hold", "end")
    ],
    _tweak("skips", "retraining.skips.start", without="frozen"),
    _tweak("neurons", "retraining.neurons.kind"),
    _tweak("smoothing", "retraining.smoothing", "retraining.convention"),
    _tweak("rescaling", "retraining.rescaling"),
    _tweak("distillation", "retraining.distillation"),
    _tweak("sign_in", "retraining.sign_in"),
    Reader(
        ("retraining.pools",),
        lambda config: arms.POOLS in config.retraining.arms,
        "'pools' in retraining.arms",
    ),
)


def unread(config) -> dict[str, str]:
    """Returns {key: why it is not read} of what is set in vain.

    A key that is set to its default is not set. What a search method does not read is
    refused, see `methods.unread`.

    Args:
      config: A validated config.

    Raises:
      ValueError: A name that decides it is unknown.
    """
    known, found = _plain(defaults.default()), _plain(config)
    changed = [key for key, value in found.items() if known.get(key) != value]
    return in_vain(config, changed)


def in_vain(config, keys: Iterable[str]) -> dict[str, str]:
    """Returns {key: why it is not read} of some keys, whatever they are set to.

    Args:
      config: A validated config.
      keys: The keys.

    Raises:
      ValueError: As `unread`.
    """
    return {
        key: reader.why
        for reader in READERS
        for key in keys
        if any(key == own or key.startswith(f"{own}.") for own in reader.keys)
        and not reader.reads(config)
    }


def _plain(config):
    """Returns {key: value}; sections are dicts, which are equal locked or not."""
    rows = flat(config).items()
    return {k: v.to_dict() if isinstance(v, ConfigDict) else v for k, v in rows}


def _replaced(config):
    """Returns {key: why it is not read} where each arm sets its own in place of it."""
    own = {arm: arms.settings(arm) for arm in arms.trained(config.retraining.arms)}
    asked = {key for values in own.values() for key in values}
    known, found = _plain(defaults.default()), _plain(config)
    return {
        f"retraining.{key}": "each arm that has it sets its own"
        for key in sorted(asked)
        if known.get(f"retraining.{key}") != found.get(f"retraining.{key}")
        and all(key in own[arm] for arm in own if key.split(".")[0] in arms.tweaks(arm))
    }


def warn(config) -> None:
    """Warns of each key that is set in vain, with the remedy.

    And says that rates by layer leave the default scope unread.

    Args:
      config: A validated config.
    """
    found = _plain(config)
    for key, why in (_replaced(config) | unread(config)).items():
        log.warning("%s = %s is not read: %s", key, found[key], why)
    if config.search.layer_rates and config.search.scope == "global":
        log.info(
            "search.layer_rates prunes each layer by itself: search.scope = 'global' "
            "is not read"
        )
