"""What searches for tickets found and what it took, as tables and a figure.

What is chosen is chosen by accuracy on the validation set, and told with its accuracy
on the test set, which chooses nothing.
"""

import numpy as np
from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.workdir import spreads
from measures import records, tables

BEFORE = {"one-shot magnitude": 1, "gradual magnitude": 0}  # levels trained before
TOLERANCES = (0.0, 0.002)
ACCURACIES = {"validation": "validation_accuracy", "accuracy": "test_accuracy"}
COLUMNS = ("% left", "validation", "test accuracy", "rounds", "steps", "seconds", "n")


def points(method, rows):
    """Returns what a method found: a point for each first logit and level.

    Args:
      method: Its name.
      rows: Records of one run.

    Returns:
      [{"left", "validation", "accuracy", "rounds", "steps", "seconds"}, ...], each a
      list with one value a seed; what is left and the accuracies, on the validation
      and on the test set, in per cent.
    """
    groups = {}
    for row in rows:
        if row["arm"] == "ticket" and row["level"]:
            groups.setdefault((row.get("initial"), row["level"]), []).append(row)
    return [_point(method, rows, group) for _, group in sorted(groups.items(), key=str)]


def _point(method, rows, group):
    efforts = [_effort(method, rows, row) for row in group]
    found = {name: [e[name] for e in efforts] for name in efforts[0]}
    found["left"] = [100 * row["kept"] / row["prunable"] for row in group]
    for name, column in ACCURACIES.items():
        found[name] = [100 * row[column] for row in group]
    return found


def _effort(method, rows, ticket):
    """Returns what it took to come by a ticket, its own training included.

    Before it came the rounds of its search; without rounds, all levels below it, or as
    few as `BEFORE` says.
    """
    own = [
        row
        for row in rows
        if (row["seed"], row.get("initial")) == (ticket["seed"], ticket.get("initial"))
    ]
    rounds = [r for r in own if r["arm"] == "search" and r["level"] <= ticket["level"]]
    if not any(row["arm"] == "search" for row in own):
        rounds = [r for r in own if r["arm"] == "ticket"]
        first = BEFORE.get(method, ticket["level"])
        rounds = [r for r in rounds if r["level"] < min(first, ticket["level"])]
    spent = [*rounds, ticket]
    totals = {name: sum(row[name] for row in spent) for name in ("steps", "seconds")}
    return {"rounds": len(rounds), **totals}


def dense(methods):
    """Returns {"validation", "accuracy"} of the dense network, as `points` does."""
    rows = [row for runs in methods.values() for rows in runs for row in rows]
    by_seed = {row["seed"]: row for row in reversed(records.of(rows, level=0))}
    return {
        name: [100 * row[column] for _, row in sorted(by_seed.items())]
        for name, column in ACCURACIES.items()
    }


def table(name, methods):
    """Returns a table and the points behind it, as Markdown."""
    means = {name: spreads.spread(v) for name, v in dense(methods).items()}
    least, spread = means["validation"].mean, means["accuracy"]
    head = f"Dense: {spreads.shown(spread)} % (n = {spread.n}); "
    head += f"{spreads.shown(means['validation'])} % "
    head += "on the validation set, by which *matching* and *best* go."
    chosen, every = [], []
    for method, runs in methods.items():
        found = [point for rows in runs for point in points(method, rows)]
        found.sort(key=lambda point: -np.mean(point["left"]))
        every += [[method, *_cells(point)] for point in found]
        picked = best(found, least).items()
        chosen += [[method, what, *_cells(point)] for what, point in picked]
    parts = [f"## {name.capitalize()}", head]
    parts += [tables.markdown(["method", "what", *COLUMNS], chosen)]
    parts += [tables.markdown(["method", *COLUMNS], every)]
    return "\n\n".join(parts) + "\n"


def best(found, dense_mean):
    """Returns {what: point} of the sparsest matching tickets and of the best one.

    Args:
      found: Points of one method.
      dense_mean: Mean accuracy of the dense network on the validation set, in per cent.
    """
    chosen = {}
    for tolerance in TOLERANCES:
        least = dense_mean - 100 * tolerance
        good = [point for point in found if np.mean(point["validation"]) >= least]
        sparsest = min(good, key=lambda point: np.mean(point["left"]), default=None)
        chosen[f"sparsest matching, within {100 * tolerance:g} points"] = sparsest
    by_validation = {"key": lambda point: np.mean(point["validation"]), "default": None}
    chosen["best"] = max(found, **by_validation)
    return chosen


def _cells(point):
    if point is None:
        return ["none", *[None] * 6]
    names = ("left", *ACCURACIES)
    shown = [records.shown(point[name]) for name in names]
    seconds = spreads.spread(point["seconds"])
    effort = point["rounds"][0], f"{point['steps'][0]:,}", f"{seconds.mean:.1f}"
    return [*shown, *effort, seconds.n]


def gates(methods):
    """Returns what became of the gates, as Markdown: the rounds' own records."""
    titles = ["method", "round", "first logit", "% left", "soft accuracy"]
    titles += ["hard accuracy", "undecided, %", "n"]
    lines = []
    for method, runs in methods.items():
        groups = {}
        named = ((i, row) for i, rows in enumerate(runs) for row in rows)
        for run, row in (pair for pair in named if "undecided" in pair[1]):
            key = run, row.get("initial", ""), row["level"]
            groups.setdefault(key, []).append(row)
        for (_, initial, level), group in sorted(groups.items(), key=str):
            cells = [_spread(group, *column) for column in _GATES]
            lines.append([method, level, initial, *cells, len(group)])
    return tables.markdown(titles, lines) + "\n"


_GATES = [
    ("sparsity", 100, 100),
    ("test_accuracy", 100, 0),
    ("hard_test_accuracy", 100, 0),
    ("undecided", 100, 0),
]


def _spread(group, name, scale, complement):
    return records.shown(abs(complement - scale * row[name]) for row in group)


def figure(everything, title):
    """Draws accuracy against what is left, a panel a table."""
    drawn = Figure(figsize=(7 * len(everything), 4.5), layout="constrained")
    panels = drawn.subplots(1, len(everything), squeeze=False)[0]
    for axes, (name, methods) in zip(panels, everything.items(), strict=True):
        _panel(axes, name, methods)
    drawn.suptitle(title, fontsize=10)
    return drawn


def _panel(axes, name, methods):
    axes.axhline(
        np.mean(dense(methods)["accuracy"]), color="0.5", ls="--", lw=1, label="dense"
    )
    for method, runs in methods.items():
        found = [point for rows in runs for point in points(method, rows)]
        found.sort(key=lambda point: np.mean(point["left"]))
        x = [np.mean(point["left"]) for point in found]
        y = [np.mean(point["accuracy"]) for point in found]
        error = [spreads.spread(point["accuracy"]).std for point in found]
        axes.errorbar(x, y, error, marker="o", ms=3, lw=1, capsize=2, label=method)
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes_lib.plain_ticks(axes.xaxis)
    axes.set_xlabel("weights left, %")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
