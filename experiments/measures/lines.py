"""The line between two trainings of one carried ticket, and how far it falls."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from lthjax.program.report.studies import study
from lthjax.program.workdir import results
from measures import claims, tables

STUDY = "measures.lines:PATH"
PATH = study.STUDIES["barrier"]._replace(  # of 21 points, as in the released code
    jobs=functools.partial(study.STUDIES["barrier"].jobs, points=21)
)
HEAD = (
    "Test accuracy on the line between two trainings of one carried ticket (seed 0's), "
    "which differ in the order of the data: 21 points, on the first 1,000 images."
)
COLUMNS = ("source", "target", "ends, %", "lowest, %", "falls by", "published")


def along(run: pathlib.Path) -> np.ndarray:
    """Returns the accuracies in % along the line of a run's two seeds, [21].

    Args:
      run: The workdir of a run of two seeds whose last level is one ticket.
    """
    rows = results.read(run / "studies" / "measures.lines.PATH.jsonl")
    row = next(r for r in rows if r["level"] and r["other"].startswith("seed"))
    return 100 * (1 - np.array(row["errors"]))


def fall(run: pathlib.Path) -> float:
    """Returns how far the accuracy falls below the worse end of a line, in points."""
    line = along(run)
    return min(line[0], line[-1]) - line.min()


def claimed(published: Mapping, root: pathlib.Path | None, same: bool) -> list:
    """Returns [(claim, ours)] of how far lines fall.

    Args:
      published: {(source, target): the fall, in points}.
      root: The folder of the runs `line_SOURCE_TARGET`, some of which may be missing;
        None: nothing is there yet.
      same: Whether the networks are the published ones.
    """
    found = []
    for (source, target), points in published.items():
        what = f"fall on the line, ResNet-{source} to {target}"
        run = root and _run(root, source, target)
        ours = [fall(run)] if run and run.exists() else []
        claim = claims.Claim(what, points, "points", 5.0, claims.relation(same))
        found.append((claim, ours))
    return found


def _run(root, source, target):
    return root / f"line_{source}_{target}"


def table(
    root: pathlib.Path, pairs: Sequence[tuple[int, int]], published: Mapping
) -> str:
    """Returns how far the accuracy falls below the worse end, beside the paper's.

    Args:
      root: The folder of the runs `line_SOURCE_TARGET`.
      pairs: (source, target) of each.
      published: {pair: what the paper says, in points}.
    """
    rows = []
    for source, target in pairs:
        run = _run(root, source, target)
        line = along(run)
        row = [source, target, f"{line[0]:.2f}, {line[-1]:.2f}", f"{line.min():.2f}"]
        rows.append([*row, f"{fall(run):.2f}", published.get((source, target), "")])
    return tables.markdown(COLUMNS, rows, rule=" --- ")
