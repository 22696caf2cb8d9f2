"""The learning rates that trainings have, looked at before any of them is done."""

import logging

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.callables import Schedule
from lthjax.program.build import spans
from lthjax.program.build.parts import Ground

log = logging.getLogger(__name__)

POINTS = 256  # of a training, at which its rate is looked at
LITTLE = 1e-4  # of the highest rate: what hardly trains


def highest(schedule: Schedule, start: int, until: int) -> float:
    """Returns the highest rate of a schedule from step `start` to before `until`.

    It is looked at `POINTS` steps, the first and the last among them.
    """
    steps = np.linspace(start, until - 1, POINTS).round().astype(np.int32)
    return float(jnp.max(jax.vmap(schedule)(jnp.asarray(steps))))


def check_schedule(schedule: Schedule, name: str) -> None:
    """Refuses what is no schedule; it is called on shapes.

    Args:
      schedule: step -> learning rate, which may raise what it likes.
      name: What the config calls it.

    Raises:
      ValueError: It does not return one number for a step.
    """
    step = jax.ShapeDtypeStruct((), jnp.int32)
    found = jax.eval_shape(schedule, step) if callable(schedule) else schedule
    if getattr(found, "shape", None) != ():
        raise ValueError(
            "a schedule must be a function that returns one learning rate for a step, "
            f"got schedule.name = {name!r}, which gives {found}"
        )


def check(ground: Ground, schedule: Schedule) -> None:
    """Refuses a training that would move batch statistics only, or end in infinity.

    Args:
      ground: What the method is built on.
      schedule: step -> learning rate.

    Raises:
      ValueError: The rate of a training is zero throughout or infinite, or
        `schedule.tune` is given where nothing is tuned by it.
    """
    config = ground.options
    _check_read(config)
    rows = spans.timed(ground.plan)
    found = {(row.start, row.until): row for row in reversed(rows)}
    rates = {span: highest(schedule, *span) for span in found}
    for span, rate in rates.items():
        if not 0 < rate < float("inf"):
            row, most = found[span], "below infinity" if rate > 0 else "above zero"
            raise ValueError(
                f"every training must have a learning rate {most}, got rate = "
                f"{rate:g} in all steps {span[0]} to {span[1]} of level {row.level} "
                f"({row.arm}); {_remedy(config)}"
            )
        if rate < LITTLE * max(rates.values()):
            log.warning(
                "the learning rate of steps %d to %d is at most %g, %.0e of the "
                "highest; %s",
                *span,
                rate,
                rate / max(rates.values()),
                _remedy(config),
            )


def _remedy(config):
    if config.search.restart == "fine_tune":
        return "set schedule.tune, the rate of fine-tuning"
    return "change the schedule, or the steps that it is for"


def _check_read(config):
    """Refuses a rate of fine-tuning where it would be passed over in silence."""
    if config.schedule.tune and config.search.restart != "fine_tune":
        raise ValueError(
            "schedule.tune is the rate of search.restart = 'fine_tune', got "
            f"schedule.tune = {config.schedule.tune} with search.restart = "
            f"{config.search.restart!r}; set it to 0"
        )
