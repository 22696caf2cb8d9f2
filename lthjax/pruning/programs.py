"""What is called outside of `jit`, as one program in place of many."""

import collections
import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

DEEPEST = 4  # modules within modules whose attributes a code may name
KEPT = 4  # programs; their functions, and what these close over, stay in memory
# Whose functions and objects are taken to be what they are: they are not looked into.
LIBRARIES = ("builtins", "flax", "jax", "jaxlib", "lthjax", "numpy", "optax")
VALUES = (bool, int, float, complex, str, bytes, type(None), np.generic)


class Kept(NamedTuple):
    """A program that was compiled.

    Attributes:
      fn: The function of a module.
      fixed: What it was given that is no array.
      seen: All that the functions among these see beside their arguments.
      run: The program.
    """

    fn: Callable[..., Any]
    fixed: tuple
    seen: list
    run: Callable[..., Any]


_kept: collections.deque[Kept] = collections.deque(maxlen=KEPT)


def called(fn: Callable[..., Any], fixed: tuple, *trees: Any) -> Any:
    """Returns `fn(*fixed, *trees)`, compiled whole where nothing is being traced.

    The last few programs are kept: the same function of the same `fixed` compiles once
    for trees of the same shapes, another one anew; and so does one that sees other
    values: in what it closes over, in globals that it names, in its defaults, and in
    the object that it is a method of, through containers, functions and classes of the
    user's and what they name of a module. JAX's arrays are known by their identity,
    NumPy's, which can be filled anew, by what they hold.
    What goes by values in Python (`if loss > 1`) runs operation by operation, as it is.

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


def _program(fn, fixed):
    """Returns the program that is kept of a function, or a new one."""
    seen = list(_seen(fixed, {}))
    for kept in _kept:
        if kept.fn is fn and _same(kept.seen, seen):
            return kept.run
    run = jax.jit(functools.partial(fn, *fixed))
    _kept.append(Kept(fn, fixed, seen, run))
    return run


def _same(one, other) -> bool:
    """Returns whether what was seen is the same objects, or equal plain values."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, VALUES) and type(a) is type(b) and a == b)
        for a, b in zip(one, other, strict=True)
    )


def _seen(value: Any, known: dict[int, Any]) -> Iterator[Any]:
    """Yields an object, or what it holds where that may change."""
    if isinstance(value, VALUES):
        yield value
    elif isinstance(value, types.MethodType):
        yield from _all((value.__func__, value.__self__), known)
    elif isinstance(value, functools.partial):
        yield from _all((value.func, value.args, value.keywords), known)
    elif isinstance(value, np.ndarray):
        held = hashlib.blake2b(_bytes(value)).hexdigest()
        yield f"{value.dtype} {value.shape} {held}"
    elif id(value) in known or _is_a_librarys(value):
        yield value
    else:
        known[id(value)] = value  # alive, so that no other one takes its place
        yield from _inside(value, known)


def _inside(value, known):
    """Yields what a container, a function or an object of the user's holds."""
    if isinstance(value, dict):
        yield from _all((type(value), *value.keys(), *value.values()), known)
    elif isinstance(value, list | tuple | set | frozenset):
        yield from _all((type(value), *value), known)
    elif isinstance(value, types.FunctionType):
        yield value.__code__
        held = (value.__defaults__, value.__kwdefaults__, *_cells(value))
        yield from _all((*held, *_globals(value.__code__, value.__globals__)), known)
    else:
        yield value
        yield from _all(tuple(getattr(value, "__dict__", {}).items()), known)
        yield from _all(tuple(_slots(value)), known)
        if not isinstance(value, type):
            yield from _seen(type(value), known)


def _all(values, known):
    for value in values:
        yield from _seen(value, known)


def _is_a_librarys(value) -> bool:
    """Returns whether an object, or what it is derived from, is no user's."""
    if isinstance(value, jax.Array | types.ModuleType):
        return True
    if isinstance(value, types.FunctionType):
        return _root(value) in LIBRARIES
    containers = (dict, list, tuple, set, frozenset)
    of = value if isinstance(value, type) else type(value)
    kinds = [kind for kind in of.__mro__ if kind is not object]
    return not isinstance(value, containers) and any(
        _root(kind) in LIBRARIES for kind in kinds
    )


def _root(value):
    return (getattr(value, "__module__", None) or "").partition(".")[0]


def _bytes(array) -> bytes:
    """Returns what an array holds; of objects, which have no bytes, their names."""
    return repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()


def _slots(value) -> Iterator[Any]:
    """Yields what an object without a `__dict__` holds."""
    for kind in type(value).__mro__:
        names = getattr(kind, "__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            yield getattr(value, name, None)


def _cells(function) -> Iterator[Any]:
    """Yields what a function closes over, but for what is not set yet."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue


def _globals(code, names) -> Iterator[Any]:
    """Yields the globals that a code names, and those of the functions in it.

    Of a user's module it may read whatever it names beside.
    """
    for name in code.co_names:
        if name in names:
            yield names[name]
            yield from _attributes(names[name], code.co_names, 0)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _globals(inner, names)


def _attributes(module, names, depth) -> Iterator[Any]:
    """Yields the named attributes of a user's module, and of the modules in it."""
    if not isinstance(module, types.ModuleType) or depth > DEEPEST:
        return
    root = module.__name__.partition(".")[0]
    if root in LIBRARIES or root in sys.stdlib_module_names:
        return
    for name in names:
        if name in vars(module):
            yield vars(module)[name]
            yield from _attributes(vars(module)[name], names, depth + 1)
