"""Average precision while a network learns: of finds counted by class and score.

Counts add up, over batches and over devices, as means do; so the learning curve has the
precision of a whole set, which `analysis.average_precision` finds exactly at the end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.analysis import average_precision, overlaps
from lthjax.data.objects import WIDTH
from lthjax.training.centre_points import Found

BINS, LIMIT = 128, 8.0  # of log(p / (1 - p)), from -8 to 8
CLOSE = 1e-6  # a recall is reached up to rounding in float32


class Counts(NamedTuple):
    """How many finds were right and wrong, and how many objects there were.

    Attributes:
      right: By class, bin of the score and threshold [c, bins, t].
      wrong: The same.
      wanted: Objects that had to be found, by class [c].
    """

    right: jax.Array
    wrong: jax.Array
    wanted: jax.Array


def of_finds(
    similar: jax.Array,
    found: Found,
    labels: jax.Array,
    weights: jax.Array,
    *,
    classes: int,
) -> Counts:
    """Returns the counts of a batch; finds and objects meet as in pycocotools.

    Args:
      similar: How alike each find is to each object [batch, d, g].
      found: The finds, by score [batch, d].
      labels: Objects [batch, g, 7 + 3 k].
      weights: Of the images [batch].
      classes: How many there are.
    """
    kinds, crowd = labels[..., 0].astype(jnp.int32), labels[..., 6] > 0
    points = labels[..., WIDTH:].reshape(*kinds.shape, -1, 3)
    blind = ~(points[..., 2] > 0).any(-1) if points.shape[2] else False
    free = crowd | blind
    alike = similar * (found.classes[..., None] == kinds[:, None])
    right, ignored = _matched(alike, crowd, free)
    odds = jnp.log(found.scores) - jnp.log1p(-found.scores)
    at = jnp.clip((odds / LIMIT + 1) / 2 * BINS, 0, BINS - 1).astype(jnp.int32)
    none = jnp.zeros((classes, BINS, right.shape[-1]))
    weighted = (~ignored) * weights[:, None, None]
    place = found.classes.astype(jnp.int32), at
    wanted = ((kinds >= 0) & ~free) * weights[:, None]
    return Counts(
        none.at[place].add(right * weighted),
        none.at[place].add(~right * weighted),
        jnp.zeros(classes).at[jnp.maximum(kinds, 0)].add(wanted),
    )


def average(counts: Counts) -> jax.Array:
    """Returns the mean over classes and thresholds of the average precision [].

    As `average_precision.precisions`, but that finds whose scores lie in one bin are
    taken together; 0 where nothing had to be found.

    Args:
      counts: Of a set.
    """
    hits, misses = (jnp.cumsum(x[:, ::-1], axis=1) for x in counts[:2])
    recall = hits / jnp.maximum(counts.wanted, 1)[:, None, None]
    precision = hits / jnp.maximum(hits + misses, 1)
    recalls = jnp.asarray(average_precision.RECALLS, jnp.float32)
    reached = recall[..., None] >= recalls[None, None, None] - CLOSE
    highest = jnp.where(reached, precision[..., None], 0).max(axis=1)
    there = counts.wanted > 0
    return (highest.mean((1, 2)) * there).sum() / jnp.maximum(there.sum(), 1)


def box_overlaps(found: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `overlaps.box_overlaps` of every find with every object [batch, d, g].

    Args:
      found: Boxes [batch, d, 4].
      labels: Objects [batch, g, 7 + 3 k].
    """
    own, other = found[:, :, None], labels[:, None, :, 1:5]
    low = jnp.maximum(own[..., :2], other[..., :2])
    high = jnp.minimum(own[..., 2:], other[..., 2:])
    inside = jnp.maximum(high - low, 0).prod(-1)
    size, theirs = ((x[..., 2:] - x[..., :2]).prod(-1) for x in (own, other))
    crowd = labels[:, None, :, 6] > 0
    union = jnp.where(crowd, size, size + theirs - inside)
    return jnp.where(union > 0, inside / jnp.where(union > 0, union, 1), 0)


def point_similarities(found: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `overlaps.point_similarities` of every find with every object.

    Args:
      found: Points [batch, d, k, 2].
      labels: Objects [batch, g, 7 + 3 k].

    Returns:
      [batch, d, g].
    """
    points = labels[..., WIDTH:].reshape(*labels.shape[:2], -1, 3)[:, None]
    low, high = labels[:, None, :, None, 1:3], labels[:, None, :, None, 3:5]
    seen, found = points[..., 2] > 0, found[:, :, None]
    low, high = low - (high - low), low + 2 * (high - low)
    outside = jnp.maximum(0, low - found) + jnp.maximum(0, found - high)
    blind = ~seen.any(-1, keepdims=True)
    away = jnp.where(blind[..., None], outside, found - points[..., :2])
    variances = jnp.asarray(overlaps.variances(points.shape[3]), jnp.float32)
    areas = labels[:, None, :, None, 5] + jnp.finfo(jnp.float32).eps
    near = jnp.exp(-jnp.square(away).sum(-1) / variances[None, None, None] / areas / 2)
    return (near * (seen | blind)).sum(-1) / (seen | blind).sum(-1)


def _matched(alike, crowd, free):
    """Returns which finds are right, and which do not count [batch, d, t].

    Each takes the object that it is most alike to among those left: of those that have
    to be found if there is one.
    """
    limits = jnp.asarray(average_precision.THRESHOLDS, jnp.float32)[None, :, None]

    def take(taken, row):
        row = row[:, None]
        left = (row >= limits) & (~taken | crowd[:, None])
        strict = left & ~free[:, None]
        any_strict = strict.any(-1)
        allowed = jnp.where(any_strict[..., None], strict, left)
        best = jnp.argmax(jnp.where(allowed, row, -1.0), axis=-1)
        own = jax.nn.one_hot(best, alike.shape[-1], dtype=bool) & allowed
        right = allowed.any(-1)
        return taken | own, (right, right & ~any_strict)

    none = jnp.zeros((len(alike), limits.size, alike.shape[-1]), bool)
    _, found = lax.scan(take, none, jnp.moveaxis(alike, 1, 0))
    right, ignored = (jnp.moveaxis(x, 0, 1) for x in found)
    return right, ignored
