"""The rows of every study: what a run's tickets are like, beside their accuracy.

Each function takes the workdir and the network (`study.Network`), and yields pairs of
an identity, {"level", "seed", "other"}, and a function that measures the rest of that
row: nothing is loaded before it is called.
"""

import functools
import itertools
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax

from lthjax import models
from lthjax.analysis import comparison, costs
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks as masks_lib
from lthjax.saving import tickets

TRAINED = "trained"
POINTS = 30

Jobs = Iterator[tuple[dict, Callable]]


def trained_path(root: pathlib.Path, seed: int, level: int) -> pathlib.Path:
    """Returns where the end of a ticket's training is: `trained/seed_0/level_03`."""
    return root / TRAINED / f"seed_{seed}" / f"level_{level:02d}"


def overlaps(root: pathlib.Path, network: Any) -> Jobs:
    """Yields the overlap of the masks of two seeds, and of a seed's two levels."""
    del network
    finished = _finished(root)
    found = {seed: [n for n, s in finished if s == seed] for _, seed in finished}

    @functools.lru_cache(maxsize=2 * len(found) + 1)
    def load(member):
        return _masks(root, *member)

    def measure(one, other):
        a, b = load(one), load(other)
        kept = [float(1 - masks_lib.sparsity(masks)) for masks in (a, b)]
        return {
            "kept": _number(kept[1]),
            "overlap": _number(comparison.overlap(a, b)),
            "chance": _number(comparison.chance_overlap(a, b)),
            "most": _number(min(kept) / max(kept) if max(kept) else 1.0),
            "hamming": _number(comparison.hamming(a, b)),
        }

    return _pair_jobs(dict(sorted(found.items())), measure)


def densities(root: pathlib.Path, network: Any) -> Jobs:
    """Yields the density of each layer of every ticket."""

    def measure(record):
        masks = _masks(root, record["seed"], record["level"])
        layers = _by_depth(comparison.densities(masks), network)
        return {"kept": _kept(record), "layers": layers}

    return _ticket_jobs(root, measure)


def flops(root: pathlib.Path, network: Any) -> Jobs:
    """Yields the FLOPs and the parameters of every ticket, with its accuracy."""

    def measure(record):
        masks = _masks(root, record["seed"], record["level"])
        shapes, uses = network.params, network.uses
        return {
            "kept": _kept(record),
            "flops": costs.flops(shapes, masks, uses),
            "dense_flops": costs.flops(shapes, None, uses),
            "parameters": costs.parameters(shapes, masks),
            "dense_parameters": costs.parameters(shapes),
            "test_accuracy": record["test_accuracy"],
        }

    return _ticket_jobs(root, measure)


def signs(root: pathlib.Path, network: Any) -> Jobs:
    """Yields how many weights of a ticket end with the sign they started with."""
    found = _kept_trained(root)

    def measure(record):
        member = record["seed"], record["level"]
        trained = tickets.load_trained(trained_path(root, *member))
        start = layout.load_ticket(root, *member).params
        trees = start, trained.params, trained.masks
        layers = comparison.by_layer(comparison.sign_agreement, *trees)
        for empty in masks_lib.collapsed(trained.masks):
            del layers[empty]
        return {
            "kept": _kept(record),
            "agreement": _number(comparison.sign_agreement(*trees)),
            "layers": _by_depth(layers, network),
        }

    for identity, job in _ticket_jobs(root, measure):
        if identity["level"] in found.get(identity["seed"], []):
            yield identity, job


def barriers(root: pathlib.Path, network: Any) -> Jobs:
    """Yields the error barriers between networks at the end of their training."""

    @functools.lru_cache(maxsize=2)
    def load(member):
        return tickets.load_trained(trained_path(root, *member))

    along = jax.jit(functools.partial(_along, network.apply, network.evaluate))
    data = network.examples, network.training

    def measure(one, other):
        a, b = load(one), load(other)
        ends = (a.params, a.model_state), (b.params, b.model_state)
        height, errors = along(ends, data)
        return {
            "kept": _number(1 - masks_lib.sparsity(b.masks)),
            "barrier": _number(height),
            "errors": [_number(error) for error in errors],
            "images": network.images,
            "statistics": "none" if network.training is None else "recomputed",
        }

    return _pair_jobs(_kept_trained(root), measure)


