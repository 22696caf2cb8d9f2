"""How well what was found lies on what is there: boxes, masks, points, classes."""

import numpy as np

# Of the 17 points of COCO, as published; other sets have one for all.
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)
SIGMA = 0.05


def box_overlaps(
    found: np.ndarray, truth: np.ndarray, crowd: np.ndarray | None = None
) -> np.ndarray:
    """Returns the intersection over union of every pair of boxes.

        |A and B| / |A or B|,  of a crowd B:  |A and B| / |A|

    Args:
      found: x0, y0, x1, y1 of each [d, 4].
      truth: The same [g, 4].
      crowd: Which of these stand for several objects, bool [g]; none by default.

    Returns:
      [d, g], 0 where both are empty.
    """
    found, truth = (np.asarray(x, np.float64).reshape(-1, 4) for x in (found, truth))
    low = np.maximum(found[:, None, :2], truth[None, :, :2])
    high = np.minimum(found[:, None, 2:], truth[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    own, other = ((x[:, 2:] - x[:, :2]).prod(-1) for x in (found, truth))
    return _over_union(inside, own, other, crowd)


def mask_overlaps(
    found: np.ndarray, truth: np.ndarray, crowd: np.ndarray | None = None
) -> np.ndarray:
    """Returns the intersection over union of every pair of masks.

    Args:
      found: Bool [d, h, w].
      truth: The same [g, h, w].
      crowd: As for `box_overlaps`.

    Returns:
      [d, g].
    """
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    own, other = (
        np.asarray(x, bool).reshape(len(x), -1).astype(float) for x in (found, truth)
    )
    return _over_union(own @ other.T, own.sum(1), other.sum(1), crowd)


def _over_union(inside, found, truth, crowd):
    union = found[:, None] + truth[None] - inside
    if crowd is not None:
        union = np.where(np.asarray(crowd, bool)[None], found[:, None], union)
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def point_similarities(
    found: np.ndarray,
    truth: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    sigmas: tuple[float, ...] = (),
) -> np.ndarray:
    """Returns the object keypoint similarity of every pair of objects.

        mean over visible i of exp(-d_i^2 / (2 area (2 sigma_i)^2))

    Of an object without a visible point, d_i is the distance from its box made three
    times as wide and high, and the mean is over all points, as in pycocotools.

    Args:
      found: x, y of the points of each object [d, k, 2].
      truth: x, y and visibility, 0 for a point that is not labelled [g, k, 3].
      boxes: x0, y0, x1, y1 of these [g, 4].
      areas: Of these [g], the square of the coordinates' unit.
      sigmas: Of each point [k]; COCO's of 17 points, else 0.05.

    Returns:
      [d, g].

    Raises:
      ValueError: There are not as many sigmas as points.
    """
    found, truth = np.asarray(found, float), np.asarray(truth, float)
    variances_ = variances(truth.shape[1], sigmas)
    similar = np.zeros((len(found), len(truth)))
    for j, (points, box, area) in enumerate(zip(truth, boxes, areas, strict=True)):
        seen = points[:, 2] > 0
        away = found - points[None, :, :2]
        if not seen.any():
            size = box[2:] - box[:2]
            low, high = box[:2] - size, box[:2] + 2 * size
            away = np.maximum(0, low - found) + np.maximum(0, found - high)
        scaled = (away**2).sum(-1) / variances_ / (area + np.spacing(1)) / 2
        scaled = scaled[:, seen] if seen.any() else scaled
        similar[:, j] = np.exp(-scaled).mean(1)
    return similar


def variances(points: int, sigmas: tuple[float, ...] = ()) -> np.ndarray:
    """Returns (2 sigma)^2 of each point [k].

    Args:
      points: k.
      sigmas: As for `point_similarities`.

    Raises:
      ValueError: There are not as many sigmas as points.
    """
    own = sigmas or (COCO_SIGMAS if points == len(COCO_SIGMAS) else (SIGMA,) * points)
    if len(own) != points:
        raise ValueError(
            f"sigmas must be one for each of {points} points, got {len(own)} of them"
        )
    return (2 * np.asarray(own)) ** 2


def correct_points(
    found: np.ndarray, truth: np.ndarray, sizes: np.ndarray, share: float = 0.1
) -> float:
    """Returns the share of the visible points that are found near enough (PCK).

        mean over visible i of [d_i <= share * size]

    Args:
      found: x, y of the points of each object, NaN where it was missed [n, k, 2].
      truth: x, y and visibility [n, k, 3].
      sizes: Of each object, such as the longer side of its box [n].
      share: Of the size.

    Returns:
      From 0 to 1; NaN where no point is visible.
    """
    away = np.linalg.norm(np.asarray(found) - np.asarray(truth)[..., :2], axis=-1)
    seen = np.asarray(truth)[..., 2] > 0
    near = away <= share * np.asarray(sizes)[:, None]  # NaN is not near
    return float(near[seen].mean()) if seen.any() else float("nan")


def mean_overlap(counts: np.ndarray) -> float:
    """Returns the mean intersection over union of the classes of pixels (mIoU).

        mean over c of n_cc / (sum_j n_cj + sum_i n_ic - n_cc)

    Args:
      counts: Pixels of each class (row) that were said to be of each (column) [c, c].

    Returns:
      From 0 to 1, over the classes that occur in either; NaN where none does.
    """
    counts = np.asarray(counts, float)
    inside = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - inside
    there = union > 0
    return float((inside[there] / union[there]).mean()) if there.any() else float("nan")
