"""The dense network of a run at another learning rate: a run of its own, inside it."""

import pathlib
from collections.abc import Callable
from typing import Any

from lthjax.program.build.method import SECTIONS
from lthjax.program.config import defaults, shrink, validate
from lthjax.program.workdir import results

BESIDE = {"controls": (), "studies": (), "schedule.tune": 0.0, "search.levels": 0}


def at(config: Any, rate: float) -> Any:
    """Returns the config that trains the dense network alone, at a learning rate.

    Args:
      config: A validated config; it is not changed.
      rate: In place of `optimizer.learning_rate`.
    """
    found = validate.flat(defaults.default())
    sections = (*SECTIONS, "retraining")
    plain = {k: x for k, x in found.items() if k.partition(".")[0] in sections}
    alone = {**plain, **BESIDE, "logging.tensorboard": False}
    asked = ["include", "exclude"]  # what is prunable, and in a basis
    if config.search.basis:  # the dense network trains in it
        asked += ["basis", "pattern", "score", "rounds"]
    alone |= {f"search.{key}": config.search[key] for key in asked}
    if config.train.stop.by:  # not before the step that tickets are rewound to
        alone["search.rewind_to"] = config.search.rewind_to
    return shrink.changed(config, {**alone, "optimizer.learning_rate": rate})


def records(
    run: Callable[[Any, pathlib.Path], list[dict]],
    config: Any,
    root: pathlib.Path,
    rate: float,
) -> list[dict]:
    """Returns the records of the dense network at a rate, trained where they lack.

    Args:
      run: (config, workdir) -> records: `experiment.run`.
      config: Of the run.
      root: Its workdir; `studies/rate_0.3` in it is that of the training, and with an
        early stop that does not come before a step `studies/rate_0.3_from_500`.
      rate: The learning rate.
    """
    own = at(config, rate)
    late = f"_from_{own.search.rewind_to}" if own.search.rewind_to else ""
    return run(own, root / results.STUDIES / f"rate_{rate:g}{late}")
