"""Retraining tweaks: what is spent on a ticket after it is drawn, and is then gone.

Each is data. Ghosts fade by `knobs` (`retraining.ghosts`), smoothing and distillation
are losses, re-scaled initialisation is done before the first step. A `Recipe` says
which of them an arm of an experiment has; the empty one is ordinary, "vanilla"
training.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import models
from lthjax.callables import ForwardFn, ObjectiveFn, PriceFn, StepFn
from lthjax.pruning.masks import Masks
from lthjax.retraining import ghosts, goals
from lthjax.retraining.factors import SignIn
from lthjax.retraining.fades import Fade, fade, largest
from lthjax.retraining.ghosts import Knobs
from lthjax.retraining.rescaling import Options, Report, rescale
from lthjax.training import losses, steps
from lthjax.training.objective import CLASSIFICATION, Objective


class Recipe(NamedTuple):
    """The tweaks of one arm, in optimizer steps; as it stands, none: vanilla.

    Attributes:
      neurons: A name in `ghosts.NEURONS`, "" for none.
      skips: A name in `ghosts.STARTS`, "" for none.
      neurons_fade: When soft neurons become hard ones.
      skips_fade: When the branches go.
      rescaling: How the initialisation is re-scaled, `None` if it is not.
      smoothing: Of the labels, in the "uniform" convention.
      distillation: (coefficient, hard, temperature) of a teacher, `None` without one.
      taught_until: The step from which there is no teacher.
      frozen: Whether the ghosts stay as they were drawn, and are not trained.
      sign_in: How kernels are trained as products, `None` if they are not: it is their
        optimizer that does it, `factors.sign_in`.
    """

    neurons: str = ""
    skips: str = ""
    neurons_fade: Fade = Fade(end=0)
    skips_fade: Fade = Fade(end=0)
    rescaling: Options | None = None
    smoothing: float = 0.0
    distillation: tuple[float, float, float] | None = None
    taught_until: int = 0
    frozen: bool = False
    sign_in: SignIn | None = None


class Numbers(NamedTuple):
    """The numbers of a recipe's loss, of which each member of a population has its own.

    All are scalars, or traced.
    """

    smoothing: Any
    coefficient: Any
    hard: Any
    temperature: Any
    taught_until: Any


class Handed(NamedTuple):
    """What a step of retraining is handed beside its state.

    Attributes:
      masks: Of the network with its ghosts.
      numbers: Of the loss.
      teacher: (params, model_state) of the trained dense network, or `None`.
      times: `times` of the recipe, in place of those of the program, for a ticket whose
        training starts where the data say; or `None`.
    """

    masks: Masks
    numbers: Numbers
    teacher: Any = None
    times: tuple | None = None


def knobs(recipe: Recipe, step: jax.Array) -> Knobs:
    """Returns how strong a recipe's ghosts are at a step, traced or not."""
    neurons = fade(step, recipe.neurons_fade) if recipe.neurons else jnp.ones(())
    skips = fade(step, recipe.skips_fade) if recipe.skips else jnp.ones(())
    return Knobs(neurons, 1 - skips)


def haunted(model: Any, recipe: Recipe, step: jax.Array) -> Any:
    """Returns a recipe's network as it is at a step."""
    ghost = {"neurons": recipe.neurons, "skips": recipe.skips}
    return ghosts.attach(model, knobs(recipe, step), **ghost)


def ends(recipe: Recipe) -> int | None:
    """Returns the first step of the plain network; `None` if ghosts stay for good."""
    own = (recipe.neurons, recipe.neurons_fade), (recipe.skips, recipe.skips_fade)
    found = [times.end for ghost, times in own if ghost]
    if any(end is None for end in found):
        return None
    return functools.reduce(largest, found, 0)


def times(recipe: Recipe) -> tuple:
    """Returns when a recipe's ghosts fade: (hold, end) of neurons, then of skips."""
    return tuple(tuple(fade[:2]) for fade in (recipe.neurons_fade, recipe.skips_fade))


