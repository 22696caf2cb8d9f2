"""How many operations the products and convolutions of a traced program are."""

import math
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def count(jaxpr: Any) -> float:
    """Returns the operations of the products of a program on one device.

    A multiply and an add for every number that goes into a result; of a convolution
    with a dilated image, those of the image's own pixels. A loop counts with its turns,
    or once, where the data decide; of branches the longest counts; what is mapped over
    a mesh (`jax.shard_map`) is what one device does.

    Args:
      jaxpr: As `jax.stages.Traced.jaxpr` has it.
    """
    if isinstance(jaxpr, ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    return float(sum(_operations(eqn) for eqn in jaxpr.eqns))


def _operations(eqn):
    name = eqn.primitive.name
    if name in _PRODUCTS:
        return 2 * _PRODUCTS[name](eqn)
    inside = [count(each) for value in eqn.params.values() for each in _jaxprs(value)]
    if name == "cond":
        return max(inside, default=0)
    return eqn.params.get("length", 1) * sum(inside) if name == "scan" else sum(inside)


def _jaxprs(value):
    """Returns the programs among the parameters of an operation."""
    values = value if isinstance(value, tuple | list) else (value,)
    return [each for each in values if isinstance(each, ClosedJaxpr | Jaxpr)]


def in_dot(eqn: Any) -> int:
    """Returns the multiplications of a `dot_general` in a traced program."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    depth = math.prod(shape[axis] for axis in contracted)
    return depth * math.prod(eqn.outvars[0].aval.shape)


def in_ragged_dot(eqn: Any) -> int:
    """Returns those of rows, each of which meets the matrix of its group alone."""
    numbers = eqn.params["ragged_dot_dimension_numbers"]
    (contracted, _), _ = numbers.dot_dimension_numbers
    rows, groups = (eqn.invars[i].aval.shape for i in (0, 2))
    depth = math.prod(rows[axis] for axis in contracted)
    whole = depth * math.prod(eqn.outvars[0].aval.shape)
    ragged = {*numbers.lhs_ragged_dimensions} <= {*contracted}
    return whole // groups[-1] if ragged else whole


def _in_convolution(eqn):
    kernel, layout = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"].rhs_spec
    depth = math.prod(kernel) / max(1, kernel[layout[0]])
    spread = math.prod(eqn.params["lhs_dilation"])
    return depth * math.prod(eqn.outvars[0].aval.shape) / spread


_PRODUCTS = {
    "dot_general": in_dot,
    "conv_general_dilated": _in_convolution,
    "ragged_dot_general": in_ragged_dot,
}
