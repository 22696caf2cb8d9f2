"""Jaiswal et al., 2021 and 2022 (arXiv:2101.03255v3, 2206.12755): retraining tweaks.

    python experiments/jaiswal2021.py --workdir=runs/jaiswal2021 --data_dir=DIR

Tickets retrained plainly and with "all tweaks" (soft neurons and branches that fade,
re-scaled initialisation, smoothed labels), paired by seed and masks: CIFAR-10,
CIFAR-100 and Tiny-ImageNet by VGG-16, ResNet-18, ResNet-34 and MobileNet, with masks of
iterative magnitude pruning, SNIP, GraSP, SynFlow and at random. Every cell of the grid
is a run of its own below the workdir, which goes on where it stopped; tickets of
magnitude pruning are rewound to epoch 3, and ghosts go when the rate first falls.
`--cells` chooses some, `--ablation` adds each tweak alone, the released code's recipe
and distillation, `--analyses` measures what the trained networks are like. The cell
"cifar10-resnet8-one_shot" is none of the papers': it fits two cores.

The published per-sparsity tables could not be had: what is printed beside ours is what
the abstracts say. Departures: those of `lthjax.retraining` and `configs/cifar100.py`;
distillation is per sample with the coefficient of the released CIFAR-10 code, 0.9 / C
of T^2 KL at T = 5, for C classes; SNIP's scores are of 4,096 images where the
released scorer reads the whole set, GraSP's of as many as ten a class, in batches of
128 of all classes; the classifier is never pruned, as in the iterative masks, where
those scorers prune it too. No source gives the protocol of Tiny-ImageNet (here 200
epochs, drops at 100 and 150, weight decay 5e-4, crops of 8) nor that of MobileNet: they
are ours. Ghosts of the dense network (level 0, in the small cell alone) go at the same
part of its own training.
"""

import itertools
import json
import pathlib

import numpy as np
from measures import claims, landscapes, records, sizes, tables, work
from rich import console, markdown

from lthjax.data import batches, facts
from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.report import axes, gains
from lthjax.program.run import experiment
from lthjax.program.workdir import text_files

CIFAR100 = pathlib.Path(__file__).parent.parent / "configs" / "cifar100.py"
DATA = ("cifar10", "cifar100", "tiny_imagenet")
MODELS = ("vgg16", "resnet18", "resnet34", "mobilenet_v1")
MASKS = ("magnitude", "snip", "grasp", "synflow", "random")
SMALL = "cifar10-resnet8-one_shot"
GRID = ["-".join(cell) for cell in itertools.product(DATA, MODELS, MASKS)]
REWOUND = 3  # epochs before the step that iterative tickets are rewound to
LEVELS = (7, 10, 14, 16)  # of 20 % each: 79, 89, 96 and 97 %
ABLATION = ("neurons", "skips", "rescaling", "smoothing", "tost_code", "distillation")
# What the sources' abstracts, and a digest of the second, say of gains in points.
PUBLISHED = {
    "cifar100-resnet18-magnitude": "+1.05 to +4.93",
    "tiny_imagenet-resnet18-snip": "> +2 at 95 % (of a ResNet-32, as it seems)",
    "tiny_imagenet-resnet18-magnitude": "> +1.5 at 95 % (of a ResNet-32, as it seems)",
}
# (cell, where, least sparsity, published, unit, band, how ours compares).
LEAST = (
    (
        "cifar100-resnet18-magnitude",
        "no sparsity is printed, ours at 89 %",
        0.89,
        *(1.05, "points", 0, claims.ABOVE),
    ),
    *[
        (f"tiny_imagenet-resnet18-{masks}", "95 % (a ResNet-32?)", 0.95)
        + (gain, "points", 0, claims.ORDER)
        for masks, gain in (("snip", 2), ("magnitude", 1.5))
    ],
)


def config(cell, options):
    """Returns the config of a cell of the grid."""
    data, model, masks = cell.split("-")
    found = files.load(CIFAR100)
    found.data.name, found.data_dir = data, options.data_dir
    found.model.name = model
    found.seeds = tuple(range(options.seeds))
    arms = ("tost_paper", *(ABLATION if options.ablation else ()))
    found.retraining.arms = arms
    classes = facts.FACTS[data].num_classes
    if options.ablation:
        taught = {"temperature": 5.0, "coefficient": 0.9 / classes}
        found.retraining.distillation.update(taught)
    if not model.startswith("resnet"):
        found.model.options = {}
    if model == "vgg16":
        given = {"initialiser": "kaiming_normal_fan_out", "head_init": "small_normal"}
        found.model.options = given
    if data == "tiny_imagenet":
        _tiny_imagenet(found)
    if masks != "magnitude":
        found.search.update(method="at_init", score=masks, rewind_to=0)
        if number := {"snip": 4096, "grasp": 10 * classes}.get(masks):
            found.search.batches = -(-number // 128)
        shares = tuple(1 - 0.8**level for level in LEVELS)
        found.search.update(sparsities=shares, levels=len(shares))
        found.retraining.levels = (1, 2, 3, 4)
    if cell == SMALL:
        _small(found)
    _time(found)
    if options.smoke:
        found = methods.shrunk(found)
        found.model.options = {"blocks": (1,), "channels": (8,)}
    return found


def _tiny_imagenet(found):
    found.data.crop = 8
    found.train.epochs = 200
    found.optimizer.weight_decay = 5e-4
    found.schedule.drops = (100, 150)


def _small(found):
    """Makes a config small: 5,000 images, 6 epochs, a ResNet-8 of half width."""
    found.data.update(validation=1000, limit=5000)
    found.model.update(name="resnet20", width=0.5)
    found.model.options = {"blocks": (1, 1, 1)}
    found.train.update(epochs=6, batch_size=64)
    found.schedule.drops = (3, 4.5)
    found.search.update(method="one_shot", score="magnitude", exclude=())
    found.search.update(sparsities=(0.9, 0.95, 0.98), levels=3)
    found.retraining.levels = (0, 1, 2, 3)
    found.retraining.rescaling.update(iterations=20, rate=0.03)
    found.eval_every = 474  # the end
    found.logging.tensorboard = False


def _time(found):
    """Sets what is known in epochs: where tickets are rewound to, when ghosts go.

    Ghosts go when the rate first falls. The config has that as a part of the
    retraining, which starts where the tickets are rewound to.
    """
    data, epochs = found.data, found.train.epochs
    images = data.limit or facts.FACTS[data.name].train - data.validation
    start = REWOUND if found.search.method == "iterative" else 0
    steps = batches.steps_per_epoch(images, found.train.batch_size)
    found.search.rewind_to = start * steps
    for ghost in (found.retraining.neurons, found.retraining.skips):
        ghost.end = (found.schedule.drops[0] - start) / (epochs - start)


def table(cells):
    """Returns the gains of every cell as Markdown, the published ones beside them.

    Args:
      cells: {cell: its records}.
    """
    titles = ["cell", "level", "sparsity, %", "arm", "vanilla, %", "gain, points", "n"]
    titles += ["deployed parameters", "deployed MFLOPs", "ghost MFLOPs", "published"]
    lines = []
    for cell, rows in cells.items():
        found = gains.gains(rows)
        for arm, level in sorted(found, key=lambda group: (group[1], group[0])):
            cells_of = _cells(rows, arm, level)
            gain = found[arm, level]
            published = PUBLISHED.get(cell, "") if arm == "tost_paper" else ""
            row = (cell, level, *cells_of[:1], arm, cells_of[1], gains.text(gain))
            lines.append((*row, gain.n, *cells_of[2:], published))
    return tables.markdown(titles, lines) + "\n"


def _cells(rows, arm, level):
    def mean(name, arm, scale):
        group = records.of(rows, arm=arm, level=level)
        return scale * np.mean([row[name] for row in group])

    return (
        f"{mean('sparsity', arm, 100):.2f}",
        records.shown(records.accuracies(rows, arm=gains.VANILLA, level=level)),
        f"{mean('deployed_parameters', arm, 1):,.0f}",
        f"{mean('deployed_flops', arm, 1e-6):.2f}",
        f"{mean('ghost_flops', arm, 1e-6):.2f}",
    )


def claimed(found):
    """Returns [(claim, ours by seed)] of the cells of which a gain is published.

    Args:
      found: {cell: records}.
    """
    return [
        (
            claims.Claim(f"{cell}, gain of all tweaks, {share}", *rest),
            _by_seed(found.get(cell, ()), least),
        )
        for cell, share, least, *rest in LEAST
    ]


def _by_seed(rows, sparsity):
    """Returns the gain of all tweaks by seed, points, at the first level so sparse."""
    value = {(r["arm"], r["level"], r["seed"]): r["test_accuracy"] for r in rows}
    levels = {r["level"] for r in rows if r["level"] and r["sparsity"] >= sparsity}
    if not levels:
        return []
    at = min(levels)
    return [
        100 * (accuracy - value[gains.VANILLA, level, seed])
        for (arm, level, seed), accuracy in sorted(value.items())
        if (arm, level) == ("tost_paper", at)
    ]


def main():
    """Runs what is missing of the cells asked for, and writes tables and figures."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--cells", default=",".join(GRID))
    command_line.numbers(parser, {"seeds": 3})
    parser.add_argument("--ablation", action="store_true")
    command_line.numbers(parser, {"analyses": 0}, help="of so many images")
    options = sizes.parse(parser, "jaiswal2021")
    command_line.prepare()
    with command_line.plain_errors():
        asked = command_line.words("cells", options.cells, (SMALL, *GRID))
        asked = [SMALL] if options.smoke else asked
        if options.cost:
            runs = {cell: config(cell, options) for cell in asked}
            work.show(options, runs, {"jaiswal2021": claimed({})})
            return
        text = _run(asked, options)
        console.Console(width=160).print(markdown.Markdown(text))


def _run(asked, options):
    """Runs the cells, and writes after each what there is so far."""
    found, measured = {}, []
    examples = 8 if options.smoke else options.analyses
    for cell in asked:
        settings, root = config(cell, options), options.workdir / cell
        found[cell] = records.asked(experiment.run(settings, root), settings)
        axes.save(gains.figure(found[cell]), options.workdir / f"{cell}.png")
        text = f"{_setting(settings)}\n\n{table(found)}"
        if examples:
            own = landscapes.analyses(cell, settings, root, examples)
            axes.save(landscapes.surfaces(own), options.workdir / f"{cell}-surface.png")
            measured += own
            text += f"\nOn {examples} training images:\n\n{landscapes.table(measured)}"
        page = sizes.titled(options, text)
        text_files.write(options.workdir / "jaiswal2021.md", page)
        claims.write(options, "jaiswal2021", claimed(found))
    return text


def _setting(settings):
    used = {"seeds": settings.seeds, **settings.train.to_dict()}
    used |= {"images": settings.data.limit or "all", "width": settings.model.width}
    return f"The last cell's config: {json.dumps(used, default=list)}."


if __name__ == "__main__":
    main()
