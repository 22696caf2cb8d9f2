"""Weights that a run begins with in place of random ones: `model.weights`."""

import logging
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.callables import InitFn
from lthjax.draws import DRAWS
from lthjax.program.build import methods
from lthjax.program.build.parts import Ground
from lthjax.program.workdir import layout, results
from lthjax.pruning import bases
from lthjax.saving import checkpoints
from lthjax.tickets import transplant
from lthjax.tickets.transplant import Report, Rule

log = logging.getLogger(__name__)

SHOWN = 5  # leaves that a refusal names


class Given(NamedTuple):
    """What is taken over.

    Attributes:
      path: Where it lies.
      params: {name: array} of the leaves that are taken.
      model_state: The same of batch statistics.
      report: What was done with each parameter.
      moved: The same of each leaf of the model state.
    """

    path: pathlib.Path
    params: dict[str, Any]
    model_state: dict[str, Any]
    report: Report
    moved: Report


def check(ground: Ground) -> Given | None:
    """Returns what a run begins with, `None` where that is drawn at random.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: Nothing can be read, nothing or something of another shape would be
        taken, coefficients are given, numbers are not finite, or it does not go with
        the search.
    """
    asked, search = ground.options.model, ground.options.search
    if not asked.weights:
        if asked.fresh:
            raise ValueError(
                "model.fresh names what is not taken of model.weights, got model.fresh "
                f"= {tuple(asked.fresh)} without them; give ()"
            )
        return None
    if ground.bases or methods.reads(search.method, "transplant.source"):
        raise ValueError(
            "given weights go with a search that begins with weights of its own "
            f"network, got model.weights = {asked.weights!r} with search.method = "
            f"{search.method!r}, search.basis = {search.basis}; give ''"
        )
    return _given(ground, _path(asked.weights), tuple(asked.fresh))


def _path(text):
    """Returns the saved network that a file, a folder or a workdir stands for."""
    path = pathlib.Path(text)
    if not (path / results.RESULTS).exists():
        return path
    seeds = [s for s, level in layout.trained_members(path, "ticket") if level == 0]
    if not seeds:
        raise ValueError(
            "model.weights must be a workdir that kept its trained dense network, got "
            f"model.weights = {text!r}; run that with --config.studies=signs, or name "
            "a network of it, as deployed/ticket/seed_0/level_03"
        )
    return layout.trained_path(path, "ticket", min(seeds), 0)


def _given(ground, path, fresh):
    from lthjax.saving import networks  # here: a run without them needs no safetensors

    try:
        source = networks.read(path)
    except checkpoints.DamagedError as error:
        raise ValueError(
            f"model.weights must be a safetensors file, a saved network or a workdir, "
            f"got model.weights = {ground.options.model.weights!r}: {error}"
        ) from error
    if bases.COLLECTION in source[1]:
        raise ValueError(
            "what is taken over must be of weights, got model.weights = "
            f"{ground.options.model.weights!r}, a network of coefficients (search."
            "basis); take the file that python -m lthjax.export makes of it"
        )
    state = jax.eval_shape(ground.init_fn, jax.random.key(0))
    kept = tuple(Rule(expression, "keep") for expression in fresh)
    rules = (*kept, Rule("")), (Rule(f"^{DRAWS}/", "keep"), *kept, Rule(""))
    pairs = list(zip(source, state, rules, strict=True))
    for own, other, found in pairs:
        _check_shapes(path, own, other, found)
    reports = [transplant.transplant(*pair) for pair in pairs]
    leaves = [transplant.flat(tree) for tree in source]
    taken = [
        {name: leaves[i][own] for name, own in report.copied.items()}
        for i, (_, report) in enumerate(reports)
    ]
    found = Given(path, *taken, *(report for _, report in reports))
    _check_taken(found, leaves[0], transplant.flat(state[0]))
    return found


def _check_shapes(path, source, target, rules):
    """Refuses leaves of another shape, naming all of them."""
    own, other = transplant.flat(source), transplant.flat(target)
    odd = []
    for name, leaf in other.items():
        rule = next(r for r in rules if transplant.finds(r, name))
        taken = rule.way == "copy" and name in own
        if taken and jnp.shape(own[name]) != tuple(leaf.shape):
            odd.append(f"{name} {list(jnp.shape(own[name]))} for {list(leaf.shape)}")
    if odd:
        raise ValueError(
            "given weights must have the shapes of the network's, got from "
            f"{path}: {'; '.join(odd[:SHOWN])}{' ...' * (len(odd) > SHOWN)}; name what "
            "is to stay as it is drawn in model.fresh"
        )


def _check_taken(found, own, other):
    if not found.params:
        names = [", ".join(list(x)[:SHOWN]) for x in (own, other)]
        raise ValueError(
            f"given weights must have some of the network's names, got {found.path} "
            f"with {names[0] or 'nothing'} for a network of {names[1]}"
        )
    leaves = {**found.params, **found.model_state}.items()
    odd = [name for name, leaf in leaves if not np.isfinite(np.asarray(leaf)).all()]
    if odd:
        raise ValueError(
            f"given weights must be finite, got {', '.join(odd[:SHOWN])} of "
            f"{found.path} with NaN or infinity"
        )


def initialiser(init_fn: InitFn, found: Given | None) -> InitFn:
    """Returns key -> (params, model_state), given ones where there are any.

    Args:
      init_fn: key -> (params, model_state), drawn at random.
      found: What is given.
    """
    if found is None:
        return init_fn
    taken = found.params, found.model_state

    def init(key):
        params, model_state = map(_taken, init_fn(key), taken)
        return params, model_state

    return init


def _taken(drawn, given):
    """Returns a tree with what is given of it, as the types that were drawn."""
    own = transplant.flat(drawn)
    found = {name: jnp.asarray(x, own[name].dtype) for name, x in given.items()}
    return transplant.replaced(drawn, found)


def say(found: Given | None) -> None:
    """Says what was taken, leaf by leaf where it is missing.

    Args:
      found: What is given.
    """
    if found is None:
        return
    log.info("weights of %s: %s", found.path, transplant.text(found.report))
    if found.moved.copied or found.moved.missing:
        log.info("statistics of %s: %s", found.path, transplant.text(found.moved))
    missing = (*found.report.missing, *found.moved.missing)
    if missing:
        log.warning("drawn at random, as they are not given: %s", ", ".join(missing))


def fingerprint(found: Given | None) -> dict:
    """Returns what says whether a workdir goes on with the same weights.

    Args:
      found: What is given.
    """
    if found is None:
        return {}
    digest = checkpoints.checksum((found.params, found.model_state), {})
    return {"given": {"weights": digest}}
