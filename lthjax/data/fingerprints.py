"""A fingerprint of a data set: small, and another one where the data are others."""

import hashlib

import numpy as np

from lthjax.data.splits import (
    Source,
    Split,
    Stored,
    are_images,
    image_shape,
    labels,
    size,
)

MOST = 2**28  # bytes of a split's images that are hashed; of more, images in between
DECIMALS = 6  # of mean and std: what another version of NumPy adds up to is the same
RECORDS = 16  # of a split on the disk that are read


def fingerprint(source: Source) -> dict[str, dict]:
    """Returns {split: {what: hash or number}} of a loaded data set.

    Of arrays it knows every label and every image (of more than `MOST` bytes, evenly
    spread ones); of what stays on the disk the number, the labels where they are
    known, the list of files where there is one, and evenly spread records. Of all
    splits it knows what images are normalised by, to six decimals, and the names of
    the classes where there are any.

    Args:
      source: The data set, cut as it is used.
    """
    names = ("train", "validation", "test")
    found = {name: _of_split(getattr(source, name)) for name in names}
    return found | {"all": _of_all(source)}


def _of_all(source: Source) -> dict:
    scale = {"mean": source.mean, "std": source.std}
    known = {n: [round(float(x), DECIMALS) for x in own] for n, own in scale.items()}
    named = {"names": _hash([repr(list(source.classes)).encode()])}
    numbers = {"classes": int(source.num_classes), **known}
    return numbers | (named if source.classes else {})


def _of_split(split: Split | Stored) -> dict:
    known = {"size": size(split), "shape": [int(n) for n in image_shape(split)]}
    if isinstance(split, Stored):
        return known | _of_stored(split)
    if not are_images(split.images):
        known |= {"dtype": str(split.images.dtype)}
    whole = np.int64 if split.labels.dtype.kind in "iu" else None
    given = np.ascontiguousarray(split.labels, whole)
    return known | {"labels": _hash([given]), "images": _hash(_spread(split.images))}


def _of_stored(split: Stored) -> dict:
    numbers = [split.records[i] for i in _even(len(split.records), RECORDS)]
    rows = split.fetch_fn(numbers) if numbers else []
    known = labels(split)
    own = {} if known is None else {"labels": _hash([np.ascontiguousarray(known)])}
    found = own | {
        "records": _hash(part for data, label, _ in rows for part in (data, label))
    }
    given = getattr(split.fetch_fn, "args", ())
    lists = [repr(list(x)).encode() for x in given if type(x) in (list, tuple)]
    return found | ({"files": _hash(lists)} if lists else {})


def _spread(images):
    """Yields parts of an array of images, `MOST` bytes in all at most."""
    each = max(1, int(np.prod(images.shape[1:])) * images.itemsize)
    if images.nbytes <= MOST:
        step = max(1, 2**24 // each)
        yield from (images[i : i + step] for i in range(0, len(images), step))
    else:
        yield from (images[i] for i in _even(len(images), MOST // each))


def _even(number: int, most: int) -> list[int]:
    """Returns at most so many indices, evenly spread, the first and the last in it."""
    return sorted({int(i) for i in np.linspace(0, number - 1, min(number, most))})


def _hash(parts) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.asarray(part).tobytes())
    return digest.hexdigest()
