"""Wolfe et al., 2021 (arXiv:2108.00259): channels pruned after more and more training.

    python experiments/wolfe2021_cifar.py --workdir=runs/cifar --data_dir=DIR

ResNet-34 and MobileNet-V2 on 10,000, 30,000 and all images of CIFAR-10, pruned by
greedy forward selection at 20, 40, 60 and 80 thousand iterations of the same schedule
and fine-tuned, by `configs/cifar10_forward.py`: Table 1, the published values beside
ours, with what is left of the parameters and how much faster the compact network is.
`--models`, `--sizes`, `--draws`, `--steps`, `--width`, `--tune` and `--candidates`
shorten it; a cell that the workdir holds is not run again. Departures: those of the
config, so that all images are 50,000 there and 45,000 here, where 5,000 are for
validation (`--validation`), and the table says so; each cell trains its dense network
anew, to the same bits.
"""

import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from measures import claims, kept, page, records, tables, work
from measures import sizes as named

from lthjax.channels import by_channel, layers_of
from lthjax.channels.smaller import compact, speed_up
from lthjax.data import facts
from lthjax.devices import cpu_convolutions
from lthjax.program import command_line
from lthjax.program.build import methods, plan
from lthjax.program.build import source as source_lib
from lthjax.program.config import files
from lthjax.program.run import check, experiment
from lthjax.program.workdir import results
from lthjax.saving import tickets

HERE = pathlib.Path(__file__).parent
PUBLISHED = claims.published("wolfe2021")["cifar10"]
WHOLE = facts.FACTS["cifar10"].train
RECORDS, KEYS = "cifar.jsonl", ("model", "size", "draw_at")


def config(options, model, size, draw_at):
    """Returns the config of a cell."""
    variant = model if model in ("resnet34", "mobilenet_v2") else "resnet34"
    found = files.load(HERE.parent / "configs" / "cifar10_forward.py", variant)
    found.model.name, found.model.width = model, options.width
    found.data_dir, found.data.limit = options.data_dir, size
    found.data.validation = options.validation
    found.train.steps = options.steps
    found.forward.draw_at = draw_at
    found.forward.tune = min(options.tune, options.steps)
    found.forward.candidates = options.candidates
    found.forward.check = min(found.forward.check, size)
    if options.tolerance:
        found.forward.tolerance = options.tolerance
    if options.smoke:
        found = methods.shrunk(found, steps=options.steps)
        found.model.width = 1.0
        found.model.options.update(depths=(1, 1), channels=(4, 6))
    return found


def sizes(options):
    """Returns the numbers of images asked for, all that are left by default."""
    if options.sizes:
        return command_line.counts("sizes", options.sizes)
    return list(dict.fromkeys((10_000, 30_000, WHOLE - options.validation)))


def cells(options):
    """Yields (model, size, draw_at) of every cell."""
    models = [model.strip() for model in options.models.split(",")]
    draws = command_line.counts("draws", options.draws)
    yield from itertools.product(models, sizes(options), draws)


def cell(options, model, size, draw_at):
    """Returns the record of a cell, run if it is missing."""
    settings = config(options, model, size, draw_at)
    root = options.workdir / f"{model}_{size}_{draw_at}"
    experiment.run(settings, root)
    curves = {row["level"]: row for row in results.read(root / results.CURVES)}
    ends = {level: 100 * row["test_accuracy"][-1] for level, row in curves.items()}
    ticket = tickets.load(root / "tickets" / "seed_0" / "level_01")
    source = source_lib.load(settings)
    network = plan.of(settings, source).module
    small = compact(network, ticket.params, ticket.masks, ticket.model_state)
    found = layers_of.groups(network, ticket.params)
    kept, total = by_channel.count(by_channel.kept(ticket.masks, found))
    images = jnp.asarray(source.train.images[:64], jnp.float32) / 255
    whole = ticket.params, ticket.model_state
    rounds = {"rounds": 1, "seconds": 0.01} if options.smoke else {}
    faster = speed_up(
        network,
        whole,
        small,
        images,
        compiler_options=cpu_convolutions.compiler_options(ticket.params),
        **rounds,
    )
    return {
        **dict(zip(KEYS, (model, size, draw_at), strict=True)),
        "accuracy": round(ends[1], 2),
        "before": round(ends[0], 2),
        "channels": [kept, total],
        "params": round(_size(small.params) / _size(ticket.params), 4),
        "faster": [round(float(q), 2) for q in np.quantile(faster, (0.25, 0.5, 0.75))],
    }


