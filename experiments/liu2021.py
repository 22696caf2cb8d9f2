"""Liu et al., 2021 (arXiv:2102.11068): do tickets win where networks train well?

    python experiments/liu2021.py --workdir=runs/liu2021 --data_dir=DIR

ResNet-8 on CIFAR-10 at learning rates 0.01 and 0.1 (`--rates`): masks by iterative
magnitude pruning, one rate for all layers but the first convolution, which is never
pruned, at 50, 62, 70 and 80 %; each mask trained from the initial weights (the ticket),
from fresh ones, and from those of the trained dense network (prune and fine-tune), over
the same schedule and data order. Beside the accuracies stand the overlaps R_p of the
largest weights (p below 1 - sparsity) and what the paper prints of ResNet-20.
`--masks=iterative,one_shot,admm` compares mask generators.

Departures: a smaller network and 3,000 steps in place of 150 epochs, the rate falling
tenfold at the same parts of them (80/150, 120/150); 5,000 training images are set
aside; the last step counts; weight decay, which is not printed, is 1e-4.
"""

import pathlib

from matplotlib.figure import Figure
from measures import claims, page, records, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import learning_rates, start_points
from lthjax.program.report.studies import correlation
from lthjax.program.sweep import grid
from lthjax.program.workdir import results, spreads
from lthjax.program.workdir.measures import ACCURACY

PUBLISHED = claims.published("liu2021")
SPARSITIES = (0.5, 0.62, 0.7, 0.8)
ARMS = {"ticket": "initial", "reinit": "fresh", "trained": "trained dense"}
MASKS = ("iterative", "one_shot", "admm")
DROPS = (80 / 150, 120 / 150)
EXPECTED = """Expected, written before any result:
1. The dense network is better at the highest rate than at the lowest.
2. Initial and trained weights overlap more at the lowest rate: R_0.1 of the dense run.
3. At the lowest rate tickets are clearly ahead of fresh weights, at half sparsity.
4. At the highest rate they are not.
5. At the highest rate the trained dense weights are the better start, at every level.
"""


def configs(options) -> dict:
    """Returns {"iterative_0.1": config} of all masks and rates."""
    asked = command_line.words("masks", options.masks, MASKS)
    return {
        f"{mask}_{rate:g}": own(options, mask, rate)
        for mask in asked
        for rate in rates(options)
    }


def rates(options) -> list[float]:
    """Returns the learning rates, rising."""
    return sorted(command_line.reals("rates", options.rates))


def own(options, mask: str, rate: float):
    """Returns the config of a mask generator at a learning rate."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.data_dir = options.data_dir
    config.data.update(name="cifar10", validation=5000, limit=options.limit)
    config.data.update(crop=4, flip=True)
    config.model.update(name=options.model, width=options.width)
    config.train.update(steps=options.steps, batch_size=options.batch)
    config.eval_batch = 1000
    config.optimizer.update(learning_rate=rate, weight_decay=1e-4)
    epoch = -(-(options.limit or 45_000) // config.train.batch_size)
    drops = tuple(part * options.steps / epoch for part in DROPS)
    config.schedule.update(name="piecewise", drops=drops)
    config.search.update(method=mask, sparsities=SPARSITIES, exclude=("^stem/",))
    config.search.scope = "layer"
    config.controls = ("reinit", "trained")
    config.studies = ("correlation",)
    if not options.smoke:
        return config
    small = methods.shrunk(config)
    small.model.update(name="mlp", width=1.0)  # a ResNet compiles for half a minute
    small.search.exclude = ("^dense1/",)
    small.seeds = small.seeds[:1]
    return small


def spread(rows: list[dict], run: str, level: int, arm: str, column: str = ""):
    """Returns mean and deviation of the test or another accuracy, in %, or `None`."""
    found = records.of(rows, run=run, level=level, arm=arm)
    return learning_rates.spread(found, ACCURACY, column) if found else None


def levels(rows: list[dict], run: str) -> dict[int, float]:
    """Returns {level: sparsity} of a run, the dense network's first."""
    own = {row["level"]: row["sparsity"] for row in records.of(rows, run=run)}
    return dict(sorted(own.items()))


def accuracies(rows: list[dict], found: dict) -> str:
    """Returns the accuracies of all starts, the published ones beside."""
    titles = ["masks", "rate", "sparsity, %", "dense", *ARMS.values()]
    titles += ["published dense, ResNet-20", "published ticket, ResNet-20", "n"]
    lines = [
        _line(rows, run, config, level)
        for run, config in found.items()
        for level in levels(rows, run)
        if level
    ]
    return tables.markdown(titles, lines)


def _line(rows, run, config, level):
    """Returns a row of `accuracies`."""
    rate, sparsity = f"{config.optimizer.learning_rate:g}", levels(rows, run)[level]
    cells = [spread(rows, run, 0, "ticket")]
    cells += [spread(rows, run, level, arm) for arm in ARMS]
    tickets = PUBLISHED["ticket"].get(rate, {})
    row = [config.search.method, rate, f"{100 * sparsity:.1f}"]
    row += [spreads.shown(cell) if cell else "" for cell in cells]
    row += [PUBLISHED["dense"].get(rate, ""), tickets.get(f"{sparsity:.2f}", "")]
    return [*row, cells[1].n]


