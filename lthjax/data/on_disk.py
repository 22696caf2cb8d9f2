"""Data sets that stay on the disk: their splits are read as they are needed."""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from lthjax import registry
from lthjax.data import (
    coco,
    files,
    folders,
    in_memory,
    photographs,
    pixels,
)
from lthjax.data.facts import FACTS, Facts
from lthjax.data.splits import PARTS, Source, Split, Stored, cut, of_facts, size

Folder = str | os.PathLike


def load(
    name: str,
    *,
    data_dir: Folder | None = None,
    validation: int = 0,
    limit: int | None = None,
    how: str = "",
    crop: tuple[int, bool] = (0, False),
    options: dict[str, Any] | None = None,
) -> Source:
    """Returns the data set `name` as `in_memory.load` does, no image read.

    Args:
      name: A key of `LAZY`, or "package.module:function" as for `in_memory.load`,
        whose arrays, memory-mapped ones for instance, are read example by example.
      data_dir: Where it lies; as for `in_memory.load`.
      validation: Number of train images set aside.
      limit: Number of train images kept of what is left; all by default.
      how: How both are chosen; as for `in_memory.load`.
      crop: Of photographs: the pixels a side of the squares that they become (0: those
        of `facts.FACTS`), and whether one in two is mirrored in training. Of
        `in_memory.STORED`: the same pixels (0: images stay as they are); nothing is
        mirrored here.
      options: What the set itself takes.

    Raises:
      ValueError: The set is none that can be streamed, is not there, or cannot be cut
        so.
    """
    _check(name, crop[0])
    load_fn = LAZY.get(name, functools.partial(_own, name))
    source = load_fn(data_dir, crop, options or {})
    return cut(name, source, validation, limit, how)


def facts(
    name: str,
    *,
    data_dir: Folder | None = None,
    side: int = 0,
    options: dict[str, Any] | None = None,
) -> Facts:
    """Returns what is known of a streamed set, reading no image if it can.

    Args:
      name: As for `load`.
      data_dir: Where it lies, if it is to be counted there.
      side: Of the squares that photographs become, in pixels; 0: that of `facts.FACTS`.
      options: What the set itself takes.

    Raises:
      ValueError: The set is none that can be streamed, or does not take the options.
    """
    _check(name, side)
    own = name in in_memory.STORED
    given = _sized(options or {}, side) if own else options
    found = in_memory.facts(name, data_dir=data_dir, options=given)
    return found._replace(image_shape=(side, side, 3)) if side and not own else found


def _check(name, side):
    if name not in LAZY and ":" not in name:
        raise ValueError(
            f"a streamed data set must be one of {', '.join(LAZY)}, or your own as "
            f"'package.module:Name', got data.name = {name!r} with data.stream = True"
            f"{registry.suggestion(name, LAZY)}; what is in memory anyway has "
            "data.stream = False"
        )
    if side and name not in in_memory.SIZED:
        raise ValueError(
            f"data.size is the side of a photograph's crop, and {name!r} has images of "
            f"one size, got data.size = {side}; give 0"
        )


def _fixed(shape, data, where, draw):
    """Looks at an image of a set whose images have one size: as it is."""
    del draw
    return pixels.decode(data, shape, where)


def _as_it_is(data, where, draw):
    del where, draw
    return data


def _prepared(name, split, data_dir, view, shape) -> Stored:
    """Returns a split of a set that TFDS prepared; `name` and `split` are TFDS's."""
    where = name, split, str(files.root(data_dir))
    fetch = functools.partial(files.records, *where)
    return Stored(fetch, view, range(len(files.opened(*where))), shape)


def _listed(folder, paths, labels, view, shape) -> Stored:
    """Returns a split that is a list of files."""
    fetch = functools.partial(files.listed, str(folder), paths, labels)
    known = np.asarray(labels, np.int32)
    return Stored(fetch, view, range(len(paths)), shape, labels=known)


def _small(name, data_dir, crop, options) -> Source:
    del crop
    _refuse(name, options)
    shape = FACTS[name].image_shape
    view = functools.partial(_fixed, shape)
    splits = (_prepared(name, s, data_dir, view, shape) for s in ("train", "test"))
    return of_facts(name, *splits)


def _tiny(data_dir, crop, options) -> Source:
    del crop
    _refuse("tiny_imagenet", options)
    folder, shape = folders.tiny_folder(data_dir), FACTS["tiny_imagenet"].image_shape
    view = functools.partial(_fixed, shape)

    def stored(rows):
        paths = [str(path.relative_to(folder)) for path, _ in rows]
        return _listed(folder, paths, [label for _, label in rows], view, shape)

    parts = stored(folders.tiny_train(folder)), stored(folders.tiny_val(folder))
    source = of_facts("tiny_imagenet", *parts)
    return source._replace(num_classes=len(folders.tiny_classes(folder)))


def _imagenet(data_dir, crop, options) -> Source:
    _refuse("imagenet", options)
    side = crop[0] or FACTS["imagenet"].image_shape[0]
    view = functools.partial(photographs.square, size=side, flip=crop[1])
    shape = side, side, 3
    if files.is_prepared("imagenet2012", data_dir):
        given = data_dir, view, shape
        both = [_prepared("imagenet2012", s, *given) for s in ("train", "validation")]
        return of_facts("imagenet", *_augmented(both))
    folder = folders.photo_folder(data_dir)
    classes = folders.classes(folder / "train")
    rows = {part: folders.photos(folder / part, classes) for part in ("train", "val")}
    both = [_listed(folder / part, *rows[part], view, shape) for part in rows]
    source = of_facts("imagenet", *_augmented(both))
    return source._replace(num_classes=len(classes))


def _augmented(parts):
    return [split._replace(augmented=True) for split in parts]


def _coco(data_dir, crop, options) -> Source:
    del crop
    return coco.load(**in_memory.taking("coco", coco.load, data_dir, options))


def _of_user(name, data_dir, crop, options) -> Source:
    """Returns a set of `in_memory.STORED`, whose images are brought to one size."""
    load_fn, given = in_memory.STORED[name], _sized(options, crop[0])
    return load_fn(**in_memory.taking(name, load_fn, data_dir, given))


def _sized(options, side):
    return {**options, "size": side} if side else options


def _own(name, data_dir, crop, options) -> Source:
    """Returns a set whose arrays, in memory or mapped into it, are read by example."""
    del crop
    source = in_memory.load(name, data_dir=data_dir, how="first", options=options)
    return source._replace(**{p: _in_memory(getattr(source, p)) for p in PARTS})


def _in_memory(split: Split) -> Stored:
    images, labels = split
    return Stored(
        functools.partial(_numbered, split),
        _as_it_is,
        range(size(split)),
        images.shape[1:],
        labels=labels,
        dtype=str(images.dtype),
        label_shape=labels.shape[1:],
        label_dtype=str(labels.dtype),
    )


def _numbered(split, numbers):
    return [(split.images[i], split.labels[i], i) for i in numbers]


def _refuse(name, options):
    if options:
        raise ValueError(
            f"the data set {name!r} takes no options, got options = {options}"
        )


LAZY: dict[str, Callable[..., Source]] = {
    name: functools.partial(_small, name) for name in files.PREPARED
} | {
    "tiny_imagenet": _tiny,
    "imagenet": _imagenet,
    "synthetic": functools.partial(_own, "synthetic"),  # for trying a run out
    "npz": functools.partial(_own, "npz"),
    "coco": _coco,
    **{name: functools.partial(_of_user, name) for name in in_memory.STORED},
}
