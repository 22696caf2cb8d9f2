"""Which weights go together: whole channels, blocks, and n of every m along an axis.

Which axes are inputs and outputs a view says (`views.of`, {name: View}); without one
they are the last two axes of a leaf of two or four. Several axes of inputs, or of
outputs, count as one, flattened; stacked kernels have channels and blocks of their own.

Groups are chosen as `pruning.prune` chooses weights, by the mean score of what is kept
in them; a group goes or stays as one, and what was pruned in it stays pruned.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.pruning import choose, places
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.pruning.masks import Masks
from lthjax.pruning.views import View, Views

SPACE, INPUTS, OUTPUTS = 1, 2, 3  # axes of a leaf as `views.canonical` has it


def channels(
    masks: Masks,
    scores: Any,
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
    axis: int = -1,
    minimum: int = 0,
    views: Views | None = None,
) -> Masks:
    """Keeps exactly the k channels with the highest mean scores.

    Args:
      masks: The masks so far. A channel counts while any of its weights is kept.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      sparsity: The fraction of all channels that is removed, as in `pruning.prune`.
      scope: "global" or "layer".
      kept: In place of `sparsity`, the number of channels, or a tree of them by layer.
      axis: What counts the channels of every leaf: -1 for its outputs, -2 for its
        inputs, any other the axis of that place.
      minimum: How many channels each layer keeps at the least, also of stacked ones; 0
        lets a layer go.
      views: What the axes of the leaves are.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: Nothing says what the axes of a layer are, the inputs of one are in
        groups; or as `pruning.prune`, in numbers of channels.

    Example:
      >>> masks = {"w": jnp.ones((2, 2), bool)}
      >>> scores = {"w": jnp.array([[1.0, 0.0], [2.0, 9.0]])}
      >>> lth.patterns.channels(masks, scores, 0.5)
      {'w': Array([[False,  True],
             [False,  True]], dtype=bool)}

    References:
      Li et al., 2017, arXiv:1608.08710, for magnitudes. Departures: they rank by the
      sum within each layer; the mean compares layers of different sizes.
    """
    for name, mask in _named(masks):
        view = _view(name, mask, axis, views)
        _check_divisible(name, mask, view, -1, 1)
        if axis == -2:
            _check_ungrouped(name, mask, view)
    groups = channel_groups(axis, views)
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
    views: Views | None = None,
) -> Masks:
    """Keeps exactly the k blocks with the highest mean scores.

    A block is `shape` neighbouring weights of the inputs and outputs; convolutions have
    some at each pixel of the kernel.

    Args:
      masks: The masks so far. A block counts while any of its weights is kept.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      shape: (inputs, outputs) of a block.
      sparsity: The fraction of all blocks that is removed, as in `pruning.prune`.
      scope: "global" or "layer".
      kept: In place of `sparsity`, the number of blocks, or a tree of them by layer.
      minimum: How many blocks each layer keeps at the least, also of stacked ones.
      views: What the axes of the leaves are.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: A layer does not divide into such blocks, or not each of the groups
        of a convolution, or nothing says what its axes are; or as `pruning.prune`, in
        numbers of blocks.

    Example:
      >>> masks = {"w": jnp.ones((2, 4), bool)}
      >>> scores = {"w": jnp.arange(8.0).reshape(2, 4)}
      >>> lth.patterns.blocks(masks, scores, (2, 2), 0.5)
      {'w': Array([[False, False,  True,  True],
             [False, False,  True,  True]], dtype=bool)}

    References:
      Narang et al., 2017, arXiv:1711.02782. Departure: they rank by the largest
      magnitude in a block.
    """
    rows, columns = shape
    for name, mask in _named(masks):
        found = views_lib.one(name, mask.shape, views)
        _check_divisible(name, mask, found, -2, rows)
        _check_divisible(name, mask, found, -1, columns)
        _check_in_groups(name, mask, found, columns)

    groups = block_groups(shape, views)
    return _prune_groups(masks, scores, groups, sparsity, scope, kept, minimum)


def n_of_m(
    masks: Masks,
    scores: Any,
    n: int,
    m: int,
    *,
    axis: int = -2,
    views: Views | None = None,
) -> Masks:
    """Keeps the n best of every m neighbours along an axis.

    Exactly n, or what is left where fewer are; the lowest index on a tie.

    Args:
      masks: The masks so far.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      n: How many stay, in [0, m].
      m: Of how many.
      axis: Along what they lie, in every leaf: -2 for the inputs, over which a product
        sums, as sparse hardware wants it, -1 for the outputs, any other the axis of
        that place.
      views: What the axes of the leaves are.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: n is outside [0, m], one of them no whole number, the inputs of a
        layer are not divisible by m, nothing says what its axes are, or as
        `pruning.prune`.

    Example:
      >>> masks = {"w": jnp.ones((4, 1), bool)}
      >>> scores = {"w": jnp.array([[3.0], [1.0], [2.0], [4.0]])}
      >>> lth.patterns.n_of_m(masks, scores, 2, 4)["w"][:, 0]
      Array([ True, False, False,  True], dtype=bool)

    References:
      Zhou et al., 2021, arXiv:2102.04010, for magnitudes.
    """
    n, m = values.whole("n", n), values.whole("m", m)
    if not 0 <= n <= m or m < 1:
        raise ValueError(f"n must be in [0, m] and m at least 1, got {n = }, {m = }")
    side = -2 if axis == -2 else -1
    found = [_view(name, mask, axis, views) for name, mask in _named(masks)]
    for (name, mask), view in zip(_named(masks), found, strict=True):
        _check_divisible(name, mask, view, side, m)

    def one(mask, score, view):
        ranks = views_lib.canonical(choose.ranked(mask, score), view)
        best = views_lib.restored(_best(ranks, n, m, side), view, mask.shape)
        return mask & best

    rows = zip(choose.pairs(masks, scores), found, strict=True)
    chosen = [
        places.anywhere(functools.partial(one, view=view), *pair, like=pair[1])
        for pair, view in rows
    ]
    return jax.tree.unflatten(jax.tree.structure(masks), chosen)


def channel_groups(axis: int, views: Views | None) -> tuple[Callable[..., Any], ...]:
    """Returns what channels are, as functions.

    Args:
      axis: As for `channels`.
      views: What the axes of the leaves are.

    Returns:
      (name, leaf) -> the sum over each channel; a bool a channel -> an array that can
      be broadcast to `views.canonical` weights; (name, leaf) -> the leaf's view.
    """
    side = INPUTS if axis == -2 else OUTPUTS
    others = (SPACE, INPUTS + OUTPUTS - side)

    def total(name, leaf):
        found = views_lib.canonical(leaf, _view(name, leaf, axis, views))
        return jnp.sum(found, others)

    def spread(chosen):
        return jnp.expand_dims(chosen, others)

    return total, spread, lambda name, leaf: _view(name, leaf, axis, views)


def block_groups(
    shape: tuple[int, int], views: Views | None
) -> tuple[Callable[..., Any], ...]:
    """Returns what blocks of a shape are, as `channel_groups` does."""
    rows, columns = shape

    def total(name, leaf):
        leaf = views_lib.canonical(leaf, views_lib.one(name, leaf.shape, views))
        *lead, height, width = leaf.shape
        tiled = leaf.reshape(*lead, height // rows, rows, width // columns, columns)
        return jnp.sum(tiled, axis=(-3, -1))

    def spread(chosen):
        return jnp.repeat(jnp.repeat(chosen, rows, axis=-2), columns, axis=-1)

    return total, spread, lambda name, leaf: views_lib.one(name, leaf.shape, views)


def _prune_groups(masks, scores, groups, *how):
    """Prunes groups: sums over each one, and back from groups to weights."""
    return places.anywhere(
        lambda *trees: _pruned(*trees, groups, *how), masks, scores, like=scores
    )


def _pruned(masks, scores, groups, *how):
    _, spread, view_of = groups
    sparsity, scope, kept, minimum = how

    def back(name, mask, chosen):
        view = view_of(name, mask)
        wide = jnp.broadcast_to(spread(chosen), views_lib.sizes(mask.shape, view))
        return mask & views_lib.restored(wide, view, mask.shape)

    alive, means = grouped(masks, scores, groups)
    stacked = {
        name: View(copies=(0,))
        for name, mask in _named(masks)
        if view_of(name, mask).layers
    }
    how: Any = {"kept": kept, "minimum": minimum, "views": stacked}
    chosen = choose.prune(alive, means, sparsity, scope, **how)
    return jax.tree.map(back, _names(masks), masks, chosen)


def grouped(masks: Masks, scores: Any, groups: tuple) -> tuple[Any, Any]:
    """Returns which groups have a weight left, and the mean score of what they have."""
    choose.pairs(masks, scores)
    total, *_ = groups

    def mean(name, mask, count, score):
        sums = total(name, jnp.where(mask, score.astype(jnp.float32), 0))
        return sums / jnp.maximum(count, 1).astype(jnp.float32)

    there = counts(masks, groups)
    means = jax.tree.map(mean, _names(masks), masks, there, scores)
    return jax.tree.map(lambda count: count > 0, there), means


def counts(masks: Masks, groups: tuple) -> Any:
    """Returns how many weights each group has left."""
    total, *_ = groups
    return jax.tree.map(
        lambda name, mask: total(name, mask.astype(jnp.int32)), _names(masks), masks
    )


def _names(masks):
    return jax.tree.unflatten(jax.tree.structure(masks), masks_lib.names(masks))


def _best(ranks, n, m, axis):
    """Returns whether an entry is among the n best of its m neighbours."""
    rows = jnp.moveaxis(ranks, axis, -1)
    whole = rows.shape
    rows = rows.reshape(*whole[:-1], whole[-1] // m, m)
    theirs, own = rows[..., :, None], rows[..., None, :]
    earlier = jnp.broadcast_to(~jnp.tri(m, dtype=bool), (*rows.shape, m))
    ahead = (theirs > own) | ((theirs == own) & earlier)
    best = jnp.sum(ahead, axis=-2, dtype=jnp.int32) < n
    return jnp.moveaxis(best.reshape(whole), -1, axis)


def _named(masks):
    return zip(masks_lib.names(masks), jax.tree.leaves(masks), strict=True)


def _view(name, mask, axis, views):
    """Returns the view of a leaf, or that of which one axis is what counts."""
    if axis in (-1, -2):
        return views_lib.one(name, mask.shape, views)
    if not -mask.ndim <= axis < mask.ndim:
        raise ValueError(
            f"every prunable layer must have an axis {axis}, got {name} of shape "
            f"{mask.shape}: exclude it from the masks"
        )
    others = (i for i in range(mask.ndim) if i != axis % mask.ndim)
    return View(tuple(others), (axis % mask.ndim,))


def _check_ungrouped(name, mask, view):
    """Refuses the inputs of a convolution whose kernel holds those of one group."""
    if view.kind.startswith(views_lib.GROUPED):
        raise ValueError(
            "the inputs (axis -2) of a convolution with groups are other channels in "
            f"every group, got {name} of shape {mask.shape}: exclude the layer from "
            "the masks, or take its outputs (axis -1)"
        )


def _check_in_groups(name, mask, view, columns):
    """Refuses blocks across groups of a convolution, whose inputs are others."""
    found = views_lib.sizes(mask.shape, view)[-1] // view.groups
    if found % columns:
        raise ValueError(
            f"the outputs of a group must be divisible by {columns}, those of a block, "
            f"got {name} of shape {mask.shape} with {found} in each of {view.groups} "
            "groups: exclude the layer from the masks, or take another pattern"
        )


def _check_divisible(name, mask, view, side, number):
    """Refuses a layer whose inputs (-2) or outputs (-1) do not divide into groups."""
    found = views_lib.sizes(mask.shape, view)[side]
    if number < 1 or found % number:
        raise ValueError(
            f"{('inputs (axis -2)', 'outputs (axis -1)')[side]} must be divisible by "
            f"{number}, got {name} of shape {mask.shape} with {found}: exclude the "
            "layer from the masks, or take another axis or pattern"
        )