def claimed(rows: list[dict], same: bool = True) -> list:
    """Returns [(claim, ours by seed)] of all accuracies that are printed.

    Args:
      rows: Records, each with its run, "iterative_<rate>".
      same: Whether they are of the published network, a whole ResNet-20.
    """
    wanted = [(rate, "0.00", value) for rate, value in PUBLISHED["dense"].items()]
    for rate, by_share in PUBLISHED["ticket"].items():
        wanted += [(rate, *pair) for pair in by_share.items()]
    relation, found = claims.relation(same), []
    for rate, share, value in wanted:
        own = records.of(rows, run=f"iterative_{rate}", arm="ticket")
        own = [row for row in own if f"{row['sparsity']:.2f}" == share]
        what = f"rate {rate}, {100 * float(share):g} % sparse"
        claim = claims.Claim(what, value, relation=relation)
        found.append((claim, records.accuracies(own)))
    return found


def verdicts(rows: list[dict], found: dict) -> str:
    """Returns which starts have the winning property, the dense network beside."""
    titles = ["masks, rate", "level", "% kept", "start", "accuracy", "below dense"]
    lines = []
    for run in found:
        for start in start_points.start_point_study(records.of(rows, run=run)):
            lines.append([named(run, ", "), *start_points.cells(start)])
    return tables.markdown([*titles, "ahead of fresh", "winning", "n"], lines)


def named(run: str, between: str = ", rate ") -> str:
    """Returns the masks and the rate of a run, as text: "one_shot, rate 0.1"."""
    return between.join(run.rsplit("_", 1))


def overlaps(workdir: pathlib.Path, found: dict) -> dict:
    """Returns {run: the rows of its study of correlation, of the seeds asked for}."""
    file = pathlib.Path(results.STUDIES) / "correlation.jsonl"
    rows = {run: results.read(workdir / run / file) for run in found}
    return {
        run: [row for row in rows[run] if row["seed"] in config.seeds]
        for run, config in found.items()
    }


def ratio(rows: list[dict], level: int, pair: str, among: str, part: float):
    """Returns mean and deviation of an R_p in %, `None` where there is none."""
    own = [row[pair] for row in records.of(rows, level=level) if pair in row]
    values = [100 * r[among][f"{part:g}"] for r in own if f"{part:g}" in r[among]]
    return spreads.spread(values) if values else None


def correlations(studied: dict) -> str:
    """Returns R_p among all weights, by level: with initial and with dense weights."""
    titles = [
        f"R_{p:g} with {w}" for p in correlation.PARTS for w in ("initial", "dense")
    ]
    lines = []
    for run, rows in studied.items():
        for level in sorted({row["level"] for row in rows}):
            here = records.of(rows, level=level)
            cells = [
                ratio(rows, level, pair, "overlap_all", part)
                for part in correlation.PARTS
                for pair in ("initial_trained", "dense_trained")
            ]
            shown = [spreads.shown(c, ".1f") if c else "" for c in cells]
            share = f"{100 * (1 - here[0]['kept']):.1f}"
            lines.append([named(run, ", "), share, *shown, len(here)])
    return tables.markdown(["masks, rate", "sparsity, %", *titles, "n"], lines)


def findings(rows: list[dict], found: dict, studied: dict) -> str:
    """Returns what came of each expectation, with the numbers it was judged by.

    Each generator of masks is judged by itself, at its lowest and its highest rate.
    """
    lines = []
    for masks in dict.fromkeys(config.search.method for config in found.values()):
        own = {r: c for r, c in found.items() if c.search.method == masks}
        lines += [f"{masks}:", ""] * (len(own) < len(found))
        judged = "Not judged: it takes two rates."
        lines += [_judged(rows, own, studied) if len(own) > 1 else judged, ""]
    return "\n".join(lines[:-1])


def _judged(rows, found, studied):
    ordered = sorted(found, key=lambda run: found[run].optimizer.learning_rate)
    low, high = ordered[0], ordered[-1]
    dense = [spread(rows, run, 0, "ticket") for run in (low, high)]
    near = [
        ratio(studied[r], 0, "initial_trained", "overlap", 0.1) for r in (low, high)
    ]
    starts = {
        run: start_points.start_point_study(records.of(rows, run=run))
        for run in (low, high)
    }
    first = {
        run: next(s for s in starts[run] if s.arm == "ticket") for run in (low, high)
    }
    pairs = [
        [spread(rows, high, level, arm) for arm in ("trained", "ticket")]
        for level in levels(rows, high)
        if level
    ]
    better = [a.mean > b.mean for a, b in pairs]
    lines = [
        (dense[1].mean > dense[0].mean, " and ".join(map(spreads.shown, dense))),
        (
            near[0].mean > near[1].mean,
            " and ".join(spreads.shown(n, ".1f") for n in near),
        ),
        (bool(first[low].wins), f"ahead by {spreads.shown(first[low].ahead, '+.2f')}"),
        (not first[high].wins, f"ahead by {spreads.shown(first[high].ahead, '+.2f')}"),
        (all(better), f"at {sum(better)} of {len(better)} levels"),
    ]
    return "\n".join(
        f"{i}. {'Holds' if holds else 'Does not hold'}: {numbers}."
        for i, (holds, numbers) in enumerate(lines, start=1)
    )


