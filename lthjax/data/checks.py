"""What arrays must be to be a data set, and what a user's would have to be."""

import numpy as np

from lthjax.data.facts import check_classes
from lthjax.data.splits import PARTS, Source, Split, part

CHANNELS = (1, 3, 4)  # of grey, of colour, of colour with something beside it
FEW = 1_000  # classes: so many may be named by fewer images


def sound(name: str, source: Source) -> Source:
    """Returns a source, its labels as int32, if its arrays and numbers fit together.

    Args:
      name: Of the set, for the error.
      source: What a function returned; an empty validation split may be `None`.

    Raises:
      ValueError: They do not; the text says what would.
    """
    check_classes(name, source.num_classes)
    known = int(source.num_classes)
    found = {n: arrays(name, n, getattr(source, n), known) for n in ("train", "test")}
    brought = source.validation
    if brought is not None and len(brought) == 2 and len(brought[1]):
        found["validation"] = arrays(name, "validation", brought, known)
    shapes = {n: found[n].images.shape[1:] for n in PARTS if n in found}
    if len(set(shapes.values())) > 1:
        text = ", ".join(f"{n} {shape}" for n, shape in shapes.items())
        raise ValueError(
            f"the splits of {name!r} must have images of one shape, got {text}"
        )
    found.setdefault("validation", part(found["train"], 0, 0))
    _check_scale(name, source, shapes["train"][-1])
    return source._replace(**found, num_classes=known)


def arrays(
    name: str, which: str, split: Split, num_classes: int | None = None
) -> Split:
    """Returns a split as arrays, its labels as int32, if they are what they must be.

    Args:
      name: Of the set, for the error.
      which: Of its splits, for the error.
      split: Images and labels.
      num_classes: Which labels there are; `None`: any that int32 holds.

    Raises:
      ValueError: They are not; the text says what would be.
    """
    pair = isinstance(split, tuple | list) and len(split) == 2
    try:
        images, labels = map(np.asarray, split if pair else ())
    except ValueError as error:
        raise ValueError(
            f"the {which} split of {name!r} must be a pair of arrays, images and "
            f"labels, got {type(split).__name__} ({error})"
        ) from error
    remedy = _remedy(images, labels)
    if remedy is not None:
        raise ValueError(
            f"{name!r} must have images uint8 [n, h, w, c] and integer labels [n], got "
            f"images = {images.dtype} {images.shape}, labels = {labels.dtype} "
            f"{labels.shape} in its {which} split{remedy}"
        )
    if not len(labels):
        raise ValueError(
            f"the {which} split must have at least one image, got 0 of them of {name!r}"
        )
    _check_channels(name, which, images.shape)
    _check_range(name, labels, num_classes)
    return Split(images, labels.astype(np.int32, copy=False))


def check_named(name: str, num_classes: int, images: int) -> None:
    """Checks that labels which say themselves how many classes there are may be right.

    Raises:
      ValueError: There are far more classes than images.
    """
    if num_classes > max(images, FEW):
        raise ValueError(
            f"labels of {name!r} must be the numbers of the classes from 0, got labels "
            f"up to {num_classes - 1} of {images} images; number the classes one by one"
        )


def _remedy(images, labels):
    """Returns what to do to arrays of another kind; "" where that is not known."""
    right = images.ndim == 4 and labels.shape == images.shape[:1]
    if right and images.dtype == np.uint8 and labels.dtype.kind in "iu":
        return None if 0 not in images.shape[1:] else "; there are no pixels"
    if images.dtype.kind == "f":
        return "; give whole values from 0 to 255 (x 255, rounded, where they end at 1)"
    if images.dtype != np.uint8:
        return "; give values from 0 to 255 as uint8"
    if images.ndim == 3:
        return "; give images[..., None]"
    if labels.ndim == 2 and len(labels) == len(images):
        single = labels.shape[1] == 1
        return f"; give labels{'[:, 0]' if single else '.argmax(1)'} as integers"
    return ""


def _check_channels(name, which, shape):
    _, *sides, last = shape
    if sides[0] in CHANNELS and last not in CHANNELS:
        raise ValueError(
            f"images of {name!r} must be [n, h, w, c], got {list(shape)} in its "
            f"{which} split, where the channels seem to come first; give "
            "np.moveaxis(images, 1, -1)"
        )


def _check_range(name, labels, num_classes):
    low, high = int(labels.min()), int(labels.max())
    most = 2**31 - 1 if num_classes is None else num_classes
    if low < 0 or high >= most:
        known = "" if num_classes is None else f" with num_classes = {num_classes}"
        raise ValueError(
            f"labels of {name!r} must be the numbers of the classes, from 0 to "
            f"num_classes - 1, got labels from {low} to {high}{known}"
        )


def _check_scale(name, source, channels):
    try:
        mean, std = (np.asarray(x, float) for x in (source.mean, source.std))
        right = mean.shape == std.shape == (channels,) and (std > 0).all()
        right = right and np.isfinite([mean, std]).all()
        right = right and ((mean >= 0) & (mean <= 1)).all()
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(
            f"mean and std of {name!r} must be {channels} finite numbers each, one a "
            "channel, of images / 255, so that mean is from 0 to 1, and std positive, "
            f"got mean = {source.mean}, std = {source.std}"
        )
