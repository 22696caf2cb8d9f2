"""Folders of images: which files are of which class, and what is left out."""

import itertools
import logging
import os
import pathlib

import numpy as np

from lthjax.data import files

log = logging.getLogger(__name__)

FORMS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # how an image's name ends
LITTER = ("__MACOSX", "@eaDir")  # what systems leave in folders


def photo_folder(data_dir: str | os.PathLike | None) -> pathlib.Path:
    """Returns the folder of ImageNet as PyTorch's users have it.

    That is `data_dir`, or imagenet in it, with train/<class>/*.JPEG and
    val/<class>/*.JPEG.

    Raises:
      ValueError: Neither has the folders train and val; the text says what can be read.
    """
    top = files.root(data_dir)
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
        f"{str(top)!r}{files.absent(top)}; TFDS prepares it once, from the two "
        "archives of image-net.org in its folder downloads/manual, by\n"
        "  pip install '.[prepare]'\n"
        '  python -c "import tensorflow_datasets as tfds; '
        f'{call}.download_and_prepare()"'
    )


def check_there(name: str, data_dir: str | os.PathLike | None) -> None:
    """Checks that a set which is got once lies where it is read; no image is.

    Args:
      name: Of the set; of those that are not got so nothing is checked.
      data_dir: Where it should lie.

    Raises:
      ValueError: It does not; the text says what makes it.
    """
    if name in files.PREPARED:
        files.check_prepared(name, data_dir)
    elif name == "tiny_imagenet":
        tiny_folder(data_dir)
    elif name == "imagenet" and not files.is_prepared("imagenet2012", data_dir):
        photo_folder(data_dir)


def classes(folder: pathlib.Path) -> list[str]:
    """Returns the classes in the order of their labels: the folders in it, sorted.

    Hidden folders are none, of notebooks and such.
    """
    found = sorted(x.name for x in os.scandir(folder) if x.is_dir())
    found = [name for name in found if not _hidden(name)]
    if not found:
        raise ValueError(
            f"data_dir must hold a folder of images a class, got none in {folder}"
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
    top = files.root(data_dir)
    for folder in (top, top / "tiny-imagenet-200"):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    raise ValueError(
        "data_dir must hold the folder tiny-imagenet-200 with its train and val, got "
        f"data_dir = {str(top)!r}{files.absent(top)}; unpack there "
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

    Raises:
      ValueError: One of the folders cannot be read.
    """
    found, left = [], []
    for where, folders, names in os.walk(folder, onerror=_refuse):
        entered = [name for name in folders if _is_entered(where, name)]
        images = [name for name in names if _is_image(name)]
        others = {*folders, *names} - {*entered, *images}
        found += [os.path.join(where, name) for name in images]
        left += [os.path.join(where, name) for name in others]
        folders[:] = entered
    return sorted(found), sorted(left)


def _refuse(error):
    """Refuses a folder whose images would be left out without a word."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise ValueError(
            f"every folder of a class must be readable, got {error.filename} "
            f"({error.strerror})"
        ) from error


def _is_entered(where, name):
    return not _hidden(name) and not os.path.islink(os.path.join(where, name))


def _is_image(name):
    return name.lower().endswith(FORMS) and not _hidden(name)


def _hidden(name):
    return name.startswith(".") or name in LITTER


def _round_robin(groups: list[list]) -> list:
    turns = itertools.zip_longest(*groups)
    return [x for turn in turns for x in turn if x is not None]
