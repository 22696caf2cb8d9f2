"""Records become a table and figures."""

import os
import pathlib
import sys

import numpy as np
import rich.console
import rich.table
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lthjax.devices import processes
from lthjax.program.report import axes as axes_lib
from lthjax.program.report import gains, learning_rates, start_points
from lthjax.program.report.axes import save
from lthjax.program.report.palette import styles
from lthjax.program.workdir import measures as measures_lib
from lthjax.program.workdir import member, notes, origin, results, spreads, text_files
from lthjax.program.workdir.measures import ACCURACY, Measures
from lthjax.program.workdir.member import TICKET

ARMS = (TICKET, "init", "reinit", "trained", "shuffle", "random")
TABLE, CURVE, LAYERS = "results.csv", "curve.png", "layers.png"
GAIN = "gain.png"
COSTS = "costs.json"  # of each leaf its parameters, and the uses of each
CLASSES = "classes.json"  # images of each class, and the share of the largest
MAJORITY = "always the largest class"


def write(root: str | pathlib.Path) -> list[dict]:
    """Writes `results.csv`, `curve.png` and `layers.png` beside a run's records.

    And `gain.png`, where tickets were retrained in other ways than the search's. Of
    several processes the first one does; nobody waits for it.

    Args:
      root: A workdir.

    Returns:
      The records; nothing is written where there are none.
    """
    root = pathlib.Path(root)
    rows = results.read(root / results.RESULTS)
    if not rows:
        return rows
    found = of(root, rows)
    named = {"name": root.absolute().name}
    shown = curve(rows, majority=majority(root), measures=found, **named)
    save(shown, root / CURVE)
    if any(row["arm"] == TICKET for row in rows):  # they may have been lost
        save(layers(rows, **named), root / LAYERS)
    if gains.gains(rows, found):
        save(gains.figure(rows, found), root / GAIN)
    text_files.write(root / TABLE, results.to_csv(rows))  # last: `current` goes by it
    return rows


def current(root: pathlib.Path) -> bool:
    """Says whether the table and the figures are of all the records there are."""
    table, rows = root / TABLE, results.read(root / results.RESULTS)
    return table.exists() and table.read_bytes() == results.to_csv(rows).encode()


def of(root: pathlib.Path, rows: list[dict]) -> Measures:
    """Returns what the records of a workdir measure.

    Args:
      root: The workdir.
      rows: Its records, at least one.

    Raises:
      ValueError: The file that says so is not whole.
    """
    found = measures_lib.read(root)
    if found.value not in rows[0]:
        raise ValueError(
            f"the {origin.COPY} of a workdir must say what its records measure, got "
            f"none that is whole in {root}; the same command as before writes it again"
        )
    return found


def majority(root: str | pathlib.Path) -> float | None:
    """Returns the share of the largest class among a run's test images, if counted.

    So much is right where a network says nothing but that class. Of a damaged file,
    which the run itself writes anew, it is `None`.
    """
    note = notes.read(pathlib.Path(root) / CLASSES)
    try:
        return float(note["majority"]["test"])
    except (ValueError, KeyError, TypeError):
        return None


def table(
    rows: list[dict],
    title: str = "",
    *,
    majority: float | None = None,
    measures: Measures = ACCURACY,
) -> rich.table.Table:
    """Returns a table of mean and spread by level and arm.

    Args:
      rows: Records.
      title: Of the table.
      majority: The share of the largest class among the test images, for its foot.
      measures: What the records are of.
    """
    known = majority is not None and measures.shown == ACCURACY.shown
    foot = f"{MAJORITY}: test accuracy {100 * majority:.2f}" if known else None
    shown = rich.table.Table(
        title=title or None, title_justify="left", caption=foot, caption_justify="left"
    )
    for name in (
        "level",
        "arm",
        "kept",
        "% kept",
        measures.title,
        "at best validation",
    ):
        left = name == "arm"  # which may be long, and is told whole
        shown.add_column(
            name,
            justify="left" if left else "right",
            overflow="fold" if left else "ellipsis",
        )
    shown.add_column("of step", justify="right")
    shown.add_column("n", justify="right")
    for (level, label), group in by_arm(rows):
        shown.add_row(str(level), label, *_cells(group, measures))
    return shown


