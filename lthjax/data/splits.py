"""A data set as splits, which are arrays or lie on the disk, and how it is cut."""

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lthjax import values
from lthjax.callables import FollowFn
from lthjax.data.facts import FACTS, check_classes

CUTS = ("", "first", "stratified")
SEED = 0  # of the order that a set is cut in: one for all runs
FOLDERS = ("tiny_imagenet", "imagenet")
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Images and their labels, or inputs of another kind and what belongs to them.

    Images are uint8 [n, h, w, c], classes int32 [n]. What is no image (tokens int32
    [n, t], vectors float32 [n, d]) and what is no class (targets, floats [n, ...], or
    the token that follows each, int32 [n, t]) goes to the network as it is.
    """

    images: np.ndarray
    labels: np.ndarray


class Stored(NamedTuple):
    """A split that stays on the disk, in a form that another process can be handed.

    Attributes:
      fetch_fn: Numbers of records -> a list of (data, label, where it lies).
      view_fn: (data, where, draw) -> pixels, uint8 `image_shape`; `draw` is None, or
        integers that a random crop is a function of.
      records: The numbers of its images among the records, a range or an array.
      image_shape: (h, w, c).
      augmented: Whether `view_fn` crops and mirrors at random, all that is to be done.
      labels: Of all records, where they are known without reading these.
      dtype: Of what `view_fn` returns: uint8 of images.
      label_shape: Of the labels of one example.
      label_dtype: Of the labels.
    """

    fetch_fn: Callable[[Sequence[int]], list]
    view_fn: Callable[[Any, Any, Sequence[int] | None], np.ndarray]
    records: range | np.ndarray
    image_shape: tuple[int, ...]
    augmented: bool = False
    labels: np.ndarray | None = None
    dtype: str = "uint8"
    label_shape: tuple[int, ...] = ()
    label_dtype: str = "int32"


class Source(NamedTuple):
    """A data set; `mean` and `std` are per channel, of images / 255.

    They are empty where the inputs are no images; where labels are floats, num_classes
    is the number of outputs. Its splits are all arrays, or all `Stored`: see
    `on_disk.load`. Labels that lie on the image go where the image goes, by `follow`:
    (labels, `augment.Moves`, (h, w)) -> labels; `None`: they stay. `classes` are the
    names of the classes, where there are any.
    """

    train: Split | Stored
    validation: Split | Stored
    test: Split | Stored
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    follow: FollowFn | None = None
    classes: tuple[str, ...] = ()


def size(split: Split | Stored) -> int:
    """Returns the number of images of a split, reading none."""
    return len(split.records if isinstance(split, Stored) else split.labels)


def are_images(array: np.ndarray) -> bool:
    """Returns whether inputs are images: uint8 [n, h, w, c]."""
    return array.dtype == np.uint8 and array.ndim == 4


def are_classes(array: np.ndarray) -> bool:
    """Returns whether labels are one class for each example: integers [n]."""
    return array.dtype.kind in "iu" and array.ndim == 1


def image_shape(split: Split | Stored) -> tuple[int, ...]:
    """Returns (h, w, c) of the images of a split, reading none; or that of an input."""
    if isinstance(split, Stored):
        return split.image_shape
    return split.images.shape[1:]


def label_shape(split: Split | Stored) -> tuple[int, ...]:
    """Returns the shape of the labels of one example, reading none."""
    if isinstance(split, Stored):
        return split.label_shape
    return split.labels.shape[1:]


def input_dtype(split: Split | Stored) -> str:
    """Returns the type of what a network is given: float32 of images, else as it is."""
    if isinstance(split, Stored):
        images = split.dtype == "uint8" and len(split.image_shape) == 3
        return "float32" if images else split.dtype
    return "float32" if are_images(split.images) else str(split.images.dtype)


def labels(split: Split | Stored) -> np.ndarray | None:
    """Returns the labels [n] of a split, `None` where images had to be read for it."""
    if isinstance(split, Split):
        return split.labels
    if split.labels is None:
        return None
    return np.asarray(split.labels)[np.asarray(split.records, int)]


def take(split: Split | Stored, indices) -> Split:
    """Returns the examples at `indices` [n] as arrays, read from the disk if need be.

    Photographs are their middles, as in evaluation.
    """
    if isinstance(split, Stored):
        return read(split, indices)
    return Split(*(array[np.asarray(indices, int)] for array in split))


def read(split: Stored, indices: Sequence[int], draws: Sequence | None = None) -> Split:
    """Returns the examples at `indices` of a split, read from the disk.

    Args:
      split: The split.
      indices: Numbers below the size of the split [n].
      draws: What each crop is a function of [n], by default that of no crop.

    Raises:
      ValueError: An image cannot be read; it is named.
    """
    rows = split.fetch_fn([int(split.records[int(i)]) for i in indices])
    images = np.empty((len(rows), *split.image_shape), split.dtype)
    labels = np.empty((len(rows), *split.label_shape), split.label_dtype)
    for i, (data, label, where) in enumerate(rows):
        images[i] = split.view_fn(data, where, draws[i] if draws else None)
        labels[i] = label
    return Split(images, labels)


def cut(
    name: str, source: Source, validation: int, limit: int | None, how: str = ""
) -> Source:
    """Returns a source, validation cut from its train split; as `in_memory.load` says.

    Raises:
      ValueError: It cannot be cut so.
    """
    check_classes(name, source.num_classes, _label_dtype(source.train))
    if how not in CUTS:
        raise ValueError(
            f"data.cut must be one of {', '.join(map(repr, CUTS))}, got data.cut = "
            f"{how!r}"
        )
    if how == "stratified" or (not how and not _comes_evenly(name, source.train)):
        splits = {part: _evenly(name, getattr(source, part), how) for part in PARTS}
        source = source._replace(**splits)
    source = _set_aside(name, source, validation)
    left = size(source.train)
    limit = None if limit is None else values.whole("limit", limit)
    if limit is not None and not 1 <= limit <= left:
        raise ValueError(
            f"limit must be from 1 to the {left} train images of {name!r} that "
            f"validation leaves, got limit = {limit}"
        )
    return source._replace(train=part(source.train, 0, limit))


def _label_dtype(split):
    stored = isinstance(split, Stored)
    return split.label_dtype if stored else split.labels.dtype


def even(labels: np.ndarray) -> np.ndarray:
    """Returns an order of examples of which the first ones have each class's share.

    Of the n_c examples of class c, in an order drawn once and for all, the r-th wants
    the place (r + 1/2) / n_c of the whole, as seats are given to parties by
    Sainte-Lague, and comes no earlier than its class's share allows: the first m of n
    hold n_c m / n of it, never more than that rounded up, and at most one less than
    rounded down.

    Args:
      labels: Of the examples, from 0 [n].

    Returns:
      The numbers below n [n].
    """
    # The stream of this generator is the same in every version of numpy.
    drawn = np.random.RandomState(SEED).permutation(len(labels))
    grouped = drawn[np.argsort(labels[drawn], kind="stable")]
    _, counts = np.unique(labels, return_counts=True)
    ranks = np.concatenate([np.arange(n) for n in counts] or [np.arange(0)])
    of_each = np.repeat(counts, counts)
    order = np.argsort((ranks + 0.5) / of_each, kind="stable")
    earliest = ranks * len(labels) // of_each
    if (earliest[order] > np.arange(len(labels))).any():  # small classes would wait
        order = _in_turn(order, earliest)
    return grouped[order]


def _in_turn(order, earliest):
    """Returns an order in which nothing comes before its earliest place [n].

    Of what may come, the next is what is first in `order`. There is always one, as the
    shares of the first m, rounded up, are m at the least.
    """
    wanted = np.empty_like(order)
    wanted[order] = np.arange(len(order))
    waiting: list[int] = []
    found, arriving = [], iter(np.argsort(earliest, kind="stable").tolist())
    comes = next(arriving, None)
    for place in range(len(order)):
        while comes is not None and earliest[comes] <= place:
            heapq.heappush(waiting, int(wanted[comes]))
            comes = next(arriving, None)
        found.append(order[heapq.heappop(waiting)])
    return np.array(found)


def _comes_evenly(name, train):
    """Says whether any first images of a set of ours have every class's share.

    Packaged, prepared, packed and made-up sets have; folders, whose classes come in
    turn, where the classes are of one size.
    """
    found = labels(train)
    if name not in FOLDERS or found is None:
        return name in FACTS or name in ("packed", "synthetic")
    return len(set(np.unique(found, return_counts=True)[1].tolist())) == 1


def _evenly(name, split, how):
    """Returns a split in an even order; a random one where labels are no classes."""
    found = labels(split)
    if found is None and how == "stratified":
        raise ValueError(
            "a cut by classes needs labels that are known before images are read, got "
            f"data.cut = 'stratified' with {name!r}, whose labels lie on the disk; "
            "give ''"
        )
    classes = found is not None and are_classes(found)
    if not classes and how == "stratified":
        raise ValueError(
            "a cut by classes needs one class for each example, got data.cut = "
            f"'stratified' with {name!r}, whose labels are {found.dtype} "
            f"{list(found.shape)}; give '' for a random order, or 'first'"
        )
    order = even(found if classes else np.zeros(size(split), int))
    if isinstance(split, Stored):
        return split._replace(records=np.asarray(split.records, int)[order])
    return take(split, order)


def _set_aside(name: str, source: Source, validation: int) -> Source:
    there, own = size(source.train), size(source.validation)
    validation = values.whole("validation", validation)
    if own and validation in (0, own):
        return source
    if own:
        raise ValueError(
            f"validation must be 0 or {own}, as {name!r} brings its own {own} images "
            f"for it, got validation = {validation}; give data.validation=0"
        )
    if not 0 <= validation < there:
        raise ValueError(
            f"validation must be from 0 to {there - 1}, for {name!r} with {there} "
            f"train images, got validation = {validation}"
        )
    train = part(source.train, validation, None)
    return source._replace(train=train, validation=part(source.train, 0, validation))


def part(split: Split | Stored, start: int, stop: int | None) -> Split | Stored:
    """Returns the images of a split from `start` to `stop` - 1, reading none."""
    if isinstance(split, Stored):
        return split._replace(records=split.records[start:stop])
    return Split(split.images[start:stop], split.labels[start:stop])


def normalised(
    source: Source, *, mean: Sequence[float] = (), std: Sequence[float] = ()
) -> Source:
    """Returns a source that is normalised by other numbers than its own.

    Args:
      source: A source.
      mean: Per channel, of images / 255; empty: the source's own.
      std: Likewise, positive.

    Raises:
      ValueError: There is not one finite number for each channel, or one of `std` is
        not positive.
    """
    if not source.mean and (mean or std):
        raise ValueError(
            "data.mean and data.std must be empty for inputs that are no images, got "
            f"data.mean = {tuple(mean)}, data.std = {tuple(std)}"
        )
    if not source.mean:
        return source
    check_scale(image_shape(source.train)[-1], mean, std)
    own = {"mean": tuple(mean) or source.mean, "std": tuple(std) or source.std}
    return source._replace(**own)


def check_scale(channels: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Checks that a config's mean and std go with images of so many channels.

    Raises:
      ValueError: As `normalised`.
    """
    for name, given in (("mean", mean), ("std", std)):
        sound = all(np.isfinite(v) and (v > 0 or name == "mean") for v in given)
        if len(given) not in (0, channels) or not sound:
            raise ValueError(
                f"data.{name} must be {channels} finite numbers, one a channel"
                f"{', above 0' * (name == 'std')}, got data.{name} = {tuple(given)}"
            )


def of_facts(name: str, train: Split | Stored, test: Split | Stored) -> Source:
    """Returns the source of a set in `FACTS`, its validation split empty."""
    known, none = FACTS[name], part(train, 0, 0)
    return Source(train, none, test, known.num_classes, known.mean, known.std)
