"""Images with what lies in them: boxes, points, or the class of each pixel."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lthjax.data.objects import WIDTH
from lthjax.training import centre_points

SURE = 0.3  # the score from which on a find is drawn
COLOURS = 10

# Draws what belongs to the image of a number, so many pixels a side.
Draw = Callable[[Axes, int, int], None]


def figure(images: np.ndarray, columns: dict[str, Draw]) -> Figure:
    """Returns a row an image, a column a network, or what is there.

    Args:
      images: Bytes [n, side, side, 1 or 3].
      columns: {title: what is drawn on the images of a column}.
    """
    size = 2.2 * len(columns), 2.2 * len(images) + 0.3
    shown = Figure(figsize=size, layout="constrained")
    grid = shown.subplots(len(images), len(columns), squeeze=False)
    for i, row in enumerate(grid):
        for axes, (title, draw) in zip(row, columns.items(), strict=True):
            grey = images.shape[-1] == 1
            axes.imshow(images[i, ..., 0] if grey else images[i], cmap="gray")
            draw(axes, i, images.shape[1])
            axes.set_axis_off()
            axes.set_title("" if i else title, fontsize=9)
    return shown


def of_labels(labels: np.ndarray) -> Draw:
    """Returns what draws the labels of images.

    Args:
      labels: Objects [n, most, 7 + 3 k], or the classes of pixels [n, h, w].
    """
    if np.issubdtype(labels.dtype, np.integer):
        return lambda axes, i, side: _colour(axes, labels[i])

    def draw(axes, i, side):
        for row in labels[i][labels[i][:, 0] >= 0]:
            points = row[WIDTH:].reshape(-1, 3)
            _box(axes, row[1:5] * side, int(row[0]), points[points[:, 2] > 0] * side)

    return draw


def of_outputs(outputs: Any, objective: str, *, points: int = 0) -> Draw:
    """Returns what draws the outputs for images; finds from a score of 0.3 on.

    Args:
      outputs: Of a network [n, h, w, channels].
      objective: "detection", "keypoints" or "segmentation".
      points: Of an object, for "keypoints".
    """
    if objective == "segmentation":
        classes = np.asarray(outputs).argmax(-1)
        return lambda axes, i, side: _colour(axes, classes[i])
    decode = jax.jit(functools.partial(centre_points.decode, points=points))
    found = jax.device_get(decode(outputs))

    def draw(axes, i, side):
        for j in np.flatnonzero(found.scores[i] > SURE):
            own = found.boxes[i, j] * side, int(found.classes[i, j])
            _box(axes, *own, found.points[i, j] * side)

    return draw


def _colour(axes, classes):
    own = {"cmap": "tab20", "vmin": 0, "vmax": 19, "interpolation": "nearest"}
    axes.imshow(classes, alpha=0.6 * (classes > 0), **own)


def _box(axes, box, label, points):
    x0, y0, x1, y1 = (float(n) - 0.5 for n in box)
    colour = f"C{label % COLOURS}"
    own = {"fill": False, "ec": colour}
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **own))
    axes.text(x0, y0, f"{label}", color=colour, fontsize=8, va="bottom")
    axes.plot(points[:, 0] - 0.5, points[:, 1] - 0.5, ".", color="w", ms=3)
