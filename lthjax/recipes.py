"""A config becomes recipes: which tickets are retrained how, at which steps."""

import math

from lthjax import dynamic, losses, retraining
from lthjax.rescaling import Options
from lthjax.retraining import Fade, Recipe
from lthjax.tickets.iterative import span as pruned_span


def levels(config, plan) -> tuple[int, ...]:
    """Returns the levels whose tickets are retrained with tweaks.

    Raises:
      ValueError: One of those asked for does not exist.
    """
    last = len(plan.targets)
    asked = tuple(config.retraining.levels)
    for level in asked:
        if not 0 <= level <= last:
            raise ValueError(
                f"retraining.levels must be from 0, the dense network, to {last}, got "
                f"retraining.levels = {asked}"
            )
    return asked or tuple(range(1, last + 1))


def span(config, plan, level: int) -> tuple[int, int]:
    """Returns the steps over which the tickets of a level train."""
    search = config.search
    if level == 0 or search.method in dynamic.METHODS:
        return 0, plan.steps
    return pruned_span(plan.steps, search.rewind_to, search.restart)


def recipe(config, plan, num_classes: int, arm: str, level: int) -> Recipe:
    """Returns the tweaks of an arm at a level, parts of the training turned into steps.

    Raises:
      ValueError: As `retraining.tweaks` and `retraining.check`.
    """
    given, (start, until) = config.retraining, span(config, plan, level)
    chosen = retraining.tweaks(arm)

    def step(part):
        return start + math.ceil(part * (until - start))

    def faded(ghost):
        if "kept" in chosen:
            return Fade()
        return Fade(step(ghost.hold), step(ghost.end), given.law)

    taught, options = given.distillation, given.rescaling.to_dict()
    share = losses.uniform(given.smoothing, num_classes, given.convention)
    found = Recipe(
        given.neurons.kind if "neurons" in chosen else "",
        given.skips.start if "skips" in chosen else "",
        faded(given.neurons),
        faded(given.skips),
        Options(**options) if "rescaling" in chosen else None,
        share if "smoothing" in chosen else 0.0,
    )
    if "distillation" in chosen:
        weights = taught.coefficient, taught.hard, taught.temperature
        found = found._replace(distillation=weights, taught_until=step(taught.until))
    retraining.check(found, start, until)
    return found
