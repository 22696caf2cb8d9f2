"""Renda et al., 2020 (arXiv:2003.02389): three ways to retrain, side by side.

    python experiments/renda2020.py --workdir=runs/renda2020 --data_dir=DIR

ResNet-20 on CIFAR-10, iterative magnitude pruning, 20 % of what is left a level:
weight rewinding, learning-rate rewinding and fine-tuning, each retraining for the last
170 of 182 epochs, beside the published medians of three. By default the published
protocol (182 epochs, rate 0.1 times 0.1 at epochs 91 and 136, weight decay 2e-4);
`--epochs`, `--levels`, `--seeds` and `--limit` shorten it, all epochs in proportion.
`--data=mnist` takes LeNet-300-100 by the same recipe; of another network than the
published one, what can be compared are the gaps between the ways, paired by seed.
Departures: means, not medians (a published gap is that of two medians, not paired);
5,000 training images are set aside; digits are neither cropped nor mirrored.
"""

import numpy as np
from matplotlib.figure import Figure
from measures import claims, page, records, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import gains
from lthjax.program.sweep import grid
from lthjax.program.workdir import spreads

WHOLE, RETRAINED, DROPS = 182, 170, (91, 136)  # epochs
ARMS = {
    "weights": "weight rewinding",
    "learning_rate": "learning-rate rewinding",
    "fine_tune": "fine-tuning",
}
OTHERS = tuple(ARMS)[1:]
IMAGES = {"cifar10": 45_000, "mnist": 55_000}  # of training, 5,000 set aside
# Test accuracy in % after levels 1 to 10, medians of three.
PUBLISHED = {
    "weights": (91.76, 91.76, 91.99, 91.83, 92.03, 91.64, 91.67, 91.31, 91.41, 91.0),
    "learning_rate": (
        *(91.91, 92.05, 92.15, 91.99, 91.84),
        *(91.90, 91.69, 91.49, 91.27, 91.07),
    ),
    "fine_tune": (91.71, 91.6, 91.45, 91.26, 91.29, 90.51, 90.3, 90.1, 88.95, 89.26),
}
DENSE = 91.71
NETWORK = "cifar10", "resnet20", 1.0  # of the published numbers
EXPECTED = """Expected, written before any result:
1. Fine-tuning falls behind both rewound ways where few weights are left.
2. Rewinding the learning rate is nowhere behind rewinding the weights."""


