"""Writes scenes of real MNIST digits in COCO's format: boxes, regions and points.

    python experiments/scenes.py --workdir=DIR --data_dir=DIR

Each image is a black square with one to `--most` digits of several sizes, none of which
covers another: what lies there has its box, its region (run lengths of its ink), the
ink's pixels as its area, and five points: its topmost, bottommost, leftmost and
rightmost pixel of ink, and the ink's centroid. Digits of the training split of MNIST
lie in the scenes of `train`, those of its test split in the scenes of `test`. The
folder, `annotations/instances_{train,test}.json` and the images, is what
`--config.data.name=coco --config.data.options="{'train': 'train', 'test': 'test'}"`
reads; any other program for COCO's data reads it too.
"""

import json
import pathlib
from typing import Any

import numpy as np

from lthjax.data import in_memory
from lthjax.program import command_line
from lthjax.program.workdir import text_files

POINTS = ("topmost", "bottommost", "leftmost", "rightmost", "centroid")
INK = 128  # the least value of a pixel that is ink
TRIES = 50  # places that are tried for a digit
LICENCE = "scenes of MNIST digits, by experiments/scenes.py of lthjax"


def write(folder: pathlib.Path, data_dir: str, options: Any) -> None:
    """Writes both splits, or what is missing of them.

    Args:
      folder: Where they go.
      data_dir: Where MNIST lies.
      options: train, test: the images of each; side, most, smallest, largest, seed.

    Raises:
      ValueError: The sizes of digits are none, or the folder holds other scenes.
    """
    if not options.smallest <= options.largest <= options.side:
        raise ValueError(
            "digits must be from --smallest to --largest pixels, and at most --side, "
            f"got smallest = {options.smallest}, largest = {options.largest}, "
            f"side = {options.side}"
        )
    wanted = {name: int(getattr(options, name)) for name in NUMBERS}
    mark = folder / "scenes.json"
    if mark.exists():
        if json.loads(mark.read_text()) != wanted:
            raise ValueError(
                f"a folder must hold one set of scenes, got {str(folder)!r} with "
                f"{mark.read_text()}; give another --workdir"
            )
        return
    name = "digits" if options.smoke else "mnist"
    source = in_memory.load(name, data_dir=data_dir or None)
    for i, name in enumerate(("train", "test")):
        rng = np.random.default_rng([options.seed, i])
        _write_split(folder, name, getattr(source, name), (rng, options))
    text_files.write(mark, json.dumps(wanted))


def _write_split(folder, name, digits, how):
    from PIL import Image

    rng, options = how
    (folder / name).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(1, getattr(options, name) + 1):
        pixels, placed = scene(rng, digits, options)
        file = f"{number:06d}.png"
        Image.fromarray(pixels).save(folder / name / file)
        side = options.side
        head = {"id": number, "file_name": file, "height": side, "width": side}
        images.append(head)
        for label, ink in placed:
            row = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(row | annotation(label, ink))
    categories = [
        {"id": n + 1, "name": str(n), "keypoints": POINTS, "skeleton": []}
        for n in range(10)
    ]
    found = {"info": {"description": LICENCE}, "licenses": []}
    found |= {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(exist_ok=True)
    text_files.write(path, json.dumps(found))


def scene(rng: np.random.Generator, digits: Any, options: Any) -> tuple:
    """Returns the pixels of a scene, and (label, ink [side, side]) of what lies in it.

    Args:
      rng: What places are drawn from.
      digits: A split of MNIST.
      options: side, most, smallest, largest.
    """
    side = options.side
    pixels, placed = np.zeros((side, side), np.uint8), []
    taken = np.zeros((side, side), bool)
    for _ in range(int(rng.integers(1, options.most + 1))):
        index = int(rng.integers(len(digits.labels)))
        size = int(rng.integers(options.smallest, options.largest + 1))
        digit = _scaled(digits.images[index, ..., 0], size)
        corner = _free(rng, taken, digit.shape)
        if corner is None or not (digit >= INK).any():
            continue
        y, x = corner
        ink = np.zeros((side, side), bool)
        ink[y : y + len(digit), x : x + digit.shape[1]] = digit >= INK
        pixels[y : y + len(digit), x : x + digit.shape[1]] = digit
        taken[y : y + len(digit), x : x + digit.shape[1]] = True
        placed.append((int(digits.labels[index]), ink))
    return pixels, placed


def _scaled(image, size):
    """Returns the ink of a digit and what is around it, its longer side `size`."""
    from PIL import Image

    rows, columns = (np.flatnonzero((image > 0).any(axis)) for axis in (1, 0))
    tight = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = size / max(tight.shape)
    shape = [max(1, round(n * scale)) for n in tight.shape[::-1]]
    return np.asarray(Image.fromarray(tight).resize(shape, Image.Resampling.BICUBIC))


def _free(rng, taken, shape):
    """Returns the corner of a free rectangle, or None if none was found."""
    for _ in range(TRIES):
        y, x = (
            int(rng.integers(0, n - k + 1))
            for n, k in zip(taken.shape, shape, strict=True)
        )
        if not taken[y : y + shape[0], x : x + shape[1]].any():
            return y, x
    return None


def annotation(label: int, ink: np.ndarray) -> dict:
    """Returns what COCO's format says of an object.

    Args:
      label: The digit.
      ink: Bool [side, side].
    """
    rows, columns = np.nonzero(ink)
    x, y = int(columns.min()), int(rows.min())
    w, h = int(columns.max()) + 1 - x, int(rows.max()) + 1 - y
    points = [
        (float(columns[rows == rows.min()].mean()), float(rows.min())),
        (float(columns[rows == rows.max()].mean()), float(rows.max())),
        (float(columns.min()), float(rows[columns == columns.min()].mean())),
        (float(columns.max()), float(rows[columns == columns.max()].mean())),
        (float(columns.mean()), float(rows.mean())),
    ]
    return {
        "category_id": label + 1,
        "bbox": [x, y, w, h],
        "area": int(ink.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(ink.shape), "counts": runs(ink)},
        "keypoints": [n for px, py in points for n in (px + 0.5, py + 0.5, 2)],
        "num_keypoints": len(points),
    }


def runs(mask: np.ndarray) -> list[int]:
    """Returns the lengths of the runs outside and inside in turn, column by column."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    found = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *found] if flat[0] else found


NUMBERS = {
    "train": 6000,
    "test": 1000,
    "side": 64,
    "most": 5,
    "smallest": 12,
    "largest": 28,
    "seed": 0,
}


def main() -> None:
    """Writes the folder."""
    parser = command_line.arguments(__doc__)
    command_line.numbers(parser, NUMBERS)
    options = parser.parse_args()
    if options.smoke:
        options.train, options.test = 60, 20
    with command_line.plain_errors():
        write(options.workdir, options.data_dir, options)
    print(f"{options.workdir}: {options.train} and {options.test} scenes")


if __name__ == "__main__":
    main()
