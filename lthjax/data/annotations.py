"""What annotations in COCO's format say, or why they cannot be learnt from."""

import functools
import json
import os
import pathlib
from typing import NamedTuple

import numpy as np

Folder = str | os.PathLike

SLACK = 1.0  # pixels that a box may be beyond the image, by COCO's rounding


class Annotated(NamedTuple):
    """The images of a split and what lies on them, checked.

    Attributes:
      folder: Of the images.
      images: (file name, height, width) of each.
      rows: The annotations of each, in the order of the file.
      classes: {id of a category: class from 0}.
      points: Names of the points of an object.
      names: Of the categories, in the order of their classes, `None` without one.
    """

    folder: pathlib.Path
    images: tuple[tuple[str, int, int], ...]
    rows: tuple[tuple[dict, ...], ...]
    classes: dict[int, int]
    points: tuple[str, ...]
    names: tuple[str | None, ...]


def annotated(data_dir: Folder | None, kind: str, name: str) -> Annotated:
    """Returns the images of a split and what lies on them.

    Args:
      data_dir: The folder that holds `annotations` and the images.
      kind: How the name of the file begins.
      name: Of the split.

    Raises:
      ValueError: A folder or a file is missing, something is of another kind than in
        COCO's own, an image is not in the folder, an annotation is of no image or
        category, its box leaves the image by more than a pixel or is empty, or it has
        no area, or points that are not three numbers each.
    """
    root = pathlib.Path(data_dir or "").expanduser()
    path = root / "annotations" / f"{kind}_{name}.json"
    if not path.is_file() or not (root / name).is_dir():
        lacking = path if not path.is_file() else root / name
        raise ValueError(
            "data_dir must hold the annotations and a folder of the images, got "
            f"data_dir = {str(root)!r}, which has no {lacking.relative_to(root)}; give "
            "data.options.kind, train and test"
        )
    try:
        return _annotated(path, root / name, path.stat().st_mtime_ns)
    except (TypeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"annotations must be what COCO writes, got {path}, where something is of "
            f"another kind ({error})"
        ) from error


@functools.lru_cache(maxsize=8)
def _annotated(path, folder, changed):
    del changed  # a file that was written again is read again
    found = _parsed(path)
    there = {entry.name for entry in os.scandir(folder)}
    images = {}
    for row in found["images"]:
        images[row["id"]] = _image(row, path, (folder, there))
    kinds = sorted(found["categories"], key=lambda row: row["id"])
    classes = {row["id"]: i for i, row in enumerate(kinds)}
    names = tuple(row.get("name") for row in kinds)
    points = [row["keypoints"] for row in found["categories"] if row.get("keypoints")]
    points = tuple(map(str, points[0] if points else ()))
    own: dict[int, list] = {number: [] for number in images}
    for row in found["annotations"]:
        _check(row, path, (images, classes, len(points)))
        own[row["image_id"]].append(row)
    rows = tuple(tuple(own[number]) for number in images)
    return Annotated(folder, tuple(images.values()), rows, classes, points, names)


def _parsed(path):
    try:
        found = json.loads(path.read_bytes())
        lists = [found[name] for name in ("images", "annotations", "categories")]
        known = all(isinstance(x, list) for x in lists) and lists[0] and lists[2]
        numbers = [[row["id"] for row in x] for x in (lists[0], lists[2])]
        known = known and all(isinstance(row, dict) for row in lists[1])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            "annotations must be JSON with lists of images, annotations and "
            f"categories, got {path}, where {type(error).__name__}: {error}"
        ) from error
    if not (known and all(map(_apart, numbers))):
        raise ValueError(
            "annotations must name some images and some categories, each by a number "
            f"of its own, and be objects themselves, got {path}"
        )
    return found


def _apart(numbers):
    """Returns whether all are whole numbers, or all texts, and no two are the same."""
    kinds = {type(number) for number in numbers}
    return kinds in ({int}, {str}) and len(set(numbers)) == len(numbers)


def _image(row, path, place):
    """Returns (file name, height, width) of an image.

    Args:
      row: Of the file.
      path: Of the file, for errors.
      place: The folder of images, and the names of what lies in it.
    """
    folder, there = place
    name, sides = row.get("file_name"), (row.get("height"), row.get("width"))
    if name not in there and not (folder / str(name)).is_file():
        raise ValueError(
            f"every image that is annotated must be in its folder, got {name!r} in "
            f"{path}, which is not; fetch it, or take it from the file"
        )
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(
            f"every image must have a height and a width in pixels, got {sides} of "
            f"{name!r} in {path}"
        )
    return name, *sides


def _check(row, path, known):
    """Refuses an annotation that cannot be learnt from."""
    images, classes, points = known
    name = f"annotation {row.get('id')} in {path}"
    for key, ids in (("image_id", images), ("category_id", classes)):
        if row.get(key) not in ids:
            raise ValueError(
                f"every annotation must be of an image and a category of its file, got "
                f"{key} = {row.get(key)!r} of {name}"
            )
    file, height, width = images[row["image_id"]]
    box = row.get("bbox")
    if not _numbers(box, 4) or box[2] <= 0 or box[3] <= 0:
        raise ValueError(
            "a box must be x, y and a positive width and height, got bbox = "
            f"{box} of {name}; correct it, or take it from the file"
        )
    x, y, w, h = box
    if min(x, y) < -SLACK or x + w > width + SLACK or y + h > height + SLACK:
        raise ValueError(
            f"a box must lie in its image, got bbox = {box} of {name}, where {file!r} "
            f"has {width} x {height} pixels; correct it, or take it from the file"
        )
    if min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
        raise ValueError(
            f"a box must have an area in its image, got bbox = {box} of {name}, where "
            f"{file!r} has {width} x {height} pixels; correct it, or take it out"
        )
    if row.get("iscrowd", 0) not in (0, 1):
        raise ValueError(
            f"iscrowd must be 0 or 1, got iscrowd = {row['iscrowd']!r} of {name}"
        )
    if not _numbers([row.get("area")], 1) or row["area"] <= 0:
        raise ValueError(
            f"an object must have an area above 0, got area = {row.get('area')} of "
            f"{name}; correct it, or take it from the file"
        )
    if "keypoints" in row and not _numbers(row["keypoints"], 3 * points):
        raise ValueError(
            f"the points of an object must be x, y and visibility of {points} points, "
            f"as its category names them, got keypoints = {row['keypoints']} of {name}"
        )


def _numbers(found, number):
    given = isinstance(found, list) and len(found) == number
    return given and all(isinstance(x, int | float) and np.isfinite(x) for x in found)
