"""A config becomes a learning rate, and the optimizer of its method."""

from typing import Any

from lthjax import registry
from lthjax.callables import Schedule
from lthjax.program.build import rates
from lthjax.program.build.parts import Ground
from lthjax.training import optax_names, optimizers

CALLED = (
    "take (learning_rate, steps=, drops=, factor=), all in steps, and what "
    "schedule.options hold, and return a function of the step"
)


def schedule(ground: Ground) -> Schedule:
    """Returns the learning rate as a function of the step, epochs turned into steps.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: The schedule is unknown, or does not return one number for a step.
    """
    config, plan = ground.options, ground.plan
    epoch, name = plan.steps_per_epoch, config.schedule.name
    must = CALLED if ":" in name else registry.WORKS
    with registry.calling("schedule", name, must):
        rate = _rate(config, plan)
        rates.check_schedule(rate, name)
    warm = optimizers.warmed(rate, round(config.schedule.warmup * epoch))
    found = optimizers.held(warm, plan.steps, config.schedule.tune)
    return ground.method.schedule(ground, found)


def _rate(config, plan):
    """Returns the learning rate without what comes before it and after it."""
    asked, given = config.schedule, config.optimizer.learning_rate
    known = {**optax_names.schedules(), **optimizers.SCHEDULES}
    factory = registry.resolve(asked.name, known, "schedule")
    options = asked.options.to_dict()
    if asked.name in optax_names.schedules():
        own = {"steps": plan.steps, "options": options}
        return optax_names.schedule(asked.name, given, **own)
    if options and asked.name in optimizers.SCHEDULES:
        raise ValueError(
            "schedule.options are of a schedule of optax, or your own, got "
            f"schedule.options = {options} with schedule.name = {asked.name!r}"
        )
    return factory(
        given,
        steps=plan.steps,
        drops=[round(drop * plan.steps_per_epoch) for drop in asked.drops],
        factor=asked.factor,
        **options,
    )


def optimizer(ground: Ground, exclude: tuple[str, ...] = ()) -> Any:
    """Returns the optimizer that holds pruned weights at zero, or moves the masks.

    Args:
      ground: What the method is built on.
      exclude: Regular expressions of layers never pruned, beside the config's.

    Raises:
      ValueError: As `schedule` and the method's.
    """
    return ground.method.optimizer(ground, schedule(ground), exclude)
