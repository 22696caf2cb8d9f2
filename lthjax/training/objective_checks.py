"""What an objective must be, before anything is trained for it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.training.objective import LOSS, Objective, measured, names


def check(objective: Objective, outputs: Any, labels: Any, *, name: str = "") -> None:
    """Refuses an objective that cannot be used; it is called once, on shapes.

    Args:
      objective: What a user brought, or one of ours.
      outputs: What has the shape [batch, ...] and the type of a network's outputs, a
        tree where there are several.
      labels: The same of the labels [batch, ...].
      name: What the config calls it, for the error.

    Raises:
      ValueError: As `check_fields`; or one of its functions raises something or does
        not return one float for each example.
    """
    check_fields(objective, name=name)
    given, batch = (outputs, labels), labels.shape[:1]
    for what, fn in measured(objective).items():
        _check_floats(what, name, _called(what, name, fn, *given), list(batch))
    mean = jax.ShapeDtypeStruct((), jnp.float32)
    tweaked = {"smoothed": (labels, mean), "distilled": (outputs, mean)}
    for what, more in tweaked.items():
        if (fn := getattr(objective, what)) is not None:
            found = _called(what, name, fn, outputs, *more)
            _check_floats(what, name, found, list(batch))
    if objective.of_set is not None:
        _called("of_set", name, objective.of_set.read, *given)
    for what, finish in objective.finish.items():
        _check_floats(f"finish of {what}", name, _called(what, name, finish, mean), [])
    weights = jax.ShapeDtypeStruct(batch, jnp.float32)
    for what, own in objective.counted.items():
        sums = _called(what, name, own.sums, *given, weights)
        _check_floats(what, name, jax.eval_shape(own.number, sums), [])


def check_fields(objective: Any, *, name: str = "") -> None:
    """Refuses what is no objective, or names a measure that it has not.

    Args:
      objective: What a user brought, or one of ours.
      name: What the config calls it, for the error.

    Raises:
      ValueError: It does.
    """
    if not isinstance(objective, Objective):
        raise ValueError(
            "an objective must be a training.objective.Objective(loss, measures, ...), "
            f"got objective = {name!r}, which is {type(objective).__name__}"
        )
    _check_kinds(objective, name)
    own = (*objective.measures, *objective.counted)
    odd = [m for m in own if not _is_plain(m) or own.count(m) > 1]
    if odd:
        raise ValueError(
            "measures of an objective must be named as Python's variables are, and not "
            f"loss, which it has already, got measures = {odd} in objective = {name!r}"
        )
    _check_known("finish", objective.finish, tuple(measured(objective)), name)
    known = names(objective)
    for field in ("higher", "percent"):
        _check_known(field, getattr(objective, field), known, name)
    _check_known("best_by", [objective.best_by], known, name)


def _check_kinds(objective, name):
    """Refuses functions that have no names, and names that are one text."""
    for field in ("measures", "finish", "counted"):
        if not isinstance(found := getattr(objective, field), Mapping):
            raise ValueError(
                f"{field} of an objective must be a dict of functions by name, got "
                f"{field} = {found!r} in objective = {name!r}"
            )
    for field in ("higher", "percent"):
        if isinstance(found := getattr(objective, field), str):
            raise ValueError(
                f"{field} of an objective must be a set of names, got {field} = "
                f"{found!r} in objective = {name!r}; write {{{found!r}}}"
            )


def _is_plain(measure):
    return isinstance(measure, str) and measure.isidentifier() and measure != LOSS


def _check_known(field, given, known, name):
    unknown = [m for m in given if m not in known]
    if unknown:
        raise ValueError(
            f"{field} of an objective must be among {', '.join(known)}, got {field} = "
            f"{', '.join(map(repr, unknown))} in objective = {name!r}"
        )


def _called(what, name, fn, *given):
    """Returns the shapes of what a function of an objective returns."""
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), given)
    must = " and ".join(f"{x.dtype} {list(x.shape)}" for x in jax.tree.leaves(given))
    with registry.calling(
        "objective", name, f"take {must}, under jax.jit, as its {what}"
    ):
        return jax.eval_shape(fn, *given)


def _check_floats(what, name, found, shape):
    right = hasattr(found, "shape") and jnp.issubdtype(found.dtype, jnp.floating)
    if not right or list(found.shape) != shape:
        wanted = f"one float for each example, {shape}" if shape else "a single float"
        array = hasattr(found, "shape")
        got = f"{found.dtype} {list(found.shape)}" if array else type(found).__name__
        raise ValueError(
            f"{what} of an objective must return {wanted}, got {got} from objective = "
            f"{name!r}"
            + "; take the mean over the axes after the first"
            * (array and bool(shape))
        )
