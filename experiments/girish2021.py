"""Girish et al., 2021 (arXiv:2012.04643): tickets of recognisers.

    python experiments/girish2021.py --workdir=runs/girish2021 --data_dir=DIR

Scenes of MNIST digits stand for COCO, a residual network trained on single digits for
the one trained on ImageNet. Four ways to a sparse recogniser, at 50, 80 and 90 %:

    direct   the recogniser itself pruned, all of it, level by level; and at one go
    ticket   the classifier's ticket as the backbone: masks, weights, batch statistics
    mask     the dense classifier's weights, the largest of them; own batch statistics
    task     the ticket of another task's recogniser, all but the heads

"ticket" and "mask" prune the backbone alone: the table and the figure show what is gone
of the whole network. The published numbers are of ResNet-18 on COCO, with ImageNet's
weights: their order may be compared with ours, not their height. Departures: objects
are points (arXiv:1904.07850), theirs are found by Mask and Keypoint R-CNN;
"segmentation" tells the class of each pixel, theirs the pixels of each object, and they
print its precision; "direct" begins with weights drawn at random, theirs with those of
ImageNet.

Of the first task also: rewinding to other steps, of which a level trains the rest; how
much masks drawn there have in common with the final ones; precision by objects' size.
`--smoke` prunes the backbone alone everywhere, so that its runs are one program, and of
what is taken over it takes the ticket alone.
"""

from typing import Any

import jax
from matplotlib.figure import Figure
from measures import (
    claims,
    overlaps,
    page,
    recognisers,
    records,
    scenes,
    sizes,
    tables,
    work,
)
from measures.recognisers import RESETS, TASKS

from lthjax.data import augment, splits
from lthjax.program import command_line
from lthjax.program.build import plan, source
from lthjax.program.report import axes as axes_lib
from lthjax.program.report import pictures
from lthjax.program.sweep import grid
from lthjax.program.workdir import layout, spreads

SHARES = (0, 50, 80, 90)  # % of the backbone that is removed
# {task: (precision, sparsity of the whole network)} at each of SHARES, %: tables 1, 2.
PUBLISHED = {
    "detection": ((29.91, 0), (28.52, 17.57), (27.70, 28.10), (25.59, 31.61)),
    "keypoints": ((58.59, 0), (56.96, 11.94), (56.70, 19.09), (55.30, 21.47)),
    "segmentation": ((27.64, 0), (26.60, None), (25.90, None), (24.03, None)),
}
POINTS = ("topmost", "bottommost", "leftmost", "rightmost", "centroid")
NUMBERS = {"steps": 2000, "seeds": 3, "limit": 0, "validation": 500, "batch": 64}
NUMBERS |= {"side": 64, "features": 64, "width": 0.5}
SMOKE = {"steps": 4, "seeds": 1, "limit": 32, "validation": 20, "batch": 8}
SMOKE |= {"side": 32, "features": 8, "width": 0.25}
SMOKE |= {"backbone": "resnet8", "tasks": "detection"}
SCOPES = ("in scope, %", "of the network, %")


def table(rows: list[dict], tasks: tuple[str, ...]) -> str:
    """Returns every way at every level, and the published numbers beneath."""
    ours = [
        (task, _way(run, level), *_shares(own), _shown(own, TASKS[task][2]), len(own))
        for task in tasks
        for run, level, own in _groups(rows, task)
    ]
    theirs = [
        (task, share, "not printed" if whole is None else whole, value)
        for task in tasks
        for share, (value, whole) in zip(SHARES, PUBLISHED[task], strict=True)
    ]
    parts = [
        tables.markdown(["task", "way", *SCOPES, "ours", "n"], ours),
        "Published, ResNet-18 on COCO, tickets of the backbone:",
        tables.markdown(["task", *SCOPES, "mAP"], theirs),
    ]
    return "\n\n".join(parts)


def claimed(rows: list[dict]) -> list:
    """Returns [(claim, ours by seed)]: ours is of scenes, and tells an order alone."""
    ours = {
        (run, level): [100 * r[TASKS[task][2]] for r in own]
        for task in TASKS
        for run, level, own in _groups(rows, task)
    }
    found = []
    for task, row in PUBLISHED.items():
        for level, (value, _) in enumerate(row):
            run = f"{task}_ticket" if level else f"{task}_direct"
            what = f"{task}, {SHARES[level]} % of the backbone removed"
            claim = claims.Claim(what, value, relation=claims.ORDER)
            found.append((claim, ours.get((run, level), ())))
    return found


def by_size(rows: list[dict], task: str) -> str:
    """Returns precision by the size of objects, the terciles of the test set's."""
    if task == "segmentation":
        return ""
    names = ("small", "medium", "large")
    found = []
    for run, level, own in _groups(rows, task):
        cells = [_shown(own, f"test_ap_{name}") for name in names]
        found.append([_way(run, level), *_shares(own), *cells, len(own)])
    text = tables.markdown(["way", *SCOPES, *names, "n"], found)
    return f"{task}, test AP by size, %:\n\n{text}"


def early_masks(options, task: str) -> str:
    """Returns how much masks drawn early have in common with those drawn at the end.

    A ticket that is rewound to a step holds the dense network of that step.
    """
    config = recognisers.recogniser(options, task)
    first = round(100 * config.search.rewind_to / options.steps)
    later = {n: f"{task}_reset_{n}" for n in RESETS if n and not options.smoke}
    runs = {first: f"{task}_direct"} | later
    shares = config.search.sparsities
    found = []
    for part, run in sorted(runs.items()):
        own = [
            overlaps.in_common(options.workdir / run, n, shares) for n in config.seeds
        ]
        found.append([part, *map(records.shown, zip(*own, strict=True))])
    head = f"{task}, intersection over union with the masks of the end, one-shot:"
    titles = ["% of the training", *(f"{100 * s:.0f} % sparse" for s in shares)]
    return f"{head}\n\n{tables.markdown(titles, found)}"


