"""A config becomes an optimizer: its learning rate, and what holds or moves masks."""

from collections.abc import Callable
from typing import Any

import jax

from lthjax import dynamic, registry
from lthjax.program.build import by_gates, rates
from lthjax.training import optimizers


def schedule(config, numbers) -> Callable:
    """Returns the learning rate as a function of the step, epochs turned into steps."""
    factory = registry.resolve(config.schedule.name, optimizers.SCHEDULES, "schedule")
    epoch = numbers.steps_per_epoch
    with registry.calling("schedule", config.schedule.name):
        rate = factory(
            config.optimizer.learning_rate,
            steps=numbers.steps,
            drops=[round(drop * epoch) for drop in config.schedule.drops],
            factor=config.schedule.factor,
        )
        rates.check_schedule(rate, config.schedule.name)
    warm = optimizers.warmed(rate, round(config.schedule.warmup * epoch))
    found = optimizers.held(warm, numbers.steps, config.schedule.tune)
    if config.search.method != "forward":
        return found
    given = config.forward
    return optimizers.tuned(found, numbers.steps, given.tune_rate, given.tune)


def optimizer(config, numbers) -> Any:
    """Returns the optimizer that holds pruned weights at zero, or moves the masks."""
    if config.search.method in by_gates.GATED:
        return by_gates.optimizer(config, schedule(config, numbers))
    options = config.optimizer.to_dict()
    del options["learning_rate"]
    rate, wrap = schedule(config, numbers), _wrapper(config, numbers)
    return optimizers.build(options.pop("name"), rate, wrap=wrap, **options)


def window(config, steps: int) -> tuple[int, int]:
    """Returns the steps between which masks change, the last of them the training's.

    Args:
      config: A validated config.
      steps: Of a training.

    Raises:
      ValueError: There is no change in between.
    """
    method, given = config.search.method, config.dynamic
    begin, end = round(given.begin * steps), min(round(given.end * steps), steps - 1)
    if method == "wirings":
        return begin, end
    moves = method in ("set", "rigl")
    if moves and given.begin:
        raise ValueError(
            f"search.method = {method!r} changes masks from the start, got "
            f"dynamic.begin = {given.begin}; set it to 0"
        )
    if not 0 < given.every <= end - begin - moves:
        raise ValueError(
            f"search.method = {method!r} must change masks more than once in its "
            f"window, steps {begin} to {end} of {steps}, got dynamic.begin = "
            f"{given.begin}, dynamic.end = {given.end}, dynamic.every = {given.every}; "
            "take a longer window, or a smaller dynamic.every"
        )
    return begin, end


def _wrapper(config, numbers):
    """Returns what holds pruned weights at zero: `keep`, or a method that moves them.

    How much a method prunes is data, put in when a level begins.
    """
    method, given, steps = config.search.method, config.dynamic, numbers.steps
    if method not in dynamic.METHODS:
        return optimizers.keep
    layered = numbers.targets and isinstance(numbers.targets[0], list)
    sparsity = [0.0] * len(numbers.sizes) if layered else 0.0
    begin, end = window(config, steps)
    exclude = tuple(config.search.exclude)
    options = {"every": given.every, "exclude": exclude}
    if method == "wirings":
        del options["every"]
    elif method in ("set", "rigl"):
        options |= {"until": end, "fraction": given.fraction, "key": jax.random.key(0)}
        options["distribution"] = "uniform"  # of a sparsity of 0.0: any keeps all
    else:
        options |= {"begin": begin, "end": end}
    if method == "straight_through":
        options["until"] = end + 1
    return lambda inner: dynamic.METHODS[method](inner, sparsity, **options)
