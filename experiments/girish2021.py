"""Girish et al., 2021 (arXiv:2012.04643): tickets of recognisers.

    python experiments/girish2021.py --workdir=runs/girish2021 --data_dir=DIR

Scenes of MNIST digits stand for COCO, a residual network trained on single digits for
the one trained on ImageNet. Four ways to a sparse recogniser, at 50, 80 and 90 %:

    direct   the recogniser itself pruned, all of it, level by level; and at one go
    ticket   the classifier's ticket as the backbone: masks, weights, batch statistics
    mask     its masks on the dense classifier's weights; own batch statistics
    task     the ticket of another task's recogniser, all but the heads

"ticket" and "mask" prune the backbone alone: of the whole network less is gone, which
the table and the figure show beside. The published numbers are of ResNet-18 on COCO,
with ImageNet's weights: their order may be compared with ours, not their height.
"""

import pathlib
import subprocess
import sys
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lthjax.data import augment, splits
from lthjax.program import command_line
from lthjax.program.build import plan, source
from lthjax.program.config import files
from lthjax.program.report import run_report
from lthjax.program.sweep import grid
from lthjax.program.workdir import layout, results
from lthjax.saving.tickets import load_trained
from lthjax.training import centre_points

# {task: {sparsity of the backbone: (mean average precision, of the whole network)}}:
# transfer of tickets, ResNet-18, COCO, tables 1 and 2; per cent.
PUBLISHED = {
    "detection": {
        0: (29.91, 0),
        50: (28.52, 17.57),
        80: (27.70, 28.10),
        90: (25.59, 31.61),
    },
    "keypoints": {
        0: (58.59, 0),
        50: (56.96, 11.94),
        80: (56.70, 19.09),
        90: (55.30, 21.47),
    },
    "segmentation": {
        0: (27.64, 0),
        50: (26.60, None),
        80: (25.90, None),
        90: (24.03, None),
    },
}
SPARSITIES = (0.5, 0.8, 0.9)
# {task: (model, labels, what it is judged by, the task whose ticket is taken over)}
TASKS = {
    "detection": ("detector", "boxes", "test_ap", "keypoints"),
    "keypoints": ("keypoints", "keypoints", "test_ap", "detection"),
    "segmentation": ("segmenter", "classes", "test_miou", "detection"),
}
OUTSIDE = ("^neck/", "^heads/")


def base(options) -> Any:
    """Returns what all runs have in common."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.optimizer.update(name="adam", learning_rate=1e-3)
    config.data.update(mean=(0.1307,), std=(0.3081,))
    config.studies = ("signs",)  # keeps the trained networks
    config.search.sparsities = SPARSITIES[:1] if options.smoke else SPARSITIES
    config.train.update(steps=options.steps, batch_size=64)
    config.eval_every = max(1, options.steps // 5)
    config.search.rewind_to = options.steps // 10
    return config


def classifier(options) -> Any:
    """Returns the config of the backbone's classification run."""
    config = base(options)
    config.data_dir = options.data_dir
    config.data.update(name="mnist", validation=5000, limit=options.limit)
    if options.smoke:
        config.data.update(name="digits", validation=100)
    config.model.update(name=options.backbone, width=options.width)
    config.search.exclude = ("^head/",)
    return config


def recogniser(options, task: str) -> Any:
    """Returns the config of a task's recogniser, pruned itself."""
    model, labels, _, _ = TASKS[task]
    config = base(options)
    config.objective = task
    config.data_dir = options.scenes
    given = {"labels": labels, "train": "train", "test": "test", "grey": True}
    config.data.update(name="coco", validation=options.validation)
    config.data.options.update(given)
    config.data.update(limit=options.limit, crop=4)
    config.eval_batch = 100
    config.model.update(name=model, width=options.width)
    config.model.options.update({"backbone": options.backbone})
    return config


def ways(options, task: str) -> dict:
    """Returns {name: config} of a task, its own pruning first."""
    found = {f"{task}_direct": recogniser(options, task)}
    for share in SPARSITIES[1:] if not options.smoke else ():
        config = recogniser(options, task)
        config.search.sparsities = (share,)
        found[f"{task}_once_{round(100 * share)}"] = config
    other = TASKS[task][3]
    sources = {"ticket": "backbone", "mask": "backbone", "task": f"{other}_direct"}
    for way, run in sources.items():
        config, plain = recogniser(options, task), files.default().search
        levels = len(config.search.sparsities)
        config.search.update(method="transplant", sparsities=(), rewind_to=0)
        config.search.levels = plain.levels
        config.search.exclude = OUTSIDE if way != "task" else OUTSIDE[1:]
        own = {"source": str(options.workdir / run), "way": way}
        config.transplant.update(own, levels=tuple(range(1, levels + 1)))
        found[f"{task}_{way}"] = config
    return found


