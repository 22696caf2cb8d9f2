"""Chen et al., 2021 (arXiv:2103.16547): elastic lottery tickets, other depths' tickets.

    python experiments/chen2021.py --workdir=runs/chen2021 --data_dir=DIR

`--part=mnist` (the default): perceptrons of n layers of 300, then 100, n = 2, 3, 4, at
89.26 % sparsity (ten levels of 20 %, all layers ranked together). Every depth finds a
ticket by iterative pruning, and is carried to the two others: by `--order` where it is
stretched (append, interpolate), by `--drop` where it is squeezed (drop_tail, interval).
All nine cells of the paper's Table 5 stand beside ours, and every carried ticket
beside its controls: mapped masks on fresh weights, mapped weights with masks permuted
in each layer, both, and only the added copies permuted. MNIST's recipe is not printed:
here it is Adam at 1.2e-3, batch 60 (`--batch`), `--steps` a training.

`--part=cifar10`: ResNet-14 and ResNet-20 to ResNet-32, at `--width`, batch 128, SGD at
0.1, pruned by 43 % a level to 89.4 %; native iterative pruning of ResNet-32 for the
first seed. A smaller `--batch` wants a smaller `--learning_rate`. Departures: levels of
43 % where the paper has 20 %, 64,000 steps at `--size=paper` where its 160 epochs are
56,320 of a training split of 45,000; it rewinds to step 1,000, ours to a twelfth of a
shorter training; norms' scales begin at one where the released code draws them
uniformly (`model.options.norm_scale`); the rate falls at a half and at three quarters,
as by that code's default, where the paper prints epochs 80 and 160 of 160. Not built:
the control whose added copies have masks by SNIP.

Both parts end with two more tables: what search and training cost, in dense trainings
of the target, carried, native and by RigL; and how far the accuracy falls on the line
between two trainings of one carried ticket that differ in the order of the data.
"""

import itertools
from typing import NamedTuple

from measures import bills, claims, lines, page, sizes, tables, work
from measures.carried import (
    CONTROLS,
    accuracies,
    beside,
    figure,
    left,
    nearest,
    run_of,
)
from measures.records import shown

from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.sweep import grid

# {source: {target: test accuracy, %}}, Table 5.
PUBLISHED = {
    2: {2: 98.06, 3: 97.95, 4: 97.99},
    3: {2: 97.91, 3: 97.83, 4: 97.83},
    4: {2: 97.88, 3: 97.91, 4: 98.03},
}
PUBLISHED_FALLS = {(14, 32): 69.72, (20, 32): 8.72}  # of the line, in points, 4.4
COSTS = "Search and training, in dense trainings of the target; seed 0."
STRETCHED, SQUEEZED = ("append", "interpolate"), ("drop_tail", "interval")


class Part(NamedTuple):
    """A part of the study: what is pruned how, and what is carried where."""

    networks: dict[int, dict]  # {depth: config.model}
    native: tuple[int, ...]  # depths that are pruned themselves
    pairs: tuple[tuple[int, int], ...]  # (source, target)
    rate: float
    levels: tuple[int, ...]  # of the source


def part(options) -> Part:
    """Returns the part that is asked for."""
    if options.part == "mnist":
        depths = (2, 3, 4)
        options_of = {n: {"hidden": (300,) * n + (100,)} for n in depths}
        networks = {n: {"name": "mlp", "options": o} for n, o in options_of.items()}
        pairs = tuple((a, b) for a in depths for b in depths if a != b)
        if options.smoke:
            depths, pairs = depths[:2], pairs[:1]
        return Part(networks, depths, pairs, 0.2, (10,))
    depths = (14, 20, 32) if not options.smoke else (14, 20)
    networks = {n: {"name": f"resnet{n}", "width": options.width} for n in depths}
    pairs = tuple((source, depths[-1]) for source in depths[:-1])
    return Part(networks, depths, pairs, 0.43, (1, 2, 3, 4))


