"""Labels that lie on an image: objects as rows of numbers, classes of pixels as maps.

An object is `OBJECT` and then x, y and visibility of each of its k points: its class
(-1: there is none, the row is padding), x0, y0, x1, y1, its area, and 1 if it is a
crowd, which stands for several. Coordinates are shares of the image's sides, areas of
its area.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.callables import FollowFn
from lthjax.data.augment import Moves

OBJECT = ("class", "x0", "y0", "x1", "y1", "area", "crowd")
WIDTH = len(OBJECT)


def number_of_points(labels: jax.Array) -> int:
    """Returns k of objects [..., most, 7 + 3 k].

    Raises:
      ValueError: They are no such rows.
    """
    more = labels.shape[-1] - WIDTH if labels.ndim == 3 else -1
    if more < 0 or more % 3:
        raise ValueError(
            f"labels of objects must be [n, most, {WIDTH} + 3 points], got "
            f"{list(labels.shape)}; give data.options.labels = 'boxes' or 'keypoints'"
        )
    return more // 3


def follow_pixels(
    labels: jax.Array, moves: Moves, side: tuple[int, int], *, outside: int = 0
) -> jax.Array:
    """Returns the classes of pixels of images that were moved.

    Args:
      labels: [n, h, w].
      moves: What was done to each image.
      side: h, w.
      outside: What has come in, beside the image: the class of nothing, or -1, which
        is none and counts for nothing.
    """
    rows, columns = (
        jnp.arange(length)[None] - moves.shifts[:, axis, None]
        for axis, length in enumerate(side)
    )
    columns = jnp.where(moves.mirrored[:, None], columns[:, ::-1], columns)
    inside = _within(rows, side[0])[:, :, None] & _within(columns, side[1])[:, None]
    each = jnp.arange(len(labels))[:, None, None]
    taken = labels[each, rows[:, :, None] % side[0], columns[:, None] % side[1]]
    return jnp.where(inside, taken, outside)


def follower(
    label: Sequence[int],
    dtype: str,
    image: Sequence[int],
    *,
    outside: int = 0,
    rows: bool = False,
) -> FollowFn | None:
    """Returns what moves labels with their images, `None` where they are no maps.

    Args:
      label: The shape of one example's labels.
      dtype: Their type; classes are integers.
      image: The shape of an image, (h, w, c).
      outside: As for `follow_pixels`.
      rows: Whether they are objects, whose points stay what they are in a mirror.
    """
    if rows:
        points = number_of_points(jax.ShapeDtypeStruct((1, *label), dtype))
        return functools.partial(follow_objects, pairs=tuple(range(points)))
    of_pixels = len(label) == 2 and tuple(label) == tuple(image[:2])
    if not of_pixels or np.dtype(dtype).kind not in "iu":
        return None
    return functools.partial(follow_pixels, outside=outside)


def _within(places, length):
    return (places >= 0) & (places < length)


def follow_objects(
    labels: jax.Array,
    moves: Moves,
    side: tuple[int, int],
    *,
    pairs: tuple[int, ...] = (),
) -> jax.Array:
    """Returns the objects of images that were moved.

    What is left of a box within the image keeps its share of the area; an object none
    of which is left is none, and a point that has left is not visible.

    Args:
      labels: Objects [n, most, 7 + 3 k].
      moves: What was done to each image.
      side: Height and width of an image, in pixels.
      pairs: The point that each becomes in a mirror [k].
    """
    mirrored = moves.mirrored
    down, right = (moves.shifts[:, i, None] / side[i] for i in (0, 1))
    kind, x0, y0, x1, y1, area, crowd = (labels[..., i] for i in range(WIDTH))
    before = (x1 - x0) * (y1 - y0)
    x0, x1 = (jnp.clip(x + right, 0, 1) for x in (x0, x1))
    y0, y1 = (jnp.clip(y + down, 0, 1) for y in (y0, y1))
    left = (x1 - x0) * (y1 - y0)
    kind = jnp.where(left > 0, kind, -1.0)
    area = area * left / jnp.where(before > 0, before, 1.0)
    mirror = mirrored[:, None]
    x0, x1 = jnp.where(mirror, 1 - x1, x0), jnp.where(mirror, 1 - x0, x1)
    rows = jnp.stack([kind, x0, y0, x1, y1, area, crowd], -1)
    k = (labels.shape[-1] - WIDTH) // 3
    if not k:
        return rows
    points = labels[..., WIDTH:].reshape(*labels.shape[:2], k, 3)
    points = _followed(points, (right, down), mirrored, pairs)
    return jnp.concatenate([rows, points.reshape(*labels.shape[:2], -1)], -1)


def _followed(points, shift, mirrored, pairs):
    """Returns points [n, most, k, 3] of images that were moved."""
    x, y = (points[..., i] + shift[i][..., None] for i in (0, 1))
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    plain = jnp.stack([x, y, jnp.where(inside, points[..., 2], 0.0)], -1)
    turned = plain.at[..., 0].set(1 - x)[:, :, jnp.asarray(pairs)]
    return jnp.where(mirrored[:, None, None, None], turned, plain)
