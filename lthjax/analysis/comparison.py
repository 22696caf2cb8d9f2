"""What tickets have in common: their masks, their signs, the line between two of them.

Pure functions of trees, which jit and map over populations. A "layer" is a leaf of a
mask tree. Figures of them are drawn by `studies`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params


def overlap(a: Masks, b: Masks) -> jax.Array:
    """Returns the intersection over union of what two mask trees keep, float32 [].

        |a & b| / |a | b|,  1 where both keep nothing

    Args:
      a: Masks.
      b: Masks of the same leaves.

    Raises:
      ValueError: The leaves differ, with their names.
    """
    _check_same(a, b)
    return _ratio(_count(jnp.logical_and, a, b), _count(jnp.logical_or, a, b))


def hamming(a: Masks, b: Masks) -> jax.Array:
    """Returns the fraction of the prunable weights at which two mask trees differ.

        |a ^ b| / N

    Args:
      a: Masks.
      b: Masks of the same leaves.

    Returns:
      float32 []; times N it is the count, a metric.

    Raises:
      ValueError: The leaves differ, with their names.
    """
    _check_same(a, b)
    _, total = masks_lib.count(a)
    return _count(jnp.not_equal, a, b).astype(jnp.float32) / total


def chance_overlap(a: Masks, b: Masks, scope: str = "layer") -> jax.Array:
    """Returns the overlap to expect of two random masks that keep as many, float32 [].

        I / (|a| + |b| - I),  I = sum_l |a_l| |b_l| / N_l

    with l the layers, each with the counts it has in `a` and in `b`; with scope
    "global" l is the whole network. I is the expected intersection; the overlap is a
    convex function of it, so that its own expectation is higher, by a term in 1 / N.

    Args:
      a: Masks; only the counts matter.
      b: Masks of the same leaves.
      scope: "layer": masks that agree on how much each layer keeps do agree by more
        than chance in the whole network, and this takes that off; or "global".

    Raises:
      ValueError: The leaves differ, or the scope is unknown.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")
    _check_same(a, b)
    layers = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    both = either = jnp.float32(0)
    for pair in [(a, b)] if scope == "global" else layers:
        (in_a, size), (in_b, _) = map(masks_lib.count, pair)
        in_a, in_b = in_a.astype(jnp.float32), in_b.astype(jnp.float32)
        expected = in_a * (in_b / size)
        both, either = both + expected, either + (in_a + in_b - expected)
    return _ratio(both, either)


def densities(masks: Masks) -> dict[str, jax.Array]:
    """Returns {name: kept / size}, float32 [], of every layer."""
    found = zip(masks_lib.names(masks), jax.tree.leaves(masks), strict=True)
    return {name: 1 - masks_lib.sparsity(mask) for name, mask in found}


def sign_agreement(a: Params, b: Params, masks: Masks) -> jax.Array:
    """Returns the fraction of the kept weights that have one sign in both trees.

        |{i kept: sign(a_i) = sign(b_i)}| / |kept|,  1 where nothing is kept

    Zero has a sign of its own. Of two random trees it is a half.

    Args:
      a: Parameters: of a ticket at its start, say.
      b: Parameters of the same leaves: of the same ticket at its end.
      masks: The masks; leaves that are `None` do not count.

    Returns:
      float32 [].

    Raises:
      ValueError: The leaves differ, or a mask does not fit, with their names.
    """
    _check_same(a, b)
    masks_lib.compatible(a, masks)
    same = jax.tree.map(
        lambda x, y, mask: (
            mask if mask is None else mask & (jnp.sign(x) == jnp.sign(y))
        ),
        a,
        b,
        masks,
    )
    return _ratio(masks_lib.count(same)[0], masks_lib.count(masks)[0])


def by_layer(fn: Callable, *trees: Any) -> dict[str, Any]:
    """Returns {name: fn(the leaf of each tree)} for every leaf of the last tree.

    `by_layer(overlap, a, b)`, `by_layer(sign_agreement, start, end, masks)`.

    Args:
      fn: A function of as many trees.
      *trees: Trees; the leaves of the last, a mask tree, say which layers.

    Raises:
      ValueError: A tree lacks a leaf of the last one.
    """
    rows = [
        dict(zip(masks_lib.names(t), jax.tree.leaves(t), strict=True)) for t in trees
    ]
    lacking = [n for n in rows[-1] if not all(n in row for row in rows)]
    if lacking:
        raise ValueError(
            "every tree must have the leaves of the last one, got one without "
            f"{', '.join(lacking)}"
        )
    return {name: fn(*(row[name] for row in rows)) for name in rows[-1]}


def interpolate(alpha: jax.typing.ArrayLike, a: Any, b: Any) -> Any:
    """Returns the point of the straight line between two trees.

        (1 - alpha) a + alpha b

    exactly `a` at 0, `b` at 1, and `a` everywhere where both are equal.

    Args:
      alpha: In [0, 1], a scalar that may be traced.
      a: A tree. Of two tickets with other masks the line keeps the union: a weight that
        one of them pruned goes from zero to that of the other.
      b: A tree of the same leaves.

    Returns:
      A tree of the dtypes of `a`. A leaf that is not floating stays as it is in `a`.

    Raises:
      ValueError: The leaves differ, with their names.
    """
    _check_same(a, b)
    alpha = jnp.asarray(alpha, jnp.float32)

    def between(x, y):
        if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            return x
        step = (y - x).astype(jnp.float32)
        point = jnp.where(alpha < 0.5, x + alpha * step, y - (1 - alpha) * step)
        return point.astype(x.dtype)

    return jax.tree.map(between, a, b)