def base(options, own: Part, depth: int):
    """Returns the config of one depth, pruned itself."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.data_dir = options.data_dir
    config.data.name = options.part
    config.data.update(validation=5000, limit=options.limit)
    config.eval_batch = 1000
    config.studies = ("flops",)
    config.search.update(rate=own.rate, levels=max(own.levels))
    own_batch = 60 if options.part == "mnist" else config.train.batch_size
    config.train.update(steps=options.steps, batch_size=options.batch or own_batch)
    with config.model.unlocked():
        config.model.update(own.networks[depth])
    if options.part == "mnist":
        config.optimizer.update(name="adam", learning_rate=1.2e-3)
    else:
        _as_on_cifar10(config, options)
    if options.learning_rate:
        config.optimizer.learning_rate = options.learning_rate
    return config


def _as_on_cifar10(config, options):
    config.data.update(crop=4, flip=True)
    config.optimizer.weight_decay = 1e-4
    epoch = -(-(options.limit or 45_000) // config.train.batch_size)
    drops = tuple(part * options.steps / epoch for part in (0.5, 0.75))
    config.schedule.update(name="piecewise", drops=drops)
    config.search.rewind_to = min(options.steps // 12, 1000)


def native(options, own: Part) -> dict:
    """Returns {name: config} of what finds tickets by iterative pruning."""
    found = {}
    for depth in own.native:
        config = base(options, own, depth)
        if options.part == "cifar10" and depth == max(own.native):
            config.seeds = config.seeds[:1]
        found[f"imp_{depth}"] = smoked(config, options)
    return found


def carried(options, own: Part) -> dict:
    """Returns {name: config} of what retrains the tickets of other depths."""
    found = {}
    for source, target in own.pairs:
        config = base(options, own, target)
        order = options.order if target > source else options.drop
        config.search.update(method="elastic", rate=files.default().search.rate)
        config.search.update(levels=files.default().search.levels, rewind_to=0)
        config.elastic.source = str(options.workdir / f"imp_{source}")
        config.elastic.update(order=order, levels=own.levels)
        config.controls = tuple(CONTROLS)
        config = smoked(config, options)
        if options.smoke:
            config.seeds = config.seeds[:1]
            config.elastic.levels = (1,)
        found[f"elastic_{source}_{target}"] = config
    return found


def dynamic(options, own: Part) -> dict:
    """Returns {name: config} of RigL on every target, at the last level's sparsity."""
    found = {}
    for target in sorted({target for _, target in own.pairs}):
        config = base(options, own, target)
        share = (1 - own.rate) ** max(own.levels)
        config.search.update(method="rigl", scope="erdos_renyi", rewind_to=0)
        config.search.update(rate=files.default().search.rate, levels=1)
        config.search.sparsities = (round(1 - share, 6),)
        found[f"rigl_{target}"] = smoked(config, options)
    return found


def twice(options, own: Part) -> dict:
    """Returns {name: config} of two trainings each of one carried ticket."""
    found = {}
    for name, config in carried(options, own).items():
        config.elastic.update(seed=0, levels=config.elastic.levels[-1:])
        config.update(seeds=(0, 1), controls=(), studies=(lines.STUDY,))
        found[name.replace("elastic", "line")] = config
    return found


def smoked(config, options):
    """Returns a config, made small for `--smoke`."""
    return methods.shrunk(config) if options.smoke else config


def cells(rows: list[dict], own: Part) -> str:
    """Returns ours beside the published table, source by target."""
    share, found = (1 - own.rate) ** max(own.levels), []
    for source, target in itertools.product(own.native, repeat=2):
        run = run_of(source, target)
        values = accuracies(rows, run, "ticket", share)
        if values:
            published = PUBLISHED.get(source, {}).get(target, "")
            share_left = left(nearest(rows, run, "ticket", share))
            row = [source, target, published, shown(values), f"{100 * share_left:.2f}"]
            found.append([*row, len(values)])
    titles = ["source", "target", "published, %", "ours, %", "% left", "n"]
    return tables.markdown(titles, found)


