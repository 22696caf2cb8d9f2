"""Which weights go together: whole channels, blocks, and n of every m along an axis.

Groups are chosen as `pruning.prune` chooses weights, by the mean score of what is kept
in them; a group goes or stays as one, and what was pruned in it stays pruned.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import cuts, pruning
from lthjax import masks as masks_lib
from lthjax.cuts import Cut
from lthjax.masks import Masks


def channels(
    masks: Masks,
    scores: Any,
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
    axis: int = -1,
    minimum: int = 0,
) -> Masks:
    """Keeps exactly the k channels with the highest mean scores.

    Args:
      masks: The masks so far. A channel counts while any of its weights is kept.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      sparsity: The fraction of all channels that is removed, as in `pruning.prune`.
      scope: "global" or "layer".
      kept: In place of `sparsity`, the number of channels, or a tree of them by layer.
      axis: The axis of every leaf that counts its channels: -1 for outputs, -2 for
        inputs.
      minimum: How many channels each layer keeps at the least; 0 lets a layer go.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: As `pruning.prune`, in numbers of channels.

    References:
      Li et al., 2017, arXiv:1608.08710, for magnitudes. Departures: they rank by the
      sum within each layer; the mean compares layers of different sizes.
    """

    for name, mask in _named(masks):
        _check_divisible(name, mask, axis, 1)

    def spread(chosen, mask):
        return jnp.expand_dims(chosen, _others(mask, axis))

    groups = functools.partial(channel_total, axis=axis), spread
    return _prune_groups(masks, scores, groups, sparsity, scope, kept, minimum)


def blocks(
    masks: Masks,
    scores: Any,
    shape: tuple[int, int],
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
    minimum: int = 0,
) -> Masks:
    """Keeps exactly the k blocks with the highest mean scores.

    A block is `shape` weights of the last two axes, inputs and outputs; convolutions
    have some at each pixel of the kernel.

    Args:
      masks: The masks so far. A block counts while any of its weights is kept.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      shape: (inputs, outputs) of a block.
      sparsity: The fraction of all blocks that is removed, as in `pruning.prune`.
      scope: "global" or "layer".
      kept: In place of `sparsity`, the number of blocks, or a tree of them by layer.
      minimum: How many blocks each layer keeps at the least.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: A layer does not divide into such blocks; or as `pruning.prune`, in
        numbers of blocks.

    References:
      Narang et al., 2017, arXiv:1711.02782. Departure: they rank by the largest
      magnitude in a block.
    """
    rows, columns = shape
    for name, mask in _named(masks):
        _check_divisible(name, mask, -2, rows)
        _check_divisible(name, mask, -1, columns)

    def spread(chosen, mask):
        del mask
        return jnp.repeat(jnp.repeat(chosen, rows, axis=-2), columns, axis=-1)

    groups = functools.partial(block_total, shape=shape), spread
    return _prune_groups(masks, scores, groups, sparsity, scope, kept, minimum)


def n_of_m(masks: Masks, scores: Any, n: int, m: int, *, axis: int = -2) -> Masks:
    """Keeps the n best of every m neighbours along an axis.

    Exactly n, or what is left where fewer are; the lowest index on a tie.

    Args:
      masks: The masks so far.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      n: How many stay, in [0, m].
      m: Of how many.
      axis: The axis along which they lie, in every leaf: -2 for the inputs, over which
        a product sums, as sparse hardware wants it.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: n is outside [0, m], the axis of a layer is not divisible by m, or as
        `pruning.prune`.

    References:
      Zhou et al., 2021, arXiv:2102.04010, for magnitudes.
    """
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"n must be in [0, m] and m at least 1, got {n = }, {m = }")
    for name, mask in _named(masks):
        _check_divisible(name, mask, axis, m)
    chosen = [
        mask & _best(pruning.ranked(mask, score), n, m, axis)
        for mask, score in pruning.pairs(masks, scores)
    ]
    return jax.tree.unflatten(jax.tree.structure(masks), chosen)


def channel_total(leaf: jax.Array, axis: int = -1) -> jax.Array:
    """Returns the sum over each channel of a leaf."""
    return jnp.sum(leaf, _others(leaf, axis))


def block_total(leaf: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns the sum over each block of a leaf."""
    (rows, columns), (*lead, height, width) = shape, leaf.shape
    tiled = leaf.reshape(*lead, height // rows, rows, width // columns, columns)
    return jnp.sum(tiled, axis=(-3, -1))


def cut(
    masks: Masks, scores: Any, chosen: Masks, total: Callable, *, by_layer: bool
) -> Cut:
    """Returns where a choice of groups cut through their mean scores.

    Args:
      masks: What was chosen from.
      scores: As for `channels`.
      chosen: What was kept.
      total: leaf -> the sum over each group of it.
      by_layer: Whether every layer was cut by itself.
    """
    alive, means = _grouped(masks, scores, total)
    left = jax.tree.map(lambda mask: total(mask.astype(jnp.int32)) > 0, chosen)
    return cuts.cut(alive, means, left, by_layer=by_layer)


def _prune_groups(masks, scores, groups, *how):
    """Prunes groups: sums over each one, and back from groups to weights."""
    total, spread = groups
    sparsity, scope, kept, minimum = how
    alive, means = _grouped(masks, scores, total)
    chosen = pruning.prune(alive, means, sparsity, scope, kept=kept, minimum=minimum)
    return jax.tree.map(lambda mask, c: mask & spread(c, mask), masks, chosen)


def _grouped(masks, scores, total):
    """Returns which groups have a weight left, and the mean score of what they have."""
    pruning.pairs(masks, scores)
    counts = jax.tree.map(lambda mask: total(mask.astype(jnp.int32)), masks)

    def mean(mask, count, score):
        sums = total(jnp.where(mask, score.astype(jnp.float32), 0))
        return sums / jnp.maximum(count, 1).astype(jnp.float32)

    means = jax.tree.map(mean, masks, counts, scores)
    return jax.tree.map(lambda count: count > 0, counts), means


def _others(leaf, axis):
    return tuple(i for i in range(leaf.ndim) if i != axis % leaf.ndim)


def _best(ranks, n, m, axis):
    """Returns whether an entry is among the n best of its m neighbours."""
    rows = jnp.moveaxis(ranks, axis, -1)
    rows = rows.reshape(*rows.shape[:-1], -1, m)
    theirs, own = rows[..., :, None], rows[..., None, :]
    earlier = jnp.broadcast_to(~jnp.tri(m, dtype=bool), (*rows.shape, m))
    ahead = (theirs > own) | ((theirs == own) & earlier)
    best = jnp.sum(ahead, axis=-2, dtype=jnp.int32) < n
    best = best.reshape(*best.shape[:-2], -1)
    return jnp.moveaxis(best, -1, axis)


def _named(masks):
    return zip(masks_lib.names(masks), jax.tree.leaves(masks), strict=True)


def _check_divisible(name, mask, axis, number):
    """Refuses a layer whose axis does not divide into groups of `number`."""
    if not -mask.ndim <= axis < mask.ndim:
        raise ValueError(
            f"every prunable layer must have an axis {axis}, got {name} of shape "
            f"{mask.shape}: exclude it from the masks"
        )
    if number < 1 or mask.shape[axis] % number:
        raise ValueError(
            f"axis {axis} must be divisible by {number}, got {name} of shape "
            f"{mask.shape} with {mask.shape[axis]}: exclude the layer from the masks, "
            "or take another axis or pattern"
        )