def table(rows: list[dict], tasks: tuple[str, ...]) -> str:
    """Returns every way at every level, and the published numbers beneath."""
    heads = ["task", "way", "in scope, %", "of the network, %", "ours", "n"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for task in tasks:
        for run, level, own in _groups(rows, task):
            shown = results.shown(results.spread(_values(own, task)))
            way = "dense" if not level else run.removeprefix(f"{task}_")
            scope, whole = (
                f"{100 * own[0][name]:.1f}" for name in ("sparsity", "sparsity_network")
            )
            lines.append(
                f"| {task} | {way} | {scope} | {whole} | {shown} | {len(own)} |"
            )
    lines += ["", "Published, ResNet-18 on COCO, tickets of the backbone:", ""]
    lines += ["| task | in scope, % | of the network, % | mAP |", "|---|---|---|---|"]
    for task in tasks:
        for share, (value, whole) in PUBLISHED[task].items():
            shown = "not printed" if whole is None else whole
            lines.append(f"| {task} | {share} | {shown} | {value} |")
    return "\n".join(lines)


def _groups(rows, task):
    """Returns (run, level, records) of a task; the dense network of one run only."""
    groups = {}
    for row in rows:
        own = row["arm"] == "ticket" and row["run"].startswith(f"{task}_")
        if own and (row["level"] or row["run"].endswith("_direct")):
            groups.setdefault((row["run"], row["level"]), []).append(row)
    return [(*key, own) for key, own in sorted(groups.items())]


def _values(own, task):
    return [100 * r[TASKS[task][2]] for r in own]


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
        way = run.removeprefix(f"{task}_").partition("_")[0]
        spread = results.spread(_values(own, task))
        point = (100 * own[0][name], spread.mean, spread.std or 0.0)
        lines.setdefault(way, []).append(point)
    for way, points in lines.items():
        axes.errorbar(*zip(*points, strict=True), marker="o", capsize=2, label=way)
    axes.grid(alpha=0.3)


def pictures(options, task: str, number: int = 4) -> Figure:
    """Draws what the dense and the sparsest network of a task say of test images."""
    config = recogniser(options, task)
    found = source.load(config)
    ground = plan.of(config, found)
    images = splits.take(found.test, range(number)).images
    root, seed = options.workdir / f"{task}_direct", config.seeds[0]
    levels = 0, len(config.search.sparsities)
    shown = Figure(figsize=(2.2 * number, 4.8), layout="constrained")
    for axes_row, level in zip(shown.subplots(2, number), levels, strict=True):
        trained = load_trained(layout.trained_path(root, "ticket", seed, level))
        inputs = augment.normalise(images, config.data.mean, config.data.std)
        given = trained.params, trained.model_state, inputs
        outputs, _ = ground.apply_fn(*given, False)
        for axes, image, said in zip(
            axes_row, images, said_of(task, outputs), strict=True
        ):
            axes.imshow(image[..., 0], cmap="gray")
            said(axes, len(image))
            axes.set_axis_off()
        share = 0 if not level else config.search.sparsities[level - 1]
        axes_row[0].set_title(f"{100 * share:.0f} % sparse", fontsize=9)
    return shown


def said_of(task: str, outputs: Any) -> list:
    """Returns what draws the outputs of each image: (axes, side) -> None."""
    if task == "segmentation":
        classes = outputs.argmax(-1)
        return [
            lambda axes, side, own=own: axes.imshow(
                own, cmap="tab20", alpha=0.5 * (own > 0)
            )
            for own in classes
        ]
    points = 5 if task == "keypoints" else 0
    found = centre_points.decode(outputs, points=points)

    def draw(axes, side, i):
        for j, score in enumerate(found.scores[i]):
            if score < 0.3:
                continue
            x0, y0, x1, y1 = (float(n) * side - 0.5 for n in found.boxes[i, j])
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="C1"))
            axes.text(x0, y0, f"{int(found.classes[i, j])}", color="C1", fontsize=7)
            for x, y in found.points[i, j] * side - 0.5:
                axes.plot(x, y, ".", color="C0", markersize=3)

    return [lambda axes, side, i=i: draw(axes, side, i) for i in range(len(outputs))]


def write_scenes(options) -> None:
    """Has `scenes.py` write the scenes, where they are not there."""
    if not (pathlib.Path(options.scenes) / "scenes.json").exists():
        script = str(pathlib.Path(__file__).with_name("scenes.py"))
        given = [f"--workdir={options.scenes}", f"--data_dir={options.data_dir}"]
        given += ["--smoke"] * options.smoke
        subprocess.run([sys.executable, script, *given], check=True)


def main() -> None:
    """Runs what is missing, and writes the table, the curves and the pictures."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--scenes", default="", help="what scenes.py has written")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--backbone", default="resnet20")
    numbers = {"steps": 2000, "seeds": 3, "limit": 0, "validation": 500}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--width", type=float, default=0.5)
    options = parser.parse_args()
    if options.smoke:
        options.steps, options.seeds, options.width = 10, 1, 0.25
        options.limit, options.validation, options.backbone = 64, 20, "resnet8"
        options.tasks = "detection"
    options.scenes = options.scenes or str(options.workdir / "scenes")
    command_line.prepare()
    with command_line.plain_errors():
        write_scenes(options)
        tasks = tuple(task for task in TASKS if task in options.tasks.split(","))
        grid.run({"backbone": classifier(options)}, options.workdir)
        configs = {n: c for task in tasks for n, c in ways(options, task).items()}
        direct = [n for n in configs if n.endswith("_direct")]
        missing = {f"{TASKS[task][3]}_direct" for task in tasks} - set(direct)
        more = {n: recogniser(options, n.removesuffix("_direct")) for n in missing}
        ordered = {n: configs[n] for n in direct} | more
        rows = grid.run(ordered | configs, options.workdir)
        text = f"Command: `{command_line.typed()}`; %, last step.\n\n"
        text += table(rows, tasks) + "\n"
        results.write(options.workdir / "girish2021.md", text)
        run_report.save(figure(rows, tasks), options.workdir / "girish2021.png")
        for task in tasks:
            path = options.workdir / f"girish2021_{task}.png"
            run_report.save(pictures(options, task), path)
        print(text)


if __name__ == "__main__":
    main()
