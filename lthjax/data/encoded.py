"""Image files of any size become a data set: looked through, brought to one size, cut.

Where the files lie, in a folder or in a table, is the affair of who calls.
"""

import concurrent.futures
import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lthjax.data import own_arrays, photographs, pixels, splits
from lthjax.data.splits import PARTS, Source, Split, Stored

log = logging.getLogger(__name__)

TEST = 0.2  # share of the images that a set without a test split sets aside
SAMPLE = 2_048  # train images that mean and deviation are computed from
NAMED = 5  # files that an error names
CHECKS = ("whole", "heads")
CHANNELS = (0, 1, 3)
PIECE = 64  # files that a thread looks through, or reads, at once


class Files(NamedTuple):
    """Image files of a split, read by their numbers.

    Attributes:
      fetch_fn: Numbers -> a list of (bytes, label, where it lies), in a form that
        another process can be handed.
      labels: Of all of them, int32 [n].
    """

    fetch_fn: Callable[[Sequence[int]], list]
    labels: np.ndarray


class Form(NamedTuple):
    """What files become.

    Attributes:
      size: Pixels a side of the squares; 0: the size that all of them have.
      channels: 1 grey, 3 colour; 0: grey where all files are, else colour.
      test: The share of the images that becomes the test split, where there is none.
      check: "whole": every file is decoded before it is used; "heads": only its head.
    """

    size: int = 0
    channels: int = 0
    test: float = TEST
    check: str = CHECKS[0]


def source(
    name: str, found: Mapping[str, Files], classes: Sequence[str], form: Form
) -> Source:
    """Returns the data set of image files, which stay where they lie.

    Mean and deviation are those of `SAMPLE` train images, evenly spread. A test split
    that is not there is cut from train, every class's share, drawn once and for all.

    Args:
      name: Of the set, for errors.
      found: {part of `splits.PARTS`: its files}, train among them.
      classes: Their names, in the order of the labels.
      form: What the images become.

    Raises:
      ValueError: Files are damaged, which are named; their sizes differ, and none is
        asked for; or nothing would be left of train or of test.
    """
    _check_form(form)
    check_share(name, form.test, cut="test" not in found)
    heads = _heads(found, form.check == "whole")
    shape = _shape(name, heads, form)
    view = functools.partial(photographs.fitted, shape)
    stored = {
        part: Stored(files.fetch_fn, view, range(len(files.labels)), shape, labels=y)
        for part, files in found.items()
        for y in [np.asarray(files.labels, np.int32)]
    }
    if "test" not in stored:
        own = divided(name, splits.labels(stored["train"]), form.test)
        train = stored["train"]
        stored |= {part: train._replace(records=rows) for part, rows in own.items()}
    stored.setdefault("validation", splits.part(stored["train"], 0, 0))
    mean, std = _scale(name, stored["train"])
    parts = [stored[part] for part in PARTS]
    return Source(*parts, len(classes), mean, std, classes=tuple(classes))


def read(split: Stored) -> Split:
    """Returns all examples of a split as arrays, read by as many threads as cores.

    Args:
      split: What is read.

    Raises:
      ValueError: An image cannot be read; it is named.
    """
    total = splits.size(split)
    images = np.empty((total, *split.image_shape), split.dtype)
    labels = np.empty((total, *split.label_shape), split.label_dtype)

    def fill(first):
        rows = slice(first, first + PIECE)
        images[rows], labels[rows] = splits.read(split, range(total)[rows])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(fill, range(0, total, PIECE)))
    return Split(images, labels)


def _check_form(form):
    if form.channels not in CHANNELS or form.check not in CHECKS:
        raise ValueError(
            "channels must be 0, 1 or 3, and check one of whole, heads, got channels = "
            f"{form.channels!r}, check = {form.check!r}"
        )
    if type(form.size) is not int or form.size < 0:
        raise ValueError(
            "size must be pixels a side, a whole number, or 0 for the images' own, got "
            f"size = {form.size!r}"
        )


def check_share(name: str, test: float, *, cut: bool) -> None:
    """Checks the share of the images that becomes the test split.

    Warns of another than the default one where it is not read.

    Args:
      name: Of the set, for the warning.
      test: The share.
      cut: Whether a test split is cut; a set that has one reads no share.

    Raises:
      ValueError: It leaves none of train, or of test.
    """
    if type(test) not in (int, float) or not 0 < test < 1:
        raise ValueError(
            "test, the share of the images that becomes the test split, must be in "
            f"(0, 1), got test = {test!r}"
        )
    if not cut and test != TEST:
        log.warning("test = %s is not read: %r has a test split", test, name)


def _heads(found, whole):
    """Returns (grey, (width, height), where it lies) of every file.

    Raises:
      ValueError: Some are damaged; `NAMED` of them are named.
    """
    pieces = [
        (files.fetch_fn, range(len(files.labels))[first : first + PIECE])
        for files in found.values()
        for first in range(0, len(files.labels), PIECE)
    ]
    look = functools.partial(_looked_at, whole)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        rows = [row for rows in threads.map(look, pieces) for row in rows]
    faults = [row for row in rows if isinstance(row, str)]
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise ValueError(
            f"every image file must be whole, got {len(faults)} of {len(rows)} that "
            f"are not: {'; '.join(faults[:NAMED])}{more}; mend or remove them"
        )
    return rows


def _looked_at(whole, piece):
    """Returns what `_heads` does of some files, or what is wrong with each."""
    fetch_fn, numbers = piece
    return [_head(*fetch_fn([number])[0], whole) for number in numbers]


def _head(data, label, where, whole):
    del label
    if not data:
        return f"an empty one in {where}"
    try:
        if whole:
            pixels.image(data, where)
        return *pixels.head(data, where), where
    except ValueError as error:
        return str(error).partition(", got ")[2].partition("; ")[0]


def _shape(name, heads, form):
    """Returns (h, w, c) of what the images become."""
    colours = form.channels or (1 if all(grey for grey, *_ in heads) else 3)
    if form.size:
        return form.size, form.size, colours
    (w, h), first = heads[0][1:]
    other = next((row for row in heads if row[1] != (w, h)), None)
    if other is not None:
        (width, height), where = other[1:]
        raise ValueError(
            f"the images of {name!r} must be of one size where none is asked for, got "
            f"{w} x {h} pixels in {first}, {width} x {height} in {where}; give "
            "data.size, the pixels a side that all are brought to"
        )
    return h, w, colours


def divided(name: str, labels: np.ndarray, share: float) -> dict[str, np.ndarray]:
    """Returns {part: which examples} of a set that came without a test split.

    Each has every class's share, and is drawn once and for all (`splits.even`).

    Args:
      name: Of the set, for the error.
      labels: Of the examples, from 0 [n].
      share: Of the examples, that becomes the test split.

    Raises:
      ValueError: That is none of them, or all.
    """
    number = round(share * len(labels))
    if not 0 < number < len(labels):
        raise ValueError(
            f"a test split must leave images to train on, got {number} of the "
            f"{len(labels)} images of {name!r} with test = {share}"
        )
    order = splits.even(labels)
    return {"test": order[:number], "train": order[number:]}


def _scale(name, train):
    """Returns mean and deviation of evenly spread images of a split."""
    total = splits.size(train)
    spread = np.linspace(0, total - 1, min(total, SAMPLE)).astype(int)
    return own_arrays.moments(name, splits.take(train, spread).images)
