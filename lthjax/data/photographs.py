"""Photographs of any size become squares: a random-resized crop, or the middle."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lthjax.data import pixels

if TYPE_CHECKING:  # else where it is used: data sets in memory need none
    from PIL import Image

AREA = (0.08, 1.0)  # of the photograph
RATIO = (3 / 4, 4 / 3)  # of width to height
TRIES = 10
MARGIN = 256 / 224  # the shorter side by the middle that is cut from it

Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels


def window(rng: np.random.Generator, width: int, height: int) -> Box:
    """Returns a random part of a photograph: of 8 to 100 % of it, not too narrow.

    w = sqrt(area ratio),  h = sqrt(area / ratio),  both rounded;  area is uniform in
    `AREA`, log ratio uniform in `RATIO`'s, the place uniform where it fits. One that
    does not fit is drawn again; after `TRIES` it is the largest part in the middle with
    a ratio in `RATIO`.

    Args:
      rng: What draws.
      width: Of the photograph, in pixels.
      height: Of the photograph, in pixels.

    References:
      Szegedy et al., 2014, arXiv:1409.4842, section 6; the number of tries and what
      comes after them are as common codes have them.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = rng.integers((width - w + 1, height - h + 1))
            return int(left), int(upper), int(left) + w, int(upper) + h
    w = min(width, max(1, math.floor(height * RATIO[1])))
    h = min(height, max(1, math.floor(width / RATIO[0])))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def middle(photograph: "Image.Image", size: int) -> "Image.Image":
    """Returns the middle of a photograph, whose shorter side becomes `MARGIN` sizes.

    At 224 pixels that is the usual evaluation: 256 pixels, of which 224 are cut.
    """
    from PIL import Image

    scale = round(size * MARGIN) / min(photograph.size)
    width, height = (round(side * scale) for side in photograph.size)
    resized = photograph.resize((width, height), Image.Resampling.BILINEAR)
    left, upper = (width - size) // 2, (height - size) // 2
    return resized.crop((left, upper, left + size, upper + size))


def fitted(
    shape: tuple[int, int, int], data: bytes, where, draw: Sequence[int] | None = None
) -> np.ndarray:
    """Returns the pixels of an image of any size, brought to one size.

    Its shorter side, by what is asked for, is resized (bilinear, over all the pixels
    that become one), and the middle of the longer one is cut out. An image of that size
    stays as it is, to the bit.

    Args:
      shape: (h, w, c) of what is returned; of one channel it is grey.
      data: The bytes of its file.
      where: Where it lies, for the error.
      draw: Not used: nothing is drawn.

    Returns:
      uint8 [h, w, c].

    Raises:
      ValueError: As `pixels.image`.
    """
    from PIL import Image

    del draw
    h, w, c = shape
    found = pixels.image(data, where, grey=c == 1)
    if found.size != (w, h):
        scale = max(w / found.width, h / found.height)
        width, height = round(found.width * scale), round(found.height * scale)
        found = found.resize((width, height), Image.Resampling.BILINEAR)
        left, upper = (width - w) // 2, (height - h) // 2
        found = found.crop((left, upper, left + w, upper + h))
    return np.asarray(found).reshape(shape)


def square(
    data: bytes, where, draw: Sequence[int] | None, *, size: int, flip: bool
) -> np.ndarray:
    """Returns the pixels of a photograph as a network is given them.

    Args:
      data: The bytes of its file.
      where: Where it lies, for the error.
      draw: Integers that its crop and its flip are a function of; None: its middle.
      size: Of the square, in pixels.
      flip: Whether one in two is mirrored, left to right.

    Returns:
      uint8 [size, size, 3].

    Raises:
      ValueError: As `pixels.image`.
    """
    from PIL import Image

    photograph = pixels.image(data, where)
    if draw is None:
        return np.asarray(middle(photograph, size))
    rng = np.random.default_rng(list(draw))
    box = window(rng, *photograph.size)
    resized = photograph.resize((size, size), Image.Resampling.BILINEAR, box=box)
    mirrored = flip and rng.random() < 0.5
    return np.asarray(resized)[:, :: -1 if mirrored else 1]
