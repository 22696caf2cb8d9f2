"""The rows of a study become a figure: pure functions, drawn again at any time."""

import itertools

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lthjax.program.report.palette import COLOURS
from lthjax.program.workdir import results

KEPT = "weights kept, % of the prunable ones"
SEEDS, LEVELS = "seed", "level"
MANY = 6  # layers: more have no colours of their own
STABLE = 2.0  # % of error: Frankle et al., 2019, arXiv:1912.05671


def plain(name: str) -> str:
    """Returns a name that matplotlib shows as it is: a dollar sign opens no formula."""
    return name.replace("$", r"\$")


def overlap(rows: list[dict]) -> Figure:
    """Draws how far masks agree: of two seeds, and of a seed's consecutive levels.

    Args:
      rows: Of the study "overlap".
    """
    titles = {
        SEEDS: "two seeds at one level",
        LEVELS: "a seed's level and the one before",
    }
    figure, parts = _panels(rows, titles)
    for axes, kind, own in parts:
        if kind == LEVELS:
            label = "one inside the other: the most there can be"
            _line(axes, own, "most", label=label, color="0.8", lw=6)
        _line(axes, own, "overlap", label="measured", color="C0", marker="o")
        chance = "chance, given each layer's density"
        _line(axes, own, "chance", label=chance, color="0.4", ls="--")
        _kept_axis(axes)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_yticks([0, 1, 2, 5, 10, 20, 50, 100])
        axes.yaxis.set_major_formatter("{x:g}")
        lowest = min(row[name] for row in own for name in ("overlap", "chance"))
        axes.set_ylim(80 * lowest, 125)
        axes.set_ylabel("overlap (intersection over union), %")
        axes.set_title(f"{titles[kind]}, {_size(own, 'pairs')}", fontsize=10)
        axes.legend(fontsize=8)
    return figure


def densities(rows: list[dict]) -> Figure:
    """Draws the kept fraction of each layer, a line for each level.

    Args:
      rows: Of the study "densities".
    """
    names = list(rows[0]["layers"])
    figure = Figure(
        figsize=(min(16, max(6.5, 2.5 + 0.3 * len(names))), 5), layout="constrained"
    )
    axes = figure.subplots()
    colour = _levels(figure, axes, rows)
    for level, own in _by_level(rows):
        kept = [100 * np.mean([row["layers"][name] for row in own]) for name in names]
        shown = [k or np.nan for k in kept]
        axes.plot(shown, marker="o", ms=3, lw=1, color=colour(level))
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    turn = 90 if len(names) > MANY else 0
    shown = [plain(name) for name in names]
    axes.set_xticks(range(len(names)), shown, rotation=turn, fontsize=7)
    axes.set_xlabel("layer, in the order of their use")
    axes.set_ylabel("weights kept, % of the layer's")
    note = "; no point: 0 %" * any(0 in row["layers"].values() for row in rows)
    title = f"density of the layers, mean over seeds, {_size(rows, 'seeds')}{note}"
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure


def flops(rows: list[dict]) -> Figure:
    """Draws operations and parameters by level, and accuracy against operations.

    Args:
      rows: Of the study "flops".
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = [
        row | {f"{name}_share": row[name] / row[f"dense_{name}"] for name in COSTS}
        for row in rows
    ]
    for (name, label), marker in zip(COSTS.items(), "os", strict=True):
        dense = rows[0][f"dense_{name}"]
        label = f"{label} (dense: {dense:,.0f})"
        _line(left, rows, f"{name}_share", by="level", label=label, marker=marker)
    left.set_yscale("log")
    _plain_ticks(left.yaxis)
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("level")
    left.set_ylabel("kept, % of the dense network's")
    left.set_title(f"cost of a forward pass, {_size(rows, 'seeds')}", fontsize=10)
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    style = {"label": "ticket", "color": COLOURS["ticket"], "marker": "o"}
    _line(right, rows, "test_accuracy", by="flops_share", **style)
    dense = [100 * row["test_accuracy"] for row in rows if row["level"] == 0]
    if dense:
        right.axhline(np.mean(dense), color="0.5", ls="--", lw=1, label="dense")
    _kept_axis(right)
    right.set_xlabel("FLOPs of a forward pass, % of the dense network's")
    right.set_ylabel("test accuracy, %")
    right.set_title(f"mean and standard deviation, {_size(rows, 'seeds')}", fontsize=10)
    right.legend(fontsize=8)
    return figure


def signs(rows: list[dict]) -> Figure:
    """Draws how many kept weights end with the sign that they started with.

    Args:
      rows: Of the study "signs".
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    _line(axes, rows, "agreement", label="all layers", color="C0", marker="o", zorder=3)
    names = list(dict.fromkeys(name for row in rows for name in row["layers"]))
    for i, name in enumerate(names):
        own = [r | {"layer": r["layers"][name]} for r in rows if name in r["layers"]]
        label = plain(name) if len(names) <= MANY else "each layer" * (i == 0)
        style = {"color": f"C{i + 1}"} if len(names) <= MANY else {"color": "0.75"}
        _line(axes, own, "layer", label=label or None, lw=0.8, band=False, **style)
    axes.axhline(50, color="0.4", ls="--", lw=1, label="chance")
    _kept_axis(axes)
    axes.set_ylabel("kept weights of the same sign, %")
    title = f"sign at the ticket's start and after training, {_size(rows, 'seeds')}"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure


