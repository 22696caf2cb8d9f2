"""Objects as centre points: the losses of heat maps, sizes, offsets; what maps say.

Objects are rows as `data.objects` has them; a crowd is neither learnt nor counted. Maps
are what `models.recognition` returns, [batch, h, w, channels].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.data.objects import WIDTH, number_of_points

OVERLAP = 0.7  # that a box moved within the radius of a heat map still has
SIZES = 0.1  # the weight of the sizes' loss
SURE = 0.1  # the least score of a heat map's point that displacements are moved to


class Maps(NamedTuple):
    """The heads of a network, each [batch, h, w, channels].

    Attributes:
      centres: Logits of each class.
      sizes: Width and height, in pixels of the maps.
      offsets: Of the centre from its pixel's corner, x and y, likewise.
      displacements: Of each point from the centre's pixel, x and y; or of none.
      points: Logits of each point.
      point_offsets: Of a point from its pixel's corner.
    """

    centres: jax.Array
    sizes: jax.Array
    offsets: jax.Array
    displacements: jax.Array
    points: jax.Array
    point_offsets: jax.Array


class Found(NamedTuple):
    """What maps say, the best `most` of each image, by score.

    Attributes:
      scores: From 0 to 1 [batch, most].
      classes: int32 [batch, most].
      boxes: x0, y0, x1, y1, shares of the image [batch, most, 4].
      points: x, y [batch, most, k, 2].
    """

    scores: jax.Array
    classes: jax.Array
    boxes: jax.Array
    points: jax.Array


def split(outputs: jax.Array, points: int) -> Maps:
    """Returns the heads of what a network returned.

    Args:
      outputs: [batch, h, w, classes + 4], or classes + 3 k + 6 with k points.
      points: k, 0 for boxes alone.

    Raises:
      ValueError: There are too few channels for a class.
    """
    rest = [2, 2, *((2 * points, points, 2) if points else (0, 0, 0))]
    classes = outputs.shape[-1] - sum(rest)
    if classes < 1 or outputs.ndim != 4:
        raise ValueError(
            "a network that finds objects must return [batch, h, w, classes + "
            f"{sum(rest)}] for {points} points, got {list(outputs.shape)}; give "
            f"model.name = {'keypoints' if points else 'detector'!r}"
            + f" and model.options.points = {points}"
            * bool(points)
        )
    ends = [classes]
    for size in rest:
        ends.append(ends[-1] + size)
    return Maps(*jnp.split(outputs, ends[:-1], axis=-1))


def box_loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `focal(centres) + 0.1 |sizes| + |offsets|`, each by object [batch].

    References:
      Zhou et al., 2019, arXiv:1904.07850. Departure: divided by the objects of each
      image (at least 1), not by those of the batch.

    Args:
      outputs: [batch, h, w, classes + 4]; more channels belong to points.
      labels: Objects [batch, most, 7 + 3 k].
    """
    maps = split(outputs, number_of_points(labels))
    there, boxes, centres = _objects(labels, maps.centres.shape[1:3])
    bells = _bells(centres, _radii(boxes), maps.centres.shape[1:3])
    of_class = jax.nn.one_hot(labels[..., 0].astype(jnp.int32), maps.centres.shape[-1])
    heat = _highest(bells, of_class * there[..., None])
    sizes = jnp.abs(_at(maps.sizes, centres) - (boxes[..., 2:] - boxes[..., :2]))
    offsets = jnp.abs(_at(maps.offsets, centres) - centres % 1)
    number = jnp.maximum(there.sum(1), 1)
    regressed = ((SIZES * sizes + offsets).sum(-1) * there).sum(1)
    return (_focal(maps.centres, heat) + regressed) / number


