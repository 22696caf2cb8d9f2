"""The report of one run, or of several beside each other, as one file for a browser."""

import datetime
import io
import json
import math
import pathlib
import warnings as python_warnings
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from matplotlib import rc_context
from matplotlib.figure import Figure

from lthjax.data import balance
from lthjax.program.config import defaults, ranges
from lthjax.program.report import gains, page_data, page_figures, run_report
from lthjax.program.workdir import (
    notes,
    origin,
    results,
    sittings,
    spreads,
    text_files,
)
from lthjax.program.workdir.measures import ACCURACY, Measures

PAGE = "report.html"
TEMPLATE = pathlib.Path(__file__).with_name("page.html.j2")
# Text stays text, and the same run gives the same file.
SVG = {"svg.fonttype": "none", "svg.hashsalt": "lthjax"}
FILES = (results.RESULTS, "results.csv", results.CURVES, "config.json", "tickets")
FILES += (sittings.SITTINGS, "studies", "deployed", "tensorboard")


class Run(NamedTuple):
    """What a page shows of a run.

    Attributes:
      root: Its workdir.
      rows: Its records.
      curves: Its learning curves.
      measures: What both are of.
      config: Its config, as JSON has it; {} where none is whole.
      data: The fingerprint of its data, {} where none is known.
    """

    root: pathlib.Path
    rows: list[dict]
    curves: list[dict]
    measures: Measures
    config: dict
    data: dict = {}  # noqa: RUF012


def read(root: str | pathlib.Path) -> Run:
    """Returns what there is of a run.

    Args:
      root: Its workdir.

    Raises:
      ValueError: There is no record in it, or what it measures is not known.
    """
    root = pathlib.Path(root)
    rows = results.read(root / results.RESULTS)
    if not rows:
        raise ValueError(
            f"a workdir must hold the records of a run, got {root} without a whole "
            f"line of {results.RESULTS}"
        )
    curves = root / results.CURVES
    return Run(
        root,
        rows,
        results.read(curves) if curves.exists() else [],
        run_report.of(root, rows),
        origin.config(root) or {},
        origin.copy(root).get("data") or {},
    )


def write(root: str | pathlib.Path) -> pathlib.Path:
    """Writes `report.html` into a workdir, whole or not at all, and returns its path.

    Args:
      root: The workdir.

    Raises:
      ValueError: As `read`.
    """
    path = pathlib.Path(root) / PAGE
    text_files.write(path, of([read(root)]))
    return path


def of(runs: Sequence[Run]) -> str:
    """Returns a page on runs: what they were, what came out, and figures.

    Args:
      runs: One, or several to be compared.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = short([run.root for run in runs])
    shown = [_shown(run, name) for run, name in zip(runs, names, strict=True)]
    together = page_figures.together(dict(zip(names, runs, strict=True)))
    return template.render(
        title=" beside ".join(names),
        runs=shown,
        together=[(title, svg(figure)) for title, figure in together],
        apart=apart(runs),
        written=f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
    )


def apart(runs: Sequence[Run]) -> list[str]:
    """Returns sentences on what several runs have not in common: measures, data."""
    measured = sorted({run.measures.label for run in runs})
    found = []
    if len(measured) > 1:
        found += [f"No figure of all: the runs measure {' and '.join(measured)}."]
    return found + page_data.apart(runs, short([run.root for run in runs]))


def short(roots: Sequence[pathlib.Path]) -> list[str]:
    """Returns a name of each folder that tells it from the others.

    That is its last part, or as many of the last ones as make them different.
    """
    parts = [path.absolute().parts for path in roots]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return names


def svg(figure: Figure) -> str:
    """Returns a figure as an element of HTML, its texts drawn by the browser."""
    text = io.StringIO()
    with rc_context(SVG), python_warnings.catch_warnings():
        # A browser has other fonts: those of here need not know a class's name.
        python_warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(text, format="svg", metadata={"Date": None})
    found = text.getvalue()
    return found[found.index("<svg") :]


def differences(config: dict) -> list[tuple[str, str, str]]:
    """Returns [(key, value, default)] of what a config has otherwise than by default.

    Args:
      config: As JSON has it.
    """
    known = _flat(json.loads(defaults.default().to_json()))
    own = _flat(config)
    return [
        (key, json.dumps(value), json.dumps(known[key]) if key in known else "")
        for key, value in sorted(own.items())
        if key not in known or value != known[key]
    ]


def _flat(tree, prefix=""):
    """Returns {dotted key: value}; the options of a user's own are one value."""
    found = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name not in ranges.OPTIONS:
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def warnings(run: Run) -> list[str]:
    """Returns sentences on what makes a run doubtful: layers gone, classes missing."""
    found = []
    for row in run.rows:
        if row.get("collapsed"):
            layers = ", ".join(row["collapsed"])
            where = f"level {row['level']}, {row['arm']}, seed {row['seed']}"
            found.append(f"{where}: no weight is left in {layers}")
    counted = balance.read(notes.read(run.root / run_report.CLASSES))
    return found + balance.warnings(*counted)


