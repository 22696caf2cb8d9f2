"""Image files become arrays: those of sets that TFDS prepared, and listed ones."""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lthjax.data import pixels

Arrays = tuple[np.ndarray, np.ndarray]  # images [n, h, w, c] uint8, labels [n] int32
SIDE = 64  # of a Tiny-ImageNet image, in pixels
PREPARED = ("mnist", "fashion_mnist", "cifar10", "cifar100")  # by TFDS, as a whole

Example = tuple[bytes, int, object]  # a file's bytes, its label, where it lies
_READ = 1_000  # records a call, which bounds the memory beside the result


def root(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Returns `data_dir`, or else the folder that TFDS itself falls back to."""
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(data_dir or default).expanduser()


def prepared(name: str, split: str, data_dir, shape: tuple[int, int, int]) -> Arrays:
    """Returns one split of a set that TFDS has prepared, without TensorFlow.

    Args:
      name: The set's name in TFDS.
      split: "train" or "test".
      data_dir: Where TFDS prepared it.
      shape: (h, w, c) of its images.

    Raises:
      ValueError: `data_dir` has no array_record of it; the text says what makes one.
    """
    where = name, split, str(root(data_dir))
    size = len(opened(*where))
    pairs = ((r["image"], r["label"], name) for r in _in_turn(where, size))
    return _stack(pairs, size, shape)


@functools.lru_cache
def opened(name: str, split: str, top: str):
    """Returns the records of a prepared split by their number, images not decoded.

    Args:
      name: The set's name in TFDS.
      split: The split's name in TFDS.
      top: The folder that TFDS prepared it in.

    Raises:
      ValueError: As `prepared`, or tensorflow-datasets is not installed.
    """
    version = _version(name, pathlib.Path(top))
    with _whole(name, top):
        _check_features(pathlib.Path(top, name, version, "features.json"))
    try:
        import tensorflow_datasets as tfds  # here: it takes half a second
    except ImportError as error:
        raise ValueError(
            "a prepared set must be read with tensorflow-datasets, which is not "
            f"installed here, got data.name = {name!r}; pip install "
            "tensorflow-datasets array-record"
        ) from error
    with _whole(name, top):
        return tfds.data_source(
            f"{name}:{version}",  # unlike the bare name: as it lies, whatever is newest
            split=split,
            data_dir=top,
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
        )


def records(name: str, split: str, top: str, numbers: Sequence[int]) -> list[Example]:
    """Returns some records of a prepared split; the first arguments are of `opened`."""
    found = _fetched((name, split, top), numbers)
    named = (r.get("file_name") or f"{name}, {split}" for r in found)
    where = (x.decode() if isinstance(x, bytes) else x for x in named)
    return [(r["image"], int(r["label"]), w) for r, w in zip(found, where, strict=True)]


def listed(
    top: str, paths: Sequence[str], labels: Sequence[int], numbers: Sequence[int]
) -> list[Example]:
    """Returns some of the files of `paths`, which lie in the folder `top`."""
    chosen = [(pathlib.Path(top, paths[i]), int(labels[i])) for i in numbers]
    return [(content(path), label, path) for path, label in chosen]


def is_prepared(name: str, data_dir: str | os.PathLike | None) -> bool:
    """Says whether TFDS prepared a set in `data_dir`, in whatever format."""
    return any((root(data_dir) / name).glob("*.*.*/dataset_info.json"))


def check_prepared(name: str, data_dir: str | os.PathLike | None) -> None:
    """Checks that TFDS prepared a set in `data_dir`, in the format that is read.

    Raises:
      ValueError: As `prepared`.
    """
    _version(name, root(data_dir))


def read(files: list[tuple[pathlib.Path, int]]) -> Arrays:
    """Returns the images of `files` and their labels; grey becomes RGB.

    Raises:
      ValueError: A file is missing, damaged, or not of 64 x 64 pixels.
    """
    opened = ((content(p), label, p) for p, label in files)
    return _stack(opened, len(files), (SIDE, SIDE, 3))


def _version(name: str, top: pathlib.Path) -> str:
    """Returns the newest version of `name` that lies in `top` as array_record."""
    with _whole(name, top):
        found = {
            p.parent.name: json.loads(p.read_bytes()).get("fileFormat", "tfrecord")
            for p in (top / name).glob("*.*.*/dataset_info.json")
        }
    versions = [v for v, form in found.items() if form == "array_record"]
    if versions:
        return max(versions, key=lambda v: [int(x) for x in v.split(".")])
    for parent in (top.parent, top.parent.parent):
        if is_prepared(name, parent):
            raise ValueError(
                f"data_dir must be the folder that {name!r} lies in, got data_dir = "
                f"{str(top)!r}; give its parent, {str(parent)!r}"
            )
    call = f"tfds.builder({name!r}, data_dir={str(top)!r}, file_format='array_record')"
    held = f" that has it as {', '.join(sorted(set(found.values())))}" if found else ""
    raise ValueError(
        f"the data set {name!r} must be prepared as array_record, got data_dir = "
        f"{str(top)!r}{held or absent(top)}; prepare it once"
        f"{', in another data_dir' if held else ''}, with a network:\n"
        "  pip install '.[prepare]'\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f'{call}.download_and_prepare()"'
    )


def _check_features(path: pathlib.Path) -> None:
    """Checks that a prepared set names classes of TFDS only, which imports them."""
    named = _classes(json.loads(path.read_bytes())) if path.exists() else []
    for name in named:
        if not name.startswith("tensorflow_datasets."):
            raise ValueError(
                f"a prepared set must have features of TFDS's own, got {name!r} in "
                f"{path}, which would be imported"
            )


def _classes(features):
    """Returns the dotted names of classes in what TFDS keeps of features, as JSON."""
    if isinstance(features, list):
        return [name for inner in features for name in _classes(inner)]
    if not isinstance(features, dict):
        return []
    keys = ("pythonClassName", "python_class_name", "type")
    own = [str(features[key]) for key in keys if "." in str(features.get(key, ""))]
    return own + _classes(list(features.values()))


def absent(top: pathlib.Path) -> str:
    """Returns the end of a sentence on what is no folder, "" if it is one."""
    state = ", a file" if top.exists() else ", which does not exist"
    return "" if top.is_dir() else state


def _in_turn(where, size) -> Iterator[dict]:
    for start in range(0, size, _READ):
        yield from _fetched(where, range(start, min(start + _READ, size)))


def _fetched(where, numbers):
    """Returns some records of what `opened` opens."""
    name, _, top = where
    with _whole(name, top):
        found = opened(*where).__getitems__(list(numbers))
        if any(record["label"] is None for record in found):
            raise EOFError("a record is empty")
        return found


@contextlib.contextmanager
def _whole(name, top):
    """Turns what is raised of a set that is damaged, or lacks a file, into a sentence.

    TFDS, array_record and JSON each raise their own.
    """
    try:
        yield
    except Exception as error:
        if type(error) is ValueError:  # a sentence
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"a prepared set must be whole, got {name!r} in {str(top)!r}, of which "
            f"something cannot be read ({reason}); copy it or prepare it again"
        ) from error


def content(path: pathlib.Path) -> bytes:
    """Returns the bytes of an image file.

    Raises:
      ValueError: It cannot be read; it is named.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"an image listed must be readable, got {path}") from error


def _stack(examples: Iterable, size: int, shape: tuple[int, int, int]) -> Arrays:
    images, labels = np.empty((size, *shape), np.uint8), np.empty(size, np.int32)
    for i, (data, label, where) in enumerate(examples):
        images[i] = pixels.decode(data, shape, where)
        labels[i] = label
    return images, labels
