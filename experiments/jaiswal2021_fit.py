"""Jaiswal et al., 2022 (arXiv:2206.12755): what tweaks are worth where a ticket fits.

    python experiments/jaiswal2021_fit.py --workdir=runs/fit --data_dir=DIR

What softens a loss or fades out of a network can help a ticket that fits its training
set, and must hurt one that does not. The published tickets presumably fit (no loss of
them was at hand): ResNet-18 at 90 to 97 % keeps 1.1 million to 335,000 weights for
45,000 images. Here the same number of steps is spent on fewer and fewer images of
CIFAR-10 or CIFAR-100 (`--images`), from tickets that underfit to tickets that know
their images by heart, and the gain of all tweaks over plain retraining (paired by seed
and masks) is drawn against the training loss that the plain ticket ends with. ResNet-8
and a narrow VGG-11; 90, 95 and 98 % by one-shot masks or by late-rewound iterative ones
(`--masks`); the dense network is retrained with tweaks too. `--ablation` adds to each
cell one of each tweak alone at 95 %, of branches that are random and not trained (a
control), and of Sign-In. Each cell is a run of its own below the workdir, and goes on
where it stopped.

Departures: the sizes; the rate falls tenfold at a half and at three quarters of the
steps, as 90 and 135 of 182 epochs, and ghosts go at the first fall (of the dense
network beside iterative masks, which starts earlier, at the same part of its training);
re-scaling takes 20 steps at rate 0.03 where the released command has 180 at 0.01; the
training loss is the mean since the last but one validation, a tenth of the steps, of
augmented images.
"""

import itertools

import numpy as np
from matplotlib.figure import Figure
from measures import fits, page, records, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.report import axes as axes_lib
from lthjax.program.report import gains
from lthjax.program.report.palette import MARKERS
from lthjax.program.sweep import grid
from lthjax.program.workdir import spreads

ALL = "tost_paper"
ALONE = ("neurons", "skips", "frozen_skips", "rescaling", "smoothing", "sign_in")
EXPECTED = """Expected, written before any result:
1. The gain rises as the loss of the plain ticket falls: below 0 where it underfits.
2. It is above 0 where the plain ticket's training loss ends below 0.05.
3. At one training loss, networks and sparsities gain alike.
4. Alone at 95 % of 250 images, where the plain ticket fits: smoothing and the skips
   gain, the frozen skips as much as those that are trained, soft neurons do not.
"""


def configs(options) -> dict:
    """Returns {"cifar10-resnet8-one_shot-1000": config} of all cells, few images last.

    Raises:
      ValueError: A network, a mask or a number of images is none of those that go.
    """
    cells = itertools.product(
        command_line.words("networks", options.networks, fits.NETWORKS),
        command_line.words("masks", options.masks, fits.MASKS),
        sorted(command_line.counts("images", options.images), reverse=True),
    )
    found = {
        "-".join(map(str, (options.data, *cell))): own(options, *cell) for cell in cells
    }
    if options.ablation:
        found |= {f"{name}-alone": alone(config) for name, config in found.items()}
    return found


def own(options, network: str, masks: str, images: int):
    """Returns the config of a cell."""
    found = fits.config(options, network, masks, images)
    retraining, start = found.retraining, found.search.rewind_to
    retraining.update(arms=(ALL,), levels=(0, 1, 2, 3))
    retraining.rescaling.update(iterations=20, rate=0.03)
    for ghost in (retraining.neurons, retraining.skips):
        ghost.end = (fits.DROPS[0] * options.steps - start) / (options.steps - start)
    if options.smoke:
        found = fits.shrunk(found)
        found.retraining.levels = (0, 1)
    return found


def alone(config):
    """Returns the config of a cell's tweaks, each alone."""
    found = config.copy_and_resolve_references()
    found.search.sparsities = (fits.AT,)
    found.retraining.update(arms=ALONE, levels=(1,))
    return found


def points(rows: list[dict]) -> list[dict]:
    """Returns the gain of each arm in each cell, and how well its plain ticket fits.

    Args:
      rows: Records with the name of their run.
    """
    found = []
    for run in dict.fromkeys(row["run"] for row in rows):
        here = records.of(rows, run=run)
        for (arm, level), gain in gains.gains(here).items():
            plain = records.of(here, arm="ticket", level=level)
            plain = [row for row in plain if row["test_accuracy"] is not None]
            loss, right, sparsity = (
                spreads.spread(scale * row[name] for row in plain)
                for name, scale in _COLUMNS.items()
            )
            found.append(
                {
                    "run": run,
                    "arm": arm,
                    "level": level,
                    "sparsity": sparsity.mean,
                    "loss": loss,
                    "accuracy": right,
                    "gain": gain,
                }
            )
    return found


