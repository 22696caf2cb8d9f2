"""Data sets written to a folder, small ones, as they lie on a user's disk."""

import io
import warnings

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n10")


def encoded(image, form):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=form)
    file.seek(0)
    return file


def prepare(name, data_dir, splits, form="array_record"):
    """Has TFDS write `splits` as the set `name`, as it would after a download."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds
    builder = tfds.builder(name, data_dir=str(data_dir), file_format=form)

    def examples(images, labels):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            row = {"image": encoded(image, "png"), "label": int(label)}
            named = "file_name" in builder.info.features
            row |= {"id": str(i)} if "id" in builder.info.features else {}
            row |= (
                {"coarse_label": 0} if "coarse_label" in builder.info.features else {}
            )
            yield i, row | ({"file_name": f"{i}.JPEG"} if named else {})

    builder._split_generators = lambda *_, **__: {
        split: examples(*arrays) for split, arrays in splits.items()
    }
    builder.download_and_prepare()
    return builder.data_path


def tiny_imagenet(folder):
    """Writes Tiny-ImageNet: classes of 4, 5 and 4 images, and two images in val."""
    folder = folder / "tiny-imagenet-200"
    for label, (name, size) in enumerate(zip(CLASSES, (4, 5, 4), strict=True)):
        (folder / "train" / name / "images").mkdir(parents=True)
        for i in range(size):
            save(folder / "train" / name / "images" / f"{name}_{i}.JPEG", label)
    (folder / "val" / "images").mkdir(parents=True)
    save(folder / "val" / "images" / "val_0.JPEG", 2)
    save(folder / "val" / "images" / "val_1.JPEG", 0, grey=True)
    lines = "val_0.JPEG\tn10\t0\t0\t62\t62\nval_1.JPEG\tn01\t0\t0\t62\t62\n"
    (folder / "val" / "val_annotations.txt").write_text(lines)
    return folder


def photographs(folder):
    """Writes ImageNet's folders: classes of 3, 4 and 2 images in train, 3 in val."""
    sizes = {"train": (3, 4, 2), "val": (1, 1, 1)}
    rows = [
        (folder / part / CLASSES[label] / f"{CLASSES[label]}_{i}.JPEG", label)
        for part in sizes
        for label in range(len(CLASSES))
        for i in range(sizes[part][label])
    ]
    rng = np.random.default_rng(0)
    for i, (path, label) in enumerate(rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = tuple(int(side) for side in rng.integers(20, 60, 2))
        save(path, label, grey=i == 1, shape=shape)
    return folder


def save(path, label, grey=False, shape=(64, 64)):
    """Saves an image of a class: 100 times its label in every pixel."""
    shape = shape if grey else (*shape, 3)
    Image.fromarray(np.full(shape, 100 * label, np.uint8)).save(path)