def _shown(run, name):
    """Returns what the template reads of a run."""
    return {
        "name": name,
        "root": str(run.root.absolute()),
        "differences": differences(run.config),
        "measure": run.measures.label,
        "rows": _table(run),
        "numbers": _facts(run),
        "warnings": warnings(run),
        "files": [name for name in FILES if (run.root / name).exists()],
        "figures": [(title, svg(f)) for title, f in page_figures.of(run)],
    }


def _facts(run):
    """Returns [(what, value)] about a run as a whole."""
    rows = run.rows
    seconds = sum(row.get("seconds", 0) for row in rows)
    return [
        ("records", f"{len(rows)}"),
        ("levels", f"{len({row['level'] for row in rows})}"),
        ("seeds", ", ".join(str(s) for s in sorted({row["seed"] for row in rows}))),
        ("prunable weights", f"{rows[0]['prunable']:,}"),
        ("time in training", str(datetime.timedelta(seconds=round(seconds)))),
        *_majority(run),
        *_sittings(run.root),
    ]


def _majority(run):
    """Returns what always saying the largest class is worth, where it is known."""
    share = run_report.majority(run.root)
    known = share is not None and run.measures.shown == ACCURACY.shown
    return [(run_report.MAJORITY, f"{100 * share:.2f} %")] if known else []


def _sittings(root):
    """Returns [(what, value)] on the last sitting of a run, and how many there were."""
    found = sittings.read(root)
    if not found:
        return []
    last = found[-1]
    begun = f"{last['began']}" + f", the last of {len(found)}" * (len(found) > 1)
    devices = ", ".join(f"{n} x {kind}" for kind, n in last["devices"].items())
    versions = ", ".join(f"{name} {text}" for name, text in last["versions"].items())
    rows = {"command": last["command"], "begun": begun, "devices": devices}
    return [*rows.items(), ("versions", versions)]


def _table(run):
    """Returns a dict for each level and arm: mean, 95 % interval, n."""
    measures, found = run.measures, []
    for (level, label), own in run_report.by_arm(run.rows):
        values = [r[measures.value] for r in own if r[measures.value] is not None]
        spread = gains.interval([measures.scale * v for v in values or [math.nan]])
        kept = spreads.spread(100 * (1 - r["sparsity"]) for r in own).mean
        found.append(
            {
                "level": level,
                "arm": label,
                "kept": f"{spreads.spread(r['kept'] for r in own).mean:,.0f}",
                "share": f"{kept:.2f}",
                "value": f"{spread.mean:{measures.form}}" if values else "",
                "half": f"{spread.half:{measures.form}}" if spread.n > 1 else "",
                "n": len(values),
            }
        )
    return found
