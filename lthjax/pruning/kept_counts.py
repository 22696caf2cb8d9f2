"""How many weights a selection keeps, and what such numbers must be."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks
from lthjax.pruning.views import Views


def kept_count(total: int, sparsity: float) -> int:
    """Returns round(total (1 - sparsity)), the integer target of one selection.

    Raises:
      ValueError: The sparsity is not in [0, 1).

    Example:
      >>> lth.pruning.kept_count(266_200, 0.9)
      26620
    """
    check_sparsity(sparsity)
    return round(total * (1 - float(sparsity)))


def check_sparsity(sparsity: Any, name: str = "sparsity") -> None:
    """Refuses what is no number in [0, 1) that is known on the host.

    Args:
      sparsity: What may be one.
      name: How it is called, for the errors.

    Raises:
      ValueError: It is none.
    """
    if isinstance(sparsity, jax.core.Tracer):
        raise ValueError(
            f"{name} must be known on the host, got a traced value; hand in the "
            "integer kept = round(N (1 - sparsity)), which may be traced"
        )
    if np.ndim(sparsity):
        raise ValueError(
            f"{name} must be one number, got {name} of shape {np.shape(sparsity)}; "
            "for one a layer give a list"
        )
    try:
        inside = 0 <= sparsity < 1
    except TypeError:
        inside = False
    if not inside:
        raise ValueError(f"{name} must be in [0, 1), got {name} = {sparsity!r}")


def of(masks: Masks, sparsity: Any, scope: str, kept: Any) -> Any:
    """Returns the target count: one for the whole tree, or a list by layer.

    Args:
      masks: What is selected from.
      sparsity: Of the whole tree or of every layer, or a tree or list of them.
      scope: "global" or "layer".
      kept: Counts, in place of sparsities.

    Raises:
      ValueError: Not one of both is given, or it is none of these.
    """
    if (sparsity is None) == (kept is None):
        raise ValueError(
            "exactly one of sparsity and kept must be given, got sparsity = "
            f"{sparsity}, kept = {kept}"
        )
    sizes = [mask.size for mask in jax.tree.leaves(masks)]
    target, one = (sparsity, kept_count) if kept is None else (kept, _checked)
    if jax.tree_util.all_leaves([target]):
        if scope == "global":
            return one(sum(sizes), target)
        if kept is not None:
            raise ValueError(
                "kept must be a tree of counts by layer where scope = 'layer', got "
                f"kept = {kept}"
            )
        return [one(size, target) for size in sizes]
    _check_targets(masks, target)
    return [one(n, t) for n, t in zip(sizes, jax.tree.leaves(target), strict=True)]


def _check_targets(masks, target):
    """Refuses targets that are not one by layer, in order or by the layers' names."""
    wanted, found = masks_lib.names(masks), masks_lib.names(target)
    if len(wanted) == len(found) and (
        isinstance(target, list | tuple) or wanted == found
    ):
        return
    raise ValueError(
        "there must be one target for each prunable layer, a list in their order or a "
        f"tree with their names, got targets = {', '.join(found)} for the layers "
        f"{', '.join(wanted)}"
    )


def _checked(total, kept):
    masks_lib.check_whole("kept", kept)
    if jnp.ndim(kept):
        raise ValueError(
            "kept must be one count, or a list of them by layer, got an array of shape "
            f"{jnp.shape(kept)}; give list(kept)"
        )
    if not isinstance(kept, jax.core.Tracer) and not 0 <= kept <= total:
        raise ValueError(f"kept must be in [0, {total}], got kept = {kept}")
    # A narrower integer could not be compared with larger ones.
    return kept if isinstance(kept, int) else jnp.asarray(kept).astype(jnp.int32)


def check_minimum(
    masks: Masks, counts: Any, minimum: int, views: Views | None = None
) -> None:
    """Refuses minima that do not fit into the target, or the targets by layer.

    Args:
      masks: What is selected from; of traced ones nothing is known to be pruned.
      counts: Of `of`.
      minimum: How many weights every layer keeps.
      views: What the axes of the leaves are.

    Raises:
      ValueError: It is negative, or they do not fit where counts are known.
    """
    if minimum < 0:
        raise ValueError(f"minimum must be at least 0, got minimum = {minimum}")
    if not minimum:
        return
    layers = zip(masks_lib.names(masks), jax.tree.leaves(masks), strict=True)
    left = {name: _left(name, mask, views) for name, mask in layers}
    least = {name: int(np.minimum(minimum, n).sum()) for name, n in left.items()}
    number = sum(n.size for n in left.values())
    rows = {f"all {number} layers": sum(least.values())}, [counts]
    if isinstance(counts, list):
        rows = least, counts
    for (name, needed), kept in zip(rows[0].items(), rows[1], strict=True):
        if not isinstance(kept, jax.core.Tracer) and needed > kept:
            raise ValueError(
                f"the target must leave each layer its minimum, got minimum = "
                f"{minimum}, which is {needed} for {name}, with kept = {kept}"
            )


def _left(name, mask, views):
    """Returns how many weights each layer of a leaf has left, as far as is known."""
    axes = masks_lib.stacked(name, mask, views)
    others = tuple(axis for axis in range(mask.ndim) if axis not in axes)
    traced = isinstance(mask, jax.core.Tracer)
    known = not traced and getattr(mask, "is_fully_addressable", True)
    mask = np.asarray(mask) if known else np.ones(mask.shape, bool)
    return np.sum(mask, axis=others)
