"""The study of densities: what each layer keeps."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lthjax.analysis import comparison
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields the density of each layer of every ticket."""

    def measure(record):
        masks = ticket_rows.masks(root, record["seed"], record["level"])
        layers = ticket_rows.by_depth(comparison.densities(masks), network)
        return {"kept": ticket_rows.kept(record), "layers": layers}

    return ticket_rows.of_tickets(root, measure)


def draw(rows: list[dict]) -> Figure:
    """Draws the kept fraction of each layer, a line for each level.

    Args:
      rows: Of the study "densities".
    """
    names = list(rows[0]["layers"])
    figure = Figure(
        figsize=(min(16, max(6.5, 2.5 + 0.3 * len(names))), 5), layout="constrained"
    )
    axes = figure.subplots()
    colour = axes_lib.levels(figure, axes, rows)
    for level, own in axes_lib.by_level(rows):
        kept = [100 * np.mean([row["layers"][name] for row in own]) for name in names]
        shown = [k or np.nan for k in kept]
        axes.plot(shown, marker="o", ms=3, lw=1, color=colour(level))
    axes.set_yscale("log")
    axes_lib.plain_ticks(axes.yaxis)
    turn = 90 if len(names) > axes_lib.MANY else 0
    shown = [axes_lib.plain(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=turn, fontsize=7)
    axes.set_xlabel("layer, in the order of their use")
    axes.set_ylabel("weights kept, % of the layer's")
    note = "; no point: 0 %" * any(0 in row["layers"].values() for row in rows)
    title = (
        f"density of the layers, mean over seeds, {axes_lib.size(rows, 'seeds')}{note}"
    )
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure
