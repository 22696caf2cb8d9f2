"""Which heads of an attention stay: what makes one and what reads it go together.

A kernel has heads where its view has two axes of outputs, as of a query, key or value
[features, heads, size], or two of inputs, as of what joins them [heads, size,
features]; the first of the two counts the heads. Kernels whose names differ in the last
layer alone, "block1/attention/query/kernel" and "block1/attention/out/kernel", are of
one attention.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.pruning.masks import Masks
from lthjax.pruning.views import View, Views


class Layer(NamedTuple):
    """A kernel of an attention.

    Attributes:
      attention: The name of that, "block1/attention".
      copies: How many attentions lie in it, stacked.
      heads: How many heads each has.
      order: Its axes: copies, heads, then the others.
      shape: Of the kernel.
    """

    attention: str
    copies: int
    heads: int
    order: tuple[int, ...]
    shape: tuple[int, ...]


def heads(
    masks: Masks,
    scores: Any,
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
    minimum: int = 0,
    views: Views | None = None,
) -> Masks:
    """Keeps exactly the k heads with the highest mean scores.

    The mean is over all that is left of a head, in all kernels of its attention.

    Args:
      masks: The masks so far, of kernels that have heads. A head counts while any of
        its weights is kept.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      sparsity: The fraction of all heads that is removed, as in `pruning.prune`.
      scope: "global" or "layer", which is an attention.
      kept: In place of `sparsity`, the number of heads, or one for each attention, in
        the order of their names.
      minimum: How many heads each attention keeps at the least, also of stacked ones.
      views: What the axes of the leaves are.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: A kernel has no heads, or not as many as the others of its attention;
        or as `pruning.prune`, in numbers of heads.

    Example:
      >>> view = lth.pruning.views.view
      >>> views = {"query/kernel": view(["in", "out", "out"])}
      >>> masks = {"query": {"kernel": jnp.ones((1, 2, 2), bool)}}
      >>> scores = {"query": {"kernel": jnp.array([[[0.0, 1.0], [2.0, 3.0]]])}}
      >>> kept = lth.pruning.heads.heads(masks, scores, 0.5, views=views)
      >>> kept["query"]["kernel"].tolist()
      [[[False, False], [True, True]]]

    References:
      Michel et al., 2019, arXiv:1905.10650. Departures: any score of the weights in
      place of the derivative by a gate of each head.
    """
    alive, means = grouped(masks, scores, views)
    stacked = dict.fromkeys(alive, View(inputs=(1,), copies=(0,)))
    how: Any = {"kept": kept, "minimum": minimum, "views": stacked}
    chosen = choose.prune(alive, means, sparsity, scope, **how)

    def back(layer, mask):
        row = chosen[layer.attention]
        lead = [layer.shape[axis] for axis in layer.order]
        wide = jnp.broadcast_to(row[..., None], (*row.shape, _rest(layer)))
        inverse = sorted(range(len(lead)), key=layer.order.__getitem__)
        return mask & wide.reshape(lead).transpose(inverse)

    rows = zip(layers(masks, views), jax.tree.leaves(masks), strict=True)
    return jax.tree.unflatten(jax.tree.structure(masks), [back(*row) for row in rows])


def layers(masks: Masks, views: Views | None = None) -> list[Layer]:
    """Returns what each kernel is, in the order of `jax.tree.leaves`.

    Args:
      masks: The masks, or their shapes.
      views: What the axes of the leaves are.

    Raises:
      ValueError: As `heads`, of the kernels.
    """
    leaves = zip(masks_lib.names(masks), jax.tree.leaves(masks), strict=True)
    found = [_layer(name, leaf.shape, views) for name, leaf in leaves]
    counts = {layer.attention: (layer.copies, layer.heads) for layer in found}
    for layer in found:
        if (layer.copies, layer.heads) != counts[layer.attention]:
            raise ValueError(
                "the kernels of an attention must have the same number of heads, got "
                f"{layer.heads} and {counts[layer.attention][1]} in {layer.attention!r}"
                "; exclude those that have not, by search.exclude"
            )
    return found


def sizes(masks: Masks, views: Views | None = None) -> dict[str, int]:
    """Returns how many heads each attention has, in the order of their names.

    Args:
      masks: The masks, or their shapes.
      views: What the axes of the leaves are.
    """
    found = {x.attention: x.copies * x.heads for x in layers(masks, views)}
    return dict(sorted(found.items()))


def counts(masks: Masks, views: Views | None = None) -> dict[str, jax.Array]:
    """Returns how many weights each head has left, {attention: int32 [copies, heads]}.

    Args:
      masks: The masks.
      views: What the axes of the leaves are.
    """
    ones = jax.tree.map(lambda mask: mask.astype(jnp.int32), masks)
    return _totals(ones, layers(masks, views))


def grouped(
    masks: Masks, scores: Any, views: Views | None = None
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns which heads have a weight left, and the mean score of what they have.

    Args:
      masks: The masks.
      scores: As for `heads`.
      views: What the axes of the leaves are.
    """
    kept = [
        jnp.where(mask, score.astype(jnp.float32), 0)
        for mask, score in choose.pairs(masks, scores)
    ]
    found, there = _totals(kept, layers(masks, views)), counts(masks, views)
    means = {
        name: total / jnp.maximum(there[name], 1).astype(jnp.float32)
        for name, total in found.items()
    }
    return jax.tree.map(lambda count: count > 0, there), means


def _totals(tree, found):
    """Returns the sums over each head, of all kernels of its attention."""
    totals: dict[str, jax.Array] = {}
    for layer, leaf in zip(found, jax.tree.leaves(tree), strict=True):
        flat = (layer.copies, layer.heads, _rest(layer))
        own = jnp.sum(leaf.transpose(layer.order).reshape(flat), axis=-1)
        totals[layer.attention] = totals.get(layer.attention, 0) + own
    return totals


def _rest(layer):
    """Returns how many weights of a kernel each head has."""
    return math.prod(layer.shape) // (layer.copies * layer.heads)


def _layer(name, shape, views):
    view = views_lib.one(name, shape, views)
    axis = _heads_axis(name, shape, view)
    others = [i for i in range(len(shape)) if i != axis and i not in view.copies]
    attention = "/".join(name.split("/")[:-2])
    copies = math.prod(shape[i] for i in view.copies)
    order = (*view.copies, axis, *others)
    return Layer(attention, copies, shape[axis], order, tuple(shape))


def _heads_axis(name: str, shape: tuple[int, ...], view: View) -> int:
    """Returns the first of two axes of outputs, or of inputs, of one side alone."""
    sides = [side for side in (view.outputs, view.inputs) if len(side) == 2]
    if len(sides) != 1:
        raise ValueError(
            "heads are pruned of kernels that have an axis of them, [features, heads, "
            f"size] or [heads, size, features], got {name} of shape {shape}; leave "
            "others out, such as by search.include = 'attention/.*kernel$'"
        )
    return sides[0][0]
