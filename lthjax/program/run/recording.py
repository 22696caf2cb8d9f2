"""What a population measured, as records, learning curves and TensorBoard scalars."""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from lthjax.program.workdir.measures import Measures
from lthjax.pruning import masks as masks_lib


@contextlib.contextmanager
def scalars(
    root: pathlib.Path, steps: list[int], measures: Measures, *, wanted: bool
) -> Iterator[Callable[[Any, Any, Any], str]]:
    """Yields add(population, curve, indices), which writes new points of every curve.

    `add` returns a text on the last of them.

    Args:
      root: The workdir; the events go to its folder `tensorboard`.
      steps: The steps of the points.
      measures: What the points are of.
      wanted: Whether to write events at all.
    """
    with contextlib.ExitStack() as stack:
        # Without a suffix the files of two trainings in one second are the same one.
        suffix = f".{time.time_ns()}"
        folder = str(root / "tensorboard")
        writer = wanted and stack.enter_context(_writer(folder, suffix))

        def add(population, curve, indices):
            columns = list(enumerate(measures.columns))
            triples = itertools.product(indices, columns, range(len(curve)))
            for index, (metric, name), i in triples if wanted else ():
                tag = f"{_tag(population.jobs[i])}/{name}"
                writer.add_scalar(tag, curve[i, index, metric], steps[index])
            return _text(population.jobs, curve, indices, measures)

        yield add


def _writer(folder, suffix):
    import tensorboardX  # here: a run that writes no events needs none

    return tensorboardX.SummaryWriter(folder, filename_suffix=suffix)


def _tag(job):
    return f"{job.arm}/{job.member.folder}/level_{job.ticket.level}"


def _text(jobs, curve, indices, measures):
    """Returns "validation accuracy: ticket 90.12 %, reinit 71.00 %", means by arm."""
    if not indices:
        return ""
    column = measures.columns.index(f"validation_{measures.shown}")
    last = measures.scale * curve[:, indices[-1], column]
    groups = {}
    for job, value in zip(jobs, last, strict=True):
        dense = job.arm == "ticket" and not job.ticket.level
        groups.setdefault("dense" if dense else job.arm, []).append(value)
    unit = " %" if measures.scale == 100 else ""
    means = [f"{n} {np.mean(x):{measures.form}}{unit}" for n, x in groups.items()]
    return f"validation {measures.shown.replace('_', ' ')}: {', '.join(means)}"


def curves(population: Any, steps: list[int], measures: Measures) -> list[dict]:
    """Returns the learning curve of every member, from `start` on.

    A training that was done in parts (to the rewind step, and on) has one for each.

    Args:
      population: A `population.Population` at its end.
      steps: The steps at which it was validated.
      measures: What the points are of.
    """
    measured = jax.device_get(population.states.curve)[:, : len(steps)]
    share = round(population.seconds / len(population.jobs), 3)
    found = []
    for job, whole in zip(population.jobs, measured, strict=True):
        curve = whole[~np.isnan(whole).all(axis=1)]  # up to where it stopped
        rounded = [[round(float(x), 6) for x in column] for column in curve.T]
        head = {**_identity(job), "start": job.ticket.step, "seconds": share}
        columns = dict(zip(measures.columns, rounded, strict=True))
        found.append(head | {"step": steps[: len(curve)]} | columns)
    return found


def rows(
    population: Any,
    masks: list[Any],
    drawn: list[dict],
    measures: Measures,
    described: list[dict] | None = None,
) -> list[dict]:
    """Returns the record of every member.

    Args:
      population: A `population.Population` at the end of its level.
      masks: The masks that each member ended with.
      drawn: Learning curves, all parts of these members' among them.
      measures: What they are of, and what the best validation is judged by.
      described: More columns of each; no validation before the step "plain_from" in
        them, of a network that is not the one deployed, counts as the best.
    """
    found = []
    described = described or [{}] * len(masks)
    for job, kept, more in zip(population.jobs, masks, described, strict=True):
        parts = [c for c in drawn if c.items() >= _identity(job).items()]
        names = "step", *measures.columns
        curve = {name: sum((c[name] for c in parts), []) for name in names}
        row = {**_identity(job), **_amounts(kept)}
        row |= {name: curve[name][-1] for name in measures.columns}
        row |= _at_best(curve, measures, more.get("plain_from", 0))
        row["steps"] = sum(c["step"][-1] - c["start"] for c in parts)
        row["seconds"] = round(sum(c["seconds"] for c in parts), 3)
        layers = masks_lib.layers(kept)
        row["collapsed"] = [name for name, (kept, _) in layers.items() if kept == 0]
        row["layers"] = {name: kept / size for name, (kept, size) in layers.items()}
        found.append(row | more)
    return found


def _identity(job):
    return {"level": job.ticket.level, "arm": job.arm, **job.member.identity}


def _amounts(masks):
    kept, prunable = masks_lib.count(masks)
    kept = int(kept)
    sparsity = (prunable - kept) / prunable
    return {"sparsity": sparsity, "kept": kept, "prunable": prunable}


def _at_best(curve, measures, first):
    """Returns the step of best validation, the first on a tie, and what it gave."""
    values = curve[f"validation_{measures.best_by}"]
    allowed = [v for v, at in zip(values, curve["step"], strict=True) if at >= first]
    best = (max if measures.best_by in measures.higher else min)(allowed)
    index = values.index(best, len(values) - len(allowed))
    names = (f"validation_{measures.shown}", measures.value)
    return {"best_step": curve["step"][index]} | {
        f"best_{n}": curve[n][index] for n in names
    }
