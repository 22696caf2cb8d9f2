"""What arrays must be to be a data set, and what a user's would have to be."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from lthjax.data import splits as splits_lib
from lthjax.data.facts import check_classes
from lthjax.data.splits import PARTS, Source, Split, part

log = logging.getLogger(__name__)

CHANNELS = (1, 3, 4)  # of grey, of colour, of colour with something beside it
FEW = 1_000  # classes: so many may be named by fewer images


def sound(name: str, source: Source) -> Source:
    """Returns a source, its labels as int32, if its arrays and numbers fit together.

    Where mean and std are empty, inputs may be no images, and bytes that look like some
    become float32; so do floats, and whole numbers int32, of more than 32 bits. Those
    whose channels seem to come first are taken, and it is said.

    Args:
      name: Of the set, for the error.
      source: What a function returned; an empty validation split may be `None`, and
        what is listed in it an array.

    Raises:
      ValueError: They do not; the text says what would.
    """
    source = source._replace(
        mean=_as_tuple(source.mean),
        std=_as_tuple(source.std),
        classes=_names(source.classes),
    )
    free = _is_empty(source.mean) and _is_empty(source.std)
    pairs = _pairs(name, source)
    check_classes(name, source.num_classes, pairs["train"].labels.dtype)
    if len(source.classes) not in (0, source.num_classes):
        raise ValueError(
            f"the classes of {name!r} must each have a name, or none of them, got "
            f"{len(source.classes)} names for num_classes = {source.num_classes}"
        )
    given = {"num_classes": int(source.num_classes), "images": not free}
    found = {n: arrays(name, n, pair, **given) for n, pair in pairs.items()}
    shape = check_alike(name, found)
    if free:
        _warn_of_channels(name, shape)
        found = {n: _as_it_is(split) for n, split in found.items()}
    else:
        _check_scale(name, source, shape[-1])
    found.setdefault("validation", part(found["train"], 0, 0))
    scale = {n: tuple(map(float, getattr(source, n))) for n in ("mean", "std")}
    return source._replace(**found, **scale, num_classes=given["num_classes"])


def arrays(
    name: str,
    which: str,
    split: Split,
    num_classes: int | None = None,
    *,
    images: bool = True,
) -> Split:
    """Returns a split as arrays, its labels as int32, if they are what they must be.

    Args:
      name: Of the set, for the error.
      which: Of its splits, for the error.
      split: Images and labels.
      num_classes: Which labels there are, one or more an example, or how many outputs
        for labels that are floats; `None`: one class, any that int32 holds.
      images: Whether the inputs must be images.

    Raises:
      ValueError: They are not; the text says what would be.
    """
    inputs, labels = _pair(name, which, split)
    own = num_classes is not None and _is_numbers(inputs, labels)
    found = (
        f"{inputs.dtype} {inputs.shape}, labels = {labels.dtype} {labels.shape} in its "
        f"{which} split"
    )
    if not images and not own:
        raise ValueError(
            f"{name!r} must have as many labels as inputs, all of them real numbers, "
            f"got inputs = {found}"
        )
    as_classes = np.zeros(len(labels), np.int32) if own else labels
    remedy = _remedy(inputs, as_classes) if images else None
    if remedy is not None:
        raise ValueError(
            f"{name!r} must have images uint8 [n, h, w, c] and integer labels [n], got "
            f"images = {found}{remedy}"
        )
    if not len(labels):
        raise ValueError(
            f"the {which} split must have at least one image, got 0 of them of {name!r}"
        )
    if not inputs.size:
        raise ValueError(
            f"every input of {name!r} must hold numbers, got inputs of shape "
            f"{list(inputs.shape)} in its {which} split"
        )
    if images:
        _check_channels(name, which, inputs.shape)
    if labels.dtype.kind in "iu":
        _check_range(name, labels, num_classes)
    return Split(_narrow(name, which, inputs), _narrow(name, which, labels, "iu"))


def _as_it_is(split):
    """Returns a split that nothing normalises: of bytes, a network is given floats."""
    if not splits_lib.are_images(split.images):
        return split
    return split._replace(images=split.images.astype(np.float32))


def _pairs(name, source):
    """Returns {part: a pair of arrays}, without a validation split that is empty."""
    given = {n: getattr(source, n) for n in PARTS}
    if source.validation is None or _is_empty(source.validation):
        del given["validation"]
    found = {n: _pair(name, n, split) for n, split in given.items()}
    if all(x.shape[:1] == (0,) for x in found.get("validation", ())):
        found.pop("validation", None)
    return found


def _pair(name, which, split):
    """Returns a split as arrays, whatever they are."""
    pair = isinstance(split, tuple | list) and len(split) == 2
    try:
        inputs, labels = map(np.asarray, split if pair else ())
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the {which} split of {name!r} must be a pair of arrays, images and "
            f"labels, got {type(split).__name__} ({error})"
        ) from error
    return Split(inputs, labels)


def _is_empty(values):
    return isinstance(values, tuple | list) and not values


def _as_tuple(values):
    """Returns an array or a list as a tuple, and what is neither as it is."""
    return tuple(values) if np.iterable(values) else values


def _names(classes):
    return () if classes is None else tuple(map(str, classes))


def _is_numbers(inputs, labels):
    """Says whether there is a number, or several, for each input."""
    known = inputs.dtype.kind in "iufb" and labels.dtype.kind in "iuf"
    return known and min(inputs.ndim, labels.ndim) > 0 and len(inputs) == len(labels)


def check_alike(name: str, splits: Mapping[str, Split]) -> tuple[int, ...]:
    """Returns the shape of an input, having found that of all splits the same.

    Args:
      name: Of the set, for the error.
      splits: {part: split}, with one called "train".

    Raises:
      ValueError: Inputs or labels are of more than one shape or type.
    """
    shapes = {n: split.images.shape[1:] for n, split in splits.items()}
    if len(set(shapes.values())) > 1:
        text = ", ".join(f"{n} {shape}" for n, shape in shapes.items())
        raise ValueError(
            f"the splits of {name!r} must have images of one shape, got {text}"
        )
    forms = {
        n: f"inputs {x.dtype}, labels {y.dtype} {list(y.shape[1:])}"
        for n, (x, y) in splits.items()
    }
    if len(set(forms.values())) > 1:
        text = "; ".join(f"{n} {form}" for n, form in forms.items())
        raise ValueError(
            f"the splits of {name!r} must have inputs and labels of one kind, got "
            f"{text}"
        )
    return shapes["train"]


def _narrow(name, which, array, whole=""):
    """Returns an array in at most 32 bits, if its numbers are still what they were.

    Its bytes are in the order of this machine, the only one that JAX takes.

    Args:
      name: Of the set.
      which: Of its splits.
      array: Inputs or labels.
      whole: Kinds that become int32 whatever they are.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"every number of {name!r} must be finite, got inf or nan in its {which} "
            "split"
        )
    wide = array.dtype.itemsize > 4 or array.dtype == np.uint32
    if array.dtype.kind == "f":
        return _narrow_floats(name, which, array) if wide else array
    if array.dtype.kind not in whole and not wide:
        return array
    if array.size and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31:
        raise ValueError(
            f"whole numbers of {name!r} must be of 32 bits, got {array.min()} to "
            f"{array.max()} in its {which} split"
        )
    return array.astype(np.int32, copy=False)


def _narrow_floats(name, which, array):
    """Returns float32 of larger ones, none of which may become infinite."""
    with np.errstate(over="ignore"):
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise ValueError(
            f"every number of {name!r} must be finite in 32 bits, got up to "
            f"{np.abs(array).max():g} in its {which} split"
        )
    return found


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


def _channels_first(shape: Sequence[int]) -> bool:
    """Says whether the channels of an input seem to come before its sides.

    Of a height of one, a signal, the last axis may be few channels beside its length.
    """
    if len(shape) != 3 or shape[0] not in CHANNELS or shape[-1] in CHANNELS:
        return False
    return shape[0] > 1 or 2 * shape[-1] > shape[1]


def _warn_of_channels(name, shape):
    if _channels_first(shape):
        log.warning(
            "inputs of %r are taken as [n, h, w, c], %d x %d pixels of %d channels; "
            "where the channels come first, give np.moveaxis(inputs, 1, -1)",
            name,
            *shape,
        )


def _check_channels(name, which, shape):
    if _channels_first(shape[1:]):
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
            f"num_classes - 1, got labels from {low} to {high}{known}; whole numbers "
            "that are no classes are given as floats"
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
