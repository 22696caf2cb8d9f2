"""A config becomes recipes: which tickets are retrained how, at which steps."""

import math

from lthjax.program.build import arm_settings, optimizer, spans
from lthjax.program.build.parts import Ground
from lthjax.retraining import arms, goals, steps
from lthjax.retraining.factors import SignIn
from lthjax.retraining.rescaling import Options
from lthjax.retraining.steps import Fade, Recipe
from lthjax.training import losses, zeros
from lthjax.training.objective import OBJECTIVES


def chosen(ground: Ground) -> dict[tuple[str, int], Recipe]:
    """Returns {(arm, level): the recipe} of all that is retrained.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `recipe` and `spans.levels`; or a tweak is of a loss that the
        objective has not, or weights are to be products where masks move, or controls
        retrained there.
    """
    _check_losses(ground)
    _check_controls(ground)
    _check_products(ground)
    config, plan, classes = ground.options, ground.plan, ground.facts.num_classes
    asked = config.retraining
    own = arms.trained(asked.arms)
    levels = spans.levels(asked.levels, plan) if own else ()
    return {
        (arm, level): recipe(config, spans.span(plan, level), classes, arm)
        for arm in own
        for level in levels
    }


def _check_losses(ground):
    """Refuses tweaks of the loss that go with classes, where there are none."""
    for arm in arms.trained(ground.options.retraining.arms):
        chosen = arms.tweaks(arm)
        smoothed, distilled = (
            tweak in chosen for tweak in ("smoothing", "distillation")
        )
        try:
            goals.check(ground.objective, smoothed=smoothed, distilled=distilled)
        except ValueError as error:
            own = f"objective = {ground.options.objective!r}"
            raise ValueError(f"of the arm {arm!r} with {own}: {error}") from error


def _start(given, chosen):
    """Returns what branches are drawn by: at random, where they stay as they are."""
    if "skips" not in chosen:
        return ""
    return "he" if "frozen" in chosen else given.skips.start


def _check_controls(ground):
    """Refuses arms of controls where tickets have none."""
    asked = arms.trained(ground.options.retraining.arms)
    own = tuple(arm for arm in asked if arms.control(arm))
    if own and ground.method.carried is not None:
        raise ValueError(
            "controls go with tickets whose masks stay, got retraining.arms = "
            f"{own} with search.method = {ground.options.search.method!r}; leave the "
            "control out"
        )


def _check_products(ground):
    """Refuses products of factors where masks move, or the optimizer takes none."""
    asked = arms.trained(ground.options.retraining.arms)
    products = tuple(arm for arm in asked if "sign_in" in arms.tweaks(arm))
    if not products:
        return
    got = f"got retraining.arms = {products} with search.method = "
    got += f"{ground.options.search.method!r}; leave it out"
    if ground.method.carried is not None:
        raise ValueError(
            f"sign_in goes with tickets of weights whose masks stay, {got}"
        )
    if not zeros.is_kept(optimizer.optimizer(ground)):
        raise ValueError(f"sign_in goes with an optimizer that takes masks, {got}")


def recipe(config, span: tuple[int, int], num_classes: int, arm: str) -> Recipe:
    """Returns the tweaks of an arm, parts of the training turned into steps.

    Args:
      config: A validated config.
      span: The (first step, step after the last) of its ticket's training.
      num_classes: Of the data set.
      arm: Its name.

    Raises:
      ValueError: As `arms.tweaks` and `steps.check`.
    """
    given, (start, until) = arm_settings.of_arm(config, arm).retraining, span
    chosen = arms.tweaks(arm)

    def step(part):  # the first that is not before; 0.55 of 100 is 55, not 56
        return start + math.ceil(round(part * (until - start), 6))

    def faded(ghost):
        if "kept" in chosen:
            return Fade()
        return Fade(step(ghost.hold), step(ghost.end), given.law)

    taught, options = given.distillation, given.rescaling.to_dict()
    share = 0.0
    if "smoothing" in chosen:
        share = losses.uniform(given.smoothing, num_classes, given.convention)
    found = Recipe(
        given.neurons.kind if "neurons" in chosen else "",
        _start(given, chosen),
        faded(given.neurons),
        faded(given.skips),
        Options(**options) if "rescaling" in chosen else None,
        share,
    )
    if "distillation" in chosen:
        weights = taught.coefficient, taught.hard, taught.temperature
        found = found._replace(distillation=weights, taught_until=step(taught.until))
    found = found._replace(frozen="frozen" in chosen)
    if "sign_in" in chosen:
        own = given.sign_in
        found = found._replace(sign_in=SignIn(own.beta, own.period))
    try:
        steps.check(found, start, until, classes=num_classes)
    except ValueError as error:
        raise ValueError(f"of the arm {arm!r}: {error}") from error
    return found


def form(ground: Ground, found: Recipe) -> Recipe:
    """Returns what decides a recipe's program; the rest of it is data.

    So are its times, where the data decide when a ticket is drawn.

    Args:
      ground: What the method is built on.
      found: The recipe.
    """
    taught = () if found.distillation else None
    own = ground.objective.loss, ground.objective.smoothed
    # Of ours smoothing by 0 is none, where there is any.
    same = any((goal.loss, goal.smoothed) == own for goal in OBJECTIVES.values())
    ours = same and ground.objective.smoothed is not None
    if spans.drawn(ground.plan):
        found = steps.timed(found, ((0, 1), (0, 1)))
    smoothing = 0.5 if ours or found.smoothing else 0.0  # whether; how much is data
    return found._replace(
        rescaling=None, smoothing=smoothing, distillation=taught, taught_until=0
    )
