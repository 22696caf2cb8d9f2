"""The study of overlap: how far the masks of two tickets agree."""

import functools
import pathlib
from typing import Any

from matplotlib.figure import Figure

from lthjax.analysis import comparison
from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows
from lthjax.pruning import masks as masks_lib


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields the overlap of the masks of two seeds, and of a seed's two levels."""
    del network
    finished = ticket_rows.finished(root)
    found = {seed: [n for n, s in finished if s == seed] for _, seed in finished}

    @functools.lru_cache(maxsize=2 * len(found) + 1)
    def load(member):
        return ticket_rows.masks(root, *member)

    def measure(one, other):
        a, b = load(one), load(other)
        kept = [float(1 - masks_lib.sparsity(masks)) for masks in (a, b)]
        return {
            "kept": ticket_rows.number(kept[1]),
            "overlap": ticket_rows.number(comparison.overlap(a, b)),
            "chance": ticket_rows.number(comparison.chance_overlap(a, b)),
            "most": ticket_rows.number(min(kept) / max(kept) if max(kept) else 1.0),
            "hamming": ticket_rows.number(comparison.hamming(a, b)),
        }

    return ticket_rows.of_pairs(dict(sorted(found.items())), measure)


def draw(rows: list[dict]) -> Figure:
    """Draws how far masks agree: of two seeds, and of a seed's consecutive levels.

    Args:
      rows: Of the study "overlap".
    """
    titles = {
        ticket_rows.SEEDS: "two seeds at one level",
        ticket_rows.LEVELS: "a seed's level and the one before",
    }
    figure, parts = axes_lib.panels(rows, titles)
    for axes, kind, own in parts:
        if kind == ticket_rows.LEVELS:
            label = "one inside the other: the most there can be"
            axes_lib.line(axes, own, "most", label=label, color="0.8", lw=6)
        axes_lib.line(axes, own, "overlap", label="measured", color="C0", marker="o")
        chance = "chance, given each layer's density"
        axes_lib.line(axes, own, "chance", label=chance, color="0.4", ls="--")
        axes_lib.kept_axis(axes)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, 1, 2, 5, 10, 20, 50, 100])
        axes.yaxis.set_major_formatter("{x:g}")
        lowest = min(row[name] for row in own for name in ("overlap", "chance"))
        axes.set_ylim(80 * lowest, 125)
        axes.set_ylabel("overlap (intersection over union), %")
        axes.set_title(f"{titles[kind]}, {axes_lib.size(own, 'pairs')}", fontsize=10)
        axes.legend(fontsize=8)
    return figure
