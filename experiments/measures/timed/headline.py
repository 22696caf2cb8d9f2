"""The headline of `accelerator.py`: ResNet-18 on CIFAR-100, tickets retrained twice.

Dense, one-shot magnitude masks at 95 and 97 % of the convolutions, each retrained
plainly and with all tweaks; the protocol of `configs/cifar100.py`, shorter: its drops
at a half and at three quarters, ghosts until the first. How long, and of how many
seeds, is chosen once from a step that is measured, and kept: later calls go on with it.
"""

import json
import time
from collections.abc import Iterator

import jax
import numpy as np

from lthjax.data import batches, facts, files
from lthjax.program import progress
from lthjax.program.build import methods
from lthjax.program.config import files as config_files
from lthjax.program.report import gains
from lthjax.program.run import experiment
from lthjax.program.workdir import results, text_files
from measures.timed.rows import Row, row
from measures.timed.steps import HERE, trainer

SPARSITIES = (0.95, 0.97)
EPOCHS, SEEDS = (20, 60), 3
TRAININGS = 7  # a seed's, in plain ones: dense, a plain and a tweaked (2) a sparsity
SHARE = 0.6  # of the seconds left; the rest compiles, re-scales, evaluates and saves
SET = "cifar100"
TIMED = 50  # steps


def headline(options) -> Iterator[Row | str]:
    """Chooses epochs and seeds where nothing did, trains what is missing, compares."""
    path, root = options.workdir / "headline.json", options.workdir / "headline"
    if not path.exists():
        yield from _choose(options, path)
    chosen = json.loads(path.read_text(encoding="utf-8"))
    yield f"{chosen['epochs']} epochs, {chosen['seeds']} seeds"
    found = config(options, **chosen)
    try:
        experiment.run(found, root)
    except progress.Interrupted:
        yield from rows(results.read(root / results.RESULTS))
        raise
    yield from rows(results.read(root / results.RESULTS))


def _choose(options, path):
    """Measures a step, and writes how many epochs and seeds the time allows."""
    batch = None if options.smoke else _base().train.batch_size
    dtype = _dtype()
    run = trainer("resnet18", options, augment=True, dtype=dtype, batch_size=batch)
    run(1)
    steps = 1 if options.smoke else TIMED
    run(steps)
    seconds = [run(steps) / steps for _ in range(3)]
    yield row(f"resnet18, a step of the headline, {dtype}", "s", seconds)
    left = options.deadline - time.monotonic()
    chosen = plan(float(np.median(seconds)), left)
    text_files.write(path, json.dumps(chosen))


def plan(seconds: float, left: float) -> dict[str, int]:
    """Returns the epochs and seeds that fit: seeds first, then longer trainings.

        trainings of 20 epochs that fit = share left / (7 * 20 steps_per_epoch seconds)

    Args:
      seconds: Of a training step of the dense network.
      left: Seconds until the call is over.
    """
    base = _base()
    images = facts.FACTS[SET].train - base.data.validation
    epoch = seconds * batches.steps_per_epoch(images, base.train.batch_size)
    total = SHARE * max(left, 0) / (TRAININGS * epoch)
    seeds = int(min(SEEDS, max(1, total // EPOCHS[0])))
    epochs = int(min(EPOCHS[1], max(EPOCHS[0], total / seeds)))
    return {"epochs": epochs, "seeds": seeds}


def config(options, *, epochs: int, seeds: int):
    """Returns the config of the headline, on the packed set where that is there."""
    found = _base()
    found.data_dir = options.data_dir
    if is_packed(options.data_dir):
        found.data.name = "packed"
        with found.unlocked():
            found.data.options.set = SET
    found.seeds = tuple(range(seeds))
    found.model.dtype = _dtype()
    found.train.epochs = epochs
    found.schedule.drops = (epochs / 2, 3 * epochs / 4)
    found.search.update(method="one_shot", score="magnitude", rewind_to=0)
    found.search.update(sparsities=SPARSITIES, levels=len(SPARSITIES))
    found.retraining.levels = (1, 2)
    for ghost in (found.retraining.neurons, found.retraining.skips):
        ghost.end = 0.5
    found.logging.tensorboard = False
    if options.smoke:
        found = methods.shrunk(found)
        found.seeds = (0,)
        found.retraining.arms = ("smoothing",)  # the others take long to compile
        found.model.options = {"blocks": (), "channels": (4,)}
    return found


def is_packed(data_dir: str) -> bool:
    """Says whether the set lies packed in a folder."""
    return any(files.root(data_dir).glob(f"{SET}.packed-*.npz"))


def _base():
    return config_files.load(HERE.parent / "configs" / "cifar100.py")


def _dtype():
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"


def rows(records: list[dict]) -> Iterator[Row]:
    """Yields the test accuracy of each arm and sparsity, and what the tweaks gain."""
    groups = {}
    for record in records:
        groups.setdefault((record["level"], record["arm"]), []).append(record)
    for (level, arm), own in sorted(groups.items()):
        name = _name(own[0]["sparsity"], arm, level)
        accuracies = [100 * r["test_accuracy"] for r in own]
        yield row(f"{name}, test accuracy", "%", accuracies)
    pairs = gains.gains(records)
    for arm, level in sorted(pairs, key=lambda group: (group[1], group[0])):
        gain = pairs[arm, level]
        name = _name(groups[level, arm][0]["sparsity"], arm, level)
        text = f"{name}, gain over vanilla"
        half = gain.half if gain.n > 1 else 0.0
        text += ", mean and 95 % interval" if gain.n > 1 else ""
        bounds = gain.mean - half, gain.mean + half
        yield Row(text, "points", gain.mean, *bounds, gain.n)


def _name(sparsity, arm, level):
    retrained = {"ticket": "vanilla", "tost_paper": "all tweaks"}.get(arm, arm)
    what = f"{100 * sparsity:.1f} % sparse, {retrained}" if level else "dense"
    return f"resnet18, {SET}, {what}"


PARTS = {"headline": headline}
