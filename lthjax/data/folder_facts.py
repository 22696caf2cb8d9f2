"""What is known of sets that lie in folders: counted there, no image read."""

import os

import numpy as np

from lthjax.data import balance, files, folders
from lthjax.data.facts import FACTS, Facts


def tiny_imagenet(data_dir: str | os.PathLike | None) -> Facts:
    """Returns the facts of Tiny-ImageNet, or of the part of it in `data_dir`."""
    known = FACTS["tiny_imagenet"]
    try:
        folder = folders.tiny_folder(data_dir)
    except ValueError:
        return known
    train, test = folders.tiny_train(folder), folders.tiny_val(folder)
    return known._replace(
        num_classes=len(folders.tiny_classes(folder)),
        train=len(train),
        test=len(test),
        majority=balance.share(np.array([label for _, label in test])),
    )


def imagenet(data_dir: str | os.PathLike | None) -> Facts:
    """Returns the facts of ImageNet, or of the part of it in a folder of images."""
    known = FACTS["imagenet"]
    if files.is_prepared("imagenet2012", data_dir):
        return known
    try:
        folder = folders.photo_folder(data_dir)
    except ValueError:
        return known
    classes = folders.classes(folder / "train")
    train, test = (folders.photos(folder / s, classes)[1] for s in ("train", "val"))
    return known._replace(
        num_classes=len(classes),
        train=len(train),
        test=len(test),
        majority=balance.share(test),
    )
