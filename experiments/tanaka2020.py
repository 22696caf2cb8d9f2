"""Tanaka et al., 2020 (arXiv:2006.05467): what pruning before training is worth.

    python experiments/tanaka2020.py --workdir=runs/tanaka2020 --data_dir=DIR

Scores at initialisation (random, magnitude, SNIP, GraSP, SynFlow), with `--controls`
two of each (weights drawn again, masks shuffled within layers), beside iterative SNIP,
FORCE, sparse training (SET, RigL, gradual, straight-through) and magnitudes after
training, in one cut (one_shot, taylor) or rewound and cut by a fifth of what is left a
level down to each density (iterative): test accuracy by density, the published
accuracies of VGG-16 on CIFAR-10 beside ours.
By default the published protocol: 160 epochs, batch 128, rate 0.1 times 0.1 at epochs
60 and 120, Nesterov, weight decay 1e-4; `--model`, `--epochs`, `--limit`, `--methods`
and so on shorten it; `--adam` is for networks without norms, `--data=mnist` takes it
and LeNet-300-100. Departures: the last step in place of the best on the test set; 5,000
training images are set aside; SNIP and GraSP score one batch by its own statistics
(`search.batches`, `search.norms`), the released code several by the running ones.
"""

import math
import pathlib

from matplotlib.figure import Figure
from measures import claims, page, records, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.sweep import grid
from lthjax.program.workdir import spreads
from lthjax.pruning import cuts

AT_INIT = {"search.method": "at_init"}
ERK = {"search.scope": "erdos_renyi_kernel"}
METHODS = {
    "random": {**AT_INIT, "search.score": "random"},
    "random_erk": {**AT_INIT, **ERK, "search.score": "random"},
    "magnitude": AT_INIT,
    "snip": {**AT_INIT, "search.score": "snip"},
    "grasp": {**AT_INIT, "search.score": "grasp"},
    "synflow": {**AT_INIT, "search.score": "synflow"},
    "iterative_snip": {**AT_INIT, "search.score": "iterative_snip"},
    "force": {**AT_INIT, "search.score": "force"},
    "snip_inverted": {**AT_INIT, "search.score": "snip", "search.invert": True},
    "snip_labels": {**AT_INIT, "search.score": "snip", "search.corrupt": "labels"},
    "snip_pixels": {**AT_INIT, "search.score": "snip", "search.corrupt": "pixels"},
    "set": {**ERK, "search.method": "set"},
    "rigl": {**ERK, "search.method": "rigl"},
    "gradual": {"search.method": "gradual"},
    "straight_through": {"search.method": "straight_through"},
    "one_shot": {"search.method": "one_shot"},
    "taylor": {"search.method": "one_shot", "search.score": "taylor"},
    "iterative": {"search.method": "iterative"},
}
CONTROLS = ("reinit", "shuffle")
# Best test accuracy in %, mean of three: VGG-16 on CIFAR-10, {method: {density: ...}}.
PUBLISHED = {
    "dense": 93.53,
    "random": {0.1: 91.15, 0.01: 79.14},
    "magnitude": {0.1: 93.12, 0.01: 89.8},
    "snip": {0.1: 92.26, 0.01: 89.15},
    "grasp": {0.1: 91.84, 0.01: 87.49},
    "synflow": {0.1: 93.26, 0.01: 90.08},
}


def densities(options) -> list[float]:
    """Returns the densities asked for, falling; of a smoke run the first."""
    found = command_line.reals("densities", options.densities, most=1)
    found = sorted(found, reverse=True)
    return found[:1] if options.smoke else found


def by_fifths(asked: list[float]) -> tuple[float, ...]:
    """Returns the sparsities of levels that each prune a fifth of what is left.

    A density that was asked for is met on the way, by what cut it takes: less than a
    fifth, or a hundredth more where a level for that would be next to none.

    Args:
      asked: Densities, falling.
    """
    found, left = [], 1.0
    for density in asked:
        while 0.8 * left > 1.01 * density:  # a cut of a per cent would be none
            left *= 0.8
            found.append(1 - left)
        left = density
        found.append(1 - left)
    return tuple(found)