def _way(run, level):
    """Returns how a recogniser of a run became sparse."""
    return run.partition("_")[2] if level else "dense"


def _shares(own):
    """Returns the sparsity in scope, and that of the network, of records, in %."""
    return [f"{100 * own[0][name]:.1f}" for name in ("sparsity", "sparsity_network")]


def _shown(own, name):
    """Returns mean and deviation of a column, in %; nothing where it is empty."""
    return records.shown(100 * row[name] for row in own if row[name] is not None)


def _groups(rows, task):
    """Returns (run, level, records) of a task; the dense network of one run only."""
    groups = {}
    for row in rows:
        own = row["arm"] == "ticket" and row["run"].startswith(f"{task}_")
        if own and (row["level"] or row["run"].endswith("_direct")):
            groups.setdefault((row["run"], row["level"]), []).append(row)
    return [(*key, own) for key, own in sorted(groups.items())]


def figure(rows: list[dict], tasks: tuple[str, ...]) -> Figure:
    """Draws what each way is worth against both sparsities, a row a task."""
    shown = Figure(figsize=(9, 3.4 * len(tasks)), layout="constrained")
    grid_of = shown.subplots(len(tasks), 2, squeeze=False, sharey="row")
    names = {"sparsity": "in scope", "sparsity_network": "of the whole network"}
    for axes_row, task in zip(grid_of, tasks, strict=True):
        for axes, (name, label) in zip(axes_row, names.items(), strict=True):
            _draw(axes, rows, task, name)
            axes.set_xlabel(f"sparsity {label}, %")
        measure = TASKS[task][2].removeprefix("test_")
        axes_row[0].set_ylabel(f"{task}: test {measure}, %")
        axes_row[0].legend(fontsize=8)
    return shown


def _draw(axes, rows, task, name):
    lines = {}
    for run, _, own in _groups(rows, task):
        way = run.removeprefix(f"{task}_")
        values = [100 * row[TASKS[task][2]] for row in own]
        spread = spreads.spread(values)
        point = (100 * own[0][name], spread.mean, spread.std)
        line = way if way.startswith("reset") else way.partition("_")[0]
        lines.setdefault(line, []).append(point)
        if way == "direct" and not own[0]["level"]:
            axes.axhline(spread.mean, color="0.5", ls="--", lw=1, label="dense")
    for way, points in lines.items():
        style = {"marker": "o", "ms": 4, "capsize": 2, "label": way}
        axes.errorbar(*zip(*sorted(points), strict=True), **style)
    axes.grid(alpha=0.3)


def drawn(options, task: str, number: int = 4) -> Figure:
    """Draws what is in test images, and what the dense and the sparsest network say."""
    config = recognisers.recogniser(options, task)
    found = source.load(config)
    ground = plan.of(config, found)
    apply_fn = jax.jit(ground.apply_fn, static_argnums=3)
    images, labels = splits.take(found.test, range(number))
    shares = (0, *config.search.sparsities)
    columns = {"what is there": pictures.of_labels(labels)}
    for level in (0, len(shares) - 1):
        root, seed = options.workdir / f"{task}_direct", config.seeds[0]
        own = layout.load_trained(root, "ticket", seed, level)
        mean, std = config.data.mean, config.data.std
        given = own.params, own.model_state, augment.normalise(images, mean, std)
        outputs, _ = apply_fn(*given, False)
        points = len(POINTS) if task == "keypoints" else 0
        title = f"{100 * shares[level]:.0f} % sparse" if level else "dense"
        columns[title] = pictures.of_outputs(outputs, task, points=points)
    return pictures.figure(images, columns)


def options_of() -> Any:
    """Returns the options of the command."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--scenes", default="", help="what scenes.py has written")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--backbone", default="resnet20")
    command_line.numbers(parser, NUMBERS)
    options = sizes.parse(parser, "girish2021")
    if options.smoke:
        vars(options).update(SMOKE)
    options.scenes = options.scenes or str(options.workdir / "scenes")
    return options


def asked(text: str) -> tuple[str, ...]:
    """Returns the tasks of "detection,keypoints", in our order.

    Raises:
      ValueError: One is unknown, or there is none.
    """
    words = command_line.words("tasks", text, TASKS)
    return tuple(task for task in TASKS if task in words)


def trained(options, tasks: tuple[str, ...]) -> list[dict]:
    """Runs what is missing, and returns the records of all."""
    grid.run({"backbone": recognisers.classifier(options)}, options.workdir)
    return grid.run(recognisers.runs(options, tasks), options.workdir)


def main() -> None:
    """Runs what is missing, and writes the tables, the curves and the pictures."""
    options = options_of()
    command_line.prepare()
    with command_line.plain_errors():
        tasks = asked(options.tasks)
        scenes.written(options)
        if options.cost:
            every = {
                "backbone": recognisers.classifier(options),
                **recognisers.runs(options, tasks),
            }
            work.show(options, every, {"girish2021": claimed([])})
            return
        rows, first = trained(options, tasks), tasks[0]
        parts = [f"Command: `{command_line.typed()}`; AP or mIoU, %, last step."]
        parts += [table(rows, tasks), by_size(rows, first)]
        text = "\n\n".join([*parts, early_masks(options, first)]) + "\n"
        page.write(options, "girish2021", text, figure(rows, tasks), claimed(rows))
        for one in tasks:
            path = options.workdir / f"girish2021_{one}.png"
            axes_lib.save(drawn(options, one), path)


if __name__ == "__main__":
    main()
