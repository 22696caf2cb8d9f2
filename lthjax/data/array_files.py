"""Arrays in one `.npz` file as a data set: images, or inputs of another kind."""

import logging
import os
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from lthjax.data import (
    checks,
    class_folders,
    encoded,
    objects,
    own_arrays,
    splits,
)
from lthjax.data.splits import PARTS, Source, Split

log = logging.getLogger(__name__)

NAME = "npz"


class Names(NamedTuple):
    """How a file calls the arrays of its splits, pairs of inputs and labels.

    Attributes:
      train: What a file must have.
      test: What it may have.
      validation: Pairs, one of which it may have.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    validation: tuple[tuple[str, str], ...]

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        """All pairs."""
        return self.train, self.test, *self.validation


_HELD_OUT = (("val_images", "val_labels"), ("validation_images", "validation_labels"))
NAMES = (
    Names(("images", "labels"), ("test_images", "test_labels"), _HELD_OUT),
    Names(("x_train", "y_train"), ("x_test", "y_test"), (("x_val", "y_val"),)),
    Names(("train_images", "train_labels"), ("test_images", "test_labels"), _HELD_OUT),
)


def arrays(
    *,
    data_dir: str | os.PathLike | None = None,
    path: str | os.PathLike = "",
    test: float = encoded.TEST,
) -> Source:
    """Returns the arrays of a `.npz` file.

    They are called as in one of `NAMES`; without a test split one is cut, every class's
    share, drawn once and for all. Inputs of uint8 [n, h, w] or [n, h, w, c] are images,
    from 0 to 255: normalised, and to be augmented. Others go to the network as they
    are, bytes and truth values as float32. Labels are the numbers of classes from 0 or
    their names [n], or, for other objectives, floats or tokens [n, ...]: whole numbers
    that are no classes are stored as floats.

    Args:
      data_dir: The file, or a folder.
      path: The file, below `data_dir` if that is given.
      test: The share of the examples that becomes the test split, where there is none.

    Raises:
      ValueError: There is no such file, it is damaged, or its arrays do not fit
        together.
    """
    top = class_folders.place(NAME, "npz file", data_dir, path)
    given = _read(top)
    encoded.check_share(NAME, test, cut="test" not in given)
    _check_scales(top, given)
    found = {part: _pair(top, part, pair) for part, pair in given.items()}
    classes = _names(found)
    named = {part: _numbered(pair, classes) for part, pair in found.items()}
    if "test" not in named:
        named |= _divided(named["train"], test)
    images = all(splits.are_images(pair.images) for pair in named.values())
    images = images and named["train"].images.size > 0  # else `checks` refuses it
    scale = own_arrays.moments(NAME, named["train"].images) if images else ((), ())
    named.setdefault("validation", splits.part(named["train"], 0, 0))
    number = len(classes) or _outputs(named)
    pixels, labels = named["train"]
    shapes, follow = (labels.shape[1:], str(labels.dtype), pixels.shape[1:]), None
    if images:  # no class is known to be that of nothing
        follow = objects.follower(*shapes, outside=-1)
    return Source(*(named[part] for part in PARTS), number, *scale, follow, classes)


def _read(top: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns {part: (inputs, labels)} of the parts that a file has."""
    if not top.is_file():
        there = ", ".join(sorted(x.name for x in top.glob("[!.]*.npz"))) or "none"
        state = f"a folder with {there}" if top.is_dir() else "which does not exist"
        raise ValueError(f"data_dir must be an npz file, got {str(top)!r}, {state}")
    try:
        with top.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            chosen = _chosen(top, file.files)
            return {part: (file[x], file[y]) for part, (x, y) in chosen.items()}
    except Exception as error:  # zip, numpy and zlib each raise their own
        if isinstance(error, ValueError) and str(error).startswith("an npz file"):
            raise
        damaged = f" ({error})" if zipfile.is_zipfile(top) else ", no npz file"
        raise ValueError(
            "an npz file must be whole, and hold arrays of numbers or texts, got "
            f"{str(top)!r}{damaged}"
        ) from error


