"""Streaming: a training fed from the disk by one whose data lie on the device."""

import functools
import pathlib
import tempfile
from collections.abc import Callable

import jax
import numpy as np
from PIL import Image

from lthjax.data import files, on_disk, pixels, read_ahead, splits
from lthjax.devices import measure
from lthjax.program.build import assemble
from lthjax.training import members
from measures.timed.rows import Row, row
from measures.timed.steps import END, going_on, network, setting

IMAGES, SMOKE_IMAGES = 2_000, 32
PHOTOGRAPH = (500, 375)  # width and height of most photographs in ImageNet
BATCH = 64


def streaming(options) -> list[Row]:
    """Measures ResNet-20 on small images, and reading photographs alone."""
    count = SMOKE_IMAGES if options.smoke else IMAGES
    with tempfile.TemporaryDirectory() as root:
        top = pathlib.Path(root)
        feeds = {"resident": False, "streamed": True}
        ours = {n: trainer(top, count, options, stream=s) for n, s in feeds.items()}
        taken = measure.in_turns(ours, options.rounds, options.seconds)
        rows = [row(f"resnet20, {k} input", "steps/s", 1 / taken[k]) for k in taken]
        ratio = taken["streamed"] / taken["resident"]
        rows.append(row("resnet20, seconds streamed by resident", "times", ratio))
        return rows + reading(top, options)


def trainer(top, count, options, *, stream: bool) -> Callable:
    """Returns steps -> seconds of one training, whose images lie in `top` as PNG."""
    config, source = setting(network("resnet20", options), options, augment=True)
    config.data.stream = stream
    source = source._replace(train=splits.part(source.train, 0, count))
    if stream:
        source = source._replace(**written(top, source))
    parts = assemble.build(config, source)
    params, model_state = parts.init_fn(jax.random.key(0))
    found = parts.masks_fn(params)
    _, ticket = parts.search.init(jax.random.key(0), params, model_state, found)
    fixed = members.stack([found]), jax.random.split(jax.random.key(0), 1)
    return going_on(parts, members.stack([parts.begin(ticket)]), [fixed])


def written(top, source) -> dict[str, splits.Stored]:
    """Writes the splits of a source as PNG files, and returns them where they lie."""
    found = {}
    for name in ("train", "validation", "test"):
        images, labels = getattr(source, name)
        (top / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(top / name / f"{i}.png")
        paths = [f"{i}.png" for i in range(len(labels))]
        fetch = functools.partial(files.listed, str(top / name), paths, labels)
        shape = images.shape[1:]
        view = functools.partial(_decoded, shape)
        found[name] = splits.Stored(fetch, view, range(len(labels)), shape)
    return found


def _decoded(shape, data, where, draw):
    del draw
    return pixels.decode(data, shape, where)


def reading(top, options) -> list[Row]:
    """Measures the photographs a second that this machine reads, crops and flips."""
    rng, folder = np.random.default_rng(0), top / "photographs"
    for part, i in ((part, i) for part in ("train", "val") for i in range(BATCH)):
        path = folder / part / f"class_{i % 2}" / f"{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(noise).resize(PHOTOGRAPH).save(path)
    side = 32 if options.smoke else 224
    source = on_disk.load("imagenet", data_dir=folder, crop=(side, True))
    keys, _ = read_ahead.distinct(jax.random.split(jax.random.key(0), 1))
    found = read_ahead.training(read_ahead.Training(source.train, keys, BATCH), 0, END)
    next(found)

    def run(steps):
        return measure.stopwatch(lambda: [next(found) for _ in range(steps)])[0]

    taken = measure.in_turns({"read": run}, options.rounds, options.seconds)["read"]
    found.close()
    text = f"photographs of {PHOTOGRAPH[0]} x {PHOTOGRAPH[1]}, read to {side}"
    return [row(text, "images/s", BATCH / taken)]


PARTS = {"streaming": streaming}
