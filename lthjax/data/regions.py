"""Regions of an image, as COCO writes them, become masks: polygons and run lengths."""

from typing import Any

import numpy as np


def mask(region: Any, height: int, width: int) -> np.ndarray:
    """Returns the pixels of a region, bool [height, width].

    Args:
      region: A list of polygons [x, y, x, y, ...], or {"counts", "size"}: the lengths
        of runs outside and inside in turn, column by column, as a list or packed as
        pycocotools packs them.
      height: Of the image, in pixels.
      width: The same.

    Raises:
      ValueError: It is none, or of another size.
    """
    if isinstance(region, dict):
        return _of_runs(region, height, width)
    return _of_polygons(region, height, width)


def check(region: Any, height: int, width: int) -> None:
    """Refuses what `mask` cannot draw, without drawing it.

    Args:
      region: As for `mask`; `None` where there is none.
      height: Of the image, in pixels.
      width: The same.

    Raises:
      ValueError: It is none, or of another size.
      TypeError: It holds what is no number.
    """
    if not region:
        raise ValueError("no segmentation")
    if isinstance(region, dict):
        _runs(region, height, width)
        return
    for polygon in region:
        _check_polygon(polygon)


def _check_polygon(polygon):
    if len(polygon) < 6 or len(polygon) % 2 or not np.isfinite(polygon).all():
        raise ValueError(
            "a polygon must be x and y of three corners at least, got "
            f"{len(polygon)} numbers"
        )


def _of_runs(region, height, width):
    """Returns the pixels of run lengths."""
    runs = _runs(region, height, width)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _runs(region, height, width):
    """Returns the run lengths of a region, checked."""
    counts, size = region.get("counts"), region.get("size")
    runs = unpacked(counts) if isinstance(counts, str | bytes) else list(counts or ())
    if list(size or ()) != [height, width] or sum(runs) != height * width:
        raise ValueError(
            "run lengths must have the size of the image and fill it, got size = "
            f"{size} and {sum(runs)} pixels for {height} x {width}"
        )
    return runs


def unpacked(text: str | bytes) -> list[int]:
    """Returns the run lengths in a text of pycocotools.

    Five bits a letter, the lowest first, a sixth says that more follow; from the third
    number on it is the difference to the number two before.

    Args:
      text: Letters from "0", 48, on.
    """
    letters = text.encode() if isinstance(text, str) else text
    found, value, shift = [], 0, 0
    for letter in letters:
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (1 << shift) * bool(bits & 16)
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value, shift = 0, 0
    return found


def _of_polygons(region, height, width):
    """Returns the pixels whose centres lie in a polygon."""
    from matplotlib.path import Path

    found = np.zeros((height, width), bool)
    rows, columns = np.indices((height, width))
    centres = np.stack([columns, rows], -1).reshape(-1, 2) + 0.5
    for polygon in region:
        _check_polygon(polygon)
        corners = np.reshape(polygon, (-1, 2))
        near = ((centres >= corners.min(0)) & (centres <= corners.max(0))).all(1)
        found.reshape(-1)[near] |= Path(corners).contains_points(centres[near])
    return found
