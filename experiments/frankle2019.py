"""Frankle and Carbin, 2019 (arXiv:1803.03635): the original experiment on MNIST.

    python experiments/frankle2019.py --workdir=runs/frankle2019 --data_dir=DIR

LeNet-300-100 by `configs/mnist.py`: tickets and the same masks re-initialised, five
seeds as one population. Figures 3 and 4 (left) of the paper: the early-stopping step
(that of least validation loss, validated every 100 steps), and the test accuracy
there and at the end, against the weights left; what the paper found is drawn over
ours and printed beside it. `--steps`, `--levels` and `--seeds` shorten it.
Departures: those of the config, of which one is that a ticket is re-initialised once
where the paper draws three.
"""

import json
import pathlib

import numpy as np
from matplotlib.figure import Figure
from measures import page, records, sizes, tables, work
from measures.claims import ABOVE, Claim, told

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import axes as axes_lib
from lthjax.program.run import experiment
from lthjax.program.workdir import spreads

MNIST = pathlib.Path(__file__).parent.parent / "configs" / "mnist.py"
PANELS = {
    "best_step": ("early-stopping step", 1),
    "best_test_accuracy": ("test accuracy at early stopping, %", 100),
    "test_accuracy": ("test accuracy at the end, %", 100),
}
LABELS = {"ticket": "ticket", "reinit": "re-initialised"}
EARLY = "test accuracy at early stopping"
LEVELS = {"dense": 0, "21.1": 7, "13.5": 9, "3.6": 15}  # by the weights left, %
# What the paper found, Section 2 and Figures 3 and 4; "unverified" is from memory.
CLAIMS = {
    "ahead": Claim(f"{EARLY}, 13.5 % left, ticket - dense", 0.3, "points", 0.1, ABOVE),
    "back": Claim(f"{EARLY}, 3.6 % left, the same (unverified)", 0, "points", 0.3),
    "sooner": Claim("early-stopping step, 21.1 % left, ticket / dense", 0.62, "", 0.1),
    "slower": Claim("the same, re-initialised / ticket", 2.51, "", 0.5),
    "apart": Claim(
        f"{EARLY}, 21.1 % left, ticket - re-initialised", 0.5, "points", 0.3
    ),
    "apart later": Claim("the same, 13.5 % left", 0, "points", 0, ABOVE),
}


def config(options):
    """Returns the config of the paper's protocol, as far as the options change it."""
    found = files.load(MNIST)
    found.data_dir = options.data_dir
    found.search.levels = options.levels or found.search.levels
    found.train.steps = options.steps or found.train.steps
    found.seeds = tuple(range(options.seeds or len(found.seeds)))
    if options.smoke:
        found = methods.shrunk(found)
        found.search.levels = 2
    return found


def claimed(rows):
    """Returns [(claim, ours by seed)], nothing of levels that were not reached."""

    def accuracy(name, arm="ticket"):
        return 100 * _paired(rows, LEVELS[name], arm, "best_test_accuracy")

    def step(name, arm="ticket"):
        return _paired(rows, LEVELS[name], arm, "best_step")

    ours = {
        "ahead": accuracy("13.5") - accuracy("dense"),
        "back": accuracy("3.6") - accuracy("dense"),
        "sooner": step("21.1") / step("dense"),
        "slower": step("21.1", "reinit") / step("21.1"),
        "apart": accuracy("21.1") - accuracy("21.1", "reinit"),
        "apart later": accuracy("13.5") - accuracy("13.5", "reinit"),
    }
    return [(CLAIMS[name], values[~np.isnan(values)]) for name, values in ours.items()]


def table(rows, settings):
    """Returns the findings and the means by level, as Markdown."""
    found, means = [], []
    for claim, ours in claimed(rows):
        value = records.shown(ours, nothing="not run")
        found.append((claim.what, told(claim), value, len(ours)))
    for (level, arm), _ in spreads.aggregate(rows, "level", ("level", "arm")).items():
        group = records.of(rows, level=level, arm=arm)
        cells = [_cell(group, name, scale) for name, (_, scale) in PANELS.items()]
        label = LABELS[arm] if level else "dense"
        means.append([level, f"{_share(rows, level):.1f}", label, *cells, len(group)])
    titles = ["level", "% left", "arm", *(name for name, _ in PANELS.values()), "n"]
    head = tables.markdown(["finding", "published", "ours (mean ± std)", "n"], found)
    return f"{settings}\n\n{head}\n\n{tables.markdown(titles, means)}\n"