def _chosen(top, keys):
    """Returns {part: how a file calls its arrays}, if it has both of each pair."""
    found = [names for names in NAMES if set(names.train) <= set(keys)]
    halves = [pair for n in found for pair in n.all if len(set(pair) & set(keys)) == 1]
    held_out = [pair for n in found for pair in n.validation if pair[0] in keys]
    if len(found) != 1 or halves or len(held_out) > 1:
        known = "; or ".join(", ".join(names.train + names.test) for names in NAMES)
        raise ValueError(
            f"an npz file must have arrays called {known} (those of test may be "
            "absent; val_images and val_labels, or x_val and y_val, may be there once),"
            f" got {', '.join(keys) or 'none'} in {str(top)!r}"
        )
    (names,) = found
    pairs = {"train": names.train, "test": names.test}
    if held_out:
        pairs["validation"] = held_out[0]
    pairs = {part: pair for part, pair in pairs.items() if pair[0] in keys}
    if unread := sorted(set(keys) - {key for pair in pairs.values() for key in pair}):
        log.warning("%s of %s are not read", ", ".join(unread), top)
    return pairs


def _check_scales(top, given):
    """Refuses bytes, truth values and floats side by side: they differ in scale."""
    kinds = {p: x.dtype for p, (x, _) in given.items()}
    if len({d.kind if d.kind != "u" else str(d) for d in kinds.values()}) > 1:
        text = "; ".join(f"{part} inputs {dtype}" for part, dtype in kinds.items())
        raise ValueError(
            "the splits of an npz file must have inputs of one kind, got "
            f"{text} in {str(top)!r}"
        )


def _pair(top, part, pair):
    """Returns a split, its images with an axis of channels, its labels [n]."""
    images, labels = pair
    if not images.ndim or not labels.ndim or len(images) != len(labels):
        raise ValueError(
            "an npz file must have a label for each input, got inputs "
            f"{list(images.shape)} and labels {list(labels.shape)} for {part} in "
            f"{str(top)!r}"
        )
    if labels.dtype.kind not in "iufbUS":
        raise ValueError(
            "the labels of an npz file must be numbers or texts, got labels "
            f"{labels.dtype} for {part} in {str(top)!r}"
        )
    if labels.dtype.kind == "S":
        labels = _decoded(top, part, labels)
    if images.dtype == np.uint8 and images.ndim == 3:
        images = images[..., None]
    elif images.dtype.kind == "b" or (images.dtype == np.uint8 and images.ndim != 4):
        images = images.astype(np.float32)
    if labels.dtype.kind in "iubUS" and labels.shape[1:] == (1,):
        labels = labels[:, 0]
    return Split(images, labels.astype(int) if labels.dtype.kind == "b" else labels)


def _decoded(top, part, labels):
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"bytes that name classes must be UTF-8, got {error.object!r} in labels "
            f"for {part} of {str(top)!r}"
        ) from error


def _names(found):
    """Returns the classes that labels name, in the order of the alphabet; or ()."""
    texts = [pair.labels for pair in found.values() if pair.labels.dtype.kind == "U"]
    if len(texts) not in (0, len(found)):
        raise ValueError(
            "the labels of an npz file must be texts in all splits or in none, got "
            + ", ".join(f"{part} {x.labels.dtype}" for part, x in found.items())
        )
    known = np.unique(np.concatenate(texts)) if texts else ()
    return tuple(map(str, known))


def _numbered(pair, classes):
    """Returns a split, the numbers of classes in the place of their names."""
    if not classes:
        return pair
    labels = np.searchsorted(np.array(classes), pair.labels)
    return pair._replace(labels=labels.astype(np.int32))


def _divided(whole, share):
    """Returns {part: split} of examples that came without a test split."""
    known = splits.are_classes(whole.labels)
    labels = whole.labels if known else np.zeros(len(whole.labels), int)
    parts = encoded.divided(NAME, labels, share)
    return {part: splits.take(whole, own) for part, own in parts.items()}


def _outputs(named):
    """Returns how many classes, or for labels that are floats outputs, there are."""
    labels = named["train"].labels
    if labels.dtype.kind == "f":
        return int(np.prod(labels.shape[1:]))
    known = [x.labels for x in named.values() if x.labels.dtype.kind in "iu"]
    number = 1 + max(int(labels.max(initial=0)) for labels in known)
    if all(splits.are_classes(pair.labels) for pair in named.values()):
        checks.check_named(NAME, number, sum(len(x.labels) for x in named.values()))
    return number
