"""Alabdulmohsin et al., 2021 (arXiv:2107.06825): tickets in another basis.

    python experiments/alabdulmohsin2021.py --workdir=runs/alabdulmohsin2021 \\
        --data_dir=DIR

Iterative magnitude pruning of single weights, of cosine coefficients and of randomly
rotated ones: LeNet-300-100 and a convolutional LeNet on MNIST (14 levels of 20 % of
each layer, 2,000 steps a training), ResNet-8 of half width on CIFAR-10 (7 levels of
35 % over all layers, 1,200 steps, rewound to step 100), three seeds as one population.
The bases turn the same leaves, all others are pruned by weights: of LeNet-300-100 the
first layer, by the cosines of its 28x28 pixels or a rotation of its inputs; of the
others the convolutions but for ResNet-8's first, by the cosines of their windows or
rotations of their input and of their output channels. All are orthonormal, and train by
SGD with momentum, which is the same in each of them while nothing is pruned; Adam would
not be.

What is expected stands before what came out. Only the paper's abstract was at hand: no
published number stands beside ours, and the study is our own. `--networks`, `--bases`,
`--steps`, `--levels` and `--seeds` shorten it; every run goes on where it stopped.
`--thin` measures in its place how much faster the networks of `--networks` answer a
batch once layers in singular vectors are two thin ones, at some shares of the rows.
"""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from measures import page, records, sizes, tables, work

from lthjax import models
from lthjax.channels import low_rank
from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import axes as axes_lib
from lthjax.program.run import experiment
from lthjax.program.workdir import spreads, text_files
from lthjax.pruning import bases, patterns, scores
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.basis_names import BASES as BASES_BY_NAME

WEIGHTS = "weights"
# {network: (where, {basis: its name there})}
BASES = {
    "lenet_300_100": (
        "^dense1/",
        {"cosines": "dct_pixels", "rotation": "random_orthogonal_inputs"},
    ),
    "lenet5": (
        "^conv",
        {"cosines": "dct_spatial", "rotation": "random_orthogonal_both"},
    ),
    "resnet8": (
        "conv|shortcut",
        {"cosines": "dct_spatial", "rotation": "random_orthogonal_both"},
    ),
}
NAMES = (WEIGHTS, "cosines", "rotation")
SHAPES = {
    "lenet_300_100": (28, 28, 1),
    "lenet5": (28, 28, 1),
    "resnet8": (32, 32, 3),
}
SHARES = (0.5, 0.25, 0.1)
BATCH = 256
SPARSE = 5  # of the last levels, whose mean is compared
EXPECTED = (
    ("rotation", "weights are no worse than randomly rotated coefficients: at most 0"),
    (
        "cosines",
        "open: 3x3 windows leave little room; of pixels, smooth, perhaps above",
    ),
)


def config(network, basis, options):
    """Returns the config of a run."""
    found = files.default()
    found.data_dir, found.model.name = options.data_dir, network
    found.seeds = tuple(range(options.seeds))
    found.logging.tensorboard = False
    (_resnet if network == "resnet8" else _lenet)(found)
    where, names = BASES[network]
    if basis != WEIGHTS:
        found.search.basis = ((where, names[basis]),)
    found.train.steps = options.steps or found.train.steps
    found.search.levels = options.levels or found.search.levels
    found.search.rewind_to = min(found.search.rewind_to, found.train.steps - 1)
    found.eval_every = found.train.steps
    return _small(found) if options.smoke else found


def _small(found):
    """Returns a config that takes the same path in seconds."""
    small = methods.shrunk(found)
    if small.model.name == "resnet8":
        small.model.options = {"blocks": (1,), "channels": (8,)}
    return small


def _lenet(found):
    found.data.update(name="mnist", validation=5000)
    found.train.update(steps=2000, batch_size=60)
    found.optimizer.update(learning_rate=0.05, momentum=0.9)
    found.search.update(rate=0.2, levels=14, scope="layer")
    found.eval_batch = 1000


