"""What a config asks of a training beside its optimizer, and what is refused of that.

Class weights, a batch in parts, an average of the weights, an early stop.
"""

from typing import Any

from lthjax import registry
from lthjax.callables import BeginFn
from lthjax.data import balance
from lthjax.devices import meshes
from lthjax.program.build import data as data_lib
from lthjax.program.build import network as network_lib
from lthjax.program.build import objective as objective_lib
from lthjax.program.build import spans
from lthjax.program.build.parts import Ground
from lthjax.program.config.defaults import default
from lthjax.retraining import arms
from lthjax.training import class_weights, steps
from lthjax.training.extras import Extras, Rule, stop
from lthjax.training.objective import Objective, columns, names

BALANCED = ("balanced",)
GHOSTS = frozenset({"neurons", "skips"})


def check(ground: Ground) -> None:
    """Refuses what does not go together, before any data is read.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: Classes are weighed that there are not; a batch cannot be parted so;
        or an average or an early stop is asked for where what is trained is more than
        weights, or would be left unfinished.
    """
    _check_weights(ground)
    _check_parts(ground.options)
    if ground.options.train.ema and spans.rounds(ground.plan):
        raise ValueError(
            "an average of the weights goes with searches without rounds of their own, "
            f"got train.ema = {ground.options.train.ema} with search.method = "
            f"{ground.options.search.method!r}, which trains rounds; give 0"
        )
    _check_stop(ground)


def _check_weights(ground):
    config, classes = ground.options, ground.facts.num_classes
    asked = tuple(config.train.class_weights)
    if not asked:
        return
    shown = f"train.class_weights = {asked}"
    if not (ground.objective.logits and objective_lib.is_of_classes(ground.facts)):
        raise ValueError(
            "class weights go with examples of one class each, got objective = "
            f"{config.objective!r} with {shown}; give ()"
        )
    if asked != BALANCED and len(asked) != classes:
        raise ValueError(
            f"class weights must be {classes} numbers, one a class, or 'balanced', got "
            f"{shown}, which are {len(asked)}"
        )


def _check_parts(config):
    parts, batch = config.train.accumulate, config.train.batch_size
    given = config.mesh.data
    devices = given if given > 0 else data_lib.mesh(config).shape[meshes.DATA]
    if batch // devices % parts:
        raise ValueError(
            "train.accumulate, the parts of a batch, must divide the examples that a "
            f"device has of it, got train.accumulate = {parts} for {batch // devices} "
            f"of train.batch_size = {batch}"
        )


def _check_unread(asked):
    """Refuses options of an early stop where there is none."""
    own = default().train.stop
    for name in ("patience", "delta"):
        if asked[name] != own[name]:
            raise ValueError(
                "train.stop.by must name what an early stop goes by, got train.stop."
                f"{name} = {asked[name]} without it; give 'loss' or a measure"
            )


def _check_stop(ground):
    config, asked = ground.options, ground.options.train.stop
    if not asked.by:
        _check_unread(asked)
        return
    known = names(ground.objective)
    if asked.by not in known:
        raise ValueError(
            f"train.stop.by must be one of {', '.join(known)}, which is what is "
            f"measured, got train.stop.by = {asked.by!r}"
            f"{registry.suggestion(asked.by, known)}"
        )
    plan, method = ground.plan, ground.method
    if spans.rounds(plan) or spans.drawn(plan) or method.carried is not None:
        raise ValueError(
            "an early stop goes with searches whose tickets keep their masks while "
            "they train to a step that is known, got train.stop.by = "
            f"{asked.by!r} with search.method = {config.search.method!r}; give ''"
        )
    trained = arms.trained(config.retraining.arms)
    own = {arm: arms.tweaks(arm) for arm in trained}
    haunted = [arm for arm in own if GHOSTS & own[arm] and "kept" not in own[arm]]
    if haunted:
        raise ValueError(
            "an early stop must not end a training before its ghosts are gone, got "
            f"train.stop.by = {asked.by!r} with retraining.arms = {tuple(haunted)}; "
            "give '', or leave them out"
        )


def goal(ground: Ground) -> Objective:
    """Returns what is minimised: the objective, by class weights if there are any.

    Args:
      ground: What the method is built on, its source too where weights are balanced.

    Raises:
      ValueError: They are to be balanced, and a class has no example, or counting them
        would read the whole set.
    """
    asked, found = tuple(ground.options.train.class_weights), ground.objective
    if not asked:
        return found
    weights = _balanced(ground.source) if asked == BALANCED else asked
    return class_weights.weighted(found, weights)


def _balanced(source):
    counts = balance.counts(source)
    if counts is None:
        raise ValueError(
            "balanced class weights need labels that are read without the images, got "
            "train.class_weights = ('balanced',) with a set whose records hold both; "
            "give the weights as numbers"
        )
    return class_weights.balanced([int(n) for n in counts["train"]])


def extras(ground: Ground) -> Extras:
    """Returns what a training carries beside the state of its optimizer.

    Args:
      ground: What the method is built on.
    """
    train, objective = ground.options.train, ground.objective
    if not train.stop.by:
        return Extras(train.ema)
    column = columns(objective).index(f"validation_{train.stop.by}")
    rule = Rule(
        column=column,
        higher=train.stop.by in objective.higher,
        patience=train.stop.patience,
        delta=train.stop.delta,
        after=ground.options.search.rewind_to,
    )
    return Extras(train.ema, rule)


def step_options(ground: Ground, axis_name: str | None) -> dict[str, Any]:
    """Returns the options of `training.step`, of the search's steps and of the arms'.

    Args:
      ground: What the method is built on.
      axis_name: The mesh axis that batches are split over.
    """
    config = ground.options
    return {
        "forward_fn": data_lib.forward,
        "axis_name": axis_name,
        "local": network_lib.local(config),
        "parts": config.train.accumulate,
        "decay": config.train.ema,
    }


def starter(ground: Ground, tx: Any) -> BeginFn:
    """Returns ticket -> the state that its training starts with, of search and arms.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
    """
    plan = ground.plan
    return steps.starter(
        tx,
        points=spans.longest(plan) // plan.eval_every + 2,
        objective=ground.objective,
        extras=extras(ground),
        parts=ground.options.train.accumulate,
    )


def stopped(states: Any) -> Any:
    """Returns the step at which each member stopped, -1 for those that did not.

    Args:
      states: Of a population, stacked; without a rule, `None`.
    """
    found = stop(states.opt_state)
    return None if found is None else found.at
