"""What is called outside of `jit`, as one program in place of many."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

KEPT = 4  # programs; their functions, and what these close over, stay in memory


def called(fn: Callable[..., Any], fixed: tuple, *trees: Any) -> Any:
    """Returns `fn(*fixed, *trees)`, compiled whole where nothing is being traced.

    The last few programs are kept: the same function of the same `fixed` compiles once
    for trees of the same shapes, another one anew. What goes by values in Python
    (`if loss > 1`) runs operation by operation, as it is.

    Args:
      fn: A function of a module, which takes both.
      fixed: What is no array: functions, shapes.
      *trees: Trees of arrays.
    """
    if isinstance(jnp.zeros(()), jax.core.Tracer):
        return fn(*fixed, *trees)
    try:
        return _program(fn, fixed)(*trees)
    except jax.errors.ConcretizationTypeError:
        return fn(*fixed, *trees)


@functools.lru_cache(KEPT)
def _program(fn, fixed):
    return jax.jit(functools.partial(fn, *fixed))
