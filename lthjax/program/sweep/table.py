"""One table of all runs of a sweep, of a half-finished one too."""

import json
import pathlib
from typing import Any

from lthjax.program.report import run_report
from lthjax.program.sweep import grid
from lthjax.program.sweep.grid import Cell
from lthjax.program.sweep.members import LOGITS
from lthjax.program.workdir import (
    measures,
    member,
    results,
    runs,
    spreads,
    text_files,
)
from lthjax.program.workdir.measures import ACCURACY

MARKDOWN, CSV = "sweep.md", "sweep.csv"


def rows(root: str | pathlib.Path) -> list[dict]:
    """Returns a row for each level and arm of each run, and one for a run without any.

    Args:
      root: The folder of the sweep.

    Returns:
      Rows with the values of the grid, the means over seeds of the fraction kept and
      of the accuracies, their sample standard deviations, n, the run's folder, and its
      `state`: "finished", "unfinished" or "not started". Of another objective than
      classification they have its measure in place of the accuracy, and in `of` what
      that is called.

    Raises:
      ValueError: No sweep was started there.
    """
    columns, cells = grid.read(root)
    return [row for cell in cells for row in _of_run(pathlib.Path(root), cell, columns)]


def write(root: str | pathlib.Path) -> str:
    """Writes the table as `sweep.md` and `sweep.csv`, and returns it as Markdown.

    Args:
      root: The folder of the sweep.
    """
    root, found = pathlib.Path(root), rows(root)
    text = markdown(found) + _foot(root, found)
    text_files.write(root / MARKDOWN, text)
    text_files.write(root / CSV, results.to_csv(found))
    return text


def markdown(found: list[dict]) -> str:
    """Returns rows as a Markdown table; accuracies in percent, mean ± deviation."""
    labels = dict.fromkeys(row.get("of", ACCURACY.label) for row in found)
    known = {"level", "arm", "kept", "n", "state", "folder", "of"}
    known |= {f"{n}{end}" for of in labels for n in _names(of) for end in ("", "_std")}
    keys = list(dict.fromkeys(k for row in found for k in row if k not in known))
    titles = [f"{of.removesuffix(', %')} | at best validation" for of in labels]
    head = [*keys, "level", "arm", "% kept", *titles, "n", "state"]
    lines = [_line(head), "|" + "---|" * (len(head) + len(titles))]
    for row in found:
        cells = [_plain(row.get(key)) for key in keys]
        lines.append(_line([*cells, *_measured(row, labels)]))
    return "\n".join(lines) + "\n"


def _foot(root, found):
    """Returns what always saying the largest class is worth, of each set once."""
    folders = dict.fromkeys(row["folder"] for row in found if "of" not in row)
    shares = dict.fromkeys(run_report.majority(root / folder) for folder in folders)
    known = [f"{100 * share:.2f} %" for share in shares if share is not None]
    return f"\n{run_report.MAJORITY}: {', '.join(known)}\n" if known else ""


def _names(label):
    """Returns the columns that are called so: at the end, at the best validation."""
    name = label.removesuffix(", %").replace(" ", "_")
    return name, f"best_{name}"


def _of_run(root, cell: Cell, columns) -> list[dict]:
    values = grid.shown(cell.config, columns)
    found = results.read(root / cell.folder / results.RESULTS)
    runs.warn_of_lacking(root / cell.folder, found)
    found = [row for row in found if row["seed"] in cell.config.seeds]
    state = {"state": _state(root, cell), "folder": cell.folder}
    label = measures.read(root / cell.folder).label
    state |= {} if label == ACCURACY.label else {"of": label}
    groups = {}
    for row in found:
        logit = row.get(results.VARIANT)
        arm = "dense" if member.is_dense(row) else row["arm"]
        groups.setdefault((row["level"], arm, logit), []).append(row)
    if not groups:
        return [{**values, **state}]
    ordered = sorted(groups.items(), key=lambda item: item[0][0])
    names = _names(label)
    return [{**values, **_of_group(*item, names), **state} for item in ordered]


def _of_group(group, found, names) -> dict:
    level, arm, logit = group
    kept = spreads.spread(1 - row["sparsity"] for row in found).mean
    own = {} if logit is None else {LOGITS: logit}
    own |= {"level": level, "arm": arm, "kept": kept}
    for name in names:
        known = [row[name] for row in found if row.get(name) is not None]
        if known:
            spread = spreads.spread(known)
            own |= {name: spread.mean, f"{name}_std": spread.std}
    return own | {"n": sum(row.get(names[0]) is not None for row in found)}


def _state(root, cell):
    if grid.finished(root, cell):
        return "finished"
    started = (root / cell.folder).exists()
    return "unfinished" if started else "not started"


def _measured(row, labels) -> list[str]:
    """Returns the cells of a row that a run fills."""
    if "level" not in row:
        return [*[""] * (4 + 2 * len(labels)), row["state"]]
    means = [_spread(row, label, n) for label in labels for n in _names(label)]
    kept = f"{100 * row['kept']:.3g}"
    return [str(row["level"]), row["arm"], kept, *means, str(row["n"]), row["state"]]


def _spread(row, label, name):
    if name not in row:
        return ""
    scale, form = (100, ".2f") if label.endswith("%") else (1, ".4g")
    mean, std = scale * row[name], scale * row[f"{name}_std"]
    return spreads.shown(spreads.Spread(mean, std, row["n"]), form)


def _line(cells):
    return f"| {' | '.join(cells)} |"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return json.dumps(value)
    return "" if value is None else str(value).replace("|", r"\|")
