"""Arithmetic that cannot overflow: a power of two is carried beside every array.

A function is evaluated primitive by primitive, each array x as `mantissa * 2^exponent`
with one exponent for the whole array. Products add exponents, and before mantissas can
leave the range of floats the largest of the array is brought back to [1, 2); sums align
both sides to the larger exponent. Scaling by a power of two is exact, so that the
mantissas are those of the function itself but for what is more than a factor 2^100
below the largest entry of its array. Derivatives by the mantissas stay in range for the
same reason: an exponent is a constant to them.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal

_LOWEST = -(2**20)  # the exponent of zero: below that of every other array
_MOST_FACTORS = 4  # multiplied entry by entry before the product is normalised


class _Bits(NamedTuple):
    """How a float lies in an integer: its exponent and a bias above the fraction."""

    floats: str
    integers: str
    bias: int
    fraction: int


_SINGLE = _Bits("float32", "int32", 127, 23)  # smaller floats are read as these
_DOUBLE = _Bits("float64", "int64", 1023, 52)


class Scaled(NamedTuple):
    """The array `mantissa * 2^exponent`.

    Attributes:
      mantissa: A float array of any shape.
      exponent: int32 []; it has no derivative.
    """

    mantissa: jax.Array
    exponent: jax.Array


class _Term(NamedTuple):
    """A `Scaled` array in the evaluation, a product of so many normalised factors."""

    mantissa: jax.Array
    exponent: jax.Array
    factors: int = 1


def evaluate(fn: Callable[..., Any], *args: Any) -> Any:
    """Returns `fn(*args)` with every array of floats a `Scaled`, and no overflow.

    Linear and homogeneous primitives, products, powers and calls of other functions
    (`jit`, `checkpoint`, custom derivatives) keep their exponents. All others, loops
    among them, see their arguments as plain numbers: beyond 2^126 the nearest to it.

    Args:
      fn: A function of arrays. Derivatives are those of what it computes: a custom rule
        is not asked; `max(x, 0)` has the derivative 0 at 0, as `jax.nn.relu` has.
      *args: Trees of arrays.

    Example:
      >>> huge = lth.pruning.overflow_free.evaluate(lambda x: x * x, jnp.float32(1e30))
      >>> float(huge.mantissa), int(huge.exponent)
      (1.2446030378341675, 199)
    """
    jaxpr, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    leaves = [_entering(jnp.asarray(leaf)) for leaf in jax.tree.leaves(args)]
    results = [_entering(x) for x in _run(jaxpr, leaves)]
    scaled = [normalise(*x[:2]) if isinstance(x, _Term) else x for x in results]
    return jax.tree.unflatten(jax.tree.structure(shape), scaled)


def normalise(mantissa: jax.Array, exponent: Any = 0) -> Scaled:
    """Returns the same numbers with the largest finite `|mantissa|` in [1, 2).

    An array without such an entry but 0 gets an exponent below all others.

    Args:
      mantissa: A float array of any shape.
      exponent: int32 [].
    """
    form, reach = _form(mantissa.dtype), _reach(mantissa.dtype)
    size = jnp.abs(lax.stop_gradient(mantissa))
    bits = lax.bitcast_convert_type(size.astype(form.floats), form.integers)
    bits = (bits >> form.fraction).astype(jnp.int32)
    counted = (bits > 0) & (size < jnp.inf)
    bits = jnp.clip(bits, form.bias - reach, form.bias + reach)
    # The old exponent is inside the maximum, so that the new one is its result: added
    # afterwards, XLA would compute the sum over all layers so far in every kernel.
    each = jnp.where(counted, bits + (exponent - form.bias), _LOWEST)
    highest = jnp.max(each, initial=_LOWEST)
    shift = jnp.where(highest > _LOWEST, highest - exponent, 0)
    return Scaled(mantissa * _power(-shift, mantissa.dtype), highest)


def value(x: Scaled) -> jax.Array:
    """Returns `mantissa * 2^exponent`, the exponent clipped to what the dtype holds."""
    mantissa, exponent = normalise(*x)
    reach = _reach(mantissa.dtype)
    return mantissa * _power(jnp.clip(exponent, -reach, reach), mantissa.dtype)


def _form(dtype) -> _Bits:
    return _DOUBLE if dtype == jnp.float64 else _SINGLE


def _reach(dtype) -> int:
    """Returns the largest n for which 2^-n is normal and 2^(n + 1) is finite."""
    return jnp.finfo(dtype).maxexp - 2


def _power(exponent, dtype):
    """Returns 2^exponent exactly, for an exponent within the reach of the dtype."""
    form = _form(dtype)
    bits = jnp.asarray(exponent + form.bias, form.integers) << form.fraction
    return lax.bitcast_convert_type(bits, form.floats).astype(dtype)


def _is_float(x) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _entering(x):
    """Returns an array as the rules want it: a `_Term` if of floats.

    A number of the program keeps its mantissa in numpy, where it can be looked at.
    """
    if isinstance(x, _Term) or not _is_float(x):
        return x
    if x.ndim or not isinstance(x, np.ndarray):
        return _renewed(x, 0)
    mantissa, exponent = math.frexp(float(x))
    if mantissa == 0 or not math.isfinite(mantissa):
        exponent = _LOWEST
    return _Term(np.asarray(mantissa, x.dtype), np.int32(exponent))


def _run(jaxpr, args) -> list:
    """Returns the results of a program for arguments as the rules want them.

    What does not depend on them is computed plainly.
    """
    env = dict(zip(jaxpr.invars, args, strict=True))
    env |= dict(zip(jaxpr.constvars, getattr(jaxpr, "consts", ()), strict=True))

    def read(atom):
        if isinstance(atom, Literal):
            return np.asarray(atom.val, atom.aval.dtype)
        return env[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if any(isinstance(x, _Term) for x in operands):
            rule = _RULES.get(eqn.primitive.name, _plain)
            results = rule(eqn, [_entering(x) for x in operands])
        else:
            results = _bind(eqn, operands)
        env |= dict(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(eqn, args) -> list:
    """Returns what the primitive makes of plain arrays."""
    params = eqn.primitive.get_bind_params(eqn.params)
    results = eqn.primitive.bind(*args, **params)
    return results if eqn.primitive.multiple_results else [results]


def _plain(eqn, args):
    """Evaluates any primitive: f(value(x))."""
    plain = [value(Scaled(*x[:2])) if isinstance(x, _Term) else x for x in args]
    return [_entering(y) for y in _bind(eqn, plain)]


def _called(eqn, args):
    """Evaluates the function that is called."""
    inner = eqn.params["jaxpr" if "jaxpr" in eqn.params else "call_jaxpr"]
    return _run(inner, args)


def _homogeneous(eqn, args):
    """Evaluates f with f(c x, c y) = c f(x, y), or f(x, y), at the larger exponent."""
    terms = [x for x in args if isinstance(x, _Term)]
    top = functools.reduce(jnp.maximum, [x.exponent for x in terms])
    factors = max(x.factors for x in terms)

    def aligned(x):
        if not isinstance(x, _Term) or len(terms) == 1:
            return x.mantissa if isinstance(x, _Term) else x
        dtype = x.mantissa.dtype
        return x.mantissa * _power(jnp.maximum(x.exponent - top, -_reach(dtype)), dtype)

    results = _bind(eqn, [aligned(x) for x in args])
    return [_Term(y, top, factors) if _is_float(y) else y for y in results]


def _converted(eqn, args):
    """Evaluates a change of dtype; among floats the exponent stays."""
    among_floats = jnp.issubdtype(eqn.params["new_dtype"], jnp.floating)
    return (_homogeneous if among_floats else _plain)(eqn, args)


def _larger(eqn, args):
    """Evaluates max(x, y); with the number 0 it needs no alignment."""
    numbers = [isinstance(x, _Term) and _is_zero(x.mantissa) for x in args]
    if sum(numbers) != 1:
        return _homogeneous(eqn, args)
    x = args[numbers.index(False)]
    zeros = jnp.zeros_like(x.mantissa)
    return [x._replace(mantissa=jnp.where(x.mantissa <= 0, zeros, x.mantissa))]


def _is_zero(mantissa) -> bool:
    return isinstance(mantissa, np.ndarray) and not mantissa.any()


def _product(eqn, args):
    """Evaluates x * y, normalised where too many factors have come together."""
    x, y = args
    (result,) = _bind(eqn, [x.mantissa, y.mantissa])
    term = _Term(result, x.exponent + y.exponent, x.factors + y.factors)
    return [term if term.factors <= _MOST_FACTORS else _renewed(*term[:2])]


def _renewed(mantissa, exponent):
    return _Term(*normalise(mantissa, exponent))


def _contraction(eqn, args, sign=1):
    """Evaluates f with f(a x, b y) = a b^sign f(x, y)."""
    if not all(isinstance(x, _Term) for x in args):
        return _plain(eqn, args)
    (result,) = _bind(eqn, [x.mantissa for x in args])
    return [_renewed(result, args[0].exponent + sign * args[1].exponent)]


def _raised(eqn, args):
    """Evaluates x^(times / root), the exponent first made a multiple of the root."""
    (x,) = args
    times, root = _DEGREES.get(eqn.primitive.name) or (eqn.params["y"], 1)
    rest = x.exponent % root
    (result,) = _bind(eqn, [x.mantissa * _power(rest, x.mantissa.dtype)])
    return [_renewed(result, (x.exponent - rest) // root * times)]


_DEGREES = {"square": (2, 1), "sqrt": (1, 2), "rsqrt": (-1, 2)}
_CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "remat2",
    "checkpoint",
)
_HOMOGENEOUS = (
    *("add", "sub", "add_any", "min", "neg", "abs", "clamp", "select_n"),
    *("eq", "ne", "lt", "le", "gt", "ge", "argmax", "argmin", "sort"),
    *("reduce_sum", "reduce_max", "reduce_min", "cumsum", "cummax", "cummin"),
    *("reduce_window_sum", "reduce_window_max", "reduce_window_min"),
    *("concatenate", "pad", "split", "slice", "squeeze", "gather", "tile", "rev"),
    *("dynamic_slice", "dynamic_update_slice", "broadcast_in_dim", "reshape"),
    *("transpose", "copy", "copy_p", "optimization_barrier", "name"),
)
_RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_CALLS, _called),
    **dict.fromkeys(_HOMOGENEOUS, _homogeneous),
    **dict.fromkeys(("dot_general", "conv_general_dilated"), _contraction),
    **dict.fromkeys((*_DEGREES, "integer_pow"), _raised),
    "convert_element_type": _converted,
    "div": functools.partial(_contraction, sign=-1),
    "max": _larger,
    "mul": _product,
}