def warnings(rows: list[dict], found: dict) -> str:
    """Returns which rates train the dense network worse by validation, and by what."""
    place = 0, "ticket", ACCURACY.validation
    dense = {run: spread(rows, run, *place) for run in found}
    best = max(dense, key=lambda run: dense[run].mean)
    lines = []
    for run, own_spread in dense.items():
        gap = dense[best].mean - own_spread.mean
        if gap > learning_rates.tolerance(own_spread, ACCURACY):
            pair = (found[r].optimizer.learning_rate for r in (run, best))
            lines.append(
                "Warning: what is claimed at rate {:g} is of a dense network that rate "
                "{:g} trains {:.2f} points better, by validation.".format(*pair, gap)
            )
    return "\n".join(dict.fromkeys(lines))


def figure(rows: list[dict], found: dict, studied: dict) -> Figure:
    """Draws accuracy by sparsity, a panel a run, and R_0.1 of all runs."""
    shown = Figure(figsize=(4.6 * (len(found) + 1), 4.2), layout="constrained")
    panels = shown.subplots(1, len(found) + 1)
    n = len({row["seed"] for row in rows})
    for axes, run in zip(panels, found, strict=False):
        at = levels(rows, run)
        dense = spread(rows, run, 0, "ticket")
        axes.axhline(dense.mean, color="0.5", ls="--", lw=1, label="dense")
        for arm, label in ARMS.items():
            means = [spread(rows, run, level, arm) for level in at if level]
            x = [100 * sparsity for level, sparsity in at.items() if level]
            style = {"marker": "o", "ms": 3, "capsize": 2}
            axes.errorbar(x, *records.bars(means), label=label, **style)
        axes.set_ylabel("test accuracy, %")
        axes.set_title(f"{named(run)}, n = {n}", fontsize=10)
    for run, own_rows in studied.items():
        at = sorted({row["level"] for row in own_rows})
        found_at = [
            ratio(own_rows, n, "initial_trained", "overlap_all", 0.1) for n in at
        ]
        x = [100 * levels(rows, run)[level] for level in at]
        pairs = [(a, s) for a, s in zip(x, found_at, strict=True) if s]
        bars = records.bars([s for _, s in pairs])
        style = {"label": named(run), "marker": "o"}
        panels[-1].errorbar([a for a, _ in pairs], *bars, **style)
    panels[-1].axhline(10, color="0.4", ls="--", lw=1, label="independent")
    panels[-1].set_ylabel("R_0.1 of initial and trained weights, %")
    panels[-1].set_title(f"mean and standard deviation, n = {n}", fontsize=10)
    for axes in panels:
        axes.set_xlabel("sparsity, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return shown


def text(rows: list[dict], found: dict, studied: dict) -> str:
    """Returns all tables, what was expected and what came out, as Markdown."""
    published = PUBLISHED["R_0.2"]
    pairs = [
        f"{name}: {' and '.join(map(str, values))}"
        for name, values in published.items()
        if name != "of"
    ]
    parts = [
        f"Command: `{command_line.typed()}`; test accuracy in %, last step.",
        EXPECTED.strip(),
        "What came out:\n" + findings(rows, found, studied),
        warnings(rows, found),
        accuracies(rows, found),
        verdicts(rows, found),
        correlations(studied),
        f"Published R_0.2 of {published['of']}: {'; '.join(pairs)}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    """Runs what is missing, and writes the tables and the figure."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--rates", default="0.01,0.1")
    parser.add_argument("--masks", default="iterative")
    parser.add_argument("--model", default="resnet8")
    numbers = {"steps": 3000, "seeds": 3, "limit": 0, "batch": 128, "width": 1.0}
    command_line.numbers(parser, numbers)
    options = sizes.parse(parser, "liu2021")
    command_line.prepare()
    with command_line.plain_errors():
        found = configs(options)
        if options.cost:
            work.show(options, found, {"liu2021": claimed([])})
            return
        print(EXPECTED)
        rows = grid.run(found, options.workdir)
        studied = overlaps(options.workdir, found)
        shown = text(rows, found, studied)
        same = (options.model, options.width) == ("resnet20", 1)
        drawn = figure(rows, found, studied)
        page.write(options, "liu2021", shown, drawn, claimed(rows, same))


if __name__ == "__main__":
    main()
