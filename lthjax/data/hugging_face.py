"""A folder that `datasets` of Hugging Face has saved, as a data set of images."""

import functools
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lthjax.data import class_folders, encoded, files
from lthjax.data.splits import Source

log = logging.getLogger(__name__)

NAME = "huggingface"
LABELS = ("label", "labels", "fine_label")  # what a column of classes is called


class Saved(NamedTuple):
    """A saved set, as what was opened of it is kept: saved again, it is another.

    Attributes:
      top: Its folder.
      changed: When it was written, in nanoseconds.
    """

    top: str
    changed: int


def stored(
    *,
    data_dir: str | os.PathLike | None = None,
    path: str | os.PathLike = "",
    size: int = 0,
    channels: int = 0,
    test: float = encoded.TEST,
    check: str = "whole",
    image: str = "",
    label: str = "",
) -> Source:
    """Returns the images of a folder that `save_to_disk` wrote, which stay there.

    Splits are called as in `class_folders.WORDS`; others are left out, which is said.

    Args:
      data_dir: The folder.
      path: As for `class_folders.stored`, as are the next four.
      size: Pixels a side.
      channels: Of an image.
      test: The share that becomes the test split.
      check: How files are looked through.
      image: The column of images; by default the only one.
      label: The column of classes; by default the only `ClassLabel`, or one of
        `LABELS`.

    Raises:
      ValueError: `datasets` is not installed, there is no such folder or column, or as
        `class_folders.stored`.
    """
    top = class_folders.place(NAME, "folder of a saved set", data_dir, path)
    saved = _saved(top)
    found = _parts(_load(saved), top)
    features = found["train"].features
    image = image or _only(features, _is_image(features), "image", top)
    label = label or _only(features, _is_label(features), "label", top)
    for part, own in found.items():
        for column in (image, label):
            _check_column(column, own.features, f"the split {part} of {top}")
    classes = _classes(found, label)
    named = classes if any(isinstance(x, str) for x in found["train"][label]) else ()
    listed = {}
    for part, own in found.items():
        fetch = functools.partial(_rows, saved, part, (image, label), named)
        listed[part] = encoded.Files(fetch, _numbers(own, part, label, named))
    form = encoded.Form(size, channels, test, check)
    return encoded.source(NAME, listed, classes, form)


def _library() -> Any:
    try:
        import datasets  # here: it takes seconds
    except ImportError as error:
        raise ValueError(
            "data.name = 'huggingface' needs the package datasets, which is not "
            "installed here; pip install 'lthjax[huggingface]'"
        ) from error
    return datasets


def _saved(top) -> Saved:
    times = [path.stat().st_mtime_ns for path in top.glob("*.json")]
    return Saved(str(top), max(times, default=0))


@functools.lru_cache(maxsize=4)
def _load(saved: Saved) -> Any:
    """Returns what lies in a folder, as Python's numbers; no code of it is run.

    A set that was saved with a format (`set_format`) has it again: tensors, say.
    """
    top = saved.top
    try:
        return _library().load_from_disk(top).with_format(None)
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(
            f"data_dir must be a folder that datasets' save_to_disk wrote, got {top!r} "
            f"({error})"
        ) from error


def _parts(found, top) -> dict[str, Any]:
    """Returns {part of `splits.PARTS`: its table}."""
    if not isinstance(found, dict):
        return {"train": found}
    parts = {
        part: found[name]
        for name in found
        for part, words in class_folders.WORDS.items()
        if name.lower() in words
    }
    if "train" not in parts:
        raise ValueError(
            f"a saved set must have a split train, got {', '.join(found)} in {top}"
        )
    left = [name for name in found if all(found[name] is not x for x in parts.values())]
    if left:
        log.warning("left out of %s: the splits %s", top, ", ".join(left))
    return parts


def _is_image(features):
    return [n for n, kind in features.items() if type(kind).__name__ == "Image"]


def _is_label(features):
    kinds = [n for n, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    return kinds if len(kinds) == 1 else [n for n in LABELS if n in features][:1]


def _only(features, there, what, top):
    if len(there) == 1:
        return there[0]
    raise ValueError(
        f"a saved set must have one column of {what}s where none is named, got "
        f"{', '.join(there) or 'none'} of {', '.join(features)} in {top}; give "
        f"data.options={{'{what}': ...}}"
    )


def _check_column(column, features, where):
    if column not in features:
        raise ValueError(
            f"a column must be one of {', '.join(features)}, got {column!r} for {where}"
        )


def _classes(found, label) -> tuple[str, ...]:
    """Returns the names of the classes; numbers, where they have none."""
    named = {p: getattr(own.features[label], "names", None) for p, own in found.items()}
    known = named["train"]
    if apart := [part for part, names in named.items() if names != known]:
        raise ValueError(
            "the splits of a saved set must name the classes alike, got "
            f"{named[apart[0]]} in {apart[0]}, {known} in train of the column "
            f"{label!r}; cast it to the ClassLabel of train, and save the set again"
        )
    if known:
        return tuple(known)
    values = {value for own in found.values() for value in own[label]}
    if all(isinstance(value, str) for value in values):
        return tuple(sorted(values))
    if not all(isinstance(value, int) and value >= 0 for value in values):
        some = ", ".join(sorted(map(repr, values))[:4])
        raise ValueError(
            f"labels must be texts, or the numbers of classes from 0, got {some} in "
            f"the column {label!r}"
        )
    return tuple(map(str, range(1 + max(values))))


def _numbers(own, part, label, named) -> np.ndarray:
    """Returns the labels of a split as numbers."""
    values = list(own[label])
    if named:
        values = [named.index(value) for value in values]
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(
            f"every image must have a label, got some without one in the split {part} "
            f"of the column {label!r}; save the set without that split"
        )
    return np.array(values, np.int32)


@functools.lru_cache(maxsize=8)
def _opened(saved, part, image) -> Any:
    """Returns the table of a split whose images are bytes."""
    plain = _library().Image(decode=False)
    return _parts(_load(saved), saved.top)[part].cast_column(image, plain)


def _rows(saved, part, columns, named, numbers: Sequence[int]) -> list:
    """Returns (bytes, label, where it lies) of some images of a split."""
    image, label = columns
    found = _opened(saved, part, image)[[int(n) for n in numbers]]
    rows = zip(numbers, found[image], found[label], strict=True)
    return [
        (
            _bytes(value or {}),
            named.index(own) if named else int(own),
            (value or {}).get("path") or f"{saved.top}, {part}, row {number}",
        )
        for number, value, own in rows
    ]


def _bytes(value) -> bytes:
    """Returns the bytes of an image, which a table may name only, or lack."""
    if value.get("bytes") is None and value.get("path"):
        return files.content(pathlib.Path(value["path"]))
    return value.get("bytes") or b""
