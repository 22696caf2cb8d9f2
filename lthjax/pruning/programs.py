"""What is called outside of `jit`, as one program in place of many."""

import collections
import functools
import hashlib
import re
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp

KEPT = 8  # programs that stay in memory
_kept: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()


def called(fn: Callable[..., Any], fixed: tuple, *trees: Any) -> Any:
    """Returns `fn(*fixed, *trees)`, compiled whole where nothing is being traced.

    Every call traces anew, so that whatever the functions among `fixed` see beside
    their arguments is seen as it is now, and compiles only what is none of the last few
    programs. Arrays that the functions close over are handed to the program: for one
    batch after another it is the same. What goes by values in Python (`if loss > 1`)
    runs operation by operation, as it is.

    Args:
      fn: A function of a module, which takes both.
      fixed: What is no array: functions, shapes.
      *trees: Trees of arrays.
    """
    if _traced(jnp.zeros(()), trees):
        return fn(*fixed, *trees)
    try:
        traced = jax.make_jaxpr(functools.partial(fn, *fixed), return_shape=True)
        closed, shapes = traced(*trees)
    except jax.errors.ConcretizationTypeError:
        return fn(*fixed, *trees)
    if _traced(closed.consts):
        return fn(*fixed, *trees)
    arrays = (*closed.consts, *jax.tree.leaves(trees))
    found = _program(closed.jaxpr, len(closed.consts), arrays)(*arrays)
    return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _traced(*trees) -> bool:
    """Returns whether an array is of a transformation that goes on, jitted or not."""
    return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def _program(jaxpr, consts, arrays):
    """Returns what was traced, compiled, or a program that is kept and is the same."""

    def run(*arrays):
        return jax.core.eval_jaxpr(jaxpr, arrays[:consts], *arrays[consts:])

    lowered = jax.jit(run, keep_unused=True).lower(*arrays)
    text = lowered.as_text()
    if not _says_all(text, len(arrays)):
        return lowered.compile()
    places = tuple(getattr(array, "sharding", None) for array in arrays)
    types = str((lowered.args_info, lowered.out_info))
    key = (hashlib.blake2b(text.encode()).digest(), places, types)
    if key not in _kept:
        _kept[key] = lowered.compile()
    _kept.move_to_end(key)
    while len(_kept) > KEPT:
        _kept.popitem(last=False)
    return _kept[key]


def _says_all(text, count) -> bool:
    """Returns whether a program is what its text says, and no function of Python's.

    It is not, where more than it is given comes from elsewhere.
    """
    main = text.partition("@main(")[2].partition("\n")[0]
    return "callback" not in text and len(re.findall(r"%arg\d+:", main)) == count
