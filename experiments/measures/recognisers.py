"""The runs of girish2021: a classifier, and recognisers pruned in four ways."""

from typing import Any

from lthjax.program.config import files

SPARSITIES = (0.5, 0.8, 0.9)
# {task: (model, labels, what it is judged by, the task whose ticket is taken over)}
TASKS = {
    "detection": ("detector", "boxes", "test_ap", "keypoints"),
    "keypoints": ("keypoints", "keypoints", "test_ap", "detection"),
    "segmentation": ("segmenter", "classes", "test_miou", "detection"),
}
OUTSIDE = ("^neck/", "^heads/")
RESETS = (0, 50)  # % of the training, beside 10


def base(options) -> Any:
    """Returns what all runs have in common."""
    config = files.default()
    config.seeds = tuple(range(options.seeds))
    config.optimizer.update(name="adam", learning_rate=2e-3)
    config.data.update(mean=(0.1307,), std=(0.3081,))
    config.studies = ("signs",)  # keeps the trained networks
    config.search.sparsities = SPARSITIES[:1] if options.smoke else SPARSITIES
    config.train.update(steps=options.steps, batch_size=options.batch)
    config.eval_every = max(1, options.steps // 5)
    config.search.rewind_to = max(1, options.steps // 10)
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
    given["size"] = options.side
    config.data.update(name="coco", validation=options.validation, cut="first")
    config.data.options.update(given)
    config.data.update(limit=options.limit, crop=4)
    config.eval_batch = 100
    config.model.update(name=model, width=options.width)
    own = {"backbone": options.backbone, "features": options.features}
    config.model.options.update(own)
    config.search.exclude = OUTSIDE if options.smoke else ()
    return config


def ways(options, task: str, *, first: bool) -> dict:
    """Returns {name: config} of a task, its own pruning first."""
    found = {f"{task}_direct": recogniser(options, task)}
    for share in RESETS if first and not options.smoke else ():
        config = recogniser(options, task)
        config.search.rewind_to = options.steps * share // 100
        found[f"{task}_reset_{share}"] = config
    for share in SPARSITIES[1:] if first and not options.smoke else ():
        config = recogniser(options, task)
        config.search.sparsities = (share,)
        found[f"{task}_once_{round(100 * share)}"] = config
    sources = {"ticket": "backbone"}
    if not options.smoke:
        sources |= {"mask": "backbone", "task": f"{TASKS[task][3]}_direct"}
    levels = (1,) if options.smoke else tuple(range(1, len(SPARSITIES) + 1))
    for way, run in sources.items():
        config, plain = recogniser(options, task), files.default().search
        config.search.update(method="transplant", sparsities=(), rewind_to=0)
        config.search.levels = plain.levels
        config.search.exclude = OUTSIDE[way == "task" :]
        own = {"source": str(options.workdir / run), "way": way}
        config.transplant.update(own, levels=levels)
        found[f"{task}_{way}"] = config
    return found


def runs(options, tasks: tuple[str, ...]) -> dict:
    """Returns {folder: config} of all recognisers, those pruned themselves first."""
    configs = {
        name: config
        for i, task in enumerate(tasks)
        for name, config in ways(options, task, first=not i).items()
    }
    direct = {n: c for n, c in configs.items() if n.endswith("_direct")}
    for task in tasks if not options.smoke else ():
        other = TASKS[task][3]
        direct.setdefault(f"{other}_direct", recogniser(options, other))
    return direct | configs