def by_arm(rows: list[dict]) -> list[tuple[tuple[int, str], list[dict]]]:
    """Returns [((level, arm), its rows)] in the order of tables.

    The ticket of level 0 is "dense"; of several first logits each is an arm of its own.

    Args:
      rows: Records.
    """
    order = {arm: i for i, arm in enumerate(ARMS)}

    def order_of(row):
        last = order.get(row["arm"], len(order))
        return row["level"], last, row["arm"], -row.get(results.VARIANT, 0)

    groups: dict[tuple, list] = {}
    for row in sorted(member.once(rows), key=order_of):
        label = "dense" if member.is_dense(row) else member.label(row)
        groups.setdefault((row["level"], label), []).append(row)
    return list(groups.items())


def curve(
    rows: list[dict],
    value: str = "",
    *,
    majority: float | None = None,
    measures: Measures = ACCURACY,
    name: str = "",
) -> Figure:
    """Draws a measure against the weights kept: mean and spread, controls, dense line.

    Args:
      rows: Records.
      value: Which of its columns; by default that of the measure on the test set.
      majority: The share of the largest class, which becomes a line where it is near.
      measures: What the records are of.
      name: Of the run, for the title.
    """
    value, scale = value or measures.value, measures.scale
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    rows = [row for row in member.once(rows) if row[value] is not None]
    dense = [scale * row[value] for row in rows if member.is_dense(row)]
    if dense:
        axes.axhline(
            np.mean(dense), color="0.5", ls="--", lw=1, label="dense", zorder=1
        )
    lines = _lines(rows)
    shown = styles([own[-1] for own in lines.values()])
    for label, style in shown.items():
        _line(axes, lines[label], value, scale, label=axes_lib.plain(label), **style)
    if majority is not None and measures.shown == ACCURACY.shown:
        _draw_majority(axes, 100 * majority)
    axes_lib.kept_axis(axes)
    unit = ", %" * (scale == 100)
    axes.set_ylabel(axes_lib.plain(value.replace("_", " ") + unit))
    axes.set_title(_titled(name, _said(rows)), fontsize=10)
    if len(lines) > 8:
        figure.legend(loc="outside right upper", fontsize=8)
    else:
        axes.legend()
    return figure


def _lines(rows):
    """Returns {label: its records}, of level 0 its arm's own or the dense network's."""
    first, found = {}, {}
    for row in rows:
        if not row["level"]:
            first.setdefault(row["arm"], []).append(row)
    pruned = [row for row in rows if row["level"]]
    for row in pruned:
        own = first.get(row["arm"]) or first.get(TICKET, [])
        found.setdefault(member.label(row), [*own]).append(row)
    drawn = {row["arm"] for row in pruned} | ({TICKET} if pruned else set())
    return found | {arm: own for arm, own in first.items() if arm not in drawn}


def _titled(name, text):
    """Returns a title with the name of a run before it, where it has one."""
    return f"{axes_lib.plain(name)}: {text}" if name else text


def _said(rows):
    """Returns what points are: of one seed there is no deviation."""
    number = _numbers(rows)
    return "one seed" if number == "n = 1" else f"mean and standard deviation, {number}"


