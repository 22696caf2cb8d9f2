"""What a network costs: multiplications and parameters, dense and with its masks.

How often a forward pass uses each weight is read off the program that JAX traces, so
that it serves any function, not only flax modules; nothing is computed.
"""

import collections
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from lthjax.analysis import origins
from lthjax.analysis.origins import CONSTANT, Origin, uniform
from lthjax.devices import operations
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

_IMAGES = None  # the origin of what depends on the images; of leaves (name, size) else
_UNKNOWN = object()


class _Picked(NamedTuple):
    """The origin of weights that the images have picked: of an expert, say.

    In a product with what depends on the images they are weights; with weights, as what
    an embedding has looked up, they depend on the images.
    """

    weights: Origin


def uses(
    forward_fn: Callable[[Any, Any], Any],
    params: Params,
    image_shape: Sequence[int],
    *,
    dtype: Any = jnp.float32,
) -> dict[str, float]:
    """Returns {name: how often a pass over one image uses each weight of a leaf}.

        uses = (multiplications of the leaf with what depends on the image) / size

    in convolutions and matrix products: of a convolution's kernel the pixels of its
    result, of a dense one, on [..., features], the product of the leading axes. A pixel
    of the padding counts as any other; of a transposed convolution, whose input is
    dilated, it is the pixels of the input. Kernels that are put together, padded or cut
    before a product have each its own part of it, by its elements. Of weights that the
    image picks, as a router picks experts, each is used by its share of them; if a
    branch picks them, those of every branch are; what is computed with what was picked
    counts as an activation. Of weights that a loop carries all turns have the same
    part. What is neither of both products does not count: biases, norms, embeddings
    that are looked up, products of activations with one another.

    Args:
      forward_fn: `(params, images [1, *image_shape]) -> anything`; any JAX function,
        evaluated as in inference (norms by running statistics).
      params: The parameters, or their shapes.
      image_shape: (height, width, channels), or the shape of whatever one input is.
      dtype: Of the inputs.

    Returns:
      Of every leaf, those that are used first in the order of their use (the depth),
      then the others with 0. Where an element is computed from several leaves, from
      weights and gates say, its uses are those of the largest (of each of equals).

    Raises:
      ValueError: A leaf is used in a loop whose length the program does not tell, or
        is no array.
    """
    sizes = dict(_sizes(params))
    images = jax.ShapeDtypeStruct((1, *image_shape), dtype)
    program = jax.make_jaxpr(forward_fn)(params, images).jaxpr
    shapes = map(jnp.shape, jax.tree.leaves(params))
    given = map(origins.leaf, sizes.items(), shapes)
    _, products = _walk(program, [*given, _IMAGES])
    used = {
        name: round(float(number), 6) / size
        for (name, size), number in products.items()
    }
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
      ValueError: The masks do not fit the parameters, a leaf is no array, or the uses
        are of others.
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
      ValueError: The masks do not fit the parameters, or a leaf is no array.
    """
    return sum(_kept(params, masks).values())


def _sizes(params):
    """Returns the (name, size) of every leaf."""
    leaves = masks_lib.by_name(params)
    for name, w in leaves.items():
        if not hasattr(w, "shape"):
            raise ValueError(
                f"parameters must be arrays, or their shapes, got {name} = {w!r}; "
                "leave out what is none (equinox.partition)"
            )
    return [(name, math.prod(jnp.shape(w))) for name, w in leaves.items()]


def _kept(params, masks):
    """Returns {name: weights kept} of every leaf, as numbers of the host."""
    kept = dict(_sizes(params))
    if masks is None:
        return kept
    masks_lib.compatible(params, masks)
    return kept | {name: n for name, (n, _) in masks_lib.layers(masks).items()}


def _walk(program, given):
    """Returns (origins of the results, {leaf: multiplications}) of a program."""
    known = dict(zip(program.invars, given, strict=True))
    products = collections.Counter()

    def origin(variable):
        found = None if isinstance(variable, Literal) else known.get(variable, _UNKNOWN)
        constant = isinstance(variable, Literal) or found is _UNKNOWN
        return uniform(CONSTANT, variable.aval.shape) if constant else found

    for equation in program.eqns:
        found, more = _step(equation, [origin(v) for v in equation.invars])
        known.update(zip(equation.outvars, found, strict=True))
        products.update(more)
    return [origin(v) for v in program.outvars], products


def _step(equation, given):
    """Returns (origins of the results, {leaf: multiplications}) of an equation."""
    kind = equation.primitive.name
    if kind in _CONTROL:
        return _CONTROL[kind](equation, given)
    for inner in map(_program, equation.params.values()):
        if inner is not None and len(inner.invars) == len(given):
            return _walk(inner, given)
    if any(map(_of_images, given)):
        number = _MULTIPLICATIONS[kind](equation) if kind in _MULTIPLICATIONS else 0
        return _pickings(equation, given), _shared(number, given)
    return origins.followed(equation, given), {}


def _of_images(origin):
    return origin is _IMAGES or isinstance(origin, _Picked)


def _pickings(equation, given):
    """Returns the origins of what depends on the images, weights that they pick too."""
    kind, first = equation.primitive.name, given[0]
    if kind in origins.PICKS and not _of_images(first):
        return [_picked(o) for o in origins.followed(equation, [first])]
    moved = kind in origins.MOVES or kind == "convert_element_type"
    if moved and len(given) == 1 and isinstance(first, _Picked):
        return [_picked(o) for o in origins.followed(equation, [first.weights])]
    return [_IMAGES] * len(equation.outvars)


def _picked(origin):
    """Returns the origin of what the images pick, of no weights if there are none."""
    weights = any(leaves for leaves, _ in origins.cases(origin))
    return _Picked(origin) if weights else _IMAGES


def _shared(number, given):
    """Returns {leaf: its part} of a number of multiplications by weights.

    By the elements of the operand that are computed from the leaf, of several the
    largest, or each of the largest.
    """
    products = collections.Counter()
    weights = [origin for origin in given if not _of_images(origin)]
    if _IMAGES in given:
        weights += [o.weights for o in given if isinstance(o, _Picked)]
    cases = [case for origin in weights for case in origins.cases(origin)]
    for leaves, share in cases if number else ():
        largest = max((size for _, size in leaves), default=0)
        found = sorted(leaf for leaf in leaves if leaf[1] == largest)
        products.update(dict.fromkeys(found, number * share))
    return products


def _program(value):
    """Returns the program in a parameter of an equation, or `None`."""
    value = value.jaxpr if isinstance(value, ClosedJaxpr) else value
    return value if isinstance(value, Jaxpr) else None


def _either(given):
    """Returns the origin of what may be any of several values."""
    return _IMAGES if any(map(_of_images, given)) else origins.either(given)


def _carried(carry, found):
    """Returns the origin of what a loop carries from turn to turn."""
    of_images = any(map(_of_images, (carry, found)))
    return _IMAGES if of_images else origins.carried(carry, found)


def _loop(body, fixed, carry, slices):
    """Walks a loop's body, once what is carried has all the origins it ever has."""
    while True:
        found, products = _walk(body, [*fixed, *carry, *slices])
        joined = [_carried(*pair) for pair in zip(carry, found, strict=False)]
        if all(a is b for a, b in zip(joined, carry, strict=True)):
            return [*carry, *found[len(carry) :]], products
        carry = joined


