"""Data sets: a train, a validation and a test split, and what is known of them."""

import contextlib
import functools
import inspect
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from lthjax import registry
from lthjax.data import (
    array_files,
    balance,
    characters,
    checks,
    class_folders,
    coco,
    encoded,
    files,
    folder_facts,
    folders,
    hugging_face,
    own_arrays,
)
from lthjax.data import packed as packed_lib
from lthjax.data.facts import FACTS, Facts, check_classes, shaped
from lthjax.data.splits import (
    PARTS,
    Source,
    Split,
    Stored,
    cut,
    image_shape,
    input_dtype,
    label_shape,
    labels,
    of_facts,
    part,
    size,
)
from lthjax.devices import memory

Folder = str | os.PathLike
LARGEST = 0.5  # of the memory of this machine, that images read at once may take


def load(
    name: str,
    *,
    data_dir: Folder | None = None,
    validation: int = 0,
    limit: int | None = None,
    how: str = "",
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Source:
    """Returns the data set `name`, its validation split cut from its train split.

    The first `validation` train images are the validation split. Sets of ours come
    evenly: `digits`, `tiny_imagenet` and `synthetic` class by class in turn, a TFDS set
    in the random order in which it was prepared. What is your own, and folders whose
    classes differ in size, are first put into an even order (`splits.even`), one for
    all runs: every class has its share of each split, and of any first images of it.

    Args:
      name: A key of `SOURCES`, or "package.module:function" for a set of your own. The
        function is called with `options`, and with `data_dir` if it takes that; it
        returns `(train, test)`, each a pair of images (uint8 [n, h, w, c]) and labels
        (integers [n], from 0), or a `Source`. A `Source` whose mean and std are empty
        may have inputs of any shape and type; that of any `Source`, labels too.
      data_dir: Where prepared sets lie; by default what the environment variable
        TFDS_DATA_DIR names, else ~/tensorflow_datasets.
      validation: Number of train images set aside. A `Source` that brings a validation
        split of its own keeps it.
      limit: Number of train images kept of what is left; all by default.
      how: "" as above; "first": in the order in which any set comes; "stratified": in
        an even order, any set.
      options: What the set itself takes; so are the arguments that remain.
      **more: The same.

    Returns:
      The splits, disjoint, and what is known of them.

    Raises:
      ValueError: The set is unknown or not prepared, or cannot be cut so.
    """
    source = _read(name, data_dir, {**(options or {}), **more})
    return cut(name, source, validation, limit, how)


def facts(
    name: str,
    *,
    data_dir: Folder | None = None,
    options: dict[str, Any] | None = None,
    **more: Any,
) -> Facts:
    """Returns what is known of the data set `name`, reading no image if it can.

    The arguments are those of `load`. A set of your own is loaded for it; of those in
    `STORED` the heads of all files are read, and the images that mean and deviation are
    of; `tiny_imagenet` is counted where `data_dir` holds it.

    Raises:
      ValueError: The set is unknown, or does not take these options.
    """
    options = {**(options or {}), **more}
    loader = registry.resolve(name, SOURCES, "data set")
    taken = taking(name, loader, data_dir, options)
    if name == "synthetic":
        return shaped(**{k: v for k, v in taken.items() if k != "seed"})
    if name in _KNOWN:
        return _KNOWN[name](**taken)
    if name in STORED:
        return _measure(STORED[name](**{"check": "heads"} | taken))
    if name in _COUNTED:
        found = _COUNTED[name](data_dir)
        check_classes(name, found.num_classes)
        return found
    return FACTS[name] if name in FACTS else _measure(_read(name, data_dir, options))


def digits() -> Source:
    """Returns the 1,797 optical digits of the UCI repository (see DIGITS.md), x 15.

    The multiplication brings the counts 0 to 16 to 0 to 240. Test is 30 images of each
    class, train the other 1,497; the file holds the division.
    """
    with np.load(pathlib.Path(__file__).with_name("digits.npz")) as file:
        images, labels, order = file["images"], file["labels"], file["order"]
    images, labels = images[order, ..., None] * np.uint8(15), labels[order]
    whole = Split(images, labels.astype(np.int32))
    size = FACTS["digits"].test
    return of_facts("digits", part(whole, size, None), part(whole, 0, size))


def prepared(name: str, *, data_dir: Folder | None = None) -> Source:
    """Returns the set `name` as TFDS has prepared it (see `files.prepared`)."""
    shape = FACTS[name].image_shape
    splits = [files.prepared(name, s, data_dir, shape) for s in ("train", "test")]
    return of_facts(name, *(Split(*s) for s in splits))


def tiny_imagenet(*, data_dir: Folder | None = None) -> Source:
    """Returns Tiny-ImageNet from the folder it is distributed as, or from a part of it.

    The labelled `val` is the test split. Classes are the folders of `train`, labelled
    in the order of their names.

    Raises:
      ValueError: The folder is not there, or a part of it is missing or damaged.
    """
    folder = folders.tiny_folder(data_dir)
    parts = folders.tiny_train(folder), folders.tiny_val(folder)
    source = of_facts("tiny_imagenet", *(Split(*files.read(p)) for p in parts))
    return source._replace(num_classes=len(folders.tiny_classes(folder)))


def imagenet(*, data_dir: Folder | None = None) -> Source:
    """Refuses: ImageNet does not fit into memory.

    Raises:
      ValueError: Always, with what can be done instead.
    """
    raise ValueError(
        "a data set that is not streamed must fit into memory, which imagenet does "
        f"not, got data_dir = {data_dir!r}; give data.stream = True"
    )


def synthetic(
    *,
    like: str = "digits",
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    train: int = 512,
    test: int = 128,
    seed: int = 0,
) -> Source:
    """Returns noisy copies of one random pattern a class: for tests and `--smoke` only.

    The arguments are those of `facts.shaped`, and the seed of patterns and noise.
    """
    known = shaped(
        like=like,
        image_shape=image_shape,
        num_classes=num_classes,
        train=train,
        test=test,
    )
    if type(seed) is not int or seed < 0:
        raise ValueError(f"seed must be an integer from 0, got seed = {seed!r}")
    h, w, c = known.image_shape
    rng = np.random.default_rng(seed)
    coarse = known.num_classes, -(-h // 4), -(-w // 4), c
    signs = rng.integers(0, 2, coarse, dtype=np.int8) * 2 - 1

    def draw(size: int) -> Split:
        labels = np.arange(size, dtype=np.int32) % known.num_classes
        pattern = signs[labels].repeat(4, axis=1).repeat(4, axis=2)[:, :h, :w]
        noise = rng.standard_normal((size, h, w, c), np.float32)
        images = np.clip(127.5 + 64 * pattern.astype(np.float32) + 32 * noise, 0, 255)
        return Split(images.astype(np.uint8), labels)

    splits = draw(train), draw(0), draw(test)
    return Source(*splits, known.num_classes, known.mean, known.std)


@functools.wraps(coco.load)
def annotated(**options: Any) -> Source:
    """Returns a set in COCO's format, all of its images read; see `coco.load`."""
    return _whole("coco", coco.load(**options))


@functools.wraps(class_folders.stored)
def folder(**options: Any) -> Source:
    """Returns a folder of images, all of them read; see `class_folders.stored`."""
    return _whole("folder", class_folders.stored(**options))


@functools.wraps(hugging_face.stored)
def huggingface(**options: Any) -> Source:
    """Returns a saved set, all of its images read; see `hugging_face.stored`."""
    return _whole("huggingface", hugging_face.stored(**options))


def _whole(name, found):
    """Returns a set on the disk as arrays.

    Raises:
      ValueError: They would not fit into memory.
    """
    parts = {name: getattr(found, name) for name in PARTS}
    needed = sum(map(size, parts.values())) * math.prod(image_shape(found.train))
    if needed > LARGEST * memory.installed():
        raise ValueError(
            "a data set that is not streamed must fit into half of the memory, got "
            f"{needed / 1e9:.1f} GB of {name!r}; give data.stream = True"
        )
    return found._replace(**{name: encoded.read(x) for name, x in parts.items()})


def _read(name: str, data_dir: Folder | None, options: dict[str, Any]) -> Source:
    loader = registry.resolve(name, SOURCES, "data set")
    taken = taking(name, loader, data_dir, options)
    own = registry.calling(
        "data set", name, "be made by its function from data.options"
    )
    with contextlib.nullcontext() if name in SOURCES else own:
        found = loader(**taken)
    if not isinstance(found, Source):
        found = own_arrays.described(name, *own_arrays.pairs(name, found))
    return checks.sound(name, found)


def taking(name: str, loader, data_dir, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments for `loader`: `options`, and `data_dir` if it has that.

    Raises:
      ValueError: It is no function, or has no such options.
    """
    if not callable(loader):
        raise ValueError(
            f"a data set of your own must be a function, got data.name = {name!r}, "
            f"which is {type(loader).__name__}"
        )
    signature = inspect.signature(loader)
    if "data_dir" in signature.parameters:
        options = {"data_dir": data_dir, **options}
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(
            f"the options of the data set {name!r} must be those of {signature}, got "
            f"options = {options} ({error})"
        ) from error
    return options


def _measure(source: Source) -> Facts:
    sizes = {name: size(getattr(source, name)) for name in PARTS}
    train = source.train
    stored = isinstance(train, Stored)
    shape = label_shape(train)
    return Facts(
        image_shape(train),
        source.num_classes,
        sizes["train"],
        sizes["test"],
        source.mean,
        source.std,
        majority=balance.share(labels(source.test)),
        validation=sizes["validation"],
        dtype=input_dtype(train),
        label_shape=shape,
        label_dtype=str(train.label_dtype if stored else train.labels.dtype),
    )


_KNOWN = {"coco": coco.facts, "packed": packed_lib.facts}
# A user's own, which lie on the disk.
STORED = {"folder": class_folders.stored, "huggingface": hugging_face.stored}
SIZED = ("imagenet", *STORED)  # whose images are brought to data.size
BROUGHT = (
    *STORED,
    "npz",
)  # a user's own, of which nothing is known before they are read
_COUNTED = {
    "tiny_imagenet": folder_facts.tiny_imagenet,
    "imagenet": folder_facts.imagenet,
}

SOURCES: dict[str, Callable[..., Source]] = {
    "digits": digits,
    **{name: functools.partial(prepared, name) for name in files.PREPARED},
    "tiny_imagenet": tiny_imagenet,
    "imagenet": imagenet,
    "packed": packed_lib.packed,
    "synthetic": synthetic,
    "coco": annotated,
    "folder": folder,
    "huggingface": huggingface,
    "npz": array_files.arrays,
    "characters": characters.load,
}