def timed(recipe: Recipe, given: tuple | None) -> Recipe:
    """Returns a recipe with other times, as of `times`, which may be traced."""
    if given is None:
        return recipe
    own = recipe.neurons_fade, recipe.skips_fade
    fades = [
        fade if fade.end is None else Fade(hold, end, fade.law)
        for fade, (hold, end) in zip(own, given, strict=True)
    ]
    return recipe._replace(neurons_fade=fades[0], skips_fade=fades[1])


def deployed(recipe: Recipe) -> bool:
    """Returns whether what is deployed is the plain network."""
    return ends(recipe) is not None


def check(recipe: Recipe, start: int, until: int, *, classes: int = 0) -> None:
    """Refuses what cannot work when training from step `start` to step `until`.

    Args:
      recipe: The recipe.
      start: The first step.
      until: The step after the last.
      classes: C, of which a smoothing by convention "others" may be up to C / (C - 1);
        0 where it is by "uniform", and may be up to 1.

    Raises:
      ValueError: Ghosts or a teacher end after the last step or before the first one,
        or the smoothing gives all away.
    """
    fades = {"neurons": recipe.neurons_fade, "skips": recipe.skips_fade}
    spans = {
        f"the {name}'s fade": times
        for name, times in fades.items()
        if getattr(recipe, name)
    }
    if recipe.distillation:
        spans["distillation"] = Fade(start, recipe.taught_until)
        _check_taught(recipe.distillation)
    for what, times in spans.items():
        _check_span(what, times, start, until)
    most = classes / (classes - 1) if classes > 1 else 1
    if not 0 <= recipe.smoothing < most:
        raise ValueError(
            f"smoothing must be in [0, {most:g}), got smoothing = {recipe.smoothing}; "
            "0 is none"
        )


def _check_taught(numbers):
    """Refuses a distillation of which the loss is none."""
    coefficient, hard, temperature = numbers
    weights = all(0 <= x < math.inf for x in (coefficient, hard))
    if not weights or not 0 < temperature < math.inf:
        raise ValueError(
            "distillation must have coefficients of at least 0 and a temperature above "
            f"0, all finite, got {numbers}"
        )


def _check_span(what, times, start, until):
    if times.end is not None and not start < times.end <= until:
        raise ValueError(
            f"{what} must end in the steps {start + 1} to {until} of the retraining, "
            f"so that what is deployed is trained, got end = {times.end}"
        )
    if times.end is not None and not 0 <= times.hold <= times.end:
        raise ValueError(
            f"{what} must begin before it ends at step {times.end}, got hold = "
            f"{times.hold}"
        )


def numbers(recipe: Recipe) -> Numbers:
    """Returns the numbers of a recipe's loss, as arrays."""
    taught = recipe.distillation or (0.0, 1.0, 1.0)
    floats = [jnp.float32(x) for x in (recipe.smoothing, *taught)]
    return Numbers(*[*floats, jnp.int32(recipe.taught_until)])


def objective(
    model: Any,
    plain: Any,
    handed: Handed,
    step: jax.Array,
    goal: Objective = CLASSIFICATION,
    *,
    frozen: bool = False,
    smoothed: bool = True,
) -> ObjectiveFn:
    """Returns (params, model_state, images, labels) -> (loss, model_state) at a step.

        mean over the batch of  hard * smoothed(...) + coefficient * distillation(...)

    of the goal; where labels are not smoothed, `hard * loss(...)`.

    Args:
      model: The network as it is at the step, ghosts and all.
      plain: The network without any, which the teacher is.
      handed: The loss's numbers, and the teacher.
      step: The optimizer step.
      goal: What is minimised.
      frozen: Whether the ghosts have no gradient.
      smoothed: Whether labels are smoothed; of classification smoothing by 0 is none.

    Raises:
      ValueError: There is a teacher, and the goal has no function `distilled`.
    """
    given = handed.numbers
    goals.check(goal, distilled=handed.teacher is not None)
    weights = losses.distillation_weights(
        step, given.coefficient, given.hard, given.taught_until
    )

    def loss_fn(params, model_state, images, labels):
        params = ghosts.held(params, lax.stop_gradient(params)) if frozen else params
        logits, state = models.apply(model, params, model_state, images, train=True)
        if smoothed and goal.smoothed is not None:
            loss = goal.smoothed(logits, labels, given.smoothing)
        else:
            loss = goal.loss(logits, labels)
        if handed.teacher is not None:
            taught, _ = models.apply(plain, *handed.teacher, images, train=False)
            far = goal.distilled(logits, taught, given.temperature)
            loss = weights[1] * loss + weights[0] * far
        return jnp.mean(loss), state

    return loss_fn