def base(options):
    """Returns the config that every method changes."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.data_dir = options.data_dir
    config.data.update(name=options.data, validation=5000, limit=options.limit)
    config.train.update(epochs=options.epochs, batch_size=128)
    config.eval_batch = 1000
    config.search.sparsities = tuple(1 - d for d in densities(options))
    if options.data == "mnist":
        config.model.name = options.model or "lenet_300_100"
        config.train.batch_size = 60
    else:
        config.model.name = options.model or "vgg16"
        config.data.update(crop=4, flip=True)
    if options.adam or options.data == "mnist":
        config.optimizer.update(name="adam", learning_rate=1.2e-3)
    else:
        config.optimizer.update(nesterov=True, weight_decay=1e-4)
        drops = (options.epochs * 60 / 160, options.epochs * 120 / 160)
        config.schedule.update(name="piecewise", drops=drops)
    config.model.width = options.width
    return config


def configs(options) -> dict:
    """Returns {method: config} of the methods asked for."""
    asked = command_line.words("methods", options.methods or ",".join(METHODS), METHODS)
    found = {}
    for name in asked:
        config = base(options)
        config.update_from_flattened_dict(METHODS[name])
        moves = config.search.method in ("set", "rigl", "gradual", "straight_through")
        config.controls = () if moves or not options.controls else CONTROLS
        found[name] = methods.shrunk(config) if options.smoke else config
        if config.search.method == "iterative":
            found[name].search.sparsities = by_fifths(densities(options))
    return found


def setting(config) -> str:
    """Returns what all methods share: network, data, optimizer, length, seeds."""
    own, data = config.train, config.data
    length = f"{own.steps:,} steps" if own.steps else f"{own.epochs} epochs"
    images = f"{data.limit:,} images of " * bool(data.limit)
    width = f" of width {config.model.width:g}" * (config.model.width != 1)
    return (
        f"{config.model.name}{width} on {images}{data.name}, {config.optimizer.name}, "
        f"rate {config.optimizer.learning_rate:g}, {length} of batch {own.batch_size}, "
        f"seeds {', '.join(map(str, config.seeds))}"
    )


def trained(found: dict, root: pathlib.Path) -> tuple[list[dict], dict[str, str]]:
    """Returns the records of all methods, and why some of them went no further.

    Scores that do not tell weights apart at a density are refused there; the levels
    before stay, and the other methods go on.

    Args:
      found: {method: config}.
      root: The workdir.

    Raises:
      ValueError: No method was trained; that of the first one.
    """
    rows, refused = [], {}
    for name, config in found.items():
        try:
            rows += grid.run({name: config}, root)
        except cuts.UndecidedError as error:
            rows += records.there({name: config}, root)
            refused[name] = str(error)
    if not rows:
        raise ValueError(next(iter(refused.values())))
    return rows, refused


def shown(rows: list[dict], found: dict, asked: list[float]) -> list[dict]:
    """Returns the dense records and those at a density asked for, which they get.

    Where a method takes more levels to a density than others, theirs are left out.

    Args:
      rows: Records, each with its "run", a key of `found`.
      found: {method: config}.
      asked: Densities.
    """
    chosen = []
    for row in rows:
        wanted = dict(enumerate(found[row["run"]].search.sparsities, start=1))
        at = wanted.get(row["level"], -1)
        near = [density for density in asked if math.isclose(1 - density, at)]
        if near or not row["level"]:
            chosen.append({**row, "density": near[0] if near else None})
    return chosen


def table(rows: list[dict], settings: str, published: dict) -> str:
    """Returns the accuracies by method and density, as Markdown."""
    dense, known = _dense(rows), published.get("dense", "")
    lines = [("dense", 100, known, records.shown(dense), None, None, len(dense))]
    for name, density in dict.fromkeys((r["run"], r["density"]) for r in rows):
        if density is None:
            continue
        group = records.of(rows, run=name, density=density)
        told = published.get(name, {}).get(density, "")
        arms = ("ticket", *CONTROLS)
        cells = [records.shown(records.accuracies(group, arm=arm)) for arm in arms]
        share = f"{100 * (1 - group[0]['sparsity']):.3g}"
        n = len(records.of(group, arm="ticket"))
        lines.append((name, share, told, *cells, n))
    titles = ["method", "% left", "published", "ticket", *CONTROLS, "n"]
    return f"{settings}\n\n{tables.markdown(titles, lines)}\n"


def claimed(rows: list[dict], same: bool = True) -> list:
    """Returns [(claim, ours by seed)]: of another network only the order compares.

    Args:
      rows: Records with the density that they are shown at.
      same: Whether they are of VGG-16 on CIFAR-10.
    """
    relation = claims.relation(same)
    dense = _dense(rows) if rows else []
    told = claims.Claim("dense", PUBLISHED["dense"], relation=relation)
    found = [(told, dense)]
    for name in list(PUBLISHED)[1:]:
        for density, value in PUBLISHED[name].items():
            at = {"run": name, "density": density, "arm": "ticket"}
            what = f"{name}, {100 * density:g} % left"
            claim = claims.Claim(what, value, relation=relation)
            found.append((claim, records.accuracies(rows, **at)))
    return found


def _dense(rows):
    """Returns the dense accuracies of the first run: those of all runs are the same."""
    return records.accuracies(rows, level=0, run=rows[0]["run"])


def figure(rows: list[dict]) -> Figure:
    """Draws the accuracy of every method at every density, controls beside it."""
    densities = sorted({r["density"] for r in rows} - {None}, reverse=True)
    names = list(dict.fromkeys(r["run"] for r in rows))
    size = (11, 1 + 3 * len(densities))
    drawn = Figure(figsize=size, layout="constrained")
    panels = drawn.subplots(len(densities), 1, squeeze=False, sharex=True)[:, 0]
    for axes, density in zip(panels, densities, strict=True):
        own = records.of(rows, density=density)
        for arm in dict.fromkeys(r["arm"] for r in own):
            _marks(axes, own, arm, names)
            mark, colour = _look(arm)
            axes.plot([], [], mark, color=colour, label=arm)
        dense = spreads.spread(_dense(rows))
        axes.axhline(dense.mean, color="0.5", ls="--", lw=1, label="dense")
        share = 100 * (1 - own[0]["sparsity"])
        axes.set_ylabel(f"test accuracy, %\n{share:.3g} % of the weights left")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    panels[-1].set_xticks(range(len(names)), names, rotation=40, ha="right")
    n = len({r["seed"] for r in rows})
    drawn.suptitle(f"mean and standard deviation, n = {n}")
    return drawn


def _marks(axes, rows, arm, names):
    """Draws mean and spread of an arm, a place on the x axis for each name."""
    shift = {"ticket": 0, "reinit": 0.15, "shuffle": 0.3}[arm]
    mark, colour = _look(arm)
    for name in names:
        values = records.accuracies(rows, arm=arm, run=name)
        if values:
            spread, x = spreads.spread(values), names.index(name) + shift
            look = {"fmt": mark, "ms": 5, "capsize": 2, "color": colour}
            axes.errorbar(x, spread.mean, spread.std, **look)


def _look(arm):
    """Returns the marker and the colour of an arm."""
    return {"ticket": ("o", "C0"), "shuffle": ("x", "C1"), "reinit": ("^", "C2")}[arm]


def main() -> None:
    """Runs what is missing, and writes `tanaka2020.md` and `tanaka2020.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--model", default="")
    parser.add_argument("--methods", default="", help="by commas; all")
    parser.add_argument("--densities", default="0.1,0.01")
    parser.add_argument("--controls", action="store_true", help="train them, too")
    parser.add_argument("--adam", action="store_true", help="in place of momentum")
    numbers = {"epochs": 160, "seeds": 3, "limit": 0, "width": 1.0}
    command_line.numbers(parser, numbers)
    options = sizes.parse(parser, "tanaka2020")
    if options.smoke:
        options.data, options.model, options.controls = "digits", "mlp", True
        options.methods = options.methods or "snip,rigl"
    command_line.prepare()
    with command_line.plain_errors():
        found = configs(options)
        if options.cost:
            work.show(options, found, {"tanaka2020": claimed([])})
            return
        rows, refused = trained(found, options.workdir)
        rows = shown(rows, found, densities(options))
        network = options.data, options.model or "vgg16", options.width
        same = network == ("cifar10", "vgg16", 1)
        run = setting(next(iter(found.values())))
        text = f"Command: `{command_line.typed()}` ({run}); "
        text += "test accuracy in %, last step, mean ± standard deviation."
        text = table(rows, text, PUBLISHED if same else {})
        text += "".join(f"\n{name} ended: {why}.\n" for name, why in refused.items())
        drawn = figure(rows) if any(row["density"] for row in rows) else None
        page.write(options, "tanaka2020", text, drawn, claimed(rows, same))


if __name__ == "__main__":
    main()
