"""The straight line between two networks, and how high the loss rises on it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import values
from lthjax.analysis.comparison import like
from lthjax.callables import ApplyFn, ErrorFn, StatisticsFn
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import precision
from lthjax.pruning.masks import Params


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
      A tree of the dtypes of `a`. A leaf of whole numbers stays as it is in `a`.

    Raises:
      ValueError: The leaves differ, with their names.
    """
    b = like(a, b)
    alpha = jnp.asarray(alpha, float)

    def between(x, y):
        kind = jnp.result_type(x)
        if not jnp.issubdtype(kind, jnp.inexact):
            return x
        x, y, part = (jnp.asarray(w, values.wide(kind)) for w in (x, y, alpha))
        step = y - x
        point = jnp.where(alpha < 0.5, x + part * step, y - (1 - part) * step)
        far = jnp.where((alpha == 0) | (x == y), x, (1 - part) * x + part * y)
        far = jnp.where(alpha == 1, y, far)
        return jnp.where(jnp.isfinite(step), point, far).astype(kind)

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
    evaluate_fn: ErrorFn,
    a: tuple[Params, Any],
    b: tuple[Params, Any],
    *,
    points: int = 30,
    recompute_fn: StatisticsFn | None = None,
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
    b = like(a, b)

    def error(alpha):
        params, model_state = interpolate(alpha, a, b)
        if recompute_fn is not None:
            model_state = recompute_fn(params, model_state)
        return precision.widened(evaluate_fn(params, model_state))

    alphas = jnp.arange(points, dtype=jnp.float32) / (points - 1)
    errors = lax.map(error, alphas)
    return Barrier(jnp.max(errors) - (errors[0] + errors[-1]) / 2, alphas, errors)


def recomputed(apply_fn: ApplyFn, images: jax.Array) -> StatisticsFn:
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
      ValueError: There is no batch. When called, a leaf of the model state is not
        floating, or `apply_fn` returns a model state of other leaves.

    References:
      Izmailov et al., 2018, arXiv:1803.05407, whose averaged weights get statistics by
      one more pass over the data.
    """

    number = _number(images)

    def recompute(params, model_state):
        _check_floating(model_state)
        wide = precision.widened(model_state)  # or sums stop growing, and m is rounded
        zeros, ones = (jax.tree.map(fn, wide) for fn in (jnp.zeros_like, jnp.ones_like))

        def add(sums, batch):
            def passed(state):
                return like(state, apply_fn(params, state, batch, True)[1])

            pair = jax.jvp(passed, (zeros,), (ones,))
            return jax.tree.map(jnp.add, sums, pair[0]), pair[1]

        sums, kept = lax.scan(add, zeros, images)
        found = jax.tree.map(
            lambda old, s, m: jnp.where(m[0] == 1, old, s / number / (1 - m[0])),
            wide,
            sums,
            kept,
        )
        return precision.as_of(found, model_state)

    return recompute


def _number(images):
    """Returns how many batches there are."""
    leaves = jax.tree.leaves(images)
    if not leaves or not jnp.ndim(leaves[0]) or not len(leaves[0]):
        raise ValueError(
            "statistics must be recomputed on a batch at least, got images = "
            f"{[jnp.shape(leaf) for leaf in leaves]}; give them as [number, batch, ...]"
        )
    return len(leaves[0])


def _check_floating(model_state):
    for name, leaf in zip(
        masks_lib.names(model_state), jax.tree.leaves(model_state), strict=True
    ):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"statistics must be floating to be recomputed, got {name} = "
                f"{jnp.result_type(leaf)}; give a recompute_fn of your own"
            )
