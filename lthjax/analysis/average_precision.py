"""Average precision and recall of a set: which finds are right, and how they rank."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
ALL = (0.0, float("inf"))


class Image(NamedTuple):
    """What was found in an image, and what is there; d finds, g objects.

    A find whose score is no number does not count. Attributes are arrays of floats, but
    for `crowd` and `ignored`, which are bool, or 0 and 1 as in COCO's files.

    Attributes:
      similar: How alike each find is to each object: overlaps of boxes or masks, or
        `point_similarities` [d, g].
      scores: Of the finds [d].
      classes: Of the finds [d].
      areas: Of the finds [d].
      true_classes: Of the objects [g].
      true_areas: Of the objects [g].
      crowd: Objects that stand for several, which any find may lie on [g].
      ignored: Objects that need not be found, crowds among them [g].
    """

    similar: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    areas: np.ndarray
    true_classes: np.ndarray
    true_areas: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray


class Matched(NamedTuple):
    """The finds of one class in one image, ranked, and what became of them.

    Attributes:
      scores: [d].
      right: Whether it lies on an object, by threshold [t, d].
      ignored: Whether it does not count, by threshold [t, d].
      wanted: Objects that had to be found.
    """

    scores: np.ndarray
    right: np.ndarray
    ignored: np.ndarray
    wanted: int


def precisions(
    images: Sequence[Image],
    *,
    areas: tuple[float, float] = ALL,
    most: int = 100,
    thresholds: Sequence[float] | np.ndarray = THRESHOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the average precision and the recall of each threshold and class.

    At recall r the precision is the highest at any recall of at least r; the average is
    over the recalls 0, 0.01, ..., 1. Finds are taken by score, and each is given the
    object that it is most alike to among those left, as in pycocotools.

    Args:
      images: All of a set.
      areas: The smallest and the largest area of what has to be found.
      most: Finds of a class in an image that count, the highest scores.
      thresholds: How alike a find must be to what it is of.

    Returns:
      Average precisions [t, classes] and recalls [t, classes]; NaN of a class of which
      nothing had to be found.
    """
    there = [x.true_classes for x in images]
    names = np.unique(np.concatenate(there)) if there else np.zeros(0)
    shape = len(thresholds), len(names)
    found = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, name in enumerate(names):
        own = [_matched(x, name, (areas, most, thresholds)) for x in images]
        if sum(x.wanted for x in own):
            found[0][:, i], found[1][:, i] = _curve(own)
    return found


def summary(
    images: Sequence[Image], bounds: tuple[float, float], *, most: int = 100
) -> dict[str, float]:
    """Returns {name: mean over classes} of the numbers that are usually quoted.

    `ap` over thresholds 0.50 to 0.95, `ap50`, `ap75`; `ap_small`, `ap_medium`,
    `ap_large` by areas; `ar`, the recall over the same thresholds.

    Args:
      images: All of a set.
      bounds: The areas up to which an object is small, and medium.
      most: As for `precisions`.

    Returns:
      From 0 to 1; NaN where there was nothing to be found.
    """
    low, high = bounds
    ap, recall = precisions(images, most=most)
    found = {"ap": _mean(ap), "ap50": _mean(ap[0]), "ap75": _mean(ap[5])}
    ranges = {"small": (0.0, low), "medium": (low, high), "large": (high, ALL[1])}
    for name, areas in ranges.items():
        found[f"ap_{name}"] = _mean(precisions(images, areas=areas, most=most)[0])
    return found | {"ar": _mean(recall)}


NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")


def terciles(images: Sequence[Image]) -> tuple[float, float]:
    """Returns the areas below which a third, and two thirds, of the objects are."""
    there = [x.true_areas[~np.asarray(x.ignored, bool)] for x in images]
    areas = np.concatenate(there or [[]])
    if not len(areas):
        return 0.0, 0.0
    low, high = np.quantile(areas, (1 / 3, 2 / 3))
    return float(low), float(high)


def _mean(values):
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _matched(image, name, how):
    """Returns what became of the finds of a class in an image."""
    areas, most, thresholds = how
    finds = np.flatnonzero((image.classes == name) & ~np.isnan(image.scores))
    finds = finds[np.argsort(-image.scores[finds], kind="mergesort")][:most]
    objects = np.flatnonzero(image.true_classes == name)
    outside = _outside(image.true_areas[objects], areas)
    crowd, ignored = (np.asarray(x, bool) for x in (image.crowd, image.ignored))
    free = (ignored | crowd)[objects] | outside
    order = np.argsort(free, kind="mergesort")
    objects, free = objects[order], free[order]
    similar, crowd = image.similar[np.ix_(finds, objects)], crowd[objects]
    rows = [_matches(similar, free, crowd, limit) for limit in thresholds]
    chosen = np.array(rows, int).reshape(len(thresholds), len(finds))
    right = chosen >= 0
    own = np.append(free, False)[chosen]  # the last one is where none was chosen
    ignored = np.where(right, own, _outside(image.areas[finds], areas)[None])
    return Matched(image.scores[finds], right, ignored, int((~free).sum()))


def _outside(values, areas):
    return (values < areas[0]) | (values > areas[1])


def _matches(similar, free, crowd, limit):
    """Returns the object that each find is given, -1 for none, in their order."""
    limit = min(limit, 1 - 1e-10)
    taken, chosen = np.zeros(len(free), bool), np.full(len(similar), -1)
    for i in np.flatnonzero((similar >= limit).any(axis=1)):
        best = _best(similar[i], ~taken | crowd, free, limit)
        chosen[i] = best
        if best >= 0:
            taken[best] = True
    return chosen


def _best(row, open_, free, limit):
    """Returns the last of the most alike, of those that had to be found if any is."""
    for group in (open_ & ~free, open_ & free):
        values = np.where(group & (row >= limit), row, -1.0)
        if values.size and values.max() >= 0:
            return int(len(values) - 1 - np.argmax(values[::-1]))
    return -1


def _curve(matched):
    """Returns the average precision and the recall of one class, by threshold."""
    wanted = sum(x.wanted for x in matched)
    scores = np.concatenate([x.scores for x in matched])
    order = np.argsort(-scores, kind="mergesort")
    right, ignored = (
        np.concatenate([getattr(x, name) for x in matched], axis=1)[:, order]
        for name in ("right", "ignored")
    )
    hits = np.cumsum(right & ~ignored, axis=1).astype(float)
    misses = np.cumsum(~right & ~ignored, axis=1).astype(float)
    recall = hits / wanted
    precision = hits / (hits + misses + np.spacing(1))
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    averages = [_sampled(own, at) for own, at in zip(highest, recall, strict=True)]
    last = recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
    return np.array(averages), last


def _sampled(precision, recall):
    at = np.searchsorted(recall, RECALLS, side="left")
    return np.append(precision, 0.0)[np.minimum(at, len(precision))].mean()
