"""Carried tickets beside their controls and native ones: a table and a figure."""

from typing import Any

from matplotlib.figure import Figure

from lthjax.program.workdir import spreads
from measures import records, tables
from measures.records import shown

CONTROLS = {
    "reinit": "fresh weights",
    "shuffle": "permuted masks",
    "shuffle_reinit": "both",
    "copies": "copies permuted",
}


def nearest(rows: list[dict], run: str, arm: str, share: float) -> list[dict]:
    """Returns the records of an arm at the level whose density is nearest a share."""
    own = [row for row in records.of(rows, run=run, arm=arm) if row["level"]]
    levels = {r["level"]: r["sparsity"] for r in own}
    level = min(levels, key=lambda n: abs(1 - levels[n] - share), default=None)
    return records.of(own, level=level)


def accuracies(rows: list[dict], run: str, arm: str, share: float) -> list[float]:
    """Returns the test accuracies, in %, of an arm at what is nearest to a share."""
    return records.accuracies(nearest(rows, run, arm, share))


def left(rows: list[dict]) -> float:
    """Returns the share of the weights that is left, the mean over seeds."""
    return spreads.spread([1 - r["sparsity"] for r in rows]).mean


def run_of(source: int, target: int) -> str:
    """Returns the name of the run that has a target's tickets from a source."""
    return f"imp_{source}" if source == target else f"elastic_{source}_{target}"


def beside(rows: list[dict], own: Any) -> str:
    """Returns every carried ticket beside its controls and what was found natively."""
    titles = ["source", "target", "% left", "dense", "native", "carried"]
    found = []
    for source, target in own.pairs:
        run = run_of(source, target)
        mine = records.of(rows, run=run)
        dense = records.accuracies(mine, level=0)
        for level in sorted({r["level"] for r in mine} - {0}):
            at = records.of(mine, level=level, arm="ticket")
            share = left(at)
            row = [source, target, f"{100 * share:.2f}", shown(dense)]
            row.append(shown(accuracies(rows, f"imp_{target}", "ticket", share)))
            row += [
                shown(records.accuracies(mine, level=level, arm=arm))
                for arm in ("ticket", *CONTROLS)
            ]
            found.append([*row, len(at)])
    return tables.markdown([*titles, *CONTROLS.values(), "n"], found)


def figure(rows: list[dict], own: Any) -> Figure:
    """Draws each carried ticket beside its controls, a group a pair and level."""
    groups = [
        (source, target, level)
        for source, target in own.pairs
        for level in range(1, len(own.levels) + 1)
        if records.of(rows, run=run_of(source, target), level=level)
    ]
    drawn = Figure(figsize=(2 + 1.1 * len(groups), 4.5), layout="constrained")
    axes = drawn.subplots()
    arms = {"ticket": "carried ticket", **CONTROLS}
    for i, (arm, label) in enumerate(arms.items()):
        means = []
        for source, target, level in groups:
            at = {"run": run_of(source, target), "level": level, "arm": arm}
            means.append(spreads.spread(records.accuracies(rows, **at)))
        x = [j + 0.14 * (i - 2) for j in range(len(groups))]
        style = {"marker": "osD^v"[i], "ls": "", "capsize": 2, "color": f"C{i}"}
        axes.errorbar(x, *records.bars(means), label=label, **style)
    told: set[int] = set()
    for j, (_, target, level) in enumerate(groups):
        share = (1 - own.rate) ** own.levels[level - 1]
        values = accuracies(rows, f"imp_{target}", "ticket", share)
        if values:
            mean, number = spreads.spread(values).mean, len(values)
            label = f"native ticket, n = {number}" if number not in told else None
            told.add(number)
            axes.plot([j - 0.4, j + 0.4], [mean, mean], "--", color="0.4", label=label)
    axes.set_xticks(
        range(len(groups)),
        [f"{source} to {target}\nlevel {level}" for source, target, level in groups],
    )
    axes.set_ylabel("test accuracy, %")
    n = len({r["seed"] for r in rows})
    axes.set_title(f"mean and standard deviation, n = {n}", fontsize=10)
    axes.grid(alpha=0.3, axis="y")
    drawn.legend(fontsize=8, loc="outside lower center", ncols=len(arms) + 1)
    return drawn
