"""What carrying a ticket over takes, and a step of a detector beside a classifier's."""

import functools

import jax
import numpy as np

import lthjax
from lthjax.data import in_memory
from lthjax.data.objects import WIDTH
from lthjax.devices import measure
from lthjax.models import stages
from lthjax.program.config import files
from lthjax.tickets import block_maps, elastic
from measures.timed.rows import Row, row
from measures.timed.steps import END, running

PAIR = ("resnet26_imagenet", "resnet50_imagenet")
SIDE, OBJECTS, CLASSES = 64, 3, 10
HEADS = {"backbone": "resnet20", "features": 64}


def remap(options) -> list[Row]:
    """Measures the mapping of a ticket of ResNet-26 to ResNet-50."""
    names = ("resnet14", "resnet20") if options.smoke else PAIR
    networks = [lthjax.models.build(name, 1000) for name in names]
    init = functools.partial(lthjax.models.initialise, networks[0], jax.random.key(0))
    side = 32 if options.smoke else 64
    shapes = jax.eval_shape(init, np.zeros((1, side, side, 3), np.float32))
    draw = np.random.default_rng(0).standard_normal
    drawn = jax.tree.map(lambda w: draw(w.shape, np.float32), shapes)
    params, model_state = jax.device_put(drawn)
    ticket = lthjax.Ticket(1, 0, 1, params, model_state, lthjax.masks.full(params))
    units = [stages.units(network) for network in networks]
    order = block_maps.append(*(elastic.depths(found) for found in units))
    times = range(options.rounds + 1)
    taken = [
        measure.stopwatch(elastic.remap_ticket, ticket, *units, order)[0] for _ in times
    ]
    what = f"mapping a ticket of {names[0]} to {names[1]}"
    return [row(what, "s", taken[1:], most=1.0)]


def detection(options) -> list[Row]:
    """Measures a step of a detector by that of a classifier of the same backbone."""
    rng = np.random.default_rng(0)
    number = 64 if options.smoke else 512
    images = rng.integers(0, 256, (number, SIDE, SIDE, 3), np.uint8)
    corners = np.sort(rng.uniform(0, 1, (number, OBJECTS, 2, 2)), axis=2)
    objects = np.zeros((number, OBJECTS, WIDTH), np.float32)
    objects[..., 0] = rng.integers(0, CLASSES, (number, OBJECTS))
    objects[..., 1:5] = corners.reshape(number, OBJECTS, 4)
    objects[..., 5] = np.prod(corners[:, :, 1] - corners[:, :, 0], axis=-1)
    classes = rng.integers(0, CLASSES, number, np.int32)
    given = {
        "classification": (classes, {"model": "resnet20", "own": {}}),
        "detection": (objects, {"model": "detector", "own": HEADS}),
    }
    runs = {
        objective: _trainer(options, images, labels, objective=objective, **of)
        for objective, (labels, of) in given.items()
    }
    taken = measure.in_turns(runs, options.rounds, options.seconds)
    ratio = taken["detection"] / taken["classification"]
    most = 2.0 if jax.default_backend() == "cpu" else None
    what = f"resnet20 at half width, {SIDE} x {SIDE}, a step of detection by one of"
    return [row(f"{what} classification", "times", ratio, most=most)]


def _trainer(options, images, labels, *, objective, model, own):
    config = files.default()
    config.objective = objective
    config.model.update(name=model, options=own, width=0.5)
    config.train.batch_size = 8 if options.smoke else 16
    config.train.steps = config.eval_every = END
    config.optimizer.update(name="adam", learning_rate=1e-3)
    config.data.crop, config.data.flip = 0, False
    first = in_memory.Split(images[:1], labels[:1])
    splits = in_memory.Split(images, labels), first, first
    grey = (0.5,) * 3
    return running(config, in_memory.Source(*splits, CLASSES, grey, grey))


PARTS = {"remap": remap, "detection": detection}
