"""Which weights go: scores and an amount become masks with exactly the kept count."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import masks as masks_lib
from lthjax.masks import Masks

_BITS = 32


def prune(
    masks: Masks,
    scores: Any,
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
) -> Masks:
    """Keeps exactly the k weights with the highest scores among those still kept.

    Selection is by rank in float32; on a tie the lowest flat index is kept, leaves in
    the order of `jax.tree.leaves`. A pruned weight never comes back: where fewer than k
    weights are left, those stay.

    Args:
      masks: The masks so far.
      scores: A tree of float arrays of the shapes of `masks`, higher = keep.
      sparsity: The fraction of the prunable weights that is removed afterwards, in
        [0, 1): k = round(N (1 - sparsity)) with N the prunable total. With scope
        "layer", of each layer's own total; a tree of fractions with the structure of
        `masks` gives each layer its own (and implies the scope). A Python number: a
        traced float32 would miss k by one (use `kept`).
      scope: "global" ranks all weights together, "layer" within each leaf.
      kept: In place of `sparsity`, the integer k itself, or a tree of them by layer;
        may be traced.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: Neither or both of `sparsity` and `kept` are given, a sparsity is
        outside [0, 1), a kept count is outside [0, total], a score is NaN, a shape or
        the scope is wrong.

    References:
      Published codes disagree by one weight a level, and by a quarter on ties; this
      exact rule is that of no single one of them.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")
    leaves, treedef = jax.tree.flatten(masks)
    ranks = [_rank(mask, s) for mask, s in _pairs(masks, scores)]
    counts = _counts(masks, sparsity, scope, kept)
    if isinstance(counts, list):
        chosen = [_highest([r], k)[0] for r, k in zip(ranks, counts, strict=True)]
    else:
        chosen = _highest(ranks, counts)
    shaped = [c.reshape(mask.shape) for c, mask in zip(chosen, leaves, strict=True)]
    return jax.tree.unflatten(treedef, shaped)


def kept_count(total: int, sparsity: float) -> int:
    """Returns round(total (1 - sparsity)), the integer target of one selection.

    Raises:
      ValueError: The sparsity is not in [0, 1).
    """
    if isinstance(sparsity, jax.core.Tracer):
        raise ValueError(
            "sparsity must be known on the host, got a traced value; hand in the "
            "integer kept = round(N (1 - sparsity)), which may be traced"
        )
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1), got sparsity = {sparsity}")
    return round(total * (1 - float(sparsity)))


def _pairs(masks, scores):
    """Returns the (mask, scores) pairs, leaf by leaf."""
    structure = jax.tree.structure(masks)
    if jax.tree.structure(scores) != structure:
        raise ValueError(
            "scores must have the structure of masks (None where nothing is pruned), "
            f"got scores = {jax.tree.structure(scores)} for masks = {structure}"
        )
    pairs = list(zip(jax.tree.leaves(masks), jax.tree.leaves(scores), strict=True))
    for name, (mask, score) in zip(masks_lib.names(masks), pairs, strict=True):
        _check_scores(name, mask, score)
    return pairs


def _check_scores(name, mask, score):
    if jnp.shape(mask) != jnp.shape(score):
        raise ValueError(
            f"scores must have the shapes of masks, got {name} = {jnp.shape(score)} "
            f"for {jnp.shape(mask)}"
        )
    damaged = jnp.any(jnp.isnan(score) & mask)
    if not isinstance(damaged, jax.core.Tracer) and damaged:
        raise ValueError(f"scores must be numbers, got NaN in {name}")


def _counts(masks, sparsity, scope, kept):
    """Returns the target count: one for the whole tree, or a list by layer."""
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
    if not isinstance(kept, jax.core.Tracer) and not 0 <= kept <= total:
        raise ValueError(f"kept must be in [0, {total}], got kept = {kept}")
    return kept


def _rank(mask, score):
    """Maps scores to uint32 in their order, and pruned entries to 0, below them all."""
    bits = lax.bitcast_convert_type(score.astype(jnp.float32).ravel(), jnp.uint32)
    sign = jnp.uint32(1 << (_BITS - 1))
    bits = jnp.where(bits == sign, jnp.uint32(0), bits)  # -0.0 ties with 0.0
    ordered = jnp.where(bits >= sign, ~bits, bits | sign)
    return jnp.where(mask.ravel(), ordered, jnp.uint32(0))


@jax.jit
def _highest(ranks, k):
    """Selects the k highest ranks over all leaves, the first ones on a tie.

    The k-th highest rank t is the largest number with at least k ranks at or above it:
    it is built bit by bit, each pass only counting. No sort, no concatenated copy.
    """
    k = jnp.minimum(jnp.asarray(k, jnp.int32), sum(jnp.sum(r > 0) for r in ranks))

    def bit(i, t):
        candidate = t | (jnp.uint32(1) << (_BITS - 1 - i).astype(jnp.uint32))
        above = sum(jnp.sum(r >= candidate, dtype=jnp.int32) for r in ranks)
        return jnp.where(above >= k, candidate, t)

    t = lax.fori_loop(0, _BITS, bit, jnp.uint32(0))
    room = k - sum(jnp.sum(r > t, dtype=jnp.int32) for r in ranks)
    chosen = []
    for r in ranks:
        tied = r == t
        first = jnp.cumsum(tied, dtype=jnp.int32) <= room
        chosen.append((r > t) | (tied & first & (t > 0)))
        room = room - jnp.sum(tied, dtype=jnp.int32)
    return chosen
