"""What the studies share: which tickets a run has, and the jobs that make their rows.

A job is an identity, {"level", "seed", "other"}, and a function that measures the rest
of that row: nothing is loaded before it is called.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lthjax.program.workdir import layout, results
from lthjax.program.workdir.member import TICKET
from lthjax.pruning.masks import Masks
from lthjax.tickets import Trained

SEEDS, LEVELS = "seed", "level"  # what the other of a pair is

Jobs = Iterator[tuple[dict, Callable[[], dict]]]


def trained(root: pathlib.Path, seed: int, level: int) -> Trained:
    """Returns the end of a ticket's training, that was kept."""
    return layout.load_trained(root, TICKET, seed, level)


def kept_trained(root: pathlib.Path) -> dict[int, list[int]]:
    """Returns {seed: its levels} of the trainings whose end was kept."""
    found = {}
    for seed, level in sorted(layout.trained_members(root, TICKET)):
        found.setdefault(seed, []).append(level)
    return found


def finished(root: pathlib.Path) -> dict[tuple[int, int], dict]:
    """Returns {(level, seed): record} of the tickets that are trained to their end."""
    rows = results.read(root / results.RESULTS)
    own = sorted((r for r in rows if r["arm"] == TICKET), key=lambda r: r["level"])
    return {(row["level"], row["seed"]): row for row in own}


def _pairs(found: dict[int, list[int]]) -> Iterator[tuple[tuple, tuple]]:
    """Yields pairs of (seed, level): two seeds at a level, a seed at two levels."""
    for level in sorted({level for levels in found.values() for level in levels}):
        seeds = [seed for seed, levels in found.items() if level in levels]
        for one, other in itertools.combinations(seeds, 2):
            yield (one, level), (other, level)
        earlier = {s: [n for n in found[s] if n < level] for s in seeds}
        yield from (((s, own[-1]), (s, level)) for s, own in earlier.items() if own)


def of_pairs(found: dict[int, list[int]], measure: Callable[[Any, Any], dict]) -> Jobs:
    """Yields (identity, measure(one, other)) of all pairs."""
    for one, other in _pairs(found):
        alike = one[0] == other[0]
        what = f"level {one[1]}" if alike else f"seed {other[0]}"
        identity = {"level": other[1], "seed": one[0], "other": what}
        yield identity, functools.partial(measure, one, other)


def of_tickets(root: pathlib.Path, measure: Callable[[dict], dict]) -> Jobs:
    """Yields (identity, measure(record)) of all tickets that are trained."""
    for (level, seed), record in finished(root).items():
        identity = {"level": level, "seed": seed, "other": ""}
        yield identity, functools.partial(measure, record)


def masks(root: pathlib.Path, seed: int, level: int) -> Masks:
    """Returns the masks that a training ended with, else those of its ticket."""
    if layout.trained_path(root, TICKET, seed, level).exists():
        return trained(root, seed, level).masks
    return layout.load_ticket(root, seed, level).masks


def by_depth(layers: Mapping[str, Any], network: Any) -> dict[str, float]:
    """Returns the numbers of layers, in the order in which the network uses them."""
    order = [name for name in network.uses if name in layers]
    return {name: number(layers[name]) for name in order}


def kept(record: dict) -> float:
    """Returns the fraction of the prunable weights that a record's ticket keeps."""
    return number(record["kept"] / record["prunable"])


def number(value: Any) -> float:
    """Returns a number as rows hold it, to six decimals."""
    return round(float(value), 6)
