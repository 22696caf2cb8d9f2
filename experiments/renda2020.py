"""Renda et al., 2020 (arXiv:2003.02389): three ways to retrain, side by side.

    python experiments/renda2020.py --workdir=runs/renda2020 --data_dir=DIR

ResNet-20 on CIFAR-10, iterative magnitude pruning, 20 % of what is left a level:
weight rewinding, learning-rate rewinding and fine-tuning, each retraining for the last
170 of 182 epochs, beside the published medians of three. By default the published
protocol (182 epochs, rate 0.1 times 0.1 at epochs 91 and 136, weight decay 2e-4);
`--epochs`, `--levels`, `--seeds` and `--limit` shorten it, all epochs in proportion.
Departures: means, not medians; 5,000 training images are set aside.
"""

from matplotlib.figure import Figure
from measures import claims, sizes, work

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import run_report
from lthjax.program.sweep import grid
from lthjax.program.workdir import results

WHOLE, RETRAINED, DROPS = 182, 170, (91, 136)  # epochs
ARMS = {
    "weights": "weight rewinding",
    "learning_rate": "learning-rate rewinding",
    "fine_tune": "fine-tuning",
}
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


def configs(options) -> dict:
    """Returns {restart: config}."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.data_dir = options.data_dir
    config.data.update(name="cifar10", validation=5000, limit=options.limit)
    config.data.update(crop=4, flip=True)
    config.model.update(name="resnet20", width=options.width)
    config.train.epochs = options.epochs
    config.optimizer.weight_decay = 2e-4
    share = options.epochs / WHOLE
    drops = tuple(share * drop for drop in DROPS)
    config.schedule.update(name="piecewise", drops=drops)
    config.search.update(rate=0.2, levels=options.levels)
    steps = -(-(options.limit or 45_000) // config.train.batch_size) * options.epochs
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


def claimed(rows: list[dict]) -> list:
    """Returns [(claim, ours by seed)] of every level and way that is published."""

    def ours(restart, level):
        return [100 * r["test_accuracy"] for r in _of(rows, restart, level)]

    found = [(claims.Claim("dense", DENSE, band=0.5), ours("weights", 0))]
    for restart, values in PUBLISHED.items():
        for level, value in enumerate(values, start=1):
            what = f"{ARMS[restart]}, {100 * 0.8**level:.1f} % left"
            found.append((claims.Claim(what, value, band=0.5), ours(restart, level)))
    return found


def table(rows: list[dict], settings: str) -> str:
    """Returns the accuracies by level and way, as Markdown."""
    columns = [f"{label}, published | ours" for label in ARMS.values()]
    head = f"| level | % left | {' | '.join(columns)} | n |"
    lines = [settings, "", head, "|" + "---|" * (3 + 2 * len(ARMS))]
    for level in sorted({r["level"] for r in rows}):
        cells = []
        for restart in ARMS:
            group = _of(rows, restart, level)
            spread = results.spread([100 * r["test_accuracy"] for r in group])
            cells += [_published(restart, level), results.shown(spread)]
        share = f"{100 * (1 - group[0]['sparsity']):.1f}"
        lines.append(f"| {level} | {share} | {' | '.join(cells)} | {len(group)} |")
    return "\n".join(lines) + "\n"


def _published(restart, level):
    values = (DENSE, *PUBLISHED[restart])
    return f"{values[level]:.2f}" if level < len(values) else ""


def _of(rows, restart, level):
    return [r for r in rows if (r["run"], r["level"]) == (restart, level)]


def figure(rows: list[dict]) -> Figure:
    """Draws the accuracy of the three ways against the weights left."""
    drawn = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawn.subplots()
    levels = sorted({r["level"] for r in rows})
    for i, (restart, label) in enumerate(ARMS.items()):
        groups = [_of(rows, restart, level) for level in levels]
        spreads = [
            results.spread([100 * r["test_accuracy"] for r in g]) for g in groups
        ]
        x = [100 * (1 - group[0]["sparsity"]) for group in groups]
        mean, std = ([getattr(s, f) for s in spreads] for f in ("mean", "std"))
        axes.errorbar(
            x, mean, std, marker="o", ms=3, capsize=2, color=f"C{i}", label=label
        )
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{share:.3g}" for share in x])
    axes.minorticks_off()
    axes.invert_xaxis()
    axes.set_xlabel("weights left, %")
    axes.set_ylabel("test accuracy, %")
    n = len({r["seed"] for r in rows})
    axes.set_title(f"mean and standard deviation, n = {n}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    return drawn


def main() -> None:
    """Runs what is missing, and writes `renda2020.md` and `renda2020.png`."""
    parser = command_line.arguments(__doc__)
    defaults = {"epochs": WHOLE, "levels": 10, "seeds": 3, "limit": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=float, default=1.0)
    options = sizes.parse(parser, "renda2020")
    command_line.prepare()
    with command_line.plain_errors():
        if options.cost:
            work.show(options, configs(options), {"renda2020": claimed([])})
            return
        rows = grid.run(configs(options), options.workdir)
        text = table(
            rows, f"Command: `{command_line.typed()}`; test accuracy in %, last step."
        )
        results.write(options.workdir / "renda2020.md", sizes.titled(options, text))
        claims.write(options, "renda2020", claimed(rows))
        run_report.save(figure(rows), options.workdir / "renda2020.png")
        print(text, f"figure: {options.workdir / 'renda2020.png'}", sep="\n")


if __name__ == "__main__":
    main()