def _size(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def table(rows, options):
    """Returns the cells as Markdown, the published ones beside them."""
    head = (
        f"Command: `{command_line.typed()}`; schedule of {options.steps:,} steps, then "
        f"{min(options.tune, options.steps)} of fine-tuning; dense: the network at the "
        "step of pruning; seed 0, n = 1; quartiles of the speed-up of 64 images."
    )
    titles = ["model", "images", "pruned at step", "dense, %", "test accuracy, %"]
    titles += ["published", "channels kept", "parameters kept", "times faster"]
    lines = []
    for row in rows:
        low, middle, high = row["faster"]
        kept, total = row["channels"]
        cells = [
            row["model"],
            f"{row['size']:,}",
            f"{row['draw_at']:,}",
            row["before"],
            row["accuracy"],
            beside(row, options),
            f"{kept} of {total}",
            f"{100 * row['params']:.1f} %",
            f"{middle} ({low} to {high})",
        ]
        lines.append(cells)
    return f"{head}\n\n{tables.markdown(titles, lines)}\n"


def published(row, options):
    """Returns (published accuracy of a cell, of how many images), or `None`.

    All images of ours, of which some are for validation, stand beside all of theirs.
    """
    size = WHOLE if row["size"] == WHOLE - options.validation else row["size"]
    values = PUBLISHED.get(row["model"], {}).get(str(size))
    if values is None or row["draw_at"] not in PUBLISHED["iterations"]:
        return None
    return values[PUBLISHED["iterations"].index(row["draw_at"])], size


def beside(row, options):
    """Returns what the table says of the published value."""
    found = published(row, options)
    if found is None:
        return "not supplied"
    accuracy, size = found
    other = size != row["size"]
    return f"{accuracy}" + f" ({size:,} images)" * other


def claimed(rows, options):
    """Returns [(claim, ours)] of Table 1; of narrower networks the order compares."""
    relation = claims.relation(options.width == 1)
    ours = {
        (row["model"], size, row["draw_at"]): [row["accuracy"]]
        for row in rows
        for _, size in filter(None, [published(row, options)])
    }
    return [
        (
            claims.Claim(
                f"{model}, {int(size):,} images, at step {at:,}",
                value,
                relation=relation,
            ),
            ours.get((model, int(size), at), ()),
        )
        for model in ("resnet34", "mobilenet_v2")
        for size, values in PUBLISHED[model].items()
        for at, value in zip(PUBLISHED["iterations"], values, strict=False)
    ]


def works(options, present):
    """Returns {folder: its config, or its work where it is done}."""
    found = {}
    for name in cells(options):
        settings = config(options, *name)
        folder = "_".join(map(str, name))
        one = work.of(settings, options.workdir / folder)
        found[folder] = one._replace(done=1.0) if name in present else one
    return found


def figure(rows, options):
    """Draws the accuracy by the step of pruning, a line for each model and size."""
    drawn = Figure(figsize=(6, 4), layout="constrained")
    axes = drawn.subplots()
    for number, (model, size) in enumerate(
        sorted({(row["model"], row["size"]) for row in rows})
    ):
        own = sorted(
            (row["draw_at"], row["accuracy"], row["before"], published(row, options))
            for row in records.of(rows, model=model, size=size)
        )
        label, color = f"{model}, {size:,} images", f"C{number}"
        x, y, before, theirs = zip(*own, strict=True)
        axes.plot(x, y, marker="o", color=color, label=label)
        axes.plot(x, before, "x--", color=color, label="dense, before it")
        if None not in theirs:
            values, (images, *_) = zip(*theirs, strict=True)
            text = f"published, {images:,} images"
            axes.plot(x, values, "*", color=color, mfc="none", label=text)
    axes.set_xlabel("pruned at step")
    axes.set_ylabel("test accuracy, %")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return drawn


def main():
    """Runs what is missing, and writes `cifar.md` and `cifar.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--models", default="resnet34,mobilenet_v2")
    parser.add_argument("--sizes", default="", help="by commas; 10000,30000 and all")
    parser.add_argument("--draws", default="20000,40000,60000,80000")
    parser.add_argument("--candidates", default="random")
    numbers = {"steps": 80_000, "tune": 2500, "validation": 5000, "width": 1.0}
    command_line.numbers(parser, {**numbers, "tolerance": 0.0})
    options = named.parse(parser, "wolfe2021_cifar")
    if options.smoke:
        options.models, options.sizes, options.draws = "vgg11", "64", "2,4"
        options.steps = 4
    command_line.prepare()
    options.workdir.mkdir(parents=True, exist_ok=True)
    path = options.workdir / RECORDS
    with command_line.plain_errors():
        asked = functools.partial(config, options)
        present = {results.identity(r, KEYS) for r in kept.read(path, KEYS, asked)}
        if options.cost:
            known = {"wolfe2021_cifar": claimed([], options)}
            work.show(options, works(options, present), known)
            return
        missing = [name for name in cells(options) if name not in present]
        for name in missing:  # of all, before the first is trained
            check.check(config(options, *name))
        for name in missing:
            kept.append(path, cell(options, *name), KEYS, asked(*name))
        rows = kept.read(path, KEYS, asked)
        claims.write(options, "wolfe2021_cifar", claimed(rows, options))
        page.write(options, "cifar", table(rows, options), figure(rows, options))


if __name__ == "__main__":
    main()
