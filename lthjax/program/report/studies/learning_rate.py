"""The study of the learning rate: the dense network at a third and three times it."""

import functools
import pathlib
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lthjax.program.report import axes as axes_lib
from lthjax.program.report.studies import ticket_rows
from lthjax.program.workdir import member, spreads

FACTORS = (1 / 3, 1, 3)


def jobs(root: pathlib.Path, network: Any) -> ticket_rows.Jobs:
    """Yields what the dense network reaches at the run's learning rate and beside it.

    Of a population whose loss does not stay finite, of any of its seeds, the rows have
    `diverged`, and no number. Which rate is best is read off the validation split.
    """
    rates = [] if network.dense_at is None else [f * network.rate for f in FACTORS]
    names = network.measures.value, network.measures.validation
    finished = ticket_rows.finished(root)
    dense = {seed: row for (level, seed), row in finished.items() if level == 0}

    @functools.cache
    def trained(rate):
        try:
            rows = network.dense_at(rate)
        except FloatingPointError:
            return None
        return {row["seed"]: row for row in rows if member.is_dense(row)}

    def measure(rate, seed):
        rows = dense if rate == network.rate else trained(rate)
        head = {"kept": 1.0, "rate": rate, "label": network.measures.label}
        if rows is None:
            return head | dict.fromkeys(names) | {"diverged": True}
        return head | {name: rows[seed][name] for name in names}

    seeds = [s for s in dense if network.seeds is None or s in network.seeds]
    for rate in rates:
        for seed in seeds:
            identity = {"level": 0, "seed": seed, "other": f"rate {rate:g}"}
            yield identity, functools.partial(measure, rate, seed)


def draw(rows: list[dict]) -> Figure:
    """Draws what the dense network reaches against the learning rate.

    Args:
      rows: Of the study "learning_rate".
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes, label = figure.subplots(), rows[0]["label"]
    value = next(name for name in rows[0] if name.startswith("test_"))
    scale = 100 if label.endswith("%") else 1
    there = [row for row in rows if row[value] is not None]
    groups = sorted(spreads.aggregate(there, value, by=("rate",)).items())
    mean = scale * np.array([s.mean for _, s in groups])
    std = scale * np.array([s.std for _, s in groups])
    rates = [rate for (rate,), _ in groups]
    axes.errorbar(rates, mean, std, marker="o", capsize=3, color="C0")
    axes.set_xscale("log")
    ticks = sorted({row["rate"] for row in rows})
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("learning rate of the dense network")
    axes.set_ylabel(axes_lib.plain(label))
    seeds = len({row["seed"] for row in rows})
    lost = "; no point: it diverged" * (len(there) < len(rows))
    title = f"mean and standard deviation, n = {seeds} seeds{lost}"
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure
