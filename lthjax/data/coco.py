"""Data in COCO's format: annotations as JSON, images in a folder, read as needed."""

import functools
import os
from typing import Any, NamedTuple

import numpy as np

from lthjax import registry
from lthjax.data import files, objects, pixels, regions
from lthjax.data.annotations import annotated
from lthjax.data.facts import Facts
from lthjax.data.splits import Source, Stored, part

Folder = str | os.PathLike

RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY = (0.449,), (0.226,)


class Form(NamedTuple):
    """What images and labels are made into.

    Attributes:
      labels: "boxes", "keypoints" or "classes".
      size: Pixels a side of the squares.
      grey: Whether they have one channel.
    """

    labels: str
    size: int
    grey: bool


def load(
    *,
    data_dir: Folder | None = None,
    labels: str = "boxes",
    kind: str = "instances",
    train: str = "train2017",
    test: str = "val2017",
    size: int = 64,
    grey: bool = False,
) -> Source:
    """Returns a set in COCO's format, no image read.

    `annotations/{kind}_{train}.json` names the images in the folder `train`, and the
    same of `test`. An image is scaled, its longer side to `size`, and lies in the upper
    left of a black square. Labels are objects (`data.objects`), with points for
    "keypoints"; or for "classes" the class of each pixel int32 [size, size], 0 where
    there is nothing, smaller objects over larger ones.

    Args:
      data_dir: The folder that holds `annotations` and the images.
      labels: "boxes", "keypoints" or "classes".
      kind: How the names of the annotations begin.
      train: The name of a split.
      test: The name of the other one.
      size: Pixels a side.
      grey: One channel in place of three.

    Raises:
      ValueError: A file is not there or not what it must be, `annotated`; the splits
        have other categories; or there are no points where "keypoints" are asked for.
    """
    form = _form(labels, size, grey)
    parts = [annotated(data_dir, kind, name) for name in (train, test)]
    _check_alike(parts, (train, test), labels)
    most = max(1, *(len(row) for own in parts for row in own.rows))
    stored = [_stored(own, form, most) for own in parts]
    number = len(parts[0].classes) + (labels == "classes")
    follow = objects.follow_pixels
    if labels != "classes":
        points = parts[0].points if labels == "keypoints" else ()
        follow = functools.partial(objects.follow_objects, pairs=mirrored(points))
    none = part(stored[0], 0, 0)
    scale = GREY if grey else RGB
    return Source(stored[0], none, stored[1], number, *scale, follow)


def facts(**options: Any) -> Facts:
    """Returns what is known of a set in COCO's format, reading no image.

    Args:
      **options: Of `load`.

    Raises:
      ValueError: As `load`.
    """
    source = load(**options)
    train, test = source.train, source.test
    return Facts(
        train.image_shape,
        source.num_classes,
        len(train.records),
        len(test.records),
        source.mean,
        source.std,
        label_shape=train.label_shape,
        label_dtype=train.label_dtype,
    )


def mirrored(points: tuple[str, ...]) -> tuple[int, ...]:
    """Returns which point each becomes in a mirror: left and right change places.

    Names are compared without regard to case.

    Args:
      points: Their names, such as "left_eye".
    """
    swapped = {"left": "right", "right": "left"}
    names = [name.lower() for name in points]

    def other(name):
        for word, its in swapped.items():
            if word in name and name.replace(word, its) in names:
                return name.replace(word, its)
        return name

    return tuple(names.index(other(name)) for name in names)


def _form(labels, size, grey):
    if labels not in LABELS:
        raise ValueError(
            f"data.options.labels must be one of {', '.join(LABELS)}, got labels = "
            f"{labels!r}{registry.suggestion(str(labels), LABELS)}"
        )
    if not isinstance(size, int) or not 8 <= size <= 2**12:
        raise ValueError(
            f"data.options.size must be from 8 to {2**12} pixels, got size = {size!r}"
        )
    return Form(labels, size, bool(grey))


def _check_alike(parts, names, labels):
    train, test = parts
    if (train.classes, train.points) != (test.classes, test.points):
        raise ValueError(
            "both splits must have the same categories and points, got "
            f"{len(train.classes)} categories and {len(train.points)} points in "
            f"{names[0]!r}, {len(test.classes)} and {len(test.points)} in {names[1]!r}"
        )
    if train.names != test.names:
        pairs = zip(train.names, test.names, strict=True)
        one, other = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(
            "both splits must call a category of one number alike, got "
            f"{one!r} in {names[0]!r}, {other!r} in {names[1]!r}"
        )
    for own, name in zip(parts, names, strict=True):
        if labels == "keypoints" and not own.points:
            raise ValueError(
                "data.options.labels = 'keypoints' needs categories with keypoints, "
                f"got none in {name!r}; give data.options.kind, such as "
                "'person_keypoints'"
            )
        if labels == "classes":
            _check_regions(own, name)


