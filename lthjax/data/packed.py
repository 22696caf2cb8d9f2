"""A data set as a few compact files, without loss, read with numpy and pillow alone.

A part is an `.npz`: images in sheets, one below the other, each a lossless WebP; their
labels; and what is known of the whole set, with a digest of its splits, as JSON. Images
lie as `in_memory.load` has them, train, validation and test, so that any first of them
have every class's share.
"""

import glob
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from lthjax import whole_files
from lthjax.data import files, pixels
from lthjax.data.facts import Facts
from lthjax.data.splits import PARTS, Source, Split, are_images

MOST = 60 * 10**6  # bytes of a part
SHEET = 500  # images
_SIDE = 16_383  # pixels, the most of WebP's
_SPARE = 10**4  # bytes of a part beside its sheets and labels


def packed(*, set: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Returns the set of this name that `write` has packed into `data_dir`.

    Args:
      set: Its name.
      data_dir: Where its parts lie; as for `in_memory.load`.

    Raises:
      ValueError: They do not, or one is missing, damaged or of another packing.
    """
    paths = _paths(set, data_dir)
    parts = [_part(path) for path in paths]
    known = parts[0]["known"]
    if any(part["known"] != known for part in parts):
        raise ValueError(
            "the parts of a packed set must be of one packing, got several in "
            f"{paths[0].parent}; pack {set!r} again"
        )
    shape = tuple(known["facts"]["image_shape"])
    sheets = [_images(*pair, shape) for pair in zip(paths, parts, strict=True)]
    whole = Split(
        np.concatenate([image for part in sheets for image in part]),
        np.concatenate([part["labels"] for part in parts]),
    )
    splits = _cut(whole, known["sizes"])
    if _digest(splits) != known["digest"]:
        raise ValueError(
            "a packed set must hold what was packed, got other images or labels in "
            f"{paths[0].parent}; pack {set!r} again"
        )
    found = _facts(known)
    names = tuple(known.get("classes", ()))
    return Source(*splits, found.num_classes, found.mean, found.std, classes=names)


def facts(*, set: str, data_dir: str | os.PathLike | None = None) -> Facts:
    """Returns what is known of a packed set, reading no image.

    Args:
      set: Its name.
      data_dir: Where its parts lie.

    Raises:
      ValueError: As `packed`.
    """
    return _facts(_part(_paths(set, data_dir)[0])["known"])


def write(
    folder: str | os.PathLike,
    name: str,
    source: Source,
    facts: Facts,
    *,
    most: int = MOST,
) -> list[pathlib.Path]:
    """Writes a set as parts of at most `most` bytes, and returns their paths.

    Args:
      folder: Where to; made if it is not there.
      name: Of the set, by which `packed` finds it.
      source: The set, in memory and uncut: `in_memory.load(name)`.
      facts: What is known of it.
      most: Bytes of a part.

    Raises:
      ValueError: Images are neither grey nor RGB, or no bytes, labels are no classes,
        a part cannot be so small, or labels follow what is done to their images.
    """
    splits = [getattr(source, part) for part in PARTS]
    _check_images(source.train.images)
    _check_labels(source, splits)
    known = {"facts": facts._asdict(), "digest": _digest(splits)}
    known["classes"] = list(source.classes)
    known["sizes"] = [len(split.labels) for split in splits]
    groups = _grouped(_sheets(splits), most)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{glob.escape(name)}.packed-*.npz"):
        path.unlink(missing_ok=True)
    paths = []
    for i, group in enumerate(groups):
        path = folder / f"{name}.packed-{i:05d}-of-{len(groups):05d}.npz"
        _save(path, known, group)
        paths.append(path)
    return paths


def _save(path, known, group):
    """Writes a part: what is known, the bytes of its sheets, where they end, labels."""
    sheets, labels = zip(*group, strict=True)
    with whole_files.writing(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            known=np.frombuffer(json.dumps(known, default=_plain).encode(), np.uint8),
            sheets=np.frombuffer(b"".join(sheets), np.uint8),
            ends=np.cumsum([len(sheet) for sheet in sheets]),
            labels=np.concatenate(labels),
        )


def _plain(value):
    return value.item()  # of a number of numpy's


def _check_images(images):
    shape = images.shape[1:]
    if not are_images(images) or shape[-1] not in (1, 3) or max(shape[:2]) > _SIDE:
        raise ValueError(
            f"images to be packed must be grey or RGB, at most {_SIDE} pixels a side, "
            f"uint8 [n, h, w, c], got {images.dtype} {list(images.shape)}"
        )


def _check_labels(source, splits):
    whole = all(np.issubdtype(split.labels.dtype, np.integer) for split in splits)
    if not whole or source.follow is not None:
        kinds = ", ".join(sorted({str(split.labels.dtype) for split in splits}))
        raise ValueError(
            "a set that is packed must have a class for each image, a whole number "
            f"that stays where the image is moved, got labels of {kinds}"
            f"{', which follow their images' * (source.follow is not None)}"
        )


def _sheets(splits) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields sheets as bytes, with the labels of their images."""
    from PIL import Image

    for images, labels in splits:
        number = min(SHEET, _SIDE // images.shape[1])
        for start in range(0, len(labels), number):
            rows = images[start : start + number]
            sheet = rows.reshape(-1, *images.shape[2:])
            file = io.BytesIO()
            grey = sheet.shape[-1] == 1
            picture = Image.fromarray(sheet[..., 0] if grey else sheet)
            picture.convert("RGB").save(file, "WEBP", lossless=True, quality=75)
            yield file.getvalue(), labels[start : start + number].astype(np.int32)


def _grouped(sheets, most) -> list[list[tuple[bytes, np.ndarray]]]:
    """Returns the sheets by parts, each as full as it may be."""
    groups, left = [], 0
    for sheet in sheets:
        size = len(sheet[0]) + sheet[1].nbytes + 8
        if size + _SPARE > most:
            raise ValueError(
                f"a part must have room for a sheet, {size + _SPARE} bytes, got most = "
                f"{most}"
            )
        if size > left:
            groups.append([])
            left = most - _SPARE
        groups[-1].append(sheet)
        left -= size
    return groups


def _paths(name, data_dir) -> list[pathlib.Path]:
    """Returns the parts of a set in their order, all that there must be."""
    top = files.root(data_dir)
    found = sorted(top.glob(f"{glob.escape(name)}.packed-*-of-*.npz"))
    number = int(found[0].stem.rpartition("-of-")[2]) if found else 0
    wanted = [f"{name}.packed-{i:05d}-of-{number:05d}.npz" for i in range(number)]
    if not found or [path.name for path in found] != wanted:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(
            f"the parts of the packed set {name!r} must lie in data_dir, got {names} "
            f"in {str(top)!r}{files.absent(top)}; where the set lies unpacked, write "
            f"them with `python experiments/measures/pack.py --set={name}`"
        )
    return found


def _part(path) -> dict:
    """Returns what a part holds, read as numbers only."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("known", "sheets", "ends", "labels")}
        return found | {"known": json.loads(found["known"].tobytes())}
    except Exception as error:  # zip, numpy and JSON each raise their own
        raise ValueError(
            f"a part of a packed set must be whole, got {path} ({error}); copy or pack "
            "it again"
        ) from error


def _images(path, part, shape) -> Iterator[np.ndarray]:
    """Yields the images of each sheet of a part."""
    begin = 0
    for end in part["ends"]:
        data = part["sheets"][begin:end].tobytes()
        sheet = pixels.image(data, path, grey=shape[-1] == 1)
        yield np.asarray(sheet).reshape(-1, *shape)
        begin = end


def _cut(whole, sizes) -> list[Split]:
    stops = np.cumsum(sizes)
    bounds = zip((0, *stops[:-1]), stops, strict=True)
    return [Split(*(array[a:b] for array in whole)) for a, b in bounds]


def _digest(splits) -> list[str]:
    """Returns a digest of each split, of every image and label."""
    found = []
    for images, labels in splits:
        digest = hashlib.blake2b(np.ascontiguousarray(images), digest_size=16)
        digest.update(np.ascontiguousarray(labels, np.int32))
        found.append(digest.hexdigest())
    return found


def _facts(known) -> Facts:
    given = known["facts"]
    tuples = {name: tuple(x) for name, x in given.items() if isinstance(x, list)}
    return Facts(**given | tuples)
