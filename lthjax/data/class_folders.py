"""A folder of images by class as a data set: of any sizes, grey or colour."""

import functools
import logging
import os
import pathlib

from lthjax.data import encoded, files, folders
from lthjax.data.splits import Source

log = logging.getLogger(__name__)

NAME = "folder"
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}


def stored(
    *,
    data_dir: str | os.PathLike | None = None,
    path: str | os.PathLike = "",
    size: int = 0,
    channels: int = 0,
    test: float = encoded.TEST,
    check: str = "whole",
) -> Source:
    """Returns the images of a folder, which stay on the disk, by class.

    A class is a folder, its images are all in it, however deep. Folders train,
    validation (or valid, val) and test (or testing) are splits, if train is there and
    nothing else beside them; each holds the classes then. A test split that is not
    there is cut from train, every class's share, drawn once and for all.

    Args:
      data_dir: The folder.
      path: The same, below `data_dir` if that is given.
      size: Pixels a side of the squares that images become: the shorter side is
        resized, the middle of the longer one cut out. 0: as they are, all of one size.
      channels: 1 grey, 3 colour; 0: grey where all files are, else colour. WebP files
        and palettes are of colour whatever they show.
      test: The share of the images that becomes the test split, where there is none.
      check: "whole": every file is decoded first; "heads": only its head is read.

    Raises:
      ValueError: There is no such folder, no class or only one, or files that are
        damaged, which are named; or sizes differ, and none is asked for.
    """
    top = place(NAME, "folder of images by class", data_dir, path)
    if not top.is_dir():
        raise ValueError(
            "data_dir must be a folder of images by class, got data_dir = "
            f"{str(top)!r}, {'a file' if top.exists() else 'which does not exist'}"
        )
    found = parts(top)
    classes = folders.classes(found["train"])
    _check_several(found["train"], classes)
    listed = {part: _files(folder, classes) for part, folder in found.items()}
    return encoded.source(
        NAME, listed, classes, encoded.Form(size, channels, test, check)
    )


def parts(top: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns {part: its folder}; where there are no splits, all of it is "train".

    Raises:
      ValueError: It cannot be told which folders are splits and which are classes.
    """
    there = folders.classes(top)
    named = {
        part: [name for name in there if name.lower() in words]
        for part, words in WORDS.items()
    }
    known = [name for names in named.values() for name in names]
    others = len(there) > len(known)
    split = bool(named["train"]) and len(known) > len(named["train"])
    deep = {name: _of_folders(top / name) for name in there}
    split |= any(deep[name] for name in named["train"]) and not all(deep.values())
    if not known or (others and not split):
        return {"train": top}
    doubled = any(len(names) > 1 for names in named.values())
    if others or doubled or not named["train"]:
        raise ValueError(
            "a folder must hold either classes or the splits train, validation and "
            f"test, got {', '.join(there[:6])} in {top}"
            + ("" if named["train"] else "; the images to train on go into train")
        )
    found = {part: top / names[0] for part, names in named.items() if names}
    for part in ("validation", "test"):
        if part not in found:
            log.info("no folder %s in %s: it is cut from train", part, top)
    return found


def _of_folders(folder):
    """Says whether a folder holds folders and no file, as a split does."""
    found = [x.is_dir() for x in os.scandir(folder) if not x.name.startswith(".")]
    return bool(found) and all(found)


def place(
    name: str, what: str, data_dir: str | os.PathLike | None, path: str | os.PathLike
) -> pathlib.Path:
    """Returns where a set of a user's own lies.

    Args:
      name: Of the kind of set, for the error.
      what: Is looked for, for the error.
      data_dir: A folder.
      path: Of the set, below `data_dir` if that is given.

    Raises:
      ValueError: Neither is given.
    """
    if not data_dir and not path:
        raise ValueError(
            f"data_dir must be the {what}, where data.name = {name!r}, got data_dir = "
            "''; or give data.options={'path': ...}"
        )
    return pathlib.Path(data_dir or "", path).expanduser()


def _files(folder, classes):
    paths, labels = folders.photos(folder, classes)
    return encoded.Files(
        functools.partial(files.listed, str(folder), paths, labels), labels
    )


def _check_several(folder, classes):
    if len(classes) == 1:
        inner = folder / classes[0]
        raise ValueError(
            "there must be at least two classes, a folder each, got one, "
            f"{classes[0]!r}, in {folder}; if its folders are the classes, give "
            f"data_dir = {str(inner)!r}"
        )