def configs(options) -> dict:
    """Returns {restart: config}."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.data_dir = options.data_dir
    config.data.update(name=options.data, validation=5000, limit=options.limit)
    if options.data != "mnist":
        config.data.update(crop=4, flip=True)
    config.model.update(name=network(options), width=options.width)
    config.train.epochs = options.epochs
    config.eval_batch = 1000
    config.optimizer.weight_decay = 2e-4
    share = options.epochs / WHOLE
    drops = tuple(share * drop for drop in DROPS)
    config.schedule.update(name="piecewise", drops=drops)
    config.search.update(rate=0.2, levels=options.levels)
    images = options.limit or IMAGES[options.data]
    steps = -(-images // config.train.batch_size) * options.epochs
    config.search.rewind_to = round(steps * (1 - RETRAINED / WHOLE))
    found = {}
    for restart in ARMS:
        own = (
            methods.shrunk(config)
            if options.smoke
            else config.copy_and_resolve_references()
        )
        own.search.restart = restart
        found[restart] = own
    return found


def network(options) -> str:
    """Returns the name of the network: the one asked for, or that of the data."""
    return options.model or ("lenet_300_100" if options.data == "mnist" else "resnet20")


def published(options) -> bool:
    """Returns whether the network and its data are those of the published numbers."""
    return (options.data, network(options), options.width) == NETWORK


def claimed(rows: list[dict], same: bool = True) -> list:
    """Returns [(claim, ours by seed)] of every level and way, and of their gaps.

    Args:
      rows: Records with the name of their run.
      same: Whether they are of the published network: of another one only the order
        compares.
    """
    told = {"band": 0.5, "relation": claims.relation(same)}

    def ours(restart, level):
        return records.accuracies(rows, run=restart, level=level)

    found = [(claims.Claim("dense", DENSE, **told), ours("weights", 0))]
    for restart, values in PUBLISHED.items():
        for level, value in enumerate(values, start=1):
            what = f"{ARMS[restart]}, {100 * 0.8**level:.1f} % left"
            found.append((claims.Claim(what, value, **told), ours(restart, level)))
    for restart in OTHERS:
        for level in range(1, 1 + len(PUBLISHED[restart])):
            what = f"{ARMS[restart]} - weight rewinding, {100 * 0.8**level:.1f} % left"
            claim = claims.Claim(what, gap(restart, level), "points", **told)
            found.append((claim, ahead(rows, restart, level)))
    return found


def gap(restart: str, level: int) -> float:
    """Returns by how many points a way is ahead of weight rewinding, as published."""
    value = PUBLISHED[restart][level - 1] - PUBLISHED["weights"][level - 1]
    return round(value, 2)


def ahead(rows: list[dict], restart: str, level: int) -> list[float]:
    """Returns by how many points a way is ahead of weight rewinding, by seed."""
    rest, other = (
        {r["seed"]: 100 * r["test_accuracy"] for r in records.of(rows, **own)}
        for own in ({"run": name, "level": level} for name in ("weights", restart))
    )
    return [other[seed] - rest[seed] for seed in sorted(rest.keys() & other.keys())]


def table(rows: list[dict], settings: str, same: bool = True) -> str:
    """Returns the accuracies and the gaps by level and way, as Markdown.

    Args:
      rows: Records with the name of their run.
      settings: What stands above.
      same: Whether they are of the published network.
    """
    titles, lines = list(ARMS.values()), []
    if same:
        titles = [one for label in titles for one in (f"{label}, published", "ours")]
    for level in sorted({r["level"] for r in rows}):
        cells = []
        for restart in ARMS:
            group = records.of(rows, run=restart, level=level)
            told = [_published(restart, level)] if same else []
            cells += [*told, records.shown(records.accuracies(group))]
        share = f"{100 * (1 - group[0]['sparsity']):.1f}"
        lines.append([level, share, *cells, len(group)])
    head = tables.markdown(["level", "% left", *titles, "n"], lines)
    return f"{settings}\n\n{head}\n\n{_gaps(rows)}\n"


def _gaps(rows):
    """Returns the gaps to weight rewinding, paired by seed."""
    titles = [
        one
        for restart in OTHERS
        for one in (f"{ARMS[restart]}, published (ResNet-20, CIFAR-10)", "ours")
    ]
    lines = []
    for level in sorted({r["level"] for r in rows} - {0}):
        cells = []
        for restart in OTHERS:
            told = level <= len(PUBLISHED[restart])
            cells.append(f"{gap(restart, level):+.2f}" if told else "")
            own = gains.interval(ahead(rows, restart, level))
            cells.append(gains.text(own))
        lines.append([level, *cells, own.n])
    head = "Points ahead of weight rewinding, paired by seed, with intervals of 95 %:"
    return f"{head}\n\n{tables.markdown(['level', *titles, 'n'], lines)}"


def _published(restart, level):
    values = (DENSE, *PUBLISHED[restart])
    return f"{values[level]:.2f}" if level < len(values) else ""


def figure(rows: list[dict]) -> Figure:
    """Draws the accuracy of the three ways, and their gaps, by the weights left."""
    drawn = Figure(figsize=(12, 4.5), layout="constrained")
    axes, right = drawn.subplots(1, 2)
    levels = sorted({r["level"] for r in rows})
    for i, (restart, label) in enumerate(ARMS.items()):
        groups = [records.of(rows, run=restart, level=level) for level in levels]
        bars = records.bars(spreads.spread(records.accuracies(g)) for g in groups)
        x = [100 * (1 - group[0]["sparsity"]) for group in groups]
        style = {"marker": "o", "ms": 3, "capsize": 2, "color": f"C{i}"}
        axes.errorbar(x, *bars, label=label, **style)
    axes.set_ylabel("test accuracy, %")
    _distances(right, rows, levels[1:], x[1:])
    for panel in (axes, right):
        panel.set_xscale("log")
        panel.set_xticks(x, [f"{share:.3g}" for share in x], rotation=60)
        panel.minorticks_off()
        panel.invert_xaxis()
        panel.set_xlabel("weights left, %")
        panel.grid(alpha=0.3)
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncol": 2}
        panel.legend(fontsize=8, **below)
    n = len({r["seed"] for r in rows})
    axes.set_title(f"mean and standard deviation, n = {n}", fontsize=10)
    right.set_title("paired by seed, 95 % intervals", fontsize=10)
    return drawn


def _distances(axes, rows, levels, x):
    """Draws the gaps to weight rewinding, ours and the published."""
    for i, restart in enumerate(OTHERS, start=1):
        own = [gains.interval(ahead(rows, restart, level)) for level in levels]
        mean = [gain.mean for gain in own]
        half = np.nan_to_num([gain.half for gain in own])
        look = {"marker": "o", "ms": 3, "capsize": 2, "color": f"C{i}"}
        axes.errorbar(x, mean, half, label=ARMS[restart], **look)
        told = [
            (at, gap(restart, k)) for at, k in zip(x, levels, strict=True) if k <= 10
        ]
        label = f"{ARMS[restart]}, published (ResNet-20, CIFAR-10)"
        axes.plot(*zip(*told, strict=True), "*", mfc="none", color=f"C{i}", label=label)
    axes.axhline(0, color="0.5", ls="--", lw=1)
    axes.set_ylabel("ahead of weight rewinding, points")


def main() -> None:
    """Runs what is missing, and writes `renda2020.md` and `renda2020.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--data", choices=tuple(IMAGES), default="cifar10")
    parser.add_argument("--model", default="", help="that of the data")
    numbers = {"epochs": WHOLE, "levels": 10, "seeds": 3, "limit": 0, "width": 1.0}
    command_line.numbers(parser, numbers)
    options = sizes.parse(parser, "renda2020")
    if options.smoke:
        options.model = options.model or "resnet8"  # compiles in half the time
    command_line.prepare()
    with command_line.plain_errors():
        if options.cost:
            work.show(options, configs(options), {"renda2020": claimed([])})
            return
        rows = grid.run(configs(options), options.workdir)
        rows = [row for row in rows if row["level"] <= options.levels]
        same = published(options)
        run = f"{network(options)} of width {options.width:g} on {options.data}"
        said = f"Command: `{command_line.typed()}` ({run}); "
        text = table(rows, f"{said}test accuracy in %, last step.\n\n{EXPECTED}", same)
        page.write(options, "renda2020", text, figure(rows), claimed(rows, same))


if __name__ == "__main__":
    main()