def _along(apply_fn, evaluate_fn, ends, data):
    """Returns the barrier between two networks as a fraction, and the errors."""
    examples, images = data

    def error(params, model_state):
        return 1 - evaluate_fn(params, model_state, examples)[1]

    recompute = None if images is None else _recomputed(apply_fn, images)
    found = comparison.barrier(error, *ends, points=POINTS, recompute_fn=recompute)
    return found.height, found.errors


def _recomputed(apply_fn, images):
    """Returns `analysis.recomputed`, which leaves what the network draws from."""

    def recompute(params, model_state):
        def passed(params, state, images, train):
            logits, after = apply_fn(params, {**model_state, **state}, images, train)
            return logits, models.statistics(after)

        moving = models.statistics(model_state)
        return {**model_state, **comparison.recomputed(passed, images)(params, moving)}

    return recompute


def _kept_trained(root: pathlib.Path) -> dict[int, list[int]]:
    """Returns {seed: its levels} of the trainings whose end was kept."""
    found = {}
    for path in (root / TRAINED).glob("*/*"):
        name = f"{path.parent.name}/{path.name}"
        if match := re.fullmatch(r"seed_(\d+)/level_(\d+)", name):
            seed, level = map(int, match.groups())
            found.setdefault(seed, []).append(level)
    return {seed: sorted(levels) for seed, levels in sorted(found.items())}


def _finished(root: pathlib.Path) -> dict[tuple[int, int], dict]:
    """Returns {(level, seed): record} of the tickets that are trained to their end."""
    rows = results.read(root / results.RESULTS)
    own = sorted((r for r in rows if r["arm"] == "ticket"), key=lambda r: r["level"])
    return {(row["level"], row["seed"]): row for row in own}


def _pairs(found: dict[int, list[int]]) -> Iterator[tuple[tuple, tuple]]:
    """Yields pairs of (seed, level): two seeds at a level, a seed at two levels."""
    for level in sorted({level for levels in found.values() for level in levels}):
        seeds = [seed for seed, levels in found.items() if level in levels]
        for one, other in itertools.combinations(seeds, 2):
            yield (one, level), (other, level)
        earlier = {s: [n for n in found[s] if n < level] for s in seeds}
        yield from (((s, own[-1]), (s, level)) for s, own in earlier.items() if own)


def _pair_jobs(found, measure):
    """Yields (identity, measure(one, other)) of all pairs."""
    for one, other in _pairs(found):
        alike = one[0] == other[0]
        what = f"level {one[1]}" if alike else f"seed {other[0]}"
        identity = {"level": other[1], "seed": one[0], "other": what}
        yield identity, functools.partial(measure, one, other)


def _ticket_jobs(root, measure):
    """Yields (identity, measure(record)) of all tickets that are trained."""
    for (level, seed), record in _finished(root).items():
        identity = {"level": level, "seed": seed, "other": ""}
        yield identity, functools.partial(measure, record)


def _masks(root, seed, level):
    """Returns the masks that a training ended with, else those of its ticket."""
    path = trained_path(root, seed, level)
    if path.exists():
        return tickets.load_trained(path).masks
    return layout.load_ticket(root, seed, level).masks


def _by_depth(layers, network):
    """Returns the numbers of layers, in the order in which the network uses them."""
    order = [name for name in network.uses if name in layers]
    return {name: _number(layers[name]) for name in order}


def _kept(record):
    return _number(record["kept"] / record["prunable"])


def _number(value):
    return round(float(value), 6)
