"""The figures of a page on classes: how right each is, and what is taken for what."""

import pathlib
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.report import run_report
from lthjax.program.workdir import notes
from lthjax.program.workdir.member import TICKET

EACH, TAKEN = "test_class_accuracy", "test_confusion"
MANY = 30  # classes: more have no numbers of their own


def of(root: pathlib.Path, rows: list[dict]) -> Iterator[tuple[str, Figure]]:
    """Yields (title, figure) where the run measured its classes.

    That is `config.measures` with class_accuracy, or with confusion.

    Args:
      root: The workdir, whose counts have the classes' names.
      rows: Its records.
    """
    own = [row for row in rows if row["arm"] == TICKET]
    if any(EACH in row for row in own):
        yield "test accuracy by class", accuracies(own, names(root))
    if any(TAKEN in row for row in own):
        yield "what is taken for what", confusions(own, names(root))


def names(root: pathlib.Path) -> list[str]:
    """Returns the names of the classes, [] where the set has none."""
    try:
        return list(map(str, notes.read(root / run_report.CLASSES)["classes"]))
    except (KeyError, TypeError):
        return []


def accuracies(rows: list[dict], classes: list[str]) -> Figure:
    """Draws the accuracy on each class at each level, the mean over seeds.

    Args:
      rows: Records of tickets.
      classes: Their names; numbers where there are none.
    """
    groups = run_report.by_arm([row for row in rows if EACH in row])
    found = np.array([_mean([row[EACH] for row in own]) for _, own in groups]).T
    levels = [run_report.place(group) for group in groups]
    size = 1.6 + 0.28 * min(len(found), MANY)
    figure = Figure(figsize=(max(6, 2.5 + 0.55 * len(levels)), size))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    _matrix(axes, found, "test accuracy, %")
    axes.set_xticks(range(len(levels)), levels)
    axes.set_xlabel("level")
    _name(axes.yaxis, classes, len(found))
    axes.set_title(f"tickets, mean over seeds, {axes_lib.size(rows, 'seeds')}")
    return figure


def confusions(rows: list[dict], classes: list[str]) -> Figure:
    """Draws what the examples of each class are taken for, dense and at the last level.

    Args:
      rows: Records of tickets.
      classes: Their names; numbers where there are none.
    """
    groups = run_report.by_arm([row for row in rows if TAKEN in row])
    shown = [groups[0], groups[-1]] if len(groups) > 1 else groups
    figure = Figure(figsize=(5.2 * len(shown), 4.8), layout="constrained")
    parts = figure.subplots(1, len(shown), squeeze=False)[0]
    for axes, ((level, label), own) in zip(parts, shown, strict=True):
        counts = np.sum([np.array(row[TAKEN], float) for row in own], axis=0)
        total = counts.sum(1, keepdims=True)
        shares = np.divide(counts, total, np.full_like(counts, np.nan), where=total > 0)
        _matrix(axes, shares, "% of the class")
        for axis, what in ((axes.xaxis, "taken for"), (axes.yaxis, "is")):
            _name(axis, classes, len(counts))
            axis.set_label_text(what)
        axes.tick_params(
            axis="x", rotation=90 if max(map(len, classes or [""])) > 3 else 0
        )
        number = axes_lib.size(own, "seeds")
        what = f"level {level}{label.removeprefix(TICKET)}" if level else label
        axes.set_title(f"{what}, {number}")
    return figure


def _mean(rows):
    """Returns the mean of lists, NaN where none has a number."""
    values = np.array([[np.nan if v is None else v for v in row] for row in rows])
    known = np.isfinite(values).sum(0)
    total = np.nansum(values, 0)
    return np.divide(total, known, np.full(total.shape, np.nan), where=known > 0)


def _matrix(axes, shares, label):
    """Draws shares from 0 to 1 as colours, with their numbers where there is room."""
    image = axes.imshow(100 * shares, aspect="auto", cmap="viridis", vmin=0, vmax=100)
    axes.figure.colorbar(image, ax=axes, label=label)
    if max(shares.shape) > MANY:
        return
    for (i, j), value in np.ndenumerate(100 * shares):
        style = {"color": "black" if value > 60 else "white", "fontsize": 6}
        axes.text(j, i, f"{value:.3g}", ha="center", va="center", **style)


def _name(axis, classes, number):
    """Gives an axis the classes' names, where there are few."""
    if number <= MANY:
        texts = map(axes_lib.plain, classes or map(str, range(number)))
        axis.set_ticks(range(number), list(texts), fontsize=7)
