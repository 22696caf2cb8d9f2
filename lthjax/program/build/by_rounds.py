"""Comparators that train in rounds as gates do, without any: continued, slimming."""

import functools

from lthjax.channels import slimming
from lthjax.channels.slimming import Slim
from lthjax.program.build import (
    by_gates,
    by_score,
    criterion,
    gate_rounds,
    levels,
    own_parts,
)
from lthjax.program.build.method import Method


def _continued():
    rounds = gate_rounds.continued_rounds
    return Method(
        keys=(*by_score.KEYS, "search.gates.start"),
        targets=levels.targets,
        search=functools.partial(by_gates.search, rounds),
        spans=by_gates.spans,
        check=criterion.check,
        prune=criterion.selector,
        rehearse=own_parts.score,
        columns=functools.partial(by_gates.columns, rounds),
    )


def _slim_network(ground, apply_fn):
    """Returns apply_fn, for the parameters of a round of slimming too."""
    del ground

    def apply(params, *rest):
        return apply_fn(params.weights if isinstance(params, Slim) else params, *rest)

    return apply


def _slim_penalty(ground):
    weight = ground.options.search.gates.penalty

    def price(params, model_state):
        del model_state
        if not isinstance(params, Slim):
            return None
        return weight * slimming.penalty(params.weights)

    return price


def _slimming():
    rounds = gate_rounds.slimming_rounds
    return Method(
        keys=(
            *by_gates.ROUNDS,
            "search.levels",
            "search.sparsities",
            "search.exclude",
            "search.gates.penalty",
        ),
        targets=levels.learnt,
        search=functools.partial(by_gates.search, rounds),
        spans=by_gates.spans,
        check=lambda ground: slimming.check(ground.shapes, ground.plan.views),
        network=_slim_network,
        penalty=_slim_penalty,
        columns=functools.partial(by_gates.columns, rounds),
    )


METHODS: dict[str, Method] = {"continued": _continued(), "slimming": _slimming()}