def layers(rows: list[dict], *, name: str = "") -> Figure:
    """Draws the kept fraction of each layer at each level, the tickets' mean.

    Colours go by its logarithm; a layer of which nothing is left is white.

    Args:
      rows: Records.
      name: Of the run, for the title.
    """
    own = [row for row in member.once(rows) if row["arm"] == TICKET]
    names = list(own[0]["layers"])
    columns = by_arm(own)
    kept = np.array(
        [
            [np.mean([r["layers"][name] for r in group]) for _, group in columns]
            for name in names
        ]
    )
    size = (2.5 + 0.55 * len(columns), 1.5 + 0.28 * len(names))
    figure = Figure(figsize=(max(6, size[0]), max(2.6, size[1])), layout="constrained")
    axes = figure.subplots()
    least = min(kept[kept > 0].min(initial=0.01), 0.1)
    image = axes.imshow(
        np.ma.masked_equal(100 * kept, 0),
        aspect="auto",
        cmap="viridis",
        norm=LogNorm(100 * least, 100),
    )
    axes.set_xticks(range(len(columns)), map(place, columns))
    axes.set_yticks(range(len(names)), map(axes_lib.plain, names), fontsize=7)
    several = len(columns) > len({level for (level, _), _ in columns})
    axes.set_xlabel("level" + ", first logit" * several)
    text = f"tickets, mean over seeds, {_numbers(own)}"
    axes.set_title(_titled(name, text), fontsize=10)
    bar = figure.colorbar(image, label="weights kept, %")
    axes_lib.plain_ticks(bar.ax.yaxis)
    for (i, j), value in np.ndenumerate(100 * kept):
        bright = not value or np.log(value / 100) > 0.3 * np.log(least)
        colour = "black" if bright else "white"
        axes.text(
            j, i, f"{value:.3g}", ha="center", va="center", color=colour, fontsize=6
        )
    return figure


def place(group: tuple[tuple[int, str], list[dict]]) -> str:
    """Returns the level of a group of `by_arm`, and its first logit if it has one."""
    (level, _), rows = group
    logit = rows[0].get(results.VARIANT) if level else None
    return str(level) if logit is None else f"{level}\n{logit:g}"


def _numbers(rows):
    """Returns "n = 3", or "n = 2 to 3" where the groups are of different sizes."""
    sizes = {len(group) for _, group in by_arm(rows)}
    return "n = " + " to ".join(str(n) for n in sorted({min(sizes), max(sizes)}))


def _line(axes, rows, value, scale, **style):
    groups = spreads.aggregate(rows, value, by=("level",))
    kept = spreads.aggregate(rows, "sparsity", by=("level",))
    x = np.array([100 * (1 - kept[level].mean) for level in groups])
    mean = np.array([scale * spread.mean for spread in groups.values()])
    std = np.array([scale * spread.std for spread in groups.values()])
    axes.plot(x, mean, ms=4, **style)
    axes.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.2, lw=0)


def _draw_majority(axes, share):
    """Draws a line at a share, seen where that does not squeeze all the others."""
    low, high = axes.get_ylim()
    axes.axhline(share, color="0.5", ls=":", lw=1, label=f"{MAJORITY}: {share:.2f} %")
    axes.set_ylim(low if share < 2 * low - high else None, None)


def _cells(group, measures):
    """Returns the cells of a table row for records of one level and arm."""

    def mean(name, form, scale=1.0):
        known = [scale * row[name] for row in group if row[name] is not None]
        if not known:
            return ""
        return spreads.shown(
            spreads.spread(known), form, ".2g" if form.endswith("g") else ""
        )

    kept = spreads.spread([row["kept"] for row in group]).mean
    share = 100 * member.kept(group)
    return (
        f"{kept:,.0f}",
        f"{share:.2f}",
        mean(measures.value, measures.form, measures.scale),
        mean(f"best_{measures.value}", measures.form, measures.scale),
        mean("best_step", ".0f"),
        str(sum(row[measures.value] is not None for row in group)),
    )


def show(root: str | os.PathLike, rows: list[dict]) -> None:
    """Prints the table of a run, with the path of its figure, in the first process.

    Paths and names are printed as they are, whatever brackets or colons they hold.
    """
    if not processes.first():
        return
    width = None if sys.stdout.isatty() else 100
    console = rich.console.Console(width=width, markup=False, emoji=False)
    root = pathlib.Path(root)
    found = of(root, rows)
    shown = table(rows, str(root), majority=majority(root), measures=found)
    console.print(shown)
    if gains.gains(rows, found):
        console.print(gains.table(rows, found))
    beside = learning_rates.sentence(root, rows, found)
    if any(row["arm"] == start_points.FRESH for row in rows):
        console.print(start_points.table(rows, beside, found))
    elif beside:
        console.print(beside, soft_wrap=True)
    if warning := learning_rates.better(root, rows, found):
        console.print(f"warning: {warning}", soft_wrap=True)
    console.print(f"figure: {root / CURVE}", soft_wrap=True)
