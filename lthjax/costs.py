"""What a network costs: multiplications and parameters, dense and with its masks.

How often a forward pass uses each weight is read off the program that JAX traces, so
that it serves any function, not only flax modules; nothing is computed.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from lthjax import masks as masks_lib
from lthjax.masks import Masks, Params

# Where a value comes from: the leaves (name, size) that it is computed from, or, of
# what depends on the images, None.
_IMAGES = None
_CONSTANT = frozenset()


def uses(
    forward_fn: Callable, params: Params, image_shape: Sequence[int]
) -> dict[str, float]:
    """Returns {name: how often a pass over one image uses each weight of a leaf}.

        uses = (multiplications of the leaf with what depends on the image) / size

    in convolutions and matrix products: of a convolution's kernel the pixels of its
    result, of a dense one, on [..., features], the product of the leading axes. A pixel
    of the padding counts as any other. What is none of the two does not count: biases,
    norms, embeddings that are looked up, products of activations with one another.

    Args:
      forward_fn: (params, images [1, *image_shape]) -> anything; any JAX function,
        evaluated as in inference (norms by running statistics).
      params: The parameters, or their shapes.
      image_shape: (height, width, channels), or whatever one float32 input is.

    Returns:
      Of every leaf, those that are used first in the order of their use (the depth),
      then the others with 0. Where a kernel is computed from several leaves, from
      weights and gates say, its uses are those of the largest (of each of equals).

    Raises:
      ValueError: A leaf is used in a loop whose length the program does not tell.
    """
    sizes = dict(_sizes(params))
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    program = jax.make_jaxpr(forward_fn)(params, images).jaxpr
    origins = [frozenset([leaf]) for leaf in sizes.items()]
    _, products = _walk(program, [*origins, _IMAGES])
    used = {name: number / size for (name, size), number in products.items()}
    return used | {name: 0.0 for name in sizes if name not in used}


def flops(params: Params, masks: Masks | None, uses: Mapping[str, float]) -> float:
    """Returns the operations of a pass over one image: a multiply and an add a use.

        2 sum_l kept_l uses_l

    over all leaves, of those that are never pruned all weights. Biases, norms and
    activations are left out, as is usual; a multiply-add ("MAC") is two operations.

    Args:
      params: The parameters, or their shapes.
      masks: Their masks; `None` for the dense network.
      uses: Of the same parameters, `uses(...)`.

    Raises:
      ValueError: The masks do not fit the parameters, or the uses are of others.
    """
    kept = _kept(params, masks)
    if kept.keys() != uses.keys():
        raise ValueError(
            "uses must be of these parameters, got other leaves: "
            f"{', '.join(sorted(kept.keys() ^ uses.keys()))}"
        )
    return 2 * sum(number * uses[name] for name, number in kept.items())


def parameters(params: Params, masks: Masks | None = None) -> int:
    """Returns how many parameters are kept, those that are never pruned among them.

    Args:
      params: The parameters, or their shapes.
      masks: Their masks; `None` for the dense network.

    Raises:
      ValueError: The masks do not fit the parameters.
    """
    return sum(_kept(params, masks).values())


def _sizes(params):
    """Returns the (name, size) of every leaf."""
    sizes = [math.prod(jnp.shape(w)) for w in jax.tree.leaves(params)]
    return list(zip(masks_lib.names(params), sizes, strict=True))


def _kept(params, masks):
    """Returns {name: weights kept} of every leaf, as numbers of the host."""
    kept = dict(_sizes(params))
    if masks is None:
        return kept
    masks_lib.compatible(params, masks)
    return kept | {name: n for name, (n, _) in masks_lib.layers(masks).items()}


def _walk(program, origins):
    """Returns (origins of the results, {leaf: multiplications}) of a program."""
    known = dict(zip(program.invars, origins, strict=True))
    products = collections.Counter()

    def origin(variable):
        constant = isinstance(variable, Literal)
        return _CONSTANT if constant else known.get(variable, _CONSTANT)

    for equation in program.eqns:
        found, more = _step(equation, [origin(v) for v in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
        products.update(more)
    return [origin(v) for v in program.outvars], products


def _step(equation, origins):
    """Returns (origins of the results, {leaf: multiplications}) of an equation."""
    kind = equation.primitive.name
    if kind in _CONTROL:
        return _CONTROL[kind](equation, origins)
    for inner in map(_program, equation.params.values()):
        if inner is not None and len(inner.invars) == len(origins):
            return _walk(inner, origins)
    number = _MULTIPLICATIONS[kind](equation) if kind in _MULTIPLICATIONS else 0
    leaves = [leaf for leaves in origins if leaves for leaf in leaves]
    largest = max((size for _, size in leaves), default=0)
    counted = number and _IMAGES in origins
    products = {leaf: number for leaf in leaves if counted and leaf[1] == largest}
    return [_join(origins)] * len(equation.outvars), products


def _program(value):
    """Returns the program in a parameter of an equation, or `None`."""
    value = value.jaxpr if isinstance(value, ClosedJaxpr) else value
    return value if isinstance(value, Jaxpr) else None


def _join(origins):
    """Returns the origin of what is computed from values of these origins."""
    return _IMAGES if _IMAGES in origins else _CONSTANT.union(*origins)


def _loop(body, fixed, carry, slices):
    """Walks a loop's body, once what is carried has all the origins it ever has."""
    while True:
        found, products = _walk(body, [*fixed, *carry, *slices])
        joined = [_join(pair) for pair in zip(carry, found, strict=False)]
        if joined == carry:
            return [*carry, *found[len(carry) :]], products
        carry = joined


def _scan(equation, origins):
    """Walks a scan: what has an axis less inside is a slice, the rest is whole."""
    body = _program(equation.params["jaxpr"])
    whole = _count_whole(equation.invars, body.invars)
    carried = _count_whole(equation.outvars, body.outvars)
    parts = origins[: whole - carried], origins[whole - carried : whole]
    found, products = _loop(body, *parts, origins[whole:])
    length = equation.params["length"]
    return found, {leaf: length * number for leaf, number in products.items()}


def _count_whole(outer, inner):
    pairs = zip(outer, inner, strict=True)
    return sum(len(x.aval.shape) == len(y.aval.shape) for x, y in pairs)


def _while(equation, origins):
    params = equation.params
    first = params["cond_nconsts"]
    last = first + params["body_nconsts"]
    body = _program(params["body_jaxpr"])
    found, products = _loop(body, origins[first:last], origins[last:], [])
    if products:
        raise ValueError(
            "a weight must be used a known number of times, got "
            f"{', '.join(name for name, _ in products)} in a loop whose length the "
            "program does not tell; write it as lax.scan, or with fixed bounds"
        )
    return found, products


def _cond(equation, origins):
    """Walks all branches; of each leaf the one that uses it most counts."""
    branches = [_walk(_program(b), origins[1:]) for b in equation.params["branches"]]
    products = collections.Counter()
    for _, more in branches:
        products |= more
    outs = zip(*(found for found, _ in branches), strict=True)
    return [_join([origins[0], *found]) for found in outs], products


def _in_dot(equation):
    (contracted, _), _ = equation.params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    depth = math.prod(shape[axis] for axis in contracted)
    return depth * math.prod(equation.outvars[0].aval.shape)


def _in_convolution(equation):
    kernel = equation.invars[1].aval.shape
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    depth = math.prod(kernel) // features
    return depth * math.prod(equation.outvars[0].aval.shape)


_MULTIPLICATIONS = {"dot_general": _in_dot, "conv_general_dilated": _in_convolution}
_CONTROL = {"scan": _scan, "while": _while, "cond": _cond}
