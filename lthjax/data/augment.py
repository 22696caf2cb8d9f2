"""What is done to a batch of images on the device: crop, flip, normalise."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.devices import meshes

EXACT = jnp.bfloat16  # of bytes, which it holds as they are


class Moves(NamedTuple):
    """What `augment` does to the images of a batch, for the labels that go with them.

    Attributes:
      shifts: How far each is moved down and to the right, in pixels, int32 [n, 2].
      mirrored: Which are mirrored then, left to right, bool [n].
    """

    shifts: jax.Array
    mirrored: jax.Array


def normalise(
    images: jax.Array, mean: Sequence[float], std: Sequence[float]
) -> jax.Array:
    """Returns (images / 255 - mean) / std in float32; what is no image as it is.

    Args:
      images: Values from 0 to 255 [..., c]; or inputs of any kind [...].
      mean: Per channel, of images / 255 [c]; empty for what is no image.
      std: Per channel, of images / 255 [c].

    Returns:
      The images [..., c], float32; or the inputs.

    Raises:
      ValueError: There is not one mean and one std for each channel.
    """
    if not len(mean):
        return images
    if not len(mean) == len(std) == images.shape[-1]:
        raise ValueError(
            "mean and std must have one number for each channel of images [..., c], "
            f"got {len(mean)} and {len(std)} for {list(images.shape)}; give one for "
            "each, or the images with their channels last"
        )
    channels = (1,) * (images.ndim - 1) + (-1,)
    mean = jnp.asarray(mean, jnp.float32).reshape(channels)
    std = jnp.asarray(std, jnp.float32).reshape(channels)
    return (images.astype(jnp.float32) - 255 * mean) * (1 / (255 * std))


def crop(
    key: jax.Array, images: jax.Array, padding: int, *, axis_name: str | None = None
) -> jax.Array:
    """Returns each image shifted by up to `padding` pixels, what comes in being 0.

    A window of the size of the image is cut from it with `padding` zeros on each side,
    at one of the (2 padding + 1)^2 places, all equally likely. Papers crop before they
    normalise, so that the border is black: so should you.

    On a TPU bytes are cut by two products with rows of a single 1, in bfloat16, where
    they are exact: the same windows, and no loop through the images.

    Args:
      key: A PRNG key.
      images: A batch [n, h, w, c].
      padding: In pixels; 0 returns the images.
      axis_name: As for `augment`.

    Raises:
      ValueError: What is to be cropped is no images.
    """
    if padding == 0:
        return images
    _check_images(images)
    corners = _corners(key, len(images), padding, axis_name)
    margin = (padding, padding)
    padded = jnp.pad(images, ((0, 0), margin, margin, (0, 0)))
    cut = functools.partial(windows, size=images.shape[1:3])
    if images.dtype != jnp.uint8:
        return cut(padded, corners)
    exact = functools.partial(windows_by_products, size=images.shape[1:3])
    return lax.platform_dependent(padded, corners, tpu=exact, default=cut)


def windows(images: jax.Array, corners: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns the window of each image that begins at its corner.

    Args:
      images: A batch [n, height, width, c].
      corners: (row, column) of the first pixel of each [n, 2].
      size: (h, w) of a window.

    Returns:
      [n, h, w, c].
    """

    def window(image, corner):
        return lax.dynamic_slice(image, (*corner, 0), (*size, image.shape[-1]))

    return jax.vmap(window)(images, corners)


def windows_by_products(
    images: jax.Array, corners: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Returns `windows` of bytes, as products with rows that hold a single 1.

        result[i, j] = sum_ab rows[i, a] images[a, b] columns[j, b]

    A byte is exact in bfloat16, and each sum has one term that is not zero.

    Args:
      images: As for `windows`, uint8.
      corners: Likewise.
      size: Likewise.
    """
    sides = zip(size, images.shape[1:3], strict=True)
    rows, columns = (
        jax.nn.one_hot(corners[:, axis, None] + jnp.arange(h)[None], full, dtype=EXACT)
        for axis, (h, full) in enumerate(sides)
    )
    pixels = images.astype(EXACT)
    found = jnp.einsum("nia,nabc->nibc", rows, pixels)
    found = jnp.einsum("njb,nibc->nijc", columns, found)
    return found.astype(images.dtype)


def flip(
    key: jax.Array, images: jax.Array, *, axis_name: str | None = None
) -> jax.Array:
    """Returns each image [n, h, w, c] mirrored, left to right, with probability 1/2.

    Args:
      key: A PRNG key.
      images: A batch [n, h, w, c].
      axis_name: As for `augment`.

    Raises:
      ValueError: What is to be flipped is no images.
    """
    _check_images(images)
    mirror = _mirrors(key, len(images), axis_name)
    return jnp.where(mirror, images[:, :, ::-1], images)


def _check_images(images):
    if images.ndim != 4:
        raise ValueError(
            "what is cropped or flipped must be images [n, h, w, c], got "
            f"{list(images.shape)}; give images without channels a last axis of 1; "
            "where they are none, data.crop = 0 and data.flip = False"
        )


def _corners(key, rows, padding, axis_name):
    """Returns where windows lie in the padded images, rows and columns [n, 2]."""
    return _drawn(
        lambda n: jax.random.randint(key, (n, 2), 0, 2 * padding + 1), rows, axis_name
    )


def _mirrors(key, rows, axis_name):
    return _drawn(
        lambda n: jax.random.bernoulli(key, 0.5, (n, 1, 1, 1)), rows, axis_name
    )


def _drawn(draw, rows, axis_name):
    """Returns what is drawn for this device's rows of a batch."""
    devices = 1 if axis_name is None else lax.axis_size(axis_name)
    return meshes.share(draw(rows * devices), axis_name)


def augment(
    key: jax.Array,
    images: jax.Array,
    *,
    padding: int = 0,
    flip: bool = False,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns the images cropped (if `padding`) and flipped at random (if `flip`).

    Args:
      key: A PRNG key: that of the data, folded with the step.
      images: A batch [n, h, w, c], not yet normalised; without padding and flip, of
        any kind.
      padding: In pixels (see `crop`).
      flip: Whether to mirror one in two.
      axis_name: The mesh axis that the batch is split over, if these are the rows of
        one device; what happens to an image does not depend on where it lies.

    Raises:
      ValueError: What is no image was to be cropped or flipped.
    """
    crop_key, flip_key = jax.random.split(key)
    images = crop(crop_key, images, padding, axis_name=axis_name)
    return _flip(flip_key, images, axis_name=axis_name) if flip else images


def moves(
    key: jax.Array,
    rows: int,
    *,
    padding: int = 0,
    flip: bool = False,
    axis_name: str | None = None,
) -> Moves:
    """Returns what `augment` does to the images of a batch with the same arguments.

    Args:
      key: Of `augment`.
      rows: How many images it is given.
      padding: Of `augment`.
      flip: The same.
      axis_name: The same.
    """
    crop_key, flip_key = jax.random.split(key)
    shifts, mirrored = jnp.zeros((rows, 2), jnp.int32), jnp.zeros(rows, bool)
    if padding:
        shifts = padding - _corners(crop_key, rows, padding, axis_name)
    if flip:
        mirrored = _mirrors(flip_key, rows, axis_name).reshape(rows)
    return Moves(shifts, mirrored)


_flip = flip
