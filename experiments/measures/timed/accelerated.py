"""The parts of `accelerator.py` before its headline: each yields rows, and notes."""

import re
from collections.abc import Iterator

import jax
import numpy as np

from lthjax.devices import measure
from lthjax.program.build import methods
from lthjax.program.config import files
from lthjax.program.run import experiment
from measures import records
from measures.timed import gated, ledger, once, scaling, scoring, selection
from measures.timed.rows import Row, row
from measures.timed.steps import HERE, network, peers, trainer

DTYPES = ("bfloat16", "float32")
RATE = "matrix products, {}"  # the rows that shares are taken of
EAGER = {"fused": False, "compiled": False, "channels_last": False, "mixed": False}
LAST = {**EAGER, "channels_last": True}
COMPILED = {**LAST, "compiled": True, "fused": True}
MIXED = {**COMPILED, "mixed": True}
# What PyTorch is asked for on a GPU; on a CPU what compiles in no time.
WAYS = {
    "PyTorch, eager, float32": EAGER,
    "PyTorch, eager, channels last, float32": LAST,
    "PyTorch, compiled, channels last, float32": COMPILED,
    "PyTorch, compiled, channels last, bfloat16": MIXED,
}
MEMBERS = (1, 4, 16)
ON_CPU = 2  # of each of these


def digits(options) -> Iterator[Row | str]:
    """Runs the digits config, and compares its table with the kept one."""
    config = files.load(HERE.parent / "configs" / "digits.py")
    config.logging.tensorboard = False
    if options.smoke:
        config = methods.shrunk(config)
        config.update(seeds=(0,), controls=())
        config.search.levels = 0
    root = options.workdir / "digits"
    known = (root / "results.jsonl").exists()
    seconds, rows = measure.stopwatch(experiment.run, config, root)
    if not known:
        yield row("digits, the whole run", "s", [seconds])
    kept = kept_means((HERE / "results" / "digits.md").read_text(encoding="utf-8"))
    for arm in kept:
        found = differences(rows, arm, kept[arm])
        if found:
            what = f"digits, {arm}: mean accuracy of each level less the kept one"
            yield row(what, "points", found)
            yield row(f"digits, {arm}: the largest of these", "points", [max(found)])
            yield row(f"digits, {arm}: the smallest of these", "points", [min(found)])


def kept_means(text: str) -> dict[str, dict[int, float]]:
    """Returns {arm: {level: mean test accuracy in %}} of the kept table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    arms, found = cells[0][2:], {}
    for i, arm in enumerate(arms, start=2):
        means = {int(line[0]): re.match(r"[\d.]+", line[i]) for line in cells[2:]}
        found[arm] = {n: float(mean[0]) for n, mean in means.items() if mean}
    return found


def differences(rows: list[dict], arm: str, kept: dict[int, float]) -> list[float]:
    """Returns the mean test accuracy in % less the kept one, level by level."""
    found = []
    for level, mean in kept.items():
        own = records.accuracies(rows, arm=arm, level=level)
        if own:
            found.append(np.mean(own) - mean)
    return found


def products(options) -> Iterator[Row]:
    """Measures the rate of products of large matrices, in both dtypes."""
    size = 64 if options.smoke else scaling.MATRIX[jax.default_backend()]
    for dtype in DTYPES:
        run = {"product": scaling.products(size, dtype)}
        taken = measure.in_turns(run, options.rounds, options.seconds)["product"]
        yield row(f"{RATE.format(dtype)}", "TFLOP/s", 2e-12 * size**3 / taken)


def step(name: str, options) -> Iterator[Row | str]:
    """Measures a masked step, one without masks, PyTorch's, and the share of the rate.

    A step is three forward passes of the dense network: masks save none of them.
    """
    ours = {f"masked, {dtype}": trainer(name, options, dtype=dtype) for dtype in DTYPES}
    ours["no masks, bfloat16"] = trainer(name, options, masked=False, dtype=DTYPES[0])
    for run in ours.values():
        run(1)
    ways = list(WAYS.items())[: None if jax.default_backend() == "gpu" else ON_CPU]
    with peers(name, options, dict(ways)) as theirs:
        failed = {which: why for which, run in theirs.items() if (why := _failing(run))}
        yield from (f"{which}: {why}" for which, why in failed.items())
        working = {which: theirs[which] for which in theirs.keys() - failed}
        taken = measure.in_turns(ours | working, options.rounds, options.seconds)
    if not theirs:
        yield "PyTorch is not installed: nothing to compare with"
    images = network(name, options).batch_size
    for which, seconds in taken.items():
        yield row(f"{name}, batch {images}, {which}", "images/s", images / seconds)
    ratio = taken["masked, bfloat16"] / taken["no masks, bfloat16"]
    yield row(f"{name}, seconds masked by no masks, bfloat16", "times", ratio)
    for which in working:
        dtype = which.rpartition(" ")[2]
        times = taken[which] / taken[f"masked, {dtype}"]
        yield row(f"{name}, masked by {which}", "times", times)
    yield from _shares(name, images, taken, options)


def _failing(run):
    """Returns what a trainer of PyTorch's says of its first step where it fails."""
    try:
        run(1)
    except RuntimeError as error:
        return str(error)
    return ""


def _shares(name, images, taken, options):
    """Yields the share of the measured rate of matrix products, by dtype."""
    operations = 3 * scaling.forward(name, options) * images
    lines = ledger.read(options.workdir)
    for dtype in DTYPES:
        rate = ledger.value(lines, RATE.format(dtype))
        if rate is None:
            yield f"{name}, {dtype}: no share, as no rate of products was measured"
            continue
        share = operations / taken[f"masked, {dtype}"] / (1e12 * rate)
        least = scaling.UTILISED if name == "resnet18" and dtype == DTYPES[0] else None
        least = None if jax.default_backend() == "cpu" else least
        yield row(f"{name}, share of the rate, {dtype}", "", share, least=least)


def population(options) -> Iterator[Row]:
    """Measures populations of 1, 4 and 16 ResNet-20."""
    sizes = MEMBERS[:2] if options.smoke else MEMBERS
    runs = {n: trainer("resnet20", options, members=n) for n in sizes}
    taken = measure.in_turns(runs, options.rounds, options.seconds)
    images = network("resnet20", options).batch_size
    for n in sizes:
        yield row(f"resnet20, population of {n}", "images/s", n * images / taken[n])
    goal = None if jax.default_backend() == "cpu" else scaling.AT_ONCE
    for n in sizes[1:]:
        least = goal if n == MEMBERS[-1] else None
        ratio = n * taken[1] / taken[n]
        yield row(f"resnet20, {n} at once by {n} runs", "times", ratio, least=least)


def resnet18(options) -> Iterator[Row | str]:
    """Measures ResNet-18's step."""
    yield from step("resnet18", options)


def resnet20(options) -> Iterator[Row | str]:
    """Measures ResNet-20's step."""
    yield from step("resnet20", options)


PARTS = {
    "digits": digits,
    "products": products,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "population": population,
    "prune": once.prune,
    "select": selection.neurons,
    "rigl": scoring.rigl,
    "gates": gated.step,
}