def _scan(equation, given):
    """Walks a scan: what has an axis less inside is a slice, the rest is whole."""
    body = _program(equation.params["jaxpr"])
    whole = _count_whole(equation.invars, body.invars)
    carried = _count_whole(equation.outvars, body.outvars)
    parts = given[: whole - carried], given[whole - carried : whole]
    slices = [_IMAGES if _of_images(o) else origins.turn(o) for o in given[whole:]]
    found, products = _loop(body, *parts, slices)
    length = equation.params["length"]
    stacked = [
        _IMAGES if _of_images(o) else origins.stacked(o, length)
        for o in found[carried:]
    ]
    times = {leaf: length * number for leaf, number in products.items()}
    return [*found[:carried], *stacked], times


def _count_whole(outer, inner):
    pairs = zip(outer, inner, strict=True)
    return sum(len(x.aval.shape) == len(y.aval.shape) for x, y in pairs)


def _while(equation, given):
    params = equation.params
    first = params["cond_nconsts"]
    last = first + params["body_nconsts"]
    body = _program(params["body_jaxpr"])
    found, products = _loop(body, given[first:last], given[last:], [])
    if products:
        raise ValueError(
            "a weight must be used a known number of times, got "
            f"{', '.join(name for name, _ in products)} in a loop whose length the "
            "program does not tell; write it as lax.scan, or with fixed bounds"
        )
    return found, products


def _cond(equation, given):
    """Walks all branches; of each leaf the one that uses it most counts."""
    branches = [_walk(_program(b), given[1:]) for b in equation.params["branches"]]
    products = collections.Counter()
    for _, more in branches:
        products |= more
    outs = zip(*(found for found, _ in branches), strict=True)
    found = [_either(one) for one in outs]
    if _of_images(given[0]):
        found = [_IMAGES if _of_images(one) else _picked(one) for one in found]
    return found, products


def _in_convolution(equation):
    kernel = equation.invars[1].aval.shape
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    depth = math.prod(kernel) // features
    return depth * math.prod(_touched(equation))


def _touched(equation):
    """Returns the shape of a result, in pixels of the input where that is dilated.

    A weight meets each pixel of such an input once, and between them zeros, which do
    not count; with a stride, on the mean over the window, one of so many pixels.
    """
    params, out = equation.params, list(equation.outvars[0].aval.shape)
    numbers, given = params["dimension_numbers"], equation.invars[0].aval.shape
    rows = zip(params["lhs_dilation"], params["window_strides"], strict=True)
    places = zip(numbers.lhs_spec[2:], numbers.out_spec[2:], strict=True)
    for (dilation, stride), (here, there) in zip(rows, places, strict=True):
        if dilation > 1:
            out[there] = -(-given[here] // stride)
    return out


_MULTIPLICATIONS = {
    "dot_general": operations.in_dot,
    "ragged_dot_general": operations.in_ragged_dot,
    "conv_general_dilated": _in_convolution,
}
_CONTROL = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "optimization_barrier": lambda equation, given: (given, {}),
}