def point_loss(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `box_loss + focal(points) + |displacements| + |point offsets|` [batch].

    The losses of points are divided by the visible points of the image, at least 1.

    Args:
      outputs: [batch, h, w, classes + 3 k + 6].
      labels: Objects [batch, most, 7 + 3 k].

    Raises:
      ValueError: As `split`, or the labels have no points.
    """
    if not number_of_points(labels):
        raise ValueError(
            "points are learnt from labels that have some, got labels "
            f"{list(labels.shape)}, which are of boxes; give data.options.labels = "
            "'keypoints', or objective = 'detection'"
        )
    maps = split(outputs, number_of_points(labels))
    side = maps.points.shape[1:3]
    there, boxes, centres = _objects(labels, side)
    where, seen = _points(labels, side, there)
    k = seen.shape[-1]
    radii = jnp.broadcast_to(_radii(boxes)[..., None], seen.shape)
    flat = where.reshape(len(where), -1, 2)
    bells = _bells(flat, radii.reshape(len(where), -1), side)
    of_point = jnp.tile(jnp.eye(k), (labels.shape[1], 1))
    heat = _highest(bells, of_point[None] * seen.reshape(len(where), -1, 1))
    guessed = _at(maps.displacements, centres).reshape(where.shape)
    moved = jnp.abs(guessed - (where - jnp.floor(centres)[:, :, None]))
    nudged = _at(maps.point_offsets, flat).reshape(where.shape)
    nudged = jnp.abs(nudged - where % 1)
    regressed = ((moved + nudged).sum(-1) * seen).sum((1, 2))
    number = jnp.maximum(seen.sum((1, 2)), 1)
    return box_loss(outputs, labels) + (_focal(maps.points, heat) + regressed) / number


def decode(outputs: jax.Array, *, points: int = 0, most: int = 32) -> Found:
    """Returns the objects that maps say, the highest peaks of the centres' heat maps.

    A peak is what no neighbour among 3x3 is above. A point is where its displacement
    says, or at the nearest peak of its own heat map that is in the box and of a score
    above 0.1.

    Args:
      outputs: [batch, h, w, channels].
      points: k.
      most: Of an image.
    """
    maps = split(outputs, points)
    h, w, classes = maps.centres.shape[1:]
    most = min(most, h * w * classes)
    scores, numbers = lax.top_k(_peaks(maps.centres).reshape(len(outputs), -1), most)
    cells = numbers // classes
    corners = _corners(cells, w)
    centres = corners + _taken(maps.offsets, cells)
    half = _taken(maps.sizes, cells) / 2
    side = jnp.array([w, h], jnp.float32)
    boxes = jnp.concatenate([centres - half, centres + half], -1)
    where = _taken(maps.displacements, cells).reshape(*cells.shape, points, 2)
    where = where + corners[:, :, None]
    if points:
        where = _snapped(maps, where, boxes)
    scale = jnp.concatenate([side, side])[None, None]
    whole = jnp.clip(boxes / scale, 0, 1)
    return Found(scores, numbers % classes, whole, where / side[None, None, None])


def _objects(labels, side):
    """Returns which rows are learnt, their boxes and centres in pixels of the maps."""
    scale = jnp.array([side[1], side[0]], jnp.float32)[None, None]
    boxes = labels[..., 1:5] * jnp.concatenate([scale, scale], -1)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    there = (labels[..., 0] >= 0) & (labels[..., 6] == 0)
    return there.astype(jnp.float32), boxes, jnp.clip(centres, 0, scale - 1e-3)


def _points(labels, side, there):
    """Returns where points are, in pixels of the maps, and which are learnt."""
    points = labels[..., WIDTH:].reshape(*labels.shape[:2], -1, 3)
    scale = jnp.array([side[1], side[0]], jnp.float32)[None, None, None]
    where = jnp.clip(points[..., :2] * scale, 0, scale - 1e-3)
    return where, (points[..., 2] > 0) * there[..., None]


def _radii(boxes):
    """Returns how far both corners may move for an overlap of 0.7, the least of three.

    Both inwards, both outwards, both the same way: the roots of a r^2 - b r + c.
    """
    w, h = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    w, h = jnp.maximum(w, 1e-3), jnp.maximum(h, 1e-3)
    t = OVERLAP
    same = _root(1.0, h + w, w * h * (1 - t) / (1 + t))
    inwards = _root(4.0, 2 * (h + w), (1 - t) * w * h)
    outwards = _root(4 * t, -2 * t * (h + w), (t - 1) * w * h)
    return jnp.floor(jnp.minimum(jnp.minimum(same, inwards), outwards))


def _root(a, b, c):
    """Returns the smallest positive root of a r^2 - b r + c."""
    root = jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0))
    return jnp.where(b > 0, (b - root) / (2 * a), (b + root) / (2 * a))


def _bells(where, radii, side):
    """Returns exp(-d^2 / (2 s^2)), s = (2 r + 1) / 6, as its factors by row, column."""
    spread = 2 * ((2 * jnp.maximum(radii, 0) + 1) / 6)[..., None] ** 2
    cells = jnp.floor(where)
    rows, columns = (jnp.arange(n, dtype=jnp.float32)[None, None] for n in side)
    down = jnp.exp(-((rows - cells[..., 1, None]) ** 2) / spread)
    across = jnp.exp(-((columns - cells[..., 0, None]) ** 2) / spread)
    return down, across


def _highest(bells, wanted):
    """Returns heat maps [batch, h, w, channels], the highest bell of each channel."""

    def add(heat, row):
        down, across, own = row
        bell = down[:, :, None] * across[:, None, :]
        return jnp.maximum(heat, bell[..., None] * own[:, None, None, :]), None

    rows = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (*bells, wanted))
    shape = len(wanted), bells[0].shape[-1], bells[1].shape[-1], wanted.shape[-1]
    heat, _ = lax.scan(add, jnp.zeros(shape), rows)
    return lax.stop_gradient(heat)


def _focal(logits, heat):
    """Returns the penalty-reduced focal loss, summed over an image [batch].

    -(1 - p)^2 log p where heat is 1, else -(1 - heat)^4 p^2 log(1 - p).
    """
    p = jax.nn.sigmoid(logits)
    hit = -((1 - p) ** 2) * jax.nn.log_sigmoid(logits)
    miss = -((1 - heat) ** 4) * p**2 * jax.nn.log_sigmoid(-logits)
    return jnp.where(heat == 1, hit, miss).sum((1, 2, 3))


def _at(maps, where):
    """Returns what maps [batch, h, w, c] say at x, y [batch, n, 2]: [batch, n, c]."""
    cells = jnp.floor(where).astype(jnp.int32)
    return _taken(maps, cells[..., 1] * maps.shape[2] + cells[..., 0])


def _taken(maps, cells):
    n, h, w, c = maps.shape
    flat = maps.reshape(n, h * w, c)
    return jnp.take_along_axis(flat, cells[..., None], axis=1)


def _corners(cells, width):
    return jnp.stack([cells % width, cells // width], -1).astype(jnp.float32)


def _peaks(logits):
    """Returns the scores of heat maps, 0 but at peaks."""
    window, least = (1, 3, 3, 1), -jnp.inf
    around = lax.reduce_window(logits, least, lax.max, window, (1, 1, 1, 1), "SAME")
    return jnp.where(logits == around, jax.nn.sigmoid(logits), 0.0)


def _snapped(maps, where, boxes):
    """Returns points [batch, n, k, 2] moved to peaks of their heat maps."""
    h, w, k = maps.points.shape[1:]
    peaks = jnp.moveaxis(_peaks(maps.points).reshape(len(where), h * w, k), 1, 2)
    scores, cells = lax.top_k(peaks, min(where.shape[1], h * w))
    flat = cells.reshape(len(where), -1)
    there = _corners(flat, w) + _taken(maps.point_offsets, flat)
    there = there.reshape(len(where), 1, k, -1, 2)
    low, high = (boxes[:, :, None, None, i : i + 2] for i in (0, 2))
    inside = ((there >= low) & (there <= high)).all(-1)
    away = jnp.square(there - where[:, :, :, None]).sum(-1)
    away = jnp.where(inside & (scores[:, None] > SURE), away, jnp.inf)
    best = jnp.argmin(away, axis=-1)
    there = jnp.broadcast_to(there, (*away.shape, 2))
    near = jnp.take_along_axis(there, best[..., None, None], axis=3)[..., 0, :]
    return jnp.where(jnp.isfinite(away.min(-1))[..., None], near, where)