def step(
    model: Any,
    recipe: Recipe,
    tx: Any,
    *,
    goal: Objective = CLASSIFICATION,
    price: PriceFn | None = None,
    forward_fn: ForwardFn = steps.plain,
    axis_name: str | None = None,
    **more: Any,
) -> StepFn:
    """Returns (state, handed, images, labels, at) -> state, one step of retraining.

    While ghosts live it is a step of the network with them; from then on it is a step
    of the plain network, on what `ghosts.strip` leaves of the state: nothing of the
    ghosts is computed, and their leaves stay as they are. One program holds both.

    Args:
      model: The plain network.
      recipe: Its ghosts and when they fade, unless times are handed in; its other
        numbers are. One of smoothing 0 has none, whatever is handed in.
      tx: An optimizer that takes `masks`.
      goal: What is minimised.
      price: (params, model_state) of the plain network -> what is added to the mean of
        that, `None` for nothing; or `None`.
      forward_fn: As for `training.step`.
      axis_name: As for `training.step`.
      **more: Likewise: local, parts, decay.

    Raises:
      ValueError: As `goals.check`; in the step too, and as `goals.check_teacher`.
    """
    taught = recipe.distillation is not None
    goals.check(goal, smoothed=recipe.smoothing != 0, distilled=taught)
    options = {"forward_fn": forward_fn, "axis_name": axis_name, **more}

    def of_plain(params, model_state):
        return price(ghosts.strip(params), ghosts.strip(model_state))

    def update(network, state, handed, batch, at):
        goals.check_teacher(recipe.distillation, handed.teacher)
        how = {"frozen": recipe.frozen, "smoothed": recipe.smoothing != 0}
        loss_fn = objective(network, model, handed, at, goal, **how)
        loss_fn = steps.penalised(loss_fn, price and of_plain)
        return steps.step(loss_fn, tx, **options)(state, handed.masks, *batch, at)

    def live(state, handed, batch, at):
        own = timed(recipe, handed.times)
        after = update(haunted(model, own, at), state, handed, batch, at)
        if recipe.frozen:
            kept = ghosts.held(after.params, state.params)
            after = after._replace(params=kept)
        return after

    def bare(state, handed, batch, at):
        left = handed._replace(masks=ghosts.strip(handed.masks))
        return ghosts.graft(state, update(model, ghosts.strip(state), left, batch, at))

    def one(state, handed, images, labels, at):
        args = state, handed, (images, labels), at
        end = ends(timed(recipe, handed.times))
        if not (recipe.neurons or recipe.skips):
            return update(model, *args)
        if end is None:
            return live(*args)
        return lax.cond(at < end, live, bare, *args)

    return one


def rescaled(
    model: Any,
    recipe: Recipe,
    ticket: Any,
    batch_fn: Callable[[jax.Array], tuple[Any, Any]],
    *,
    goal: Objective = CLASSIFICATION,
) -> tuple[Any, Report]:
    """Returns a ticket's parameters, re-scaled for the step it starts at, and a report.

    Frozen ghosts have no factor, and no gradient.

    Args:
      model: The plain network.
      recipe: With `rescaling`, and with the ghosts that the ticket has.
      ticket: Its parameters, statistics and masks, with ghosts.
      batch_fn: i -> (S, S~), each (images, labels).
      goal: What is minimised.
    """
    network = haunted(model, recipe, jnp.asarray(ticket.step))

    def loss_fn(params, batch):
        images, labels = batch
        state = ticket.model_state
        if recipe.frozen:
            params = ghosts.held(params, lax.stop_gradient(params))
        logits, _ = models.apply(network, params, state, images, train=True)
        return jnp.mean(goal.loss(logits, labels))

    masks, options = ticket.masks, recipe.rescaling
    found, report = rescale(loss_fn, ticket.params, masks, batch_fn, options)
    return ghosts.held(found, ticket.params) if recipe.frozen else found, report
