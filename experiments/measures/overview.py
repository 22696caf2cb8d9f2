"""The page of all papers: each published number beside ours, and the figure of it."""

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.workdir import spreads, text_files
from measures import claims, sizes, tables

PAGE, FIGURE = "index.md", "index.png"
MARKERS = {"toy": "x", sizes.SHORTENED: "^", "cpu": "o", "gpu": "s", "paper": "*"}
VERDICTS = (claims.WITHIN, claims.OUTSIDE, claims.OTHER, claims.NOT_RUN)


def read(root: pathlib.Path, order: Sequence[str] = ()) -> dict[str, list[claims.Row]]:
    """Returns {name: rows} of all tables below a folder, in an order.

    Args:
      root: The folder.
      order: Names, or beginnings of names, that come first.
    """
    paths = {path.stem: path for path in root.glob("*.json")}
    place = {name: number for number, name in enumerate(order)}

    def rank(name):
        fits = [place[own] for own in place if name.startswith(own)]
        return min(fits, default=len(place)), name

    return {name: claims.read(paths[name]) for name in sorted(paths, key=rank)}


def page(found: Mapping[str, Sequence[claims.Row]]) -> str:
    """Returns the page as Markdown.

    Args:
      found: {name of the table: its rows}.
    """
    every = [row for rows in found.values() for row in rows]
    count = Counter(map(claims.verdict, every))
    said = ", ".join(f"{count[name]} {name}" for name in VERDICTS)
    lines = ["# Every published number, and ours", "", f"{len(every)} rows: {said}."]
    lines += ["", claims.RULE, "", f"![ours against published]({FIGURE})", ""]
    counts = []
    for name, rows in found.items():
        own = Counter(map(claims.verdict, rows))
        ran = ", ".join(dict.fromkeys(row.size for row in rows if row.size))
        counts.append([name, ran, len(rows), *(own[verdict] for verdict in VERDICTS)])
    lines += [tables.markdown(["table", "sizes run", "rows", *VERDICTS], counts)]
    for name, rows in found.items():
        lines += ["", *section(name, rows)]
    return "\n".join(lines) + "\n"


def section(name: str, rows: Sequence[claims.Row]) -> list[str]:
    """Returns the lines of one table."""
    toy = " (toy)" * any(row.size == "toy" for row in rows)
    titles = ["what", "published", "ours", "n", "difference", "band", "size", "verdict"]
    lines = [f"## {name}{toy}", ""]
    commands = dict.fromkeys(row.command for row in rows if row.command)
    for command in commands:
        lines += [f"    {command}", ""]
    return [*lines, tables.markdown(titles, map(_cells, rows))]


def _cells(row):
    cells = [row.what, claims.told(row)]
    if row.ours is None:
        return [*cells, "", "", "", f"{row.band:g}", "", claims.verdict(row)]
    spread = spreads.Spread(row.ours, row.spread, row.n)
    cells += [spreads.shown(spread), row.n, f"{row.ours - row.published:+.2f}"]
    verdict = claims.verdict(row) + f" ({row.size})" * _odd(row)
    return [*cells, f"{row.band:g}", row.size, verdict]


def _odd(row):
    return row.size != "paper"


def figure(found: Mapping[str, Sequence[claims.Row]]) -> Figure:
    """Draws ours against the published numbers in per cent, of the same data.

    Args:
      found: {name of the table: its rows}.
    """
    drawn = Figure(figsize=(8, 5.5), layout="constrained")
    axes = drawn.subplots()
    for number, (name, rows) in enumerate(found.items()):
        _marks(axes, name, rows, f"C{number % 10}")
    axes.axline((90, 90), slope=1, color="0.6", lw=1, zorder=0)
    axes.set_xlabel("published, %")
    axes.set_ylabel("ours, %")
    axes.set_title("on the line they agree; markers by size", fontsize=10)
    axes.grid(alpha=0.3)
    if axes.collections:
        drawn.legend(fontsize=8, loc="outside right upper")
    return drawn


def _marks(axes, name, rows, color):
    """Draws the rows of a table that are in per cent, a marker for each size."""
    for size, marker in MARKERS.items():
        own = [r for r in rows if r.size == size and _compares(r)]
        if own:
            x, y = zip(*((r.published, r.ours) for r in own), strict=True)
            style = {"marker": marker, "color": color, "alpha": 0.7, "s": 28, "lw": 0.8}
            axes.scatter(x, y, label=f"{name}, {size}", **style)


def _compares(row):
    """Returns whether a row has a place in the figure: not by its order alone."""
    return row.unit == "%" and row.relation != claims.ORDER


def write(root: pathlib.Path, found: Mapping[str, Sequence[claims.Row]]) -> None:
    """Writes the page and its figure into a folder."""
    text_files.write(root / PAGE, page(found))
    axes_lib.save(figure(found), root / FIGURE)