def _check_regions(own, name):
    """Refuses objects without a region, and regions that cannot be drawn."""
    pairs = zip(own.images, own.rows, strict=True)
    for sides, row in ((image[1:], row) for image, rows in pairs for row in rows):
        try:
            regions.check(row.get("segmentation"), *sides)
        except (ValueError, TypeError) as error:
            raise ValueError(
                "data.options.labels = 'classes' needs the region of every object, got "
                f"annotation {row.get('id')} in {name!r}: {error}"
            ) from error


def _stored(own, form, most):
    """Returns a split that reads an image where it is asked for."""
    channels = 1 if form.grey else 3
    view = functools.partial(_view, form)
    more = {"label_shape": (form.size, form.size), "label_dtype": "int32"}
    if form.labels != "classes":
        points = len(own.points) if form.labels == "keypoints" else 0
        width = objects.WIDTH + 3 * points
        known = np.zeros((len(own.images), most, width), np.float32)
        for i, rows in enumerate(own.rows):
            known[i] = _objects(own, i, rows, known[i].shape)
        more = {"label_shape": (most, width), "label_dtype": "float32", "labels": known}
    fetch = functools.partial(_fetch, own, form, more.get("labels"))
    shape = form.size, form.size, channels
    return Stored(fetch, view, range(len(own.images)), shape, **more)


def _objects(own, number, rows, shape):
    """Returns the objects of an image [most, 7 + 3 k], in shares of its square."""
    _, height, width = own.images[number]
    side, found = max(height, width), np.zeros(shape, np.float32)
    found[:, 0] = -1
    for i, row in enumerate(rows):
        x, y, w, h = row["bbox"]
        box = np.clip([x, y, x + w, y + h], 0, [width, height] * 2) / side
        head = [own.classes[row["category_id"]], *box, row["area"] / side**2]
        points = np.zeros((shape[1] - objects.WIDTH) // 3 * 3)
        if "keypoints" in row and points.size:
            points = np.array(row["keypoints"], float).reshape(-1, 3)
            points[:, :2] /= side
        found[i] = [*head, row.get("iscrowd", 0), *np.ravel(points)]
    return found


def _fetch(own, form, known, numbers):
    """Returns (bytes, label, where it lies) of images."""
    found = []
    for number in numbers:
        path = own.folder / own.images[number][0]
        label = _classes(own, form, number) if known is None else known[number]
        where = str(path), *own.images[number][1:]
        found.append((files.content(path), label, where))
    return found


def _view(form, data, where, draw):
    """Returns the square of an image, uint8 [size, size, channels]."""
    from PIL import Image

    del draw
    path, height, width = where
    image = pixels.image(data, path, grey=form.grey)
    if image.size != (width, height):
        raise ValueError(
            "an image must have the size that its annotations say, got "
            f"{image.size[0]} x {image.size[1]} pixels for {width} x {height} of {path}"
        )
    scaled = image.resize(_scaled(form, height, width), Image.Resampling.BILINEAR)
    return _square(form, np.asarray(scaled).reshape(*scaled.size[::-1], -1))


def _scaled(form, height, width):
    scale = form.size / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _square(form, image):
    square = np.zeros((form.size, form.size, *image.shape[2:]), image.dtype)
    square[: len(image), : image.shape[1]] = image
    return square


def _classes(own, form, number):
    """Returns the class of each pixel int32 [size, size], 0 where there is nothing."""
    from PIL import Image

    file, height, width = own.images[number]
    found = np.zeros((height, width), np.int32)
    for row in sorted(own.rows[number], key=lambda row: -row["area"]):
        try:
            inside = regions.mask(row["segmentation"], height, width)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"annotation {row.get('id')} of {file!r}: {error}"
            ) from error
        found[inside] = own.classes[row["category_id"]] + 1
    scaled = Image.fromarray(found).resize(
        _scaled(form, height, width), Image.Resampling.NEAREST
    )
    return _square(form, np.asarray(scaled))


LABELS = ("boxes", "keypoints", "classes")
