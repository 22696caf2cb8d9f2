"""What is done to images before a network sees them, and to labels that lie on them."""

from collections.abc import Callable
from typing import Any

import jax

from lthjax.callables import FollowFn, PrepareFn
from lthjax.data import augment, augmentations, objects
from lthjax.data import splits as splits_lib
from lthjax.data.augmentations import AugmentFn

OBJECTS = ("detection", "keypoints")  # objectives whose labels are rows of objects


def preparation(source) -> PrepareFn:
    """Returns uint8 images -> normalised images."""
    return lambda images: augment.normalise(images, source.mean, source.std)


def augmentation(
    config, source, *, axis_name: str | None = None
) -> Callable[[jax.Array, Any], Any]:
    """Returns (key, uint8 images) -> images cropped, flipped and normalised.

    Only normalised, where the host has cropped and flipped what it has read.

    Args:
      config: A validated config.
      source: The data set.
      axis_name: The mesh axis that the batch is split over; the images are then the
        rows of this device.
    """
    flip = config.data.flip and not getattr(source.train, "augmented", False)
    options = {"padding": config.data.crop, "flip": flip, "axis_name": axis_name}
    normalise = preparation(source)
    return lambda key, images: normalise(augment.augment(key, images, **options))


def follower(config, facts) -> FollowFn | None:
    """Returns what moves the labels of a set of which the facts alone are known.

    Args:
      config: A validated config.
      facts: Of the data set.
    """
    shapes = facts.label_shape, facts.label_dtype, facts.image_shape
    return objects.follower(*shapes, rows=config.objective in OBJECTS)


def following(
    config, source, *, axis_name: str | None = None
) -> Callable[[jax.Array, Any], Any]:
    """Returns (key, labels) -> labels that lie on images as `augmentation` moves them.

    Args:
      config: A validated config.
      source: The data set; of one whose `follow` is `None`, labels stay as they are.
      axis_name: As for `augmentation`.

    Raises:
      ValueError: Labels have the sides of the images, which are moved, or are objects
        on them, and nothing says how they follow.
    """
    asked = {"padding": config.data.crop, "flip": config.data.flip}
    if not any(asked.values()):
        return lambda key, labels: labels
    side = splits_lib.image_shape(source.train)[:2]
    if source.follow is None:
        shape = splits_lib.label_shape(source.train)
        objects = config.objective in OBJECTS
        if objects or shape[:2] == side:
            mover = "follow_objects" if objects else "follow_pixels"
            raise ValueError(
                f"labels that lie on the image, {list(shape)} each, must go where it "
                "goes, got a Source without follow with data.crop = "
                f"{config.data.crop}, data.flip = {config.data.flip}; give it follow, "
                f"such as data.objects.{mover}, or leave the images where they are"
            )
        return lambda key, labels: labels

    def follow(key, labels):
        moves = augment.moves(key, len(labels), **asked, axis_name=axis_name)
        return source.follow(labels, moves, side)

    return follow


def mixing(config, source, *, axis_name: str | None = None) -> AugmentFn:
    """Returns (key, batch) -> batch, what `data.augment` does to a batch as a whole.

    Args:
      config: A validated config.
      source: The data set.
      axis_name: As for `augmentation`.

    Raises:
      ValueError: As `augmentations.chain`.
    """
    data = config.data
    options = data.augment_options.to_dict()
    functions = augmentations.chain(data.augment, options, source.num_classes)
    return augmentations.applied(functions, axis_name=axis_name)
