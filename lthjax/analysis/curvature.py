"""What the loss around a ticket is like, on the coordinates that its masks keep.

Gradient norm, largest curvature and trace of the Hessian by products with it alone, a
slice of the loss surface, and how many activations are next to nothing. Coordinates of
leaves that are never pruned (mask `None`) are kept ones; all leaves must be real and
floating. Pure functions, jittable.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.callables import LossFn
from lthjax.pruning import gradients, places, precision
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.pruning.views import UNKNOWN, View, Views


class Surface(NamedTuple):
    """A slice of the loss surface.

    Attributes:
      steps: Along either direction, float32 [points].
      losses: At all pairs of them, float32 [points, points].
    """

    steps: jax.Array
    losses: jax.Array


def gradient_norm(loss_fn: LossFn, params: Params, masks: Masks) -> jax.Array:
    """Returns `|where(mask, dloss/dparams, 0)|`, float32 [].

    Args:
      loss_fn: params -> loss [].
      params: The weights.
      masks: Their masks.
    """
    loss_fn, params = _in_float32(loss_fn, params)
    start = masks_lib.apply(params, masks)
    return _norm(masks_lib.apply(jax.grad(loss_fn)(start), masks))


def product(loss_fn: LossFn, params: Params, masks: Masks, vector: Params) -> Params:
    """Returns M H M v, M the projection on what the masks keep, H the loss's Hessian.

    Forward over reverse: it costs about two and a half gradients.

    Args:
      loss_fn: params -> loss [].
      params: The weights; those pruned are taken as zero.
      masks: Their masks.
      vector: v, a tree like `params`.
    """
    wide_fn, wide = _in_float32(loss_fn, params)
    found = _product(wide_fn, wide, masks, precision.widened(vector))
    return precision.as_of(found, params)


def _product(loss_fn, params, masks, vector):
    """Returns `product` of parameters that are float32."""
    start, along = (masks_lib.apply(tree, masks) for tree in (params, vector))
    _, found = jax.jvp(jax.grad(loss_fn), (start,), (along,))
    return masks_lib.apply(found, masks)


def top_eigenvalue(
    key: jax.Array,
    loss_fn: LossFn,
    params: Params,
    masks: Masks,
    *,
    iterations: int = 50,
) -> jax.Array:
    """Returns the eigenvalue of M H M that is largest in size, by power iteration.

        v = M H M v / |M H M v|

    and of the two vectors v and M H M v the combination whose quotient v . (M H M v) is
    largest in size: where two eigenvalues of opposite signs are of about one size, v
    alone ends between theirs.

    Args:
      key: A PRNG key, of the first direction.
      loss_fn: params -> loss [].
      params: The weights.
      masks: Their masks.
      iterations: The error falls by the square of the ratio of the two largest each.
    """
    loss_fn, params = _in_float32(loss_fn, params)
    start = _unit(masks_lib.apply(_draw(jax.random.normal, key, params), masks))

    def body(_, vector):
        return _unit(_product(loss_fn, params, masks, vector))

    vector = lax.fori_loop(0, iterations, body, start)
    image = _product(loss_fn, params, masks, vector)
    along = _dot(vector, image)
    rest = jax.tree.map(lambda w, v: w - along * v, image, vector)
    apart = _norm(rest)
    other = jax.tree.map(lambda w: w / jnp.where(apart > 0, apart, 1), rest)
    across = _dot(other, _product(loss_fn, params, masks, other))
    # The eigenvalues of [[along, apart], [apart, across]].
    middle, half = (along + across) / 2, (along - across) / 2
    width = jnp.hypot(half, apart)
    return jnp.where(middle < 0, middle - width, middle + width)


def trace(
    key: jax.Array,
    loss_fn: LossFn,
    params: Params,
    masks: Masks,
    *,
    probes: int = 32,
) -> tuple[jax.Array, jax.Array]:
    """Returns the trace of M H M and its standard error, by Hutchinson's estimator.

        mean over probes of v . (M H M v),  v of random signs

    Args:
      key: A PRNG key.
      loss_fn: params -> loss [].
      params: The weights.
      masks: Their masks.
      probes: How many, at least 2.

    Raises:
      ValueError: There are fewer.
    """
    if probes < 2:
        raise ValueError(
            f"a standard error needs at least 2 probes, got probes = {probes}"
        )
    loss_fn, params = _in_float32(loss_fn, params)

    def one(key):
        signs = _draw(jax.random.rademacher, key, params)
        found = _product(loss_fn, params, masks, signs)
        return _dot(masks_lib.apply(signs, masks), found)

    found = lax.map(one, jax.random.split(key, probes))
    return jnp.mean(found), jnp.std(found, ddof=1) / jnp.sqrt(probes)


def surface(
    key: jax.Array,
    loss_fn: LossFn,
    params: Params,
    masks: Masks,
    *,
    radius: float = 1.0,
    points: int = 11,
    views: Views | None = None,
) -> Surface:
    """Returns the loss over two random directions through the weights.

    Each filter of a direction has the norm of the weights' filter, and is zero where
    they are pruned; biases and norms stay where they are.

    Args:
      key: A PRNG key.
      loss_fn: params -> loss [], norms by their running statistics.
      params: The weights.
      masks: Their masks.
      radius: The farthest step along either direction, 1 being the weights' own norm.
      points: Along either, at least 2; odd for the weights themselves to be one.
      views: Which axes of a leaf are its filters, from `views.of`: an output of a copy
        is one; without, the last axis of leaves of two or more.

    Raises:
      ValueError: There are fewer than 2 points.

    References:
      Li et al., 2018, arXiv:1712.09913.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got points = {points}")
    loss_fn, params = _in_float32(loss_fn, params)
    start = masks_lib.apply(params, masks)
    keys = jax.random.split(key)
    directions = [_filters(k, start, masks, views or {}) for k in keys]
    steps = 2 * jnp.arange(points, dtype=jnp.float32) - (points - 1)
    steps = radius * steps / (points - 1)  # exactly 0 in the middle

    def loss_at(pair):
        moved = jax.tree.map(
            lambda w, a, b: w + pair[0] * a + pair[1] * b, start, *directions
        )
        return precision.widened(loss_fn(moved))

    grid = jnp.stack(jnp.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    return Surface(steps, lax.map(loss_at, grid).reshape(points, points))


def quiet(
    model: Any, apply_fn: Callable[[Any], Any], *, threshold: float = 1e-2
) -> jax.Array:
    """Returns the fraction of all activations that are at most `threshold` in size.

    Args:
      model: A network with the attribute `activation`, as ours.
      apply_fn: model -> anything, a forward pass of it.
      threshold: 1e-2 is the released code's.

    References:
      Jaiswal et al., 2022, arXiv:2206.12755, its code, which looks at one layer.
    """
    counts = []

    def counted(x):
        y = model.activation(x)
        counts.append((jnp.sum(jnp.abs(y) <= threshold), y.size))
        return y

    apply_fn(model.clone(activation=counted))
    return sum(n for n, _ in counts) / sum(size for _, size in counts)


def _in_float32(loss_fn, params):
    """Returns `precision.in_float32` of weights by which there are derivatives."""
    gradients.check_real(params)
    return precision.in_float32(loss_fn, params)


def _draw(fn, key, params):
    """Returns a tree like the parameters, drawn by fn(key, shape, dtype)."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    rows = zip(keys, leaves, strict=True)
    drawn = [places.beside(fn(k, w.shape, w.dtype), w) for k, w in rows]
    return jax.tree.unflatten(structure, drawn)


def _dot(a, b):
    """Returns the product of two trees, wherever on a mesh their leaves lie."""
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum(x * y), a, b))


def _norm(tree):
    return jnp.sqrt(_dot(tree, tree))


def _unit(tree):
    norm = _norm(tree)
    return jax.tree.map(lambda w: w / jnp.where(norm > 0, norm, 1), tree)


def _filters(key, params, masks, views):
    """Returns a direction whose filters have the norms of the weights' filters."""
    drawn = masks_lib.apply(_draw(jax.random.normal, key, params), masks)

    def scaled(path, w, d):
        known = views.get(masks_lib.path_name(path), View(kind=UNKNOWN))
        if known.kind == UNKNOWN:
            known = View(outputs=(w.ndim - 1,))
        filters = {*known.outputs, *known.copies}
        axes = tuple(axis for axis in range(w.ndim) if axis not in filters)
        if not axes:
            return jnp.zeros_like(w)
        own, its = (jnp.sqrt(jnp.sum(x * x, axes, keepdims=True)) for x in (w, d))
        return d * own / jnp.where(its > 0, its, 1)

    return jax.tree_util.tree_map_with_path(scaled, params, drawn)
