"""The figures of a report's page: each of a run, or of several beside each other."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.report import (
    gains,
    page_classes,
    page_costs,
    page_tickets,
    run_report,
)
from lthjax.program.report.palette import MARKERS, OTHERS, STROKES, styles
from lthjax.program.report.studies import study
from lthjax.program.workdir import member, results, spreads
from lthjax.program.workdir.member import TICKET


def of(run: Any) -> Iterator[tuple[str, Figure]]:
    """Yields (title, figure) of one run.

    Args:
      run: A `page.Run`.
    """
    rows, measures = run.rows, run.measures
    share = run_report.majority(run.root)
    yield measures.title, run_report.curve(rows, majority=share, measures=measures)
    if paired(rows, measures.value):
        yield "less the dense network", against_dense(rows, measures)
    if any(curve["arm"] == TICKET for curve in run.curves):
        yield "learning curves of tickets", learning(run.curves, measures)
    if gains.gains(rows, measures):
        yield "gain of retraining", gains.figure(rows, measures)
    if any(row["arm"] == TICKET for row in rows):
        yield "kept by layer", run_report.layers(rows)
    if not (run.root / study.FOLDER / "flops.jsonl").exists():
        yield from page_costs.of(run.root, rows, measures)
    yield from page_classes.of(run.root, rows)
    yield from page_tickets.of(run.root, rows)
    yield from _studies(run.root)


def _studies(root):
    """Yields (title, figure) of the studies that a run has made."""
    for name, found in study.STUDIES.items():
        path = root / study.FOLDER / f"{name}.jsonl"
        rows = results.read(path) if path.exists() else []
        if rows and name != "overlap":  # of two seeds it is there without a study
            yield f"study: {name.replace('_', ' ')}", found.draw(rows)


def together(runs: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Yields (title, figure) of several runs in one, the tickets of each.

    Args:
      runs: {name: `page.Run`}; of one run nothing is yielded, nor of runs that measure
        different things.
    """
    measures = {run.measures.value: run.measures for run in runs.values()}
    if len(runs) < 2 or len(measures) > 1:
        return
    (own,) = measures.values()
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    shades = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", *OTHERS]
    for i, (name, run) in enumerate(runs.items()):
        tickets = [r for r in run.rows if r["arm"] == TICKET]
        tickets = [r for r in tickets if r[own.value] is not None and r["sparsity"] < 1]
        style = {"marker": MARKERS[i % len(MARKERS)], "color": shades[i % len(shades)]}
        tickets = [{**r, "share": 1 - r["sparsity"]} for r in tickets]
        chains = member.by_logit(tickets)
        for (text, chain), stroke in zip(
            chains, itertools.cycle(STROKES), strict=False
        ):
            style |= {"label": axes_lib.plain(name + text), "ls": stroke}
            given = {"by": "share", "scale": own.scale, **style}
            axes_lib.line(axes, chain, own.value, **given)
    axes_lib.kept_axis(axes)
    axes.set_ylabel(axes_lib.plain(own.label))
    axes.set_title("tickets, mean and standard deviation", fontsize=10)
    axes.legend()
    yield f"{own.title} of all", figure


def paired(rows: list[dict], value: str) -> list[dict]:
    """Returns the records that a dense one of their seed stands beside, both measured.

    Arms of the dense network are among them, once a seed.

    Args:
      rows: Records; of those that keep no weight none is returned.
      value: The column that is to be there.
    """
    known = [row for row in rows if row[value] is not None and row["sparsity"] < 1]
    dense = {row["seed"] for row in known if member.is_dense(row)}
    own = [row for row in known if not member.is_dense(row) and row["seed"] in dense]
    return member.once(own)


def against_dense(rows: list[dict], measures: Any) -> Figure:
    """Draws a measure of each arm less that of the dense network of the same seed.

    Args:
      rows: Records.
      measures: What they are of.
    """
    value, scale = measures.value, measures.scale
    dense = {row["seed"]: row[value] for row in rows if member.is_dense(row)}
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    own = paired(rows, value)
    for label, style in styles(own).items():
        groups = axes_lib.by_level([r for r in own if member.label(r) == label])
        found = [
            gains.interval([scale * (r[value] - dense[r["seed"]]) for r in group])
            for _, group in groups
        ]
        kept = [100 * np.mean([1 - r["sparsity"] for r in g]) for _, g in groups]
        half = np.nan_to_num([one.half for one in found])
        mean = [one.mean for one in found]
        style |= {"ms": 4, "capsize": 2, "lw": 1.5, "label": axes_lib.plain(label)}
        axes.errorbar(kept, mean, half, **style)
    axes.axhline(0, color="0.5", ls="--", lw=1)
    axes_lib.kept_axis(axes)
    unit = ", points" if scale == 100 else ""
    axes.set_ylabel(axes_lib.plain(f"{measures.title} less dense{unit}"))
    n = len({row["seed"] for row in own})
    said = "paired by seed, 95 % interval" if n > 1 else "one seed"
    axes.set_title(f"{said}, n = {n}", fontsize=10)
    axes.legend()
    return figure


def learning(curves: list[dict], measures: Any) -> Figure:
    """Draws the learning curves of tickets, a line a level: the mean over seeds.

    Args:
      curves: As `curves.jsonl` has them.
      measures: What they are of.
    """
    own = [curve for curve in member.once(curves) if curve["arm"] == TICKET]
    groups = run_report.by_arm(own)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(groups)))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for ((level, label), group), shade in zip(groups, shades, strict=True):
        points = _by_step(group, measures.value)
        mean = [measures.scale * spreads.spread(points[s]).mean for s in points]
        label = f"level {level}{label.removeprefix(TICKET)}" if level else label
        axes.plot(list(points), mean, color=shade, lw=1.3, label=label)
    seeds = len({curve["seed"] for curve in own})
    axes.set_title(f"tickets, mean over seeds, n = {seeds}", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel(axes_lib.plain(measures.label))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    return figure


def _by_step(curves, value):
    """Returns {step: the values of all curves there}, in the order of steps.

    A training that stopped before the others stays where it ended, else their mean
    would jump without it.
    """
    chains: dict[tuple, dict[int, float]] = {}
    for curve in curves:
        found = zip(curve["step"], curve[value], strict=True)
        known = {step: one for step, one in found if one is not None}
        chains.setdefault(member.chain(curve), {}).update(known)
    steps = sorted({step for own in chains.values() for step in own})

    def at(own, step):
        return own.get(step, own[max(own)] if step > max(own) else None)

    found = {step: [at(own, step) for own in chains.values() if own] for step in steps}
    return {s: [x for x in own if x is not None] for s, own in found.items()}
