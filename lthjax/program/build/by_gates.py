"""Methods that learn their masks.

Their search trains "search" rounds and "ticket" trainings; see `tickets.rounds`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.callables import ApplyFn, PriceFn, Schedule
from lthjax.gates import gated as gated_lib
from lthjax.gates import hard_concrete, sigmoid
from lthjax.program.build import (
    by_score,
    gate_rounds,
    levels,
    round_columns,
)
from lthjax.program.build.method import Method, one_variant, optimizer_options
from lthjax.program.build.parts import Ground, Training
from lthjax.program.build.spans import chain
from lthjax.program.config import defaults
from lthjax.pruning import choose
from lthjax.tickets import Search
from lthjax.tickets.rounds import continuous
from lthjax.tickets.rounds import span as round_span
from lthjax.training import optimizers

ROUNDS = ("search.rewind_to", "search.restart", "search.gates.start")
TRIMMING = ("search.scope", "search.minimum")  # read beside search.sparsities only
GATES = (
    *ROUNDS,
    *TRIMMING,
    *by_score.BASIS,
    "search.levels",
    "search.sparsities",
    "search.rate",
    "search.exclude",
    "search.include",
    "search.gates.initial",
    "search.gates.penalty",
    "search.gates.optimizer",
    "search.gates.learning_rate",
    "search.gates.momentum",
    "search.gates.nesterov",
)
# What each reads of `config.search.gates` beside that.
READ = {
    "continuous": ("final_temperature", "period", "scaled", "reset"),
    "stochastic": ("gradient", "output"),
    "l0": (),
    "soft_threshold": (),
}
BINARY = ("continuous", "stochastic", "l0")  # a gate for each weight


def targets(ground: Ground) -> list:
    """Returns what each level keeps: as many as are learnt, where no sparsity is given.

    Args:
      ground: What the method is built on.
    """
    given = ground.options.search.sparsities
    return levels.targets(ground) if given else levels.learnt(ground)


def spans(ground: Ground) -> list[Training]:
    """Returns the dense training, and each level's round and ticket.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `tickets.rounds`.
    """
    search, plan = ground.options.search, ground.plan
    given = plan.steps, search.rewind_to, search.restart
    return chain(plan, round_span(*given, search.gates.start), rounds=True)


def check(name: str, ground: Ground) -> None:
    """Refuses what does not go together.

    Args:
      name: Of the method.
      ground: What it is built on.

    Raises:
      ValueError: A first logit cannot be learnt from, or begins without the network; a
        round has no two periods, the minima of the layers exceed a target, or a key has
        a value that the method has no use for.
    """
    search = ground.options.search
    _check_trimming(search)
    _check_minimum(ground)
    if name == "continuous":
        _check_periods(ground)
    _check_logits(name, search)
    gate_rounds.temperature(ground)
    if ground.options.studies and len(search.gates.initial) > 1:
        raise ValueError(
            "studies go with one first logit, got search.gates.initial = "
            f"{tuple(search.gates.initial)}; give one of them"
        )


def _check_trimming(search):
    """Refuses keys of a choice by scores, where no gate is trimmed to a number."""
    for key in TRIMMING if not search.sparsities else ():
        name = key.removeprefix("search.")
        known = defaults.default().search[name]
        if search[name] != known:
            raise ValueError(
                f"search.method = {search.method!r} does not read {key} without "
                f"search.sparsities, got {key} = {search[name]!r}; leave it at "
                f"{known!r}"
            )


def _check_minimum(ground):
    """Refuses a number of gates that a layer keeps which does not go with a target."""
    shapes = ground.plan.shapes.items()
    gates, logits = (
        {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape in shapes}
        for dtype in (jnp.bool_, jnp.float32)
    )
    least = ground.options.search.minimum
    for target in ground.plan.targets:
        if target.amount is not None:
            given = {"kept": target.amount, "minimum": least}
            select = partial(choose.prune, **given, views=ground.plan.views)
            jax.eval_shape(select, gates, logits)


def _check_periods(ground):
    """Refuses rounds that would be at the final temperature from their first step."""
    period, plan = ground.options.search.gates.period, ground.plan
    every = period or plan.steps_per_epoch
    if plan.steps <= every:
        epoch = f" (an epoch, {every})" * (not period)
        raise ValueError(
            "a round must have two periods of the temperature at least, got "
            f"search.gates.period = {period}{epoch} in {plan.steps} steps; give a "
            "shorter one"
        )


def _check_logits(name, search):
    if name != "soft_threshold":
        for initial in search.gates.initial:
            sigmoid.check_initial(initial)
    elif max(search.gates.initial) >= 0:
        raise ValueError(
            "soft thresholds must begin below a half, which few weights exceed, got "
            f"search.gates.initial = {tuple(search.gates.initial)} with search.method "
            "= 'soft_threshold'; give (-5.0,), or (-3200.0,), where they are zero and "
            "the network begins dense"
        )
    elif search.sparsities:
        raise ValueError(
            "soft thresholds are learnt and hit no sparsity, got search.sparsities = "
            f"{tuple(search.sparsities)}; set search.gates.penalty in its place"
        )


def network(name: str, ground: Ground, apply_fn: ApplyFn) -> ApplyFn:
    """Returns apply_fn, for the parameters of a round too.

    Args:
      name: Of the method.
      ground: What it is built on.
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
    """
    gates, at = gate_rounds.kind(name, ground), gate_rounds.temperature(ground)
    scaled = gate_rounds.scaled(name, ground)
    return gated_lib.network(apply_fn, gates, at, scaled=scaled)


def penalty(name: str, ground: Ground) -> PriceFn:
    """Returns (params, model_state) -> the penalty of a round, `None` outside of one.

    Args:
      name: Of the method.
      ground: What it is built on.
    """
    return gated_lib.penalty(
        gate_rounds.kind(name, ground),
        gate_rounds.temperature(ground),
        weight=ground.options.search.gates.penalty,
        scaled=gate_rounds.scaled(name, ground),
    )


def optimizer(
    name: str, ground: Ground, schedule: Schedule, exclude: tuple[str, ...]
) -> Any:
    """Returns the optimizer of weights and gates, each with options of its own.

    Args:
      name: Of the method.
      ground: What it is built on.
      schedule: step -> learning rate of the weights; the gates' is in proportion.
      exclude: Not used.
    """
    del exclude
    inner, options = optimizer_options(ground)
    weights_tx = optimizers.unwrapped(inner, schedule, **options)
    gates, rate = ground.options.search.gates, ground.options.optimizer.learning_rate
    ratio = (gates.learning_rate or rate) / rate
    gates_tx = optimizers.unwrapped(
        gates.optimizer,
        lambda step: ratio * schedule(step),
        momentum=gates.momentum,
        nesterov=gates.nesterov,
    )
    if name == "l0":
        gates_tx = hard_concrete.bounded(gates_tx)
    return gated_lib.optimizer(weights_tx, gates_tx)


def search(rounds_fn: Callable[..., Any], ground: Ground, tx: Any, prune_fn) -> Search:
    """Returns the search of a config.

    Args:
      rounds_fn: (ground, tx, prune_fn) -> `tickets.rounds.Rounds`.
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: (key, trained, target) -> masks.

    Raises:
      ValueError: As `tickets.rounds.continuous`.
    """
    asked, plan = ground.options.search, ground.plan
    return continuous(
        rounds_fn(ground, tx, prune_fn),
        levels=len(plan.targets),
        steps=plan.steps,
        rewind_to=asked.rewind_to,
        restart=asked.restart,
        start=asked.gates.start,
    )


def members(ground: Ground) -> dict:
    """Returns the variants of a search: its first logits, where there are several.

    Args:
      ground: What the method is built on.
    """
    logits = ground.options.search.gates.initial
    if len(logits) == 1:
        return one_variant(ground)
    return {x: partial(gate_rounds.varied, initial=x) for x in logits}


def columns(
    rounds_fn: Callable[..., Any], ground: Ground, tx: Any, prune_fn, **how: Any
) -> Callable[..., Any]:
    """Returns what a round's record has of its masks, `round_columns.examiner`.

    Args:
      rounds_fn: (ground, optimizer, prune) -> `tickets.rounds.Rounds`.
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: What the rounds draw masks by.
      **how: As for `round_columns.examiner`.
    """
    return round_columns.examiner(rounds_fn(ground, tx, prune_fn), ground, **how)


def _shrink(name, config):
    if name != "soft_threshold":
        # A few steps open no gate that begins closed.
        config.search.gates.initial = (0.05, 0.1)[: len(config.search.gates.initial)]
    if name == "continuous":
        config.search.gates.period = 1


def _gated(name):
    """Returns a method of gates."""
    rounds = partial(gate_rounds.gated_rounds, name)
    how = {"more": partial(round_columns.of_gates, name)} if name in BINARY else {}
    how |= {"decides": name == "continuous"}
    return Method(
        keys=(*GATES, *(f"search.gates.{key}" for key in READ[name])),
        targets=targets,
        search=partial(search, rounds),
        spans=spans,
        check=partial(check, name),
        network=partial(network, name),
        penalty=partial(penalty, name),
        optimizer=partial(optimizer, name),
        held=2,  # gates, and their momentum
        members=members,
        columns=partial(columns, rounds, **how),
        shrink=partial(_shrink, name),
    )


METHODS = {name: _gated(name) for name in gate_rounds.KINDS}
