"""What recognition is measured by: precision of objects, overlaps, pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.analysis import average_precision, overlaps
from lthjax.data.objects import WIDTH, number_of_points
from lthjax.training import centre_points, losses, precision_counts
from lthjax.training.centre_points import Found
from lthjax.training.precision_counts import Counts

AP = average_precision.NAMES


class Read(NamedTuple):
    """What was found in the images of a set, and what is there.

    Attributes:
      found: `centre_points.Found` [n, most, ...].
      labels: Objects [n, most, 7 + 3 k].
    """

    found: Found
    labels: Any


def read_boxes(outputs: jax.Array, labels: jax.Array) -> Read:
    """Returns the objects that were found in a batch, and those that are there.

    Args:
      outputs: [batch, h, w, classes + 4], or classes + 3 k + 6 with k points.
      labels: Objects [batch, most, 7 + 3 k].
    """
    points, most = number_of_points(labels), max(32, 2 * labels.shape[1])
    return Read(centre_points.decode(outputs, points=points, most=most), labels)


def _classes(outputs, labels):
    return centre_points.split(outputs, number_of_points(labels)).centres.shape[-1]


def box_precision(read: Read) -> dict[str, float]:
    """Returns `average_precision.summary` of boxes, areas parted by the set's terciles.

    Args:
      read: Of all images of a set.
    """
    images = [_boxes(found, labels) for found, labels in _images(read)]
    return average_precision.summary(images, average_precision.terciles(images))


def point_precision(read: Read) -> dict[str, float]:
    """Returns the same by the similarity of points (OKS), and `pck`.

    That is the share of visible points that are found within a tenth of the longer side
    of their box, on the find whose box overlaps most with it, at least by half.

    Args:
      read: Of all images of a set.
    """
    rows = list(_images(read))
    images = [_points(found, labels) for found, labels in rows]
    summary = average_precision.summary(images, average_precision.terciles(images))
    given = [_nearest(found, labels) for found, labels in rows]
    if not given:
        return {**summary, "pck": float("nan")}
    near, points, sizes = map(np.concatenate, zip(*given, strict=True))
    return {**summary, "pck": overlaps.correct_points(near, points, sizes)}


def box_counts(outputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Counts:
    """Returns what the average precision of boxes is counted from.

    Args:
      outputs: As for `read_boxes`.
      labels: Likewise; points do not matter.
      weights: Of the images [batch].
    """
    found, _ = read_boxes(outputs, labels)
    boxes = labels[..., :WIDTH]
    similar = precision_counts.box_overlaps(found.boxes, boxes)
    classes = _classes(outputs, labels)
    return precision_counts.of_finds(similar, found, boxes, weights, classes=classes)


def point_counts(outputs: jax.Array, labels: jax.Array, weights: jax.Array) -> Counts:
    """Returns what the average precision of points is counted from.

    Args:
      outputs: [batch, h, w, classes + 3 k + 6].
      labels: Objects [batch, most, 7 + 3 k].
      weights: Of the images [batch].
    """
    found, _ = read_boxes(outputs, labels)
    similar = precision_counts.point_similarities(found.points, labels)
    classes = _classes(outputs, labels)
    given = similar, found, labels, weights
    return precision_counts.of_finds(*given, classes=classes)


def pixel_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the mean of `-log softmax(logits)[label]` over an image's pixels, nats.

    Pixels whose label is none of the classes do not count; of an image without others
    it is 0.

    Args:
      logits: float32 [batch, h, w, classes].
      labels: int32 [batch, h, w].
    """
    return _by_pixel(losses.cross_entropy, logits, labels)


def pixels_correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of an image's pixels whose highest logit is their label's.

    Args:
      logits: As for `pixel_cross_entropy`.
      labels: Likewise, those that do not count too.
    """
    return _by_pixel(losses.correct, logits, labels)


def pixels_smoothed(
    logits: jax.Array, labels: jax.Array, smoothing: float
) -> jax.Array:
    """Returns `pixel_cross_entropy` of smoothed labels [batch].

    Args:
      logits: As for `pixel_cross_entropy`.
      labels: Likewise, those that do not count too.
      smoothing: The share of a label that all classes have alike.
    """

    def smoothed(logits, labels):
        return losses.smoothed(logits, labels, smoothing)

    return _by_pixel(smoothed, logits, labels)


def _by_pixel(fn, logits, labels):
    """Returns the mean of fn over the pixels of an image with a class [batch]."""
    known = (labels >= 0) & (labels < logits.shape[-1])
    found = jnp.where(known, fn(logits, jnp.where(known, labels, 0)), 0)
    counted = jnp.maximum(known.reshape(len(known), -1).sum(1), 1)
    return found.reshape(len(found), -1).sum(1) / counted


def pixel_counts(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns `confusions` added up over a batch, float32 [c, c].

    Args:
      logits: Of each pixel [batch, h, w, c].
      labels: int32 [batch, h, w].
      weights: Of the images [batch].
    """
    return (confusions(logits, labels) * weights[:, None, None]).sum(0)


