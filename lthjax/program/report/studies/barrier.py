"""The study of barriers: the error along the line between trained networks."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from lthjax.analysis import barriers
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows
from lthjax.program.workdir.measures import ACCURACY
from lthjax.pruning import masks as masks_lib
from lthjax.training import statistics as statistics_lib

POINTS = 30
ERROR, LOSS = "error", "loss"
STABLE = 2.0  # % of error: Frankle et al., 2019, arXiv:1912.05671


def jobs(root: pathlib.Path, network: Any, *, points: int = POINTS) -> ticket_rows.Jobs:
    """Yields the error barriers between networks at the end of their training.

    Args:
      root: The workdir.
      network: What the run trains.
      points: Of a line, its ends among them.
    """

    @functools.lru_cache(maxsize=2)
    def load(member):
        return ticket_rows.trained(root, *member)

    kind = ERROR if network.measures.shown == ACCURACY.shown else LOSS
    functions = network.apply, network.evaluate
    along = jax.jit(functools.partial(_along, *functions, (kind, points)))
    data = network.examples, network.training

    def measure(one, other):
        a, b = load(one), load(other)
        ends = (a.params, a.model_state), (b.params, b.model_state)
        height, errors = along(ends, data)
        return ({} if kind == ERROR else {"of": kind}) | {
            "kept": ticket_rows.number(1 - masks_lib.sparsity(b.masks)),
            "barrier": ticket_rows.number(height),
            "errors": [ticket_rows.number(error) for error in errors],
            "images": network.images,
            "statistics": "none" if network.training is None else "recomputed",
        }

    return ticket_rows.of_pairs(ticket_rows.kept_trained(root), measure)


def _along(apply_fn, evaluate_fn, asked, ends, data):
    """Returns the barrier between two networks as a fraction, and the errors.

    Of other tasks than classification it is that of the loss, and the losses.
    """
    (kind, points), (examples, images) = asked, data

    def error(params, model_state):
        loss, *measures = evaluate_fn(params, model_state, examples)
        return 1 - measures[0] if kind == ERROR else loss

    recompute = None if images is None else statistics_lib.recomputed(apply_fn, images)
    found = barriers.barrier(error, *ends, points=points, recompute_fn=recompute)
    return found.height, found.errors


def draw(rows: list[dict]) -> Figure:
    """Draws the error (or loss) along the lines between networks, and its rise.

    Args:
      rows: Of the study "barrier".
    """
    titles = {
        ticket_rows.SEEDS: "between two seeds",
        ticket_rows.LEVELS: "from a level to the next one",
    }
    figure, parts = axes_lib.panels(rows, titles, more=1)
    kind, images = rows[0].get("of", ERROR), f"{rows[0]['images']:,} test images"
    scale, unit = (100, ", %") if kind == ERROR else (1, "")
    top = max(scale * max(row["errors"]) for row in rows)
    for axes, pair, own in parts:
        colour = axes_lib.levels(figure, axes, rows)
        for level, group in axes_lib.by_level(own):
            errors = scale * np.mean([row["errors"] for row in group], axis=0)
            alphas = np.linspace(0, 1, len(errors))
            axes.plot(alphas, errors, color=colour(level), lw=1.2)
        axes.set_ylim(0, 1.05 * top)
        axes.set_xlabel("from one network (0) to the other (1)")
        axes.set_ylabel(f"{kind} on {images}{unit}")
        axes.set_title(
            f"{titles[pair]}, mean, {axes_lib.size(own, 'pairs')}", fontsize=10
        )
        axes.grid(alpha=0.3)
    last = figure.axes[len(parts)]
    for _, pair, own in parts:
        label = f"{titles[pair]}, {axes_lib.size(own, 'pairs')}"
        axes_lib.line(last, own, "barrier", scale=scale, label=label, marker="o")
    if kind == ERROR:
        label = f"{STABLE:g} points: called stable below"
        last.axhline(STABLE, color="0.4", ls="--", lw=1, label=label)
    axes_lib.kept_axis(last)
    last.set_ylabel(f"barrier, {'points of error' if kind == ERROR else 'of the loss'}")
    statistics = f"batch statistics: {rows[0]['statistics']}"
    last.set_title(f"rise above the ends' mean; {statistics}", fontsize=10)
    last.legend(fontsize=8)
    return figure