def claimed(options, rows: list[dict], own: Part) -> list:
    """Returns [(claim, ours by seed)] of what is published of the part."""
    if options.part == "cifar10":
        root = options.workdir if rows else None
        return lines.claimed(PUBLISHED_FALLS, root, same=options.width == 1)
    share = (1 - own.rate) ** max(own.levels)
    return [
        (
            claims.Claim(f"{source} layers to {target}", value, band=0.25),
            accuracies(rows, run_of(source, target), "ticket", share),
        )
        for source, row in PUBLISHED.items()
        for target, value in row.items()
    ]


def bills_of(options, own: Part, source: int, target: int) -> dict:
    """Returns {way: cost} to the last level's ticket of a target, of one seed."""
    setting = base(options, own, target)
    late = setting.search.rewind_to / options.steps
    level = 1 if options.smoke else max(own.levels)
    native, other, carried = (
        bills.paid(options.workdir / run_of(*pair), late)
        for pair in ((target, target), (source, source), (source, target))
    )
    _, sparse = bills.paid(options.workdir / f"rigl_{target}")
    return {
        "carried": bills.found(other, level, carried[0], carried[-1]),
        "native": bills.found(native, level, carried[0]),
        "RigL": bills.rigl(sparse, carried[0], setting.dynamic.every),
    }


def costs(options, rows: list[dict], own: Part) -> str:
    """Returns what is paid for a ticket, carried, found natively and by RigL."""
    share, found = (1 - own.rate) ** max(own.levels), []
    for source, target in own.pairs:
        runs = run_of(source, target), run_of(target, target), f"rigl_{target}"
        paid = bills_of(options, own, source, target)
        for run, (way, cost) in zip(runs, paid.items(), strict=True):
            values = accuracies(rows, run, "ticket", share)
            row = [source, target, way, f"{cost.search:.2f}", f"{cost.training:.2f}"]
            found.append([*row, shown(values), len(values)])
    titles = ["source", "target", "way", "search", "training", "test accuracy, %", "n"]
    return tables.markdown(titles, found)


def main() -> None:
    """Runs what is missing, and writes the tables and the figure of the part."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--part", choices=("mnist", "cifar10"), default="mnist")
    parser.add_argument("--order", choices=STRETCHED, default="append")
    parser.add_argument("--drop", choices=SQUEEZED, default="drop_tail")
    numbers = {"steps": 6000, "seeds": 3, "limit": 0, "batch": 0, "width": 0.5}
    numbers |= {"learning_rate": 0.0}  # 0: the part's own
    command_line.numbers(parser, numbers)
    options = sizes.parse(parser, "chen2021")
    command_line.prepare()
    with command_line.plain_errors():
        own, stem = part(options), f"chen2021_{options.part}"
        if options.cost:
            runs = native(options, own) | carried(options, own) | dynamic(options, own)
            known = {stem: claimed(options, [], own)}
            work.show(options, runs | twice(options, own), known)
            return
        rows = grid.run(native(options, own), options.workdir)
        rows += grid.run(carried(options, own), options.workdir)
        head = f"Command: `{command_line.typed()}`; test accuracy in %, last step."
        rows += grid.run(dynamic(options, own), options.workdir)
        grid.run(twice(options, own), options.workdir)
        parts = [head, cells(rows, own), beside(rows, own)]
        parts += [COSTS, costs(options, rows, own), lines.HEAD]
        parts.append(lines.table(options.workdir, own.pairs, PUBLISHED_FALLS))
        text, told = "\n\n".join(parts) + "\n", claimed(options, rows, own)
        page.write(options, stem, text, figure(rows, own), told)


if __name__ == "__main__":
    main()