def overlap(counts: jax.Array) -> jax.Array:
    """Returns the same as `mean_overlap`, compiled, 0 where there is no class [].

    Args:
      counts: What `pixel_counts` returns of a set [c, c].
    """
    inside = jnp.diag(counts)
    union = counts.sum(0) + counts.sum(1) - inside
    there = union > 0
    shares = jnp.where(there, inside / jnp.where(there, union, 1), 0)
    return shares.sum() / jnp.maximum(there.sum(), 1)


def confusions(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns how many pixels of each class are said to be of each [batch, c, c].

    Pixels whose label is none of the classes do not count.

    Args:
      logits: Of each pixel [batch, h, w, c].
      labels: int32 [batch, h, w].
    """
    classes = logits.shape[-1]
    known = (labels >= 0) & (labels < classes)
    said = losses.answers(logits, labels)
    pairs = labels.astype(said.dtype) * classes + said
    pairs = jnp.where(known, pairs, classes**2)  # beyond what is counted
    flat = pairs.reshape(len(pairs), -1)
    counts = jax.vmap(lambda x: jnp.bincount(x, length=classes**2))(flat)
    return counts.reshape(-1, classes, classes)


def mean_overlap(counts: np.ndarray) -> dict[str, float]:
    """Returns {"miou": the mean intersection over union of the classes of pixels}.

    Args:
      counts: What `confusions` returns of all images of a set [n, c, c].
    """
    return {"miou": overlaps.mean_overlap(np.asarray(counts, np.int64).sum(0))}


def _images(read):
    """Yields what was found in each image, and its objects without padding."""
    for i, labels in enumerate(np.asarray(read.labels, np.float64)):
        found = Found(*(np.asarray(x[i], np.float64) for x in read.found))
        yield found, labels[labels[:, 0] >= 0]


def _areas(boxes):
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)


def _points_of(labels):
    """Returns the points of objects [g, k, 3], where there are no objects too."""
    k = (labels.shape[1] - WIDTH) // 3
    return labels[:, WIDTH:].reshape(len(labels), k, 3)


def _boxes(found, labels):
    crowd = labels[:, 6] > 0
    similar = overlaps.box_overlaps(found.boxes, labels[:, 1:5], crowd)
    return _image(similar, (found, _areas(found.boxes)), labels, crowd)


def _points(found, labels):
    """Returns an image; a find's area is what its points span, as in pycocotools."""
    points = _points_of(labels)
    given = found.points, points, labels[:, 1:5], labels[:, 5]
    blind = ~(points[..., 2] > 0).any(1)
    similar = overlaps.point_similarities(*given)
    spans = np.ptp(found.points[..., :2], axis=1).prod(-1)
    return _image(similar, (found, spans), labels, (labels[:, 6] > 0) | blind)


def _image(similar, finds, labels, ignored):
    (found, areas), crowd = finds, labels[:, 6] > 0
    own = found.scores, found.classes, areas
    return average_precision.Image(
        similar, *own, labels[:, 0], labels[:, 5], crowd, ignored
    )


def _nearest(found, labels):
    """Returns the points found of each object, those there, and the object's size."""
    labels = labels[labels[:, 6] == 0]
    points = _points_of(labels)
    alike = overlaps.box_overlaps(found.boxes, labels[:, 1:5])
    alike = alike * (found.classes[:, None] == labels[None, :, 0])
    best = alike.argmax(0) if len(alike) else np.zeros(len(labels), int)
    near = found.points[best].copy()
    near[alike[best, np.arange(len(labels))] < 0.5] = np.nan
    sizes = (labels[:, 3:5] - labels[:, 1:3]).max(1)
    return near, points, sizes
