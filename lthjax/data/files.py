"""Image files become arrays: sets that TFDS prepared, and folders of images."""

import functools
import itertools
import json
import logging
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lthjax.data import pixels

log = logging.getLogger(__name__)

Arrays = tuple[np.ndarray, np.ndarray]  # images [n, h, w, c] uint8, labels [n] int32
SIDE = 64  # of a Tiny-ImageNet image, in pixels
FORMS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # how an image's name ends
LITTER = ("__MACOSX", "@eaDir")  # what systems leave in folders
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
    records = opened(name, split, str(root(data_dir)))
    pairs = ((r["image"], r["label"], name) for r in _in_turn(records))
    return _stack(pairs, len(records), shape)


@functools.lru_cache
def opened(name: str, split: str, top: str):
    """Returns the records of a prepared split by their number, images not decoded.

    Args:
      name: The set's name in TFDS.
      split: The split's name in TFDS.
      top: The folder that TFDS prepared it in.

    Raises:
      ValueError: As `prepared`.
    """
    version = _version(name, pathlib.Path(top))
    _check_features(pathlib.Path(top, name, version, "features.json"))
    import tensorflow_datasets as tfds  # here: it takes half a second

    return tfds.data_source(
        f"{name}:{version}",  # unlike the bare name: as it lies, whatever is newest
        split=split,
        data_dir=top,
        download=False,
        decoders={"image": tfds.decode.SkipDecoding()},
    )


def records(name: str, split: str, top: str, numbers: Sequence[int]) -> list[Example]:
    """Returns some records of a prepared split; the first arguments are of `opened`."""
    found = opened(name, split, top).__getitems__(list(numbers))
    named = (r.get("file_name") or f"{name}, {split}" for r in found)
    where = (x.decode() if isinstance(x, bytes) else x for x in named)
    return [(r["image"], int(r["label"]), w) for r, w in zip(found, where, strict=True)]


def listed(
    top: str, paths: Sequence[str], labels: Sequence[int], numbers: Sequence[int]
) -> list[Example]:
    """Returns some of the files of `paths`, which lie in the folder `top`."""
    chosen = [(pathlib.Path(top, paths[i]), int(labels[i])) for i in numbers]
    return [(_bytes(path), label, path) for path, label in chosen]


