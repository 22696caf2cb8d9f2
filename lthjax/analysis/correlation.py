"""How far weights are correlated: which are large, in what order, how far they went.

Pure functions of trees, which jit and map over populations; only the weights that a
mask keeps count. A "layer" is a leaf of a mask tree; `comparison.by_layer` gives the
numbers of each.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.analysis.comparison import check_same
from lthjax.pruning import choose, places
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

# What ranks an infinite weight among the largest.
_MOST = float(jnp.finfo(jnp.float32).max)


def overlap_ratio(
    a: Params, b: Params, masks: Masks, part: float | jax.Array
) -> jax.Array:
    """Returns how many of the largest weights two trees have in common, float32 [].

        R_p(a, b) = sum_l |T_p(a)_l & T_p(b)_l| / sum_l k_l,  k_l = max(1, round(p N_l))

    with T_p(a)_l the k_l weights of layer l that are largest in magnitude (on a tie,
    those of the lowest index) among the N_l that the mask keeps. Of independent trees
    it is p, of a tree with itself 1. A layer that keeps nothing has no part in it.
    Of NaN that is kept the ratio is NaN.

    Args:
      a: Parameters.
      b: Parameters of the same leaves.
      masks: What counts. Of two trees under one mask, that mask. Of a sparse and a
        dense one, full masks: then `part` must be below the density of every layer
        (`lowest_density`), or zeros are among the largest.
      part: p, in (0, 1]; it may be traced.

    Raises:
      ValueError: `part` is known and not in (0, 1], the leaves differ, a mask does
        not fit, or nothing is prunable.

    Example:
      >>> a, b = jnp.array([3.0, -2.0, 1.0, 0.0]), jnp.array([-3.0, 0.0, 1.0, 2.0])
      >>> print(lth.analysis.overlap_ratio(a, b, jnp.ones(4, bool), 0.5))
      0.5

    References:
      Liu et al., 2021, arXiv:2102.11068, equation 1. Departure: its denominator is
      p sum_l N_l; ours is the number of weights that are taken, so that a tree overlaps
      with itself by exactly 1 whatever p N_l is.
    """
    if not isinstance(part, jax.core.Tracer) and not 0 < part <= 1:
        raise ValueError(f"part must be in (0, 1], got part = {part}")
    pair = [_kept(tree, masks) for tree in (a, b)]
    check_same(*pair)
    tops = [_largest(tree, masks, part) for tree in pair]
    both = jax.tree.map(jnp.logical_and, *tops)
    whole = masks_lib.count(tops[0])[0]
    shared = masks_lib.count(both)[0].astype(jnp.float32)
    found = shared / jnp.maximum(whole, 1).astype(jnp.float32)
    broken = [jnp.any(jnp.isnan(w)) for w in jax.tree.leaves(pair)]
    found = jnp.where(jnp.any(jnp.stack(broken)), jnp.nan, found)
    return jnp.where(whole > 0, found, 1.0)


def lowest_density(masks: Masks) -> jax.Array:
    """Returns min_l kept_l / N_l, below which `part` is to be, float32 [].

    A layer of no weights has no part in it.

    Raises:
      ValueError: Nothing is prunable.
    """
    _check_some(masks)
    found = [1 - masks_lib.sparsity(m) for m in jax.tree.leaves(masks) if m.size]
    return jnp.min(jnp.stack([jnp.float32(1), *found]))


def magnitude_correlation(a: Params, b: Params, masks: Masks) -> jax.Array:
    """Returns Pearson's correlation of magnitudes, `|a|` and `|b|`, float32 [].

        sum_l n_l r_l / sum_l n_l,  r_l = cov(|a_l|, |b_l|) / (std |a_l| std |b_l|)

    with n_l the weights that layer l keeps: in one pot, layers of another scale would
    correlate by that alone. Where a layer's magnitudes are all equal, r_l is 0. Of NaN
    or infinity that is kept it is NaN.

    Args:
      a: Parameters.
      b: Parameters of the same leaves.
      masks: What counts.

    Raises:
      ValueError: The leaves differ, a mask does not fit, or nothing is prunable.
    """
    return _mean(lambda x, y, mask: _pearson(jnp.abs(x), jnp.abs(y), mask), a, b, masks)


def rank_correlation(a: Params, b: Params, masks: Masks) -> jax.Array:
    """Returns Spearman's correlation of magnitudes, `|a|` and `|b|`, float32 [].

    That is `magnitude_correlation` of the ranks within what a layer keeps, equal ones
    sharing the mean of theirs: one number in place of R_p at all p. Infinity ranks
    above all numbers; of NaN that is kept the correlation is NaN.

    Args:
      a: Parameters.
      b: Parameters of the same leaves.
      masks: What counts.

    Raises:
      ValueError: As `magnitude_correlation`.
    """

    def ranked(x, y, mask):
        return _pearson(_ranks(x, mask), _ranks(y, mask), mask)

    return _mean(ranked, a, b, masks)


def distance(start: Params, end: Params, masks: Masks) -> jax.Array:
    """Returns how far weights travelled, in lengths of where they began, float32 [].

        |end - start| / |start|,  both norms over all that the masks keep

    Args:
      start: Parameters, not all zero.
      end: Parameters of the same leaves.
      masks: What counts.

    Raises:
      ValueError: The leaves differ, a mask does not fit, or nothing is prunable.
    """
    start, end = (_kept(tree, masks) for tree in (start, end))
    check_same(start, end)
    apart = jax.tree.map(jnp.subtract, end, start)
    (way, of_way), (length, of_length) = map(_length, (apart, start))
    return ((way / length) * (of_way / of_length)).astype(jnp.float32)


def _length(tree):
    """Returns (norm, unit) of a tree whose norm is their product.

    The unit is the largest entry: squares of more, or of less, leave float32.
    """
    leaves = jax.tree.leaves(tree)
    unit = jnp.max(jnp.stack([jnp.max(jnp.abs(w), initial=0) for w in leaves]))
    by = jnp.where(unit > 0, unit, 1)
    return jnp.sqrt(sum(jnp.sum(jnp.square(jnp.abs(w / by))) for w in leaves)), unit


def _kept(tree, masks):
    """Returns the prunable leaves of a tree, float32 at least, zero where pruned."""
    _check_some(masks)
    masks_lib.compatible(tree, masks)

    def own(w, mask):
        if mask is None:
            return None
        return jnp.where(mask, jnp.asarray(w, values.wide(jnp.result_type(w))), 0)

    return jax.tree.map(own, tree, masks)


def _check_some(masks):
    """Refuses masks of nothing."""
    if not jax.tree.leaves(masks):
        raise ValueError(
            "what is compared must be prunable weights, got masks of none; "
            "masks.full(params) makes them"
        )


def _largest(tree, masks, part):
    """Returns masks of the largest `part` of what each layer keeps, at least one."""

    def top(w, mask):
        if mask is None:
            return None
        sizes = jnp.where(jnp.isnan(w), 0, jnp.minimum(jnp.abs(w), _MOST))
        kept = jnp.sum(mask, dtype=jnp.int32)
        wanted = jnp.round(jnp.asarray(part, jnp.float32) * kept.astype(jnp.float32))
        wanted = jnp.minimum(kept, jnp.maximum(1, wanted.astype(jnp.int32)))
        return choose.prune(mask, sizes, kept=wanted)

    return jax.tree.map(top, tree, masks, is_leaf=lambda leaf: leaf is None)


def _mean(fn: Callable[..., jax.Array], a: Any, b: Any, masks: Any) -> jax.Array:
    """Returns the mean of a number of each layer, by how many weights that keeps."""
    pair = [_kept(tree, masks) for tree in (a, b)]
    check_same(*pair)
    rows = zip(*map(jax.tree.leaves, (*pair, masks)), strict=True)
    found = [
        (jnp.sum(mask).astype(jnp.float32), fn(x, y, mask).astype(jnp.float32))
        for x, y, mask in rows
    ]
    total = sum(size for size, _ in found)
    return sum(size * value for size, value in found) / jnp.maximum(total, 1)


def _pearson(x, y, mask):
    """Returns the correlation of two arrays where a mask is on; 0 without a spread.

    Of what is not finite it is NaN.

    Both are first moved and scaled to [0, 1], so that neither the rounding of a mean
    nor the size of the values makes a spread or hides one.
    """
    size = jnp.maximum(jnp.sum(mask), 1).astype(x.dtype)

    def centred(values):
        low = jnp.min(jnp.where(mask, values, jnp.inf), initial=jnp.inf)
        high = jnp.max(jnp.where(mask, values, -jnp.inf), initial=-jnp.inf)
        wide = high > low
        scaled = jnp.where(mask & wide, values - low, 0) / jnp.where(
            wide, high - low, 1
        )
        return jnp.where(mask & wide, scaled - jnp.sum(scaled) / size, 0)

    broken = jnp.any(mask & ~(jnp.isfinite(x) & jnp.isfinite(y)))
    x, y = centred(x), centred(y)
    spread = jnp.sqrt(jnp.sum(x * x)) * jnp.sqrt(jnp.sum(y * y))
    found = jnp.where(
        spread > 0, jnp.sum(x * y) / jnp.where(spread > 0, spread, 1), 0.0
    )
    return jnp.where(broken, jnp.nan, found)


def _ranks(w, mask):
    """Returns the ranks of |w| among what is kept, the mean of theirs for equal ones.

    They are counted from the middle, so that their squares do not drown in float32.
    """
    return places.anywhere(_ranked, w, mask, like=w)


def _ranked(w, mask):
    sizes = jnp.abs(w)
    sizes = jnp.minimum(sizes, jnp.finfo(sizes.dtype).max)  # below what is pruned
    sizes = jnp.where(mask, sizes, jnp.inf).ravel()
    broken = jnp.any(mask & jnp.isnan(w))
    ordered = jnp.sort(sizes)
    below = jnp.searchsorted(ordered, sizes, side="left")
    upto = jnp.searchsorted(ordered, sizes, side="right")
    middle = jnp.sum(mask).astype(jnp.float32) / 2
    found = ((below + upto).astype(jnp.float32) / 2 - middle).reshape(w.shape)
    return jnp.where(broken, jnp.nan, found)
