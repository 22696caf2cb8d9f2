"""A user's arrays become a data set: pairs of images and labels, and what they hold."""

import logging
from typing import Any

import numpy as np

from lthjax.data import checks
from lthjax.data.splits import Source, Split, part

log = logging.getLogger(__name__)


def pairs(name: str, found: Any) -> list[Split]:
    """Returns the train and the test split in what a user's function returned.

    Args:
      name: Of the set, for the error.
      found: What was returned.

    Raises:
      ValueError: It is not `(train, test)`, each a pair.
    """
    if not _is_pair(found) or not all(map(_is_pair, found)):
        shown = [type(x).__name__ for x in found] if _is_pair(found) else ""
        raise ValueError(
            f"{name!r} must return a Source or two pairs of images and labels, (train, "
            f"test), got {type(found).__name__}{f' of {shown}' if shown else ''}"
        )
    return [Split(*pair) for pair in found]


def described(name: str, train: Split, test: Split) -> Source:
    """Returns the source of images, with their classes, mean and deviation.

    Args:
      name: Of the set, for errors.
      train: Images uint8 [n, h, w, c] and labels, integers [n].
      test: Likewise.

    Raises:
      ValueError: They are not.
    """
    train, test = checks.arrays(name, "train", train), checks.arrays(name, "test", test)
    num_classes = 1 + max(int(split.labels.max()) for split in (train, test))
    checks.check_named(name, num_classes, len(train.labels) + len(test.labels))
    mean, std = moments(name, train.images)
    return Source(train, part(train, 0, 0), test, num_classes, mean, std)


def moments(
    name: str, images: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and deviation of each channel, of images / 255, from their counts.

    The deviation of a channel without any is 1.

    Args:
      name: Of the set, for the log, which has a warning where no channel has any.
      images: uint8 [n, h, w, c].
    """
    channels = np.moveaxis(images, -1, 0)
    if all(x.min() == x.max() for x in channels):
        log.warning("all pixels of a channel are equal in %r: nothing to learn", name)
    mean, std = zip(*(_moments(x) for x in channels), strict=True)
    return mean, std


def _is_pair(found):
    return isinstance(found, tuple | list) and len(found) == 2


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Returns mean and deviation of uint8 `values` / 255, found from their counts."""
    counts = np.bincount(values.reshape(-1), minlength=256)
    levels = np.arange(256) / 255
    if np.count_nonzero(counts) < 2:  # a mean may be a rounding away from it
        return float(levels[counts.argmax()]), 1.0
    mean = np.average(levels, weights=counts)
    variance = np.average((levels - mean) ** 2, weights=counts)
    return float(mean), float(variance**0.5)
