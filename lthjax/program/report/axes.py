"""What all figures share: their axes, how lines are drawn, and how one is saved."""

import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from lthjax import whole_files
from lthjax.devices import processes
from lthjax.program.workdir import member, spreads

KEPT = "weights kept, % of the prunable ones"
APART = 0.075  # of the axis: the least distance of two ticks
MANY = 6  # layers: more have no colours of their own


def plain(name: str) -> str:
    """Returns a name that matplotlib shows as it is: a dollar sign opens no formula."""
    return name.replace("$", r"\$")


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, whole or not at all, in the first process."""
    if not processes.first():
        return
    with whole_files.writing(path) as partial:
        figure.savefig(partial, dpi=150)


def panels(
    rows: list[dict], kinds: Sequence[str], more: int = 0
) -> tuple[Figure, list[tuple[Axes, str, list[dict]]]]:
    """Returns a figure, and (axes, kind, rows) of each kind that there are rows of.

    Args:
      rows: Of a study of pairs.
      kinds: What the others of pairs are: the beginnings of "other".
      more: How many panels the figure has beside those.
    """
    groups = [
        (kind, [r for r in rows if r["other"].startswith(kind)]) for kind in kinds
    ]
    groups = [(kind, own) for kind, own in groups if own]
    number = len(groups) + more
    figure = Figure(figsize=(5.5 * number, 4.5), layout="constrained")
    axes = figure.subplots(1, number, squeeze=False)[0]
    return figure, [(a, *group) for a, group in zip(axes, groups, strict=False)]


def line(
    axes: Axes,
    rows: list[dict],
    value: str,
    *,
    by: str = "kept",
    band: bool = True,
    scale: int = 100,
    **style,
) -> None:
    """Draws the mean of a value by level, x `scale`, with a band of its deviation."""
    groups = [own for _, own in by_level(rows)]
    means = [spreads.spread(scale * row[value] for row in own) for own in groups]
    x = [np.mean([row[by] for row in own]) for own in groups]
    x = np.array(x) * (1 if by == "level" else 100)
    mean = np.array([spread.mean for spread in means])
    std = np.array([spread.std for spread in means])
    (line,) = axes.plot(x, mean, **{"ms": 3, "lw": 1.5, **style})
    if band:
        color = line.get_color()
        axes.fill_between(x, mean - std, mean + std, color=color, alpha=0.2, lw=0)


def by_level(rows: list[dict]) -> list[tuple[int, list[dict]]]:
    """Returns [(level, its rows)], in the order of the levels."""
    rows = sorted(rows, key=lambda row: row["level"])
    groups = itertools.groupby(rows, key=lambda row: row["level"])
    return [(level, list(own)) for level, own in groups]


def size(rows: list[dict], what: str) -> str:
    """Returns "n = 3 seeds", or "n = 2 to 3 seeds" where levels have fewer."""
    chains = [own for _, group in member.by_logit(rows) for _, own in by_level(group)]
    sizes = {len(own) for own in chains}
    number = " to ".join(str(n) for n in sorted({min(sizes), max(sizes)}))
    return f"n = {number} {what if number != '1' else what.removesuffix('s')}"


def kept_axis(axes: Axes) -> None:
    """Makes the x axis one of percent kept, from all to ever less.

    Its ticks are where the lines that are drawn have their points, as far as there is
    room for their numbers.
    """
    axes.set_xscale("log")
    points = _points(axes)
    if len(points) > 1:
        axes.xaxis.set_major_locator(FixedLocator(_apart(points)))
        axes.xaxis.set_major_formatter("{x:.3g}")
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        plain_ticks(axes.xaxis)
    axes.invert_xaxis()
    axes.set_xlabel(KEPT)
    axes.grid(alpha=0.3)


def _points(axes):
    """Returns where the lines of an axes have points, from the largest to the least."""
    own = [line for line in axes.lines if line.get_transform() == axes.transData]
    found = {float(x) for line in own for x in np.asarray(line.get_xdata(), float)}
    return sorted((x for x in found if np.isfinite(x) and x > 0), reverse=True)


def _apart(points):
    """Returns those that are far enough from the one before on a logarithmic axis."""
    least = APART * np.log(points[0] / points[-1])
    kept = points[:1]
    for x in points[1:]:
        if np.log(kept[-1] / x) >= least:
            kept.append(x)
    return kept


def plain_ticks(axis) -> None:
    """Gives a logarithmic axis numbers at 1, 2 and 5, written as they are."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def levels(figure: Figure, axes: Axes, rows: list[dict]) -> Callable[[int], Any]:
    """Adds a colour bar of the levels; returns level -> colour."""
    levels = [row["level"] for row in rows]
    scale = ScalarMappable(Normalize(min(levels), max(max(levels), 1)), "viridis_r")
    bar = figure.colorbar(scale, ax=axes, label="level")
    bar.locator.set_params(integer=True)
    return scale.to_rgba