def photo_folder(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Returns the folder of ImageNet as PyTorch's users have it.

    That is `data_dir`, or imagenet in it, with train/<class>/*.JPEG and
    val/<class>/*.JPEG.

    Raises:
      ValueError: Neither has the folders train and val; the text says what can be read.
    """
    top = root(data_dir)
    for folder in (top, top / "imagenet"):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    call = (
        f"tfds.builder('imagenet2012', data_dir={str(top)!r}, "
        "file_format='array_record')"
    )
    raise ValueError(
        "data_dir must hold ImageNet, as folders train/<class>/*.JPEG and "
        "val/<class>/*.JPEG or prepared as array_record, got data_dir = "
        f"{str(top)!r}{_absent(top)}; TFDS prepares it once, from the two archives of "
        "image-net.org in its folder downloads/manual, by\n"
        "  pip install '.[prepare]'\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f'{call}.download_and_prepare()"'
    )


def is_prepared(name: str, data_dir: str | os.PathLike | None) -> bool:
    """Says whether TFDS prepared a set in `data_dir`, in whatever format."""
    return any((root(data_dir) / name).glob("*.*.*/dataset_info.json"))


def classes(folder: pathlib.Path) -> list[str]:
    """Returns the classes in the order of their labels: the folders in it, sorted.

    Hidden folders are none, of notebooks and such.
    """
    found = sorted(x.name for x in os.scandir(folder) if x.is_dir())
    found = [name for name in found if not _hidden(name)]
    if not found:
        raise ValueError(
            f"{folder.name} must hold a folder a class, got {folder} without any"
        )
    return found


def photos(folder: pathlib.Path, known: list[str]) -> tuple[list[str], np.ndarray]:
    """Returns the images of a folder of classes, one class after the other in turn.

    Those in folders of a class's folder too, however deep. What is hidden, and what
    `FORMS` does not name, is left out, with a sentence in the log.

    Args:
      folder: It holds a folder a class.
      known: The classes in the order of their labels.

    Returns:
      Their paths below `folder`, and their labels [n], int32.

    Raises:
      ValueError: A class is not known, or has no image.
    """
    there = classes(folder)
    unknown = sorted(set(there) - set(known))
    if unknown:
        raise ValueError(
            f"{folder} must hold images of the {len(known)} classes in train, got the "
            f"classes {unknown[:3]}"
        )
    label = {name: i for i, name in enumerate(known)}
    found = _images_of(folder, there)
    rows = _round_robin(
        [[(p, label[c]) for p in own] for c, own in zip(there, found, strict=True)]
    )
    return [path for path, _ in rows], np.array([x for _, x in rows], np.int32)


def tiny_folder(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Returns the folder of Tiny-ImageNet: `data_dir`, or tiny-imagenet-200 in it.

    Raises:
      ValueError: Neither has the folders train and val.
    """
    top = root(data_dir)
    for folder in (top, top / "tiny-imagenet-200"):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    raise ValueError(
        "data_dir must hold the folder tiny-imagenet-200 with its train and val, got "
        f"data_dir = {str(top)!r}{_absent(top)}; unpack there "
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    )


def tiny_classes(folder: pathlib.Path) -> list[str]:
    """Returns the classes, in the order of their labels: the names in train, sorted."""
    return classes(folder / "train")


def tiny_train(folder: pathlib.Path) -> list[tuple[pathlib.Path, int]]:
    """Returns the train files with their labels, one class after the other in turn."""
    top, known = folder / "train", tiny_classes(folder)
    found = _images_of(top, known, inner="images")
    return _round_robin([[(top / p, i) for p in own] for i, own in enumerate(found)])


def tiny_val(folder: pathlib.Path) -> list[tuple[pathlib.Path, int]]:
    """Returns the val files with their labels, in the order of the annotations."""
    annotations = folder / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise ValueError(f"val must hold its labels, got no file {annotations}")
    lines = [
        x.split()
        for x in annotations.read_text(encoding="utf-8").splitlines()
        if x.strip()
    ]
    label = {c: i for i, c in enumerate(tiny_classes(folder))}
    named = [x[1] if len(x) > 1 else "" for x in lines]
    unknown = sorted(set(named) - set(label))
    if unknown or not lines:
        raise ValueError(
            f"{annotations} must list images of the {len(label)} classes in train, got "
            f"{f'the classes {unknown[:3]}' if unknown else 'no line'}"
        )
    return [(folder / "val" / "images" / x[0], label[x[1]]) for x in lines]


def read(files: list[tuple[pathlib.Path, int]]) -> Arrays:
    """Returns the images of `files` and their labels; grey becomes RGB.

    Raises:
      ValueError: A file is missing, damaged, or not of 64 x 64 pixels.
    """
    opened = ((_bytes(p), label, p) for p, label in files)
    return _stack(opened, len(files), (SIDE, SIDE, 3))


def _version(name: str, top: pathlib.Path) -> str:
    """Returns the newest version of `name` that lies in `top` as array_record."""
    found = {
        p.parent.name: json.loads(p.read_text(encoding="utf-8")).get(
            "fileFormat", "tfrecord"
        )
        for p in (top / name).glob("*.*.*/dataset_info.json")
    }
    versions = [v for v, form in found.items() if form == "array_record"]
    if versions:
        return max(versions, key=lambda v: [int(x) for x in v.split(".")])
    call = f"tfds.builder({name!r}, data_dir={str(top)!r}, file_format='array_record')"
    held = f" that has it as {', '.join(sorted(set(found.values())))}" if found else ""
    raise ValueError(
        f"the data set {name!r} must be prepared as array_record, got data_dir = "
        f"{str(top)!r}{held or _absent(top)}; prepare it once"
        f"{', in another data_dir' if held else ''}, with a network:\n"
        "  pip install '.[prepare]'\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f'{call}.download_and_prepare()"'
    )


def _check_features(path: pathlib.Path) -> None:
    """Checks that a prepared set names classes of TFDS only, which imports them."""
    named = _classes(json.loads(path.read_text())) if path.exists() else []
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


def _absent(top: pathlib.Path) -> str:
    return "" if top.is_dir() else ", which does not exist"


def _in_turn(records) -> Iterator[dict]:
    for start in range(0, len(records), _READ):
        stop = min(start + _READ, len(records))
        yield from records.__getitems__(range(start, stop))


def _images_of(
    folder: pathlib.Path, known: list[str], inner: str = ""
) -> list[list[str]]:
    """Returns the sorted paths below a folder of each class's images.

    Says what lies there and is none of them.

    Args:
      folder: It holds a folder a class.
      known: The classes.
      inner: The folder of a class's folder that holds its images.
    """
    pairs = [_walked(folder / name / inner) for name in known]
    for name, (own, _) in zip(known, pairs, strict=True):
        if not own:
            raise ValueError(
                f"a class must hold images{f' in {inner}/*' * bool(inner)} "
                f"({', '.join(FORMS)}), got {folder / name} without any"
            )
    beside = {entry.name for entry in os.scandir(folder)} - set(known)
    left = [*sorted(beside), *(name for _, others in pairs for name in others)]
    if left:
        log.warning(
            "left out of %s: %d files or folders that are hidden or hold no image of a "
            "class (%s), such as %s",
            folder,
            len(left),
            ", ".join(FORMS),
            left[0],
        )
    skip = len(str(folder)) + 1
    return [[path[skip:] for path in own] for own, _ in pairs]


def _walked(folder):
    """Returns the images in a folder and those in it, sorted, and what else is there.

    Folders behind links are not entered: they might lead back.
    """
    found, left = [], []
    for where, folders, names in os.walk(folder):
        entered = [name for name in folders if _is_entered(where, name)]
        images = [name for name in names if _is_image(name)]
        others = {*folders, *names} - {*entered, *images}
        found += [os.path.join(where, name) for name in images]
        left += [os.path.join(where, name) for name in others]
        folders[:] = entered
    return sorted(found), sorted(left)


def _is_entered(where, name):
    return not _hidden(name) and not os.path.islink(os.path.join(where, name))


def _is_image(name):
    return name.lower().endswith(FORMS) and not _hidden(name)


def _hidden(name):
    return name.startswith(".") or name in LITTER


def _round_robin(groups: list[list]) -> list:
    turns = itertools.zip_longest(*groups)
    return [x for turn in turns for x in turn if x is not None]


def _bytes(path: pathlib.Path) -> bytes:
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
