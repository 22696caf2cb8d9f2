"""Where a choice cut through scores: among equal ones, or ones that rank nothing."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import values
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks

# Rounding may leave a product of positive numbers so far below zero, as a part of the
# largest: convolutions by transformed tiles, or in bfloat16.
ROUNDING = 1e-3
LINEAR = 0.1  # how far the degree of a flow may be from 1
ASSUMPTION = (
    "SynFlow needs a network that is linear above zero (relu; no softmax, LayerNorm, "
    "attention, gates or bounded activations)"
)


class UndecidedError(ValueError):
    """Scores that do not say which weights should go."""


class Cut(NamedTuple):
    """Where a choice cut through the scores of the weights that were there.

    The cut of a layer is the best score among the weights that were pruned: of all
    layers where these were ranked together, else of that layer.

    Attributes:
      finite: Whether all scores are numbers, bool [layers].
      there: How many weights were ranked, int32 [layers].
      pruned: How many of them were pruned, int32 [layers].
      low: The lowest score, float32 [layers]; infinity where nothing was ranked.
      high: The highest score, float32 [layers]; -infinity where nothing was ranked.
      at: The cut, float32 [layers]; -infinity where nothing was pruned.
      equal: How many scores are equal to the cut, int32 [layers].
      kept: How many of those weights were kept, int32 [layers].
    """

    finite: jax.Array
    there: jax.Array
    pruned: jax.Array
    low: jax.Array
    high: jax.Array
    at: jax.Array
    equal: jax.Array
    kept: jax.Array


def cut(masks: Masks, scores: Any, chosen: Masks, *, by_layer: bool = False) -> Cut:
    """Returns where a choice cut through the scores; it only counts, and may be traced.

    Args:
      masks: What was chosen from.
      scores: A tree of float arrays of the shapes of `masks`.
      chosen: What was kept, inside `masks`.
      by_layer: Whether every layer was cut by itself.
    """
    trees = (jax.tree.leaves(tree) for tree in (masks, scores, chosen))
    rows = [
        (mask, score.astype(jnp.float32), kept)
        for mask, score, kept in zip(*trees, strict=True)
    ]
    best = [
        jnp.max(jnp.where(m & ~c, s, -jnp.inf), initial=-jnp.inf) for m, s, c in rows
    ]
    at = jnp.stack(best)
    at = at if by_layer else jnp.full_like(at, jnp.max(at))
    pairs = list(zip(rows, at, strict=True))

    def each(fn):
        return jnp.stack([fn(*row) for row in rows])

    def number(bits):
        return jnp.sum(bits, dtype=jnp.int32)

    return Cut(
        finite(scores, masks),
        each(lambda m, s, c: number(m)),
        each(lambda m, s, c: number(m & ~c)),
        each(lambda m, s, c: jnp.min(jnp.where(m, s, jnp.inf), initial=jnp.inf)),
        each(lambda m, s, c: jnp.max(jnp.where(m, s, -jnp.inf), initial=-jnp.inf)),
        at,
        jnp.stack([number(m & (s == t)) for (m, s, c), t in pairs]),
        jnp.stack([number(c & (s == t)) for (m, s, c), t in pairs]),
    )


def judged(names: list[str], cut: Cut, *, by_layer: bool = False) -> str:
    """Refuses a choice that cannot be meant; for the host, outside `jit`.

    Args:
      names: Of the layers, in the order of `jax.tree.leaves`.
      cut: Of one choice, or of several in turn: arrays [rounds, layers].
      by_layer: Whether every layer was cut by itself.

    Returns:
      A sentence on ties at the cut; "" if there was none.

    Raises:
      ValueError: Scores are NaN or infinite; as `UndecidedError`, all that were ranked
        together are equal and some had to go, or a layer lost all its weights by index:
        some had the score of the cut, at which other layers kept theirs.
    """
    fields: Any = (np.atleast_2d(jax.device_get(field)) for field in cut)
    cut = Cut(*fields)
    tied = []
    for i in range(len(cut.at)):
        row = Cut(*(field[i] for field in cut))
        place = f" in round {i + 1} of {len(cut.at)}" if len(cut.at) > 1 else ""
        _check_finite(names, row, place)
        groups = [[n] for n in range(len(names))] if by_layer else [range(len(names))]
        for group in groups:
            at = [n in group for n in range(len(names))]
            ties = _ties(names, Cut(*(field[at] for field in row)), at, place)
            tied += [(*ties, place)] if ties else []
    if not tied:
        return ""
    equal, there, kept, value, place = max(tied)
    more = f", and so {len(tied) - 1} times more" if len(tied) > 1 else ""
    return (
        f"{equal:,} of {there:,} scores are equal at the cut{place}, at {value:g}: "
        f"{kept:,} of these weights are kept, by the lowest index{more}"
    )


def check_linear(degree: float) -> None:
    """Refuses a network that SynFlow is not made for.

    Args:
      degree: What `flows.degree` found.

    Raises:
      ValueError: It is not 1 to a tenth.
    """
    if not abs(degree - 1) < LINEAR:
        raise ValueError(
            f"{ASSUMPTION}, got an output that grows with degree {degree:.3g}, not 1, "
            "where all inputs grow; take another search.score"
        )


def check_flow(names: list[str], cut: Cut, *, inverted: bool = False) -> None:
    """Refuses scores of SynFlow that are negative; for the host, outside `jit`.

    Args:
      names: Of the layers.
      cut: Of one choice or of several.
      inverted: Whether the scores were turned round.

    Raises:
      ValueError: There is a score below zero, but for rounding.
    """
    low, high = (np.atleast_2d(jax.device_get(f)) for f in (cut.low, cut.high))
    low, high = (-high, -low) if inverted else (low, high)
    for lowest, highest in zip(low, high, strict=True):
        bound = -ROUNDING * highest.max()
        below = [n for n, x in zip(names, lowest, strict=True) if x < min(bound, 0)]
        if below:
            raise ValueError(negative(below, float(lowest.min())))


def check_dead(cut: Cut) -> None:
    """Refuses a first choice among weights that nothing flows through.

    Args:
      cut: Of one choice or of several, the first of them of the whole network.

    Raises:
      ValueError: The cut is at zero, and some of these weights were kept.
    """
    first = Cut(*(np.atleast_2d(jax.device_get(field))[0] for field in cut))
    if first.pruned.any() and first.at.max() == 0 and first.kept.sum() > 0:
        raise ValueError(
            f"{ASSUMPTION}, got {first.equal.sum():,} of {first.there.sum():,} weights "
            f"that nothing flows through, of which {first.kept.sum():,} would be kept "
            "by the lowest index; exclude their layers by search.exclude, or take "
            "another search.score"
        )


def negative(layers: list[str], lowest: float) -> str:
    """Returns the sentence that refuses a flow below zero."""
    return (
        f"{ASSUMPTION}, got scores down to {lowest:g} in {', '.join(layers)}; take "
        "another score"
    )


def finite(scores: Any, masks: Masks) -> jax.Array:
    """Returns for each prunable layer whether its kept weights have numbers as scores.

    Args:
      scores: A tree of float arrays of the shapes of `masks`.
      masks: The masks.

    Returns:
      bool [layers], in the order of `jax.tree.leaves`.

    Raises:
      ValueError: The trees or the shapes differ.
    """
    return numbers(pairs(masks, scores))


def numbers(rows: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    """Returns the same of the (mask, scores) of each layer, in the type of ranks."""

    def number(score):
        return jnp.isfinite(jnp.asarray(score).astype(jnp.float32))

    return jnp.stack([jnp.all(number(score) | ~mask) for mask, score in rows])


def pairs(masks: Masks, scores: Any) -> list[tuple[jax.Array, jax.Array]]:
    """Returns (mask, scores) of each prunable layer, in the order of the leaves.

    Raises:
      ValueError: The trees or the shapes differ, a mask is not bool, a score is no real
        number, or there is nothing to prune.
    """
    structure: Any = jax.tree.structure(masks)
    if structure != jax.tree.structure(scores):
        names = masks_lib.names(masks), masks_lib.names(scores)
        said = "none for {}", "scores of {}, which is not pruned"
        rows = values.apart(*names, *said)
        rows = rows or [f"{jax.tree.structure(scores)} for {structure}"]
        raise ValueError(
            "scores must have the structure of masks (None where nothing is pruned), "
            f"got {' and '.join(rows)}"
        )
    found = list(zip(jax.tree.leaves(masks), jax.tree.leaves(scores), strict=True))
    if not found:
        raise ValueError("there must be a layer to prune, got masks of none")
    for name, (mask, score) in zip(masks_lib.names(masks), found, strict=True):
        if jnp.shape(mask) != jnp.shape(score):
            raise ValueError(
                f"scores must have the shapes of masks, got {name} = "
                f"{jnp.shape(score)} for {jnp.shape(mask)}"
            )
        masks_lib.check_bool(name, mask)
        kind = jnp.result_type(score)
        if not any(jnp.issubdtype(kind, t) for t in (jnp.floating, jnp.integer)):
            raise ValueError(f"scores must be real numbers, got {name} = {kind}")
    return found


def _check_finite(names, row, place):
    damaged = [n for n, good in zip(names, row.finite, strict=True) if not good]
    if damaged:
        raise ValueError(
            "scores must be finite numbers, got NaN or infinity in "
            f"{', '.join(damaged)}{place}"
        )


def _ties(names, row, at, place):
    """Returns (equal, there, kept, value) of a cut through ties, else None."""
    names = [name for name, here in zip(names, at, strict=True) if here]
    equal, there, kept = (int(x.sum()) for x in (row.equal, row.there, row.kept))
    if not row.pruned.any() or not kept or kept == equal:
        return None
    value = float(row.at.max())
    if equal == there:
        raise UndecidedError(
            f"scores must tell weights apart, got the same one, {value:g}, for all "
            f"{there:,} of {', '.join(names)}{place}: take other examples or weights, "
            "or another score"
        )
    gone = (row.there == row.pruned) & (row.there > 0) & (row.equal > 0)
    if gone.any():
        raise UndecidedError(
            f"scores must tell weights apart at the cut, got {equal:,} of {there:,} "
            f"equal to {value:g}{place}, of which {kept:,} would be kept by the lowest "
            "index, and these layers would be emptied: "
            f"{', '.join(n for n, g in zip(names, gone, strict=True) if g)}; take "
            "another score, or search.minimum, the weights that every layer keeps"
        )
    return equal, there, kept, value