def barrier(rows: list[dict]) -> Figure:
    """Draws the error along the lines between trained networks, and its rise.

    Args:
      rows: Of the study "barrier".
    """
    titles = {
        SEEDS: "between two seeds",
        LEVELS: "from a level to the next one",
    }
    figure, parts = _panels(rows, titles, more=1)
    images = f"{rows[0]['images']:,} test images"
    top = max(100 * max(row["errors"]) for row in rows)
    for axes, kind, own in parts:
        colour = _levels(figure, axes, rows)
        for level, group in _by_level(own):
            errors = 100 * np.mean([row["errors"] for row in group], axis=0)
            alphas = np.linspace(0, 1, len(errors))
            axes.plot(alphas, errors, color=colour(level), lw=1.2)
        axes.set_ylim(0, 1.05 * top)
        axes.set_xlabel("from one network (0) to the other (1)")
        axes.set_ylabel(f"error on {images}, %")
        axes.set_title(f"{titles[kind]}, mean, {_size(own, 'pairs')}", fontsize=10)
        axes.grid(alpha=0.3)
    last = figure.axes[len(parts)]
    for _, kind, own in parts:
        label = f"{titles[kind]}, {_size(own, 'pairs')}"
        _line(last, own, "barrier", label=label, marker="o")
    label = f"{STABLE:g} points: called stable below"
    last.axhline(STABLE, color="0.4", ls="--", lw=1, label=label)
    _kept_axis(last)
    last.set_ylabel("barrier, points of error")
    statistics = f"batch statistics: {rows[0]['statistics']}"
    last.set_title(f"rise above the ends' mean; {statistics}", fontsize=10)
    last.legend(fontsize=8)
    return figure


def _panels(rows, kinds, more=0):
    """Returns a figure, and (axes, kind, rows) of each kind that there are rows of."""
    groups = [
        (kind, [r for r in rows if r["other"].startswith(kind)]) for kind in kinds
    ]
    groups = [(kind, own) for kind, own in groups if own]
    number = len(groups) + more
    figure = Figure(figsize=(5.5 * number, 4.5), layout="constrained")
    axes = figure.subplots(1, number, squeeze=False)[0]
    return figure, [(a, *group) for a, group in zip(axes, groups, strict=False)]


def _line(axes, rows, value, *, by="kept", band=True, **style):
    """Draws the mean of a fraction by level, in %, with a band of its deviation."""
    groups = [own for _, own in _by_level(rows)]
    spreads = [results.spread(100 * row[value] for row in own) for own in groups]
    x = [np.mean([row[by] for row in own]) for own in groups]
    x = np.array(x) * (1 if by == "level" else 100)
    mean = np.array([spread.mean for spread in spreads])
    std = np.array([spread.std for spread in spreads])
    (line,) = axes.plot(x, mean, **{"ms": 3, "lw": 1.5, **style})
    if band:
        color = line.get_color()
        axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, lw=0)


def _by_level(rows):
    """Returns [(level, its rows)], in the order of the levels."""
    rows = sorted(rows, key=lambda row: row["level"])
    groups = itertools.groupby(rows, key=lambda row: row["level"])
    return [(level, list(own)) for level, own in groups]


def _size(rows, what):
    """Returns "n = 3 seeds", or "n = 2 to 3 seeds" where levels have fewer."""
    sizes = {len(own) for _, own in _by_level(rows)}
    number = " to ".join(str(n) for n in sorted({min(sizes), max(sizes)}))
    return f"n = {number} {what if number != '1' else what.removesuffix('s')}"


def _kept_axis(axes):
    """Makes the x axis one of percent kept, from all to ever less."""
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.invert_xaxis()
    axes.set_xlabel(KEPT)
    axes.grid(alpha=0.3)


def _plain_ticks(axis):
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _levels(figure, axes, rows):
    """Adds a colour bar of the levels; returns level -> colour."""
    levels = [row["level"] for row in rows]
    scale = ScalarMappable(Normalize(min(levels), max(max(levels), 1)), "viridis_r")
    bar = figure.colorbar(scale, ax=axes, label="level")
    bar.locator.set_params(integer=True)
    return scale.to_rgba


COSTS = {"flops": "FLOPs", "parameters": "parameters"}
