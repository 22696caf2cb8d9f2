"""A config becomes a learning rate, and the optimizer of its method."""

from typing import Any

from lthjax import registry
from lthjax.callables import Schedule
from lthjax.program.build import rates
from lthjax.program.build.parts import Ground
from lthjax.training import optimizers


def schedule(ground: Ground) -> Schedule:
    """Returns the learning rate as a function of the step, epochs turned into steps.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: The schedule is unknown, or does not return one number for a step.
    """
    config, plan = ground.options, ground.plan
    factory = registry.resolve(config.schedule.name, optimizers.SCHEDULES, "schedule")
    epoch = plan.steps_per_epoch
    with registry.calling("schedule", config.schedule.name):
        rate = factory(
            config.optimizer.learning_rate,
            steps=plan.steps,
            drops=[round(drop * epoch) for drop in config.schedule.drops],
            factor=config.schedule.factor,
        )
        rates.check_schedule(rate, config.schedule.name)
    warm = optimizers.warmed(rate, round(config.schedule.warmup * epoch))
    found = optimizers.held(warm, plan.steps, config.schedule.tune)
    return ground.method.schedule(ground, found)


def optimizer(ground: Ground, exclude: tuple[str, ...] = ()) -> Any:
    """Returns the optimizer that holds pruned weights at zero, or moves the masks.

    Args:
      ground: What the method is built on.
      exclude: Regular expressions of layers never pruned, beside the config's.

    Raises:
      ValueError: As `schedule` and the method's.
    """
    return ground.method.optimizer(ground, schedule(ground), exclude)
