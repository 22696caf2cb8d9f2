"""What a small run leaves, for its studies: tickets, their ends, and records."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from lthjax import models, tickets
from lthjax.data import in_memory
from lthjax.program.report.studies import study
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks

ALL = tuple(study.STUDIES)
MODEL, SHAPE, SEEDS, LEVELS = tiny.ConvNet(3), (4, 4, 1), (0, 1), (0, 1, 2)


def apply_fn(params, model_state, images, train):
    return models.apply(MODEL, params, model_state, images, train=train)


def prepare(images):
    return images.astype(jnp.float32) / 255


def split(size):
    images = np.random.default_rng(size).integers(0, 256, (size, *SHAPE), np.uint8)
    return in_memory.Split(images, np.arange(size, dtype=np.int32) % 3)


def dense_at(rate):
    """Returns what the dense network is trained to at a rate; too high, it diverges."""
    if rate > 0.3:
        raise FloatingPointError
    return [
        {"level": 0, "seed": s, "arm": arm, "test_accuracy": x}
        | {"validation_accuracy": x / 2}
        for s in SEEDS
        for arm, x in (("ticket", rate + s / 10), ("smoothing", 0.01))
    ]


def initialised(seed):
    return models.initialise(MODEL, jax.random.key(seed), jnp.zeros((1, *SHAPE)))


def members(seed, level):
    """Returns a ticket and its end: every second sign turned, masks that are nested."""
    params, state = initialised(seed)
    kept = jax.tree.map(
        lambda m: (jnp.arange(m.size) % 2**level == seed % 2**level).reshape(m.shape),
        masks.full(params),
    )
    end = jax.tree.map(
        lambda w: w * jnp.where(jnp.arange(w.size) % 4 < 2, 1, -1).reshape(w.shape),
        masks.apply(params, kept),
    )
    ticket = tickets.Ticket(level, 0, 10, params, state, kept)
    return ticket, tickets.Trained(end, state, kept, opt_state={"momentum": end})


def fill(root, seeds=SEEDS, levels=LEVELS, wanted=ALL):
    """Leaves in a folder what a run of these seeds and levels would have left."""
    for seed in seeds:
        for level in levels:
            ticket, trained = members(seed, level)
            layout.save_ticket(root, seed, ticket)
            study.keep(root, wanted, seed, ticket, trained)
            kept, prunable = masks.count(ticket.masks)
            row = {"level": level, "seed": seed, "arm": "ticket", "kept": int(kept)}
            row |= {"prunable": prunable, "test_accuracy": 0.9 - 0.1 * level}
            row |= {"validation_accuracy": 0.8 - 0.1 * level}
            rows = [row, row | {"arm": "random"}]
            results.append(root / results.RESULTS, rows)


def rows(root, name):
    found = results.read(root / study.FOLDER / f"{name}.jsonl")
    return {results.identity(row, study.IDENTITY): row for row in found}
