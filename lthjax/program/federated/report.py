"""What a federated run leaves to be read: a table, and accuracy by megabytes."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lthjax.federated.traffic import MEBI
from lthjax.program.report import axes as axes_lib
from lthjax.program.workdir import spreads, text_files

WAYS = ("up", "down", "masks")
SHOWN = {"global": "global network", "local": "clients' own networks"}


def megabytes(rows: Sequence[dict], ways: Sequence[str] = WAYS) -> list[float]:
    """Returns the traffic after each round, 2^20 bytes, of some ways together.

    Args:
      rows: Records, in order.
      ways: Of "up", "down", "masks"; or "printed", the paper's rule.
    """
    each = (sum(row[f"{way}_bytes"] for way in ways) for row in rows)
    return [total / MEBI for total in itertools.accumulate(each)]


def summary(rows: Sequence[dict], final: Mapping) -> str:
    """Returns the end of a run as Markdown.

    Args:
      rows: Its records.
      final: What it wrote at its end.
    """
    lines = ["| what | accuracy on a client's classes, % |", "|---|---|"]
    named = {**SHOWN, "masked": "global network, masked by the client's ticket"}
    for name, text in named.items():
        own = spreads.spread(100 * x for x in final[f"{name}_by_client"])
        lines.append(f"| {text} | {spreads.shown(own)} over n = {own.n} clients |")
    ways = {way: megabytes(rows, (way,))[-1] for way in (*WAYS, "printed")}
    lines += [
        "",
        f"{len(rows)} rounds, last sparsity {rows[-1]['sparsity']:.3f}; traffic in "
        f"2^20 bytes: up {ways['up']:.2f}, down {ways['down']:.2f}, masks "
        f"{ways['masks']:.2f}; by the rule of arXiv:2104.12501 {ways['printed']:.2f}.",
    ]
    return "\n".join(lines) + "\n"


def figure(runs: Mapping[str, Sequence[dict]]) -> Figure:
    """Draws the accuracy of runs against the megabytes that they have sent.

    Args:
      runs: {name: records}.
    """
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, (value, text) in zip(panels, SHOWN.items(), strict=True):
        for at, (name, rows) in enumerate(runs.items()):
            _line(axes, rows, value, label=axes_lib.plain(name), color=f"C{at}")
        axes.set_title(text, fontsize=10)
        axes.set_xlabel("traffic both ways, 2^20 bytes")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean accuracy on a client's classes, %")
    panels[0].legend(fontsize=8)
    return drawn


def _line(axes, rows, value, **style):
    column = f"{value}_accuracy"
    pairs = zip(megabytes(rows), rows, strict=True)
    found = [(x, 100 * row[column]) for x, row in pairs if column in row]
    if found:
        axes.plot(*zip(*found, strict=True), marker="o", ms=2, lw=1, **style)


def write(root: pathlib.Path, rows: Sequence[dict], final: Mapping) -> str:
    """Writes `summary.md` and `accuracy_traffic.png` to a workdir, returns the text."""
    text = summary(rows, final)
    text_files.write(root / "summary.md", text)
    axes_lib.save(figure({str(root.name): rows}), root / "accuracy_traffic.png")
    return text