_COLUMNS = {"train_loss": 1, "test_accuracy": 100, "sparsity": 100}


def table(found: list[dict]) -> str:
    """Returns the points as Markdown, those whose ticket fits best first."""
    titles = ["cell", "sparsity, %", "arm", "training loss of the plain ticket"]
    titles += ["its test accuracy, %", "gain, points", "n"]
    lines = [
        (
            row["run"],
            f"{row['sparsity']:.1f}",
            row["arm"],
            spreads.shown(row["loss"], ".3f"),
            spreads.shown(row["accuracy"]),
            gains.text(row["gain"]),
            row["gain"].n,
        )
        for row in sorted(found, key=lambda row: row["loss"].mean)
    ]
    return tables.markdown(titles, lines) + "\n"


def figure(found: list[dict]) -> Figure:
    """Draws the gain of all tweaks by the training loss of the plain ticket.

    A marker a sparsity, a colour a network with its masks.
    """
    found = records.of(found, arm=ALL)
    drawn = Figure(figsize=(7.5, 5), layout="constrained")
    axes = drawn.subplots()
    kinds = list(dict.fromkeys(row["run"].rsplit("-", 1)[0] for row in found))
    levels = sorted({row["level"] for row in found})
    for row in found:
        kind, level = kinds.index(row["run"].rsplit("-", 1)[0]), row["level"]
        style = {"marker": MARKERS[levels.index(level)], "color": f"C{kind}", "ls": ""}
        half = np.nan_to_num(row["gain"].half)
        place = max(row["loss"].mean, 1e-4), row["gain"].mean
        axes.errorbar(*place, half, ms=6, capsize=2, lw=1, **style)
    for i, kind in enumerate(kinds):
        axes.plot([], [], "s", color=f"C{i}", label=kind)
    for i, level in enumerate(levels):
        rows = [row["sparsity"] for row in records.of(found, level=level)]
        label = f"{np.mean(rows):.0f} % sparse" if level else "dense"
        axes.plot([], [], MARKERS[i], color="0.3", label=label)
    axes.axhline(0, color="0.5", ls="--", lw=1)
    axes.axvline(0.05, color="0.8", lw=1)
    axes.set_xscale("log")
    axes_lib.plain_ticks(axes.xaxis)
    axes.set_xlabel("training loss at the end of the plain ticket, nats")
    axes.set_ylabel("gain of all tweaks, points of test accuracy")
    n = max((row["gain"].n for row in found), default=0)
    said = "95 % interval" if n > 1 else "no interval"
    axes.set_title(f"paired by seed and masks, {said}, n = {n}", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return drawn


def text(options, found: list[dict]) -> str:
    """Returns the page: what was expected, then what came out."""
    tickets = [row for row in found if row["arm"] == ALL and row["level"]]
    fits = [row for row in tickets if row["loss"].mean < 0.05]
    better = [row for row in fits if row["gain"].mean - row["gain"].half > 0]
    said = f"{len(fits)} of {len(tickets)} plain tickets end below a training loss of "
    said += "0.05; " + (
        f"of these {len(better)} gain by more than their interval."
        if all(row["gain"].n > 1 for row in fits)
        else "one seed gives no interval."
    )
    setting = f"{options.steps} steps of 64 a training, {options.seeds} seeds"
    command = f"Command: `{command_line.typed()}` ({setting})."
    return "\n\n".join((command, EXPECTED, said, table(found)))


def main() -> None:
    """Runs what is missing, and writes `jaiswal2021_fit.md` and its figure."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--data", choices=("cifar10", "cifar100"), default="cifar10")
    parser.add_argument("--networks", default="resnet8")
    parser.add_argument("--masks", default="one_shot")
    parser.add_argument("--images", default="500,1000,2500,5000,10000")
    command_line.numbers(parser, {"steps": 1500, "seeds": 3, "width": 1.0})
    parser.add_argument("--ablation", action="store_true")
    options = sizes.parse(parser, "jaiswal2021_fit")
    if options.smoke:
        options.images, options.seeds, options.steps = "500", 1, 100
    command_line.prepare()
    with command_line.plain_errors():
        cells = configs(options)
        if options.cost:
            work.show(options, cells, {})
            return
        print(EXPECTED)
        found = points(grid.run(cells, options.workdir))
        page.write(options, "jaiswal2021_fit", text(options, found), figure(found))


if __name__ == "__main__":
    main()
