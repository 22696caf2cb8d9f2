"""A config becomes recipes: which tickets are retrained how, at which steps."""

import math

from lthjax.program.build import spans
from lthjax.program.build.parts import Ground
from lthjax.retraining import steps
from lthjax.retraining.rescaling import Options
from lthjax.retraining.steps import Fade, Recipe
from lthjax.training import losses


def chosen(ground: Ground) -> dict[tuple[str, int], Recipe]:
    """Returns {(arm, level): the recipe} of all that is retrained.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `recipe` and `spans.levels`.
    """
    config, plan, classes = ground.options, ground.plan, ground.facts.num_classes
    asked = config.retraining
    levels = spans.levels(asked.levels, plan) if asked.arms else ()
    return {
        (arm, level): recipe(config, spans.span(plan, level), classes, arm)
        for arm in asked.arms
        for level in levels
    }


def recipe(config, span: tuple[int, int], num_classes: int, arm: str) -> Recipe:
    """Returns the tweaks of an arm, parts of the training turned into steps.

    Args:
      config: A validated config.
      span: The (first step, step after the last) of its ticket's training.
      num_classes: Of the data set.
      arm: Its name.

    Raises:
      ValueError: As `retraining.tweaks` and `retraining.check`.
    """
    given, (start, until) = config.retraining, span
    chosen = steps.tweaks(arm)

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
    steps.check(found, start, until)
    return found