def figure(rows):
    """Draws the three panels, the paper's findings over them."""
    drawn = Figure(figsize=(13, 4.6), layout="constrained")
    for axes, (name, (label, scale)) in zip(
        drawn.subplots(1, 3), PANELS.items(), strict=True
    ):
        for arm in LABELS:
            _line(axes, rows, arm, name, scale)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes_lib.plain_ticks(axes.xaxis)
        axes.set_xlabel("weights left, %")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    _published(drawn.axes, rows)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.15), "ncol": 2}
    for axes in drawn.axes:
        axes.legend(fontsize=8, **below)
    number = len({row["seed"] for row in rows})
    drawn.suptitle(f"LeNet-300-100 on MNIST, mean and standard deviation, n = {number}")
    return drawn


def _published(panels, rows):
    """Draws what the paper found, relative to our dense network."""
    step, accuracy, _ = panels
    dense_step = _paired(rows, 0, "ticket", "best_step").mean()
    dense = 100 * _paired(rows, 0, "ticket", "best_test_accuracy").mean()
    style = {"ls": "", "ms": 11, "mfc": "none", "mew": 1.5}
    at = "published, relative to our dense"
    known = {name: claim.published for name, claim in CLAIMS.items()}
    soon = known["sooner"] * dense_step
    slow = known["slower"] * soon
    step.plot(21.1, soon, "*", color="C0", label=f"ticket {at}", **style)
    step.plot(21.1, slow, "*", color="C1", label=f"re-initialised {at}", **style)
    ahead, back = dense + known["ahead"], dense + known["back"]
    accuracy.plot(13.5, ahead, "^", color="C0", label=f"ticket {at}, >", **style)
    accuracy.plot(
        3.6, back, "*", color="C0", label=f"ticket {at} (unverified)", **style
    )


def _line(axes, rows, arm, name, scale):
    own = [row for row in rows if row["arm"] == arm or row["level"] == 0]
    groups = spreads.aggregate(own, name, ("level",))
    x = [_share(rows, level) for (level,) in groups]
    mean = scale * np.array([spread.mean for spread in groups.values()])
    std = scale * np.array([spread.std for spread in groups.values()])
    label = LABELS[arm]
    axes.errorbar(x, mean, std, marker="o", ms=3, capsize=2, lw=1, label=label)


def _share(rows, level):
    """Returns the percentage of the weights left at a level."""
    row = next(row for row in rows if row["level"] == level)
    return 100 * row["kept"] / row["prunable"]


def _paired(rows, level, arm, name):
    """Returns one value a seed, in the order of the seeds; NaN where there is none."""
    at = records.of(rows, level=level, arm=arm if level else "ticket")
    own = {row["seed"]: row[name] for row in at}
    return np.array([own.get(s, np.nan) for s in sorted({r["seed"] for r in rows})])


def _cell(group, name, scale):
    spread = spreads.spread(scale * row[name] for row in group)
    return spreads.shown(spread, ".0f" if scale == 1 else ".2f")


def main():
    """Runs what is missing, and writes `frankle2019.md` and `frankle2019.png`."""
    parser = command_line.arguments(__doc__)
    command_line.numbers(parser, {"steps": 0, "levels": 0, "seeds": 0})
    options = sizes.parse(parser, "frankle2019")
    command_line.prepare()
    with command_line.plain_errors():
        settings = config(options)
        if options.cost:
            work.show(options, {"": settings}, {"frankle2019": claimed([])})
            return
        rows = records.asked(experiment.run(settings, options.workdir), settings)
        used = json.dumps(
            {"seeds": settings.seeds, **settings.train.to_dict()}, default=list
        )
        text = table(rows, f"Command: `{command_line.typed()}`; {used}.")
        page.write(options, "frankle2019", text, figure(rows), claimed(rows))


if __name__ == "__main__":
    main()
