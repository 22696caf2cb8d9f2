"""Which weights go: scores and an amount become masks with exactly the kept count."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax import values
from lthjax.callables import ScoreFn
from lthjax.pruning import cuts, highest, kept_counts, places
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.cuts import Cut
from lthjax.pruning.masks import Masks
from lthjax.pruning.views import Views


def prune(
    masks: Masks,
    scores: Any,
    sparsity: Any = None,
    scope: str = "global",
    *,
    kept: Any = None,
    minimum: int = 0,
    views: Views | None = None,
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
      minimum: How many weights each layer keeps at the least, its best ones: a layer
        with fewer left keeps what it has. The rest of k is ranked as ever. A traced
        count of a layer that is below it is it.
      views: What the axes of the leaves are, `views.of`: of layers stacked in one leaf
        each keeps the minimum.

    Returns:
      Masks inside `masks`.

    Raises:
      ValueError: Neither or both of `sparsity` and `kept` are given, a sparsity is
        outside [0, 1), a kept count is outside [0, total], the minima exceed it, a
        score of a kept weight is NaN or infinite in float32 (where it is not traced: a
        traced NaN may rank above all numbers), a shape or the scope is wrong.

    Example:
      >>> masks = {"kernel": jnp.ones(4, bool), "bias": None}
      >>> scores = {"kernel": jnp.array([1.0, 3.0, 3.0, 2.0]), "bias": None}
      >>> lth.prune(masks, scores, 0.5)
      {'bias': None, 'kernel': Array([False,  True,  True, False], dtype=bool)}
      >>> lth.prune(masks, scores, kept=1)["kernel"]  # a tie: the first one
      Array([False,  True, False, False], dtype=bool)

    References:
      Published codes disagree by one weight a level, and by a quarter on ties; this
      exact rule is that of no single one of them.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")
    rows = cuts.pairs(masks, scores)
    counts = kept_counts.of(masks, sparsity, scope, kept)
    minimum = values.whole("minimum", minimum)
    kept_counts.check_minimum(masks, counts, minimum, views)
    stacks = [
        masks_lib.stacked(name, mask, views) if minimum else ()
        for name, (mask, _) in zip(masks_lib.names(masks), rows, strict=True)
    ]
    chosen, finite = places.anywhere(
        functools.partial(_chosen, minimum=minimum, stacks=tuple(stacks)),
        rows,
        counts,
        like=([score for _, score in rows], 0),
    )
    _check_finite(masks, finite)
    return jax.tree.unflatten(jax.tree.structure(masks), chosen)


def in_rounds(
    score_fn: ScoreFn,
    masks: Masks,
    counts: Sequence[int] | jax.Array | np.ndarray,
    *,
    revive: bool = False,
    minimum: int = 0,
    views: Views | None = None,
) -> Masks:
    """Scores and prunes by turns: each round scores what the one before has left.

        masks_i = prune(pool, score_fn(masks_{i-1}), kept=counts[i])

    One program for any number of rounds. On a CPU, convolutions in it need
    `cpu_convolutions.lower_convolutions`.

    Args:
      score_fn: masks -> scores.
      masks: The masks to begin with.
      counts: int32 [rounds], the weights kept after each round, of all layers together;
        may be traced. `sparsities.exponential` is what the papers take.
      revive: Whether each round chooses among all of the first `masks`, so that a
        weight may come back (FORCE, whose score must be one at pruned weights too, as
        that of `scores.snip` is); else among what is left (iterative SNIP, SynFlow).
      minimum: As in `prune`.
      views: As in `prune`.

    Returns:
      Masks inside the first ones.

    Raises:
      ValueError: A count is outside [0, total] or below the minima; a score is NaN or
        infinite, all that are left are equal, or a layer is emptied by index among
        equal ones, in any round (where they are not traced; see `rounds`).

    Example:
      >>> masks = {"w": jnp.ones(4, bool)}
      >>> def score(left):
      ...     return {"w": jnp.arange(4.0) * left["w"]}
      >>> lth.pruning.in_rounds(score, masks, [3, 2])
      {'w': Array([False, False,  True,  True], dtype=bool)}

    References:
      Tanaka et al., 2020, arXiv:2006.05467; Verdenius et al., 2020, arXiv:2006.00896;
      de Jorge et al., 2021, arXiv:2006.09081.
    """
    how: Any = {"revive": revive, "minimum": minimum, "views": views}
    left, cut = rounds(score_fn, masks, counts, **how)
    if not isinstance(cut.at, jax.core.Tracer):
        cuts.judged(masks_lib.names(masks), cut)
    return left


prune_in_rounds = in_rounds  # its name where no chapter says what is done in rounds


def rounds(
    score_fn: ScoreFn,
    masks: Masks,
    counts: Sequence[int] | jax.Array | np.ndarray,
    *,
    revive: bool = False,
    minimum: int = 0,
    views: Views | None = None,
) -> tuple[Masks, Cut]:
    """Returns what `in_rounds` does, unjudged, and where each round cut.

    Args:
      score_fn: As for `in_rounds`, like all others.
      masks: The masks to begin with.
      counts: int32 [rounds].
      revive: Whether a weight may come back.
      minimum: As in `prune`.
      views: As in `prune`.

    Returns:
      The masks, and a `cuts.Cut` of arrays [rounds, layers], for `cuts.judged`.
    """
    masks = jax.tree.map(jnp.asarray, masks)
    counts = counts if isinstance(counts, jax.Array) else np.asarray(counts)
    _check_rounds(masks, counts, minimum, views)

    def one(left, kept):
        scores = score_fn(left)
        pool = masks if revive else left
        chosen = prune(pool, scores, kept=kept, minimum=minimum, views=views)
        return chosen, cuts.cut(pool, scores, chosen)

    return lax.scan(one, masks, jnp.asarray(counts, jnp.int32))


def pairs(masks: Masks, scores: Any) -> list[tuple[jax.Array, jax.Array]]:
    """Returns (mask, scores) of each prunable layer, in the order of the leaves.

    Raises:
      ValueError: The trees or the shapes differ, or a score of a kept weight is NaN or
        infinite (where it is not traced).
    """
    found = cuts.pairs(masks, scores)
    _check_finite(masks, cuts.finite(scores, masks))
    return found


def ranked(mask: jax.Array, score: jax.Array) -> jax.Array:
    """Returns the scores as uint32 in their order, 0, below them all, where pruned."""
    bits = lax.bitcast_convert_type(score.astype(jnp.float32), jnp.uint32)
    sign = jnp.uint32(1 << (highest.BITS - 1))
    bits = jnp.where(bits == sign, jnp.uint32(0), bits)  # -0.0 ties with 0.0
    ordered = jnp.where(bits >= sign, ~bits, bits | sign)
    return jnp.where(mask, ordered, jnp.uint32(0))


def _check_finite(masks, finite):
    """Refuses damaged layers by name, if `finite` [layers] is known."""
    if isinstance(finite, jax.core.Tracer):
        return
    names = masks_lib.names(masks)
    damaged = [n for n, good in zip(names, finite.tolist(), strict=True) if not good]
    if damaged:
        raise ValueError(
            "scores must be finite numbers, got NaN or infinity in "
            f"{', '.join(damaged)}"
        )


def _check_rounds(masks, counts, minimum, views):
    """Refuses counts of rounds that cannot be kept."""
    if counts.ndim != 1 or not counts.size:
        raise ValueError(
            f"counts must be a row of at least one round, got shape = {counts.shape}"
        )
    masks_lib.check_whole("counts", counts)
    if isinstance(counts, jax.core.Tracer):
        return
    row = jax.device_get(counts)
    for kept in (int(row.min()), int(row.max())):
        target = kept_counts.of(masks, None, "global", kept)
        kept_counts.check_minimum(masks, target, minimum, views)


def _reserved(ranks, minimum, shapes):
    """Returns the ranks with the best `minimum` of each layer above all others.

    Args:
      ranks: Of each leaf, flat.
      minimum: How many.
      shapes: (shape, axes along which layers are stacked) of each leaf.
    """
    if not minimum:
        return ranks
    top = jnp.uint32(2**highest.BITS - 1)
    rows = zip(ranks, shapes, strict=True)
    return [jnp.where(_best(r, minimum, *shape), top, r) for r, shape in rows]


def _best(ranks, number, shape, axes):
    """Returns which are the highest ranks of a leaf, so many of each layer in it."""
    if not axes:
        return highest.of([ranks], number)[0]
    ends = tuple(range(len(axes)))
    lead = jnp.moveaxis(ranks.reshape(shape), axes, ends)
    flat = lead.reshape(math.prod(lead.shape[: len(axes)]), -1)
    best = jax.vmap(lambda row: highest.of([row], number)[0])(flat)
    return jnp.moveaxis(best.reshape(lead.shape), ends, axes).ravel()


@functools.partial(jax.jit, static_argnames=("minimum", "stacks"))
def _chosen(rows, counts, *, minimum, stacks):
    """Returns the masks, and whether the scores of each layer are finite [layers]."""
    ranks = [ranked(mask, score).ravel() for mask, score in rows]
    shapes = [(mask.shape, axes) for (mask, _), axes in zip(rows, stacks, strict=True)]
    if isinstance(counts, list):
        pairs = list(zip(ranks, counts, strict=True))
        if minimum:
            pairs = [_at_least(minimum, *r) for r in zip(pairs, shapes, strict=True)]
        chosen = [highest.of([r], k)[0] for r, k in pairs]
    else:
        chosen = highest.of(_reserved(ranks, minimum, shapes), counts)
    shaped = [c.reshape(m.shape) for c, (m, _) in zip(chosen, rows, strict=True)]
    return shaped, cuts.numbers(rows)


def _at_least(minimum, pair, shape):
    """Returns the (ranks, count) of a leaf, each layer in it with its minimum."""
    ranks, k = pair
    if not shape[1]:
        return ranks, jnp.maximum(k, minimum)
    (reserved,) = _reserved([ranks], minimum, [shape])
    return reserved, jnp.maximum(k, jnp.sum(reserved > ranks, dtype=jnp.int32))