class Barrier(NamedTuple):
    """The errors along a line, and how far they rise above those of its ends.

    Attributes:
      height: max(errors) - (errors[0] + errors[-1]) / 2, float32 [].
      alphas: Where on the line, from 0 to 1, float32 [points].
      errors: Of the network at each of them, float32 [points].
    """

    height: jax.Array
    alphas: jax.Array
    errors: jax.Array


def barrier(
    evaluate_fn: Callable,
    a: tuple[Params, Any],
    b: tuple[Params, Any],
    *,
    points: int = 30,
    recompute_fn: Callable | None = None,
) -> Barrier:
    """Measures the error barrier on the straight line between two trained networks.

        max over alpha of e(alpha) - (e(0) + e(1)) / 2,
        e(alpha) = evaluate_fn(*interpolate(alpha, a, b)),  alpha = i / (points - 1)

    Both ends are among the points, so that it is never negative: without a rise it is
    half the difference of the ends. All points are one program, one after the other.

    Args:
      evaluate_fn: (params, model_state) -> error [], a fraction for instance.
      a: (params, model_state) of a network, pruned weights at zero.
      b: Those of the other one; its masks may differ, see `interpolate`.
      points: On the line, at least 2.
      recompute_fn: (params, model_state) -> model_state, for every point, the ends too:
        `recomputed`. Without it statistics are interpolated as the weights are.

    Raises:
      ValueError: There are fewer than 2 points, or the leaves differ.

    References:
      Frankle et al., 2019, arXiv:1912.05671: linear mode connectivity, with 30 points;
      two networks whose barrier is below 2 % are called stable there. Departure:
      recomputed statistics are an option.
    """
    if points < 2:
        raise ValueError(f"points must be at least 2, got points = {points}")
    _check_same(a, b)

    def error(alpha):
        params, model_state = interpolate(alpha, a, b)
        if recompute_fn is not None:
            model_state = recompute_fn(params, model_state)
        return evaluate_fn(params, model_state)

    alphas = jnp.arange(points, dtype=jnp.float32) / (points - 1)
    errors = lax.map(error, alphas)
    return Barrier(jnp.max(errors) - (errors[0] + errors[-1]) / 2, alphas, errors)


def recomputed(apply_fn: Callable, images: jax.Array) -> Callable:
    """Returns (params, model_state) -> model_state, the statistics of some batches.

    A training pass moves a running statistic to new(old) = m old + (1 - m) batch. With
    the batch's from new(0), and m from its derivative, the result is

        mean over the batches of (new(0) / (1 - m))

    so that the variance is the mean of the batches' variances, without that between
    their means. Networks of norms behave as in a training pass over one batch.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, model_state), moving
        every statistic so, as flax's batch norm and ours do. One whose m is 1 is no
        running statistic and stays what it was.
      images: Batches as the network reads them, [number, batch, ...].

    Raises:
      ValueError: When called, a leaf of the model state is not floating.

    References:
      Izmailov et al., 2018, arXiv:1803.05407, whose averaged weights get statistics by
      one more pass over the data.
    """

    def recompute(params, model_state):
        _check_floating(model_state)
        zeros, ones = (
            jax.tree.map(fn, model_state) for fn in (jnp.zeros_like, jnp.ones_like)
        )

        def add(sums, batch):
            def passed(state):
                return apply_fn(params, state, batch, True)[1]

            pair = jax.jvp(passed, (zeros,), (ones,))
            return jax.tree.map(jnp.add, sums, pair[0]), pair[1]

        sums, kept = lax.scan(add, zeros, images)
        return jax.tree.map(
            lambda old, s, m: jnp.where(m[0] == 1, old, s / len(images) / (1 - m[0])),
            model_state,
            sums,
            kept,
        )

    return recompute


def _check_floating(model_state):
    for name, leaf in zip(
        masks_lib.names(model_state), jax.tree.leaves(model_state), strict=True
    ):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"statistics must be floating to be recomputed, got {name} = "
                f"{jnp.result_type(leaf)}; give a recompute_fn of your own"
            )


def _check_same(a, b):
    """Checks that two trees have the same leaves, of the same shapes."""
    found = [
        dict(zip(masks_lib.names(t), map(jnp.shape, jax.tree.leaves(t)), strict=True))
        for t in (a, b)
    ]
    differing = [n for n in found[0] | found[1] if found[0].get(n) != found[1].get(n)]
    rows = [
        f"{name} = {' and '.join(str(f.get(name, 'nothing')) for f in found)}"
        for name in differing
    ]
    if rows:
        raise ValueError(
            f"both trees must have the same leaves, got {'; '.join(rows)}; are they of "
            "one network, with the same weights prunable?"
        )


def _count(fn, a, b):
    """Returns at how many entries fn(a, b) is true, int32 []."""
    return masks_lib.count(jax.tree.map(fn, a, b))[0]


def _ratio(part, whole):
    """Returns part / whole, float32, and 1 where the whole is nothing."""
    part, whole = (jnp.asarray(x, jnp.float32) for x in (part, whole))
    return jnp.where(whole > 0, part / jnp.maximum(whole, 1), 1.0)