def _resnet(found):
    found.data.update(name="cifar10", validation=5000, crop=4, flip=True)
    found.model.width = 0.5
    found.train.update(steps=1200, batch_size=64)
    found.optimizer.update(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    found.schedule.update(name="cosine")
    found.search.update(rate=0.35, levels=7, rewind_to=100)


def expected():
    """Returns what is expected, as Markdown."""
    title = "test accuracy less that of weights, mean of the last levels"
    return tables.markdown([title, "expected"], EXPECTED)


def gain(rows, basis, level):
    """Returns the test accuracy of a basis less that of weights, in points, by seed."""
    pair = [_values(rows[name], level) for name in (basis, WEIGHTS)]
    return [100 * (pair[0][seed] - pair[1][seed]) for seed in pair[1]]


def _values(rows, level):
    own = records.of(rows, level=level, arm="ticket")
    return {row["seed"]: row["test_accuracy"] for row in own}


def findings(everything):
    """Returns [(network, basis, spread of the gains at the last levels)], by seed."""
    return [
        (network, basis, spreads.spread(_last(rows, basis)))
        for network, rows in everything.items()
        for basis, _ in EXPECTED
        if {basis, WEIGHTS} <= rows.keys()
    ]


def _last(rows, basis):
    last = max(row["level"] for row in rows[WEIGHTS])
    levels = range(max(1, last - SPARSE + 1), last + 1)
    return np.mean([gain(rows, basis, n) for n in levels], axis=0)


def table(everything, settings):
    """Returns what was expected, what came out, and every level, as Markdown."""
    titles = ["network", "basis", "came out, points", "n"]
    found = [
        (network, basis, spreads.shown(spread, "+.2f"), spread.n)
        for network, basis, spread in findings(everything)
    ]
    parts = [settings, expected(), tables.markdown(titles, found)]
    for network, rows in everything.items():
        parts += [f"## {network}", _levels(rows), _costs(rows)]
    return "\n\n".join(parts) + "\n"


def _levels(everything):
    """Returns the table of a network: a row a level."""
    titles = [f"{name}, test accuracy, %" for name in everything]
    found = []
    for level in sorted({row["level"] for row in next(iter(everything.values()))}):
        cells, share, number = [], 0.0, 0
        for rows in everything.values():
            own = records.of(rows, level=level)
            share, number = 100 * own[0]["kept"] / own[0]["prunable"], len(own)
            cells.append(records.shown(records.accuracies(own)))
        found.append([level, f"{share:.2f}", *cells, number])
    return tables.markdown(["level", "kept, %", *titles, "n"], found)


def _costs(everything):
    """Returns the table of what the last level of each basis keeps and costs."""
    titles = ["basis, last level", "kept coefficients", "numbers of the basis"]
    titles += ["kFLOPs of a pass, weights computed once", "with the basis each pass"]
    found = []
    for name, rows in everything.items():
        row = max(rows, key=lambda row: row["level"])
        flops = [
            row.get(f"flops_{kind}") for kind in ("materialised", "unmaterialised")
        ]
        cells = [f"{x / 1000:,.1f}" if x else "as sparse as the masks" for x in flops]
        seconds = sum(row["seconds"] for row in rows)
        numbers = f"{row['kept']:,}", f"{row.get('basis_numbers', 0):,}"
        found.append([name, *numbers, *cells, f"{seconds:,.0f}"])
    return tables.markdown([*titles, "s"], found)


def figure(everything):
    """Draws the test accuracy against the coefficients kept, a panel a network."""
    drawn = Figure(figsize=(5.5 * len(everything), 4.5), layout="constrained")
    panels = drawn.subplots(1, len(everything), squeeze=False)[0]
    for axes, (network, by_basis) in zip(panels, everything.items(), strict=True):
        for basis, rows in by_basis.items():
            own = [row | {"share": row["kept"] / row["prunable"]} for row in rows]
            groups = spreads.aggregate(own, "test_accuracy", ("share",))
            x = [100 * share for (share,) in groups]
            mean = [100 * spread.mean for spread in groups.values()]
            std = [100 * spread.std for spread in groups.values()]
            axes.errorbar(x, mean, std, marker="o", ms=3, capsize=2, lw=1, label=basis)
        number = len({row["seed"] for row in rows})
        axes.set_title(f"{network}, mean and deviation, n = {number}", fontsize=10)
        axes_lib.kept_axis(axes)
        axes.set_xlabel("coefficients kept, % of the prunable ones")
        axes.set_ylabel("test accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return drawn


def thin(network, options):
    """Returns rows on how much faster two thin layers are, by the rows that are left.

    Of first weights: the time does not depend on what they are.
    """
    shape = SHAPES[network]
    width = 0.5 if network == "resnet8" else 1.0
    model = models.build(network, 10, width=width)
    images = jnp.ones((BATCH, *shape))
    params, state = models.initialise(model, jax.random.key(0), images)
    masks = masks_lib.full(params, ("head",))
    rules, names = [(".", BASES_BY_NAME["svd_rows"])], masks_lib.names(masks)
    found = bases.choose(params, rules, prunable=names, image_shape=shape)
    arrays = bases.init(jax.random.key(1), params, found, params)
    z, rows = bases.to_basis(params, found, arrays), []
    rounds = 2 if options.smoke else 15
    for share in SHARES:
        ranks = scores.energy(z, masks)
        kept = patterns.channels(masks, ranks, 1 - share, "layer", minimum=1)
        pair = [
            fn(z, kept, found, arrays) for fn in (bases.materialize, low_rank.split)
        ]
        given = model, pair, state, images
        seconds = 0.01 if options.smoke else 0.3
        ratios = low_rank.speed_up(*given, rounds=rounds, seconds=seconds)
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        shown = f"{median:.2f} ({low:.2f} to {high:.2f})"
        rows.append((network, f"{share:.0%}", shown, rounds))
    return rows


def measured(options):
    """Returns the table of `thin`, as Markdown."""
    title = f"times faster, batch {BATCH}: median and quartiles"
    rows = [row for name in options.networks for row in thin(name, options)]
    text = tables.markdown(["network", "rows left", title, "rounds"], rows)
    return f"Command: `{command_line.typed()}`.\n\n{text}\n"


def runs(options):
    """Returns {folder: config} of all runs."""
    return {
        f"{network}-{basis}": config(network, basis, options)
        for network, basis in itertools.product(options.networks, options.bases)
    }


def run(options):
    """Runs what is missing; returns {network: {basis: records}} and what was asked."""
    everything, used = {}, {}
    for network, basis in itertools.product(options.networks, options.bases):
        found = config(network, basis, options)
        rows = experiment.run(found, options.workdir / f"{network}-{basis}")
        everything.setdefault(network, {})[basis] = records.asked(rows, found)
        used[network] = {"seeds": found.seeds, **found.train.to_dict()}
    return everything, json.dumps(used, default=list)


def main():
    """Runs what is missing, and writes `alabdulmohsin2021.md` and `.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--networks", nargs="+", choices=list(BASES))
    parser.add_argument("--bases", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--thin", action="store_true")
    command_line.numbers(parser, {"seeds": 3, "steps": 0, "levels": 0})
    options = sizes.parse(parser, "alabdulmohsin2021")
    every = list(BASES)[: 1 if options.smoke else None]  # the others compile long
    options.networks = options.networks or every
    command_line.prepare()
    with command_line.plain_errors():
        if options.cost:
            work.show(options, runs(options), {})
            return
        if options.thin:
            text = measured(options)
            text_files.write(options.workdir / "alabdulmohsin2021_thin.md", text)
            print(text)
            return
        print(expected(), flush=True)
        everything, used = run(options)
        text = table(everything, f"Command: `{command_line.typed()}`; {used}.")
        page.write(options, "alabdulmohsin2021", text, figure(everything))


if __name__ == "__main__":
    main()
