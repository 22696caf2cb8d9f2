"""What a population measured, as records and learning curves, and who is told of it."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from lthjax.callables import Writer
from lthjax.program.workdir import member
from lthjax.program.workdir.measures import Measures
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.views import Views


def tell(
    writers: Sequence[Writer],
    population: Any,
    curve: np.ndarray,
    steps: Mapping[int, int],
    measures: Measures,
) -> str:
    """Tells writers of new points of every member's curve; returns a text on the last.

    Args:
      writers: Who is told.
      population: A `population.Population`.
      curve: All points so far [members, points, columns]; NaN where a member had
        stopped.
      steps: {index of a new point: its step}.
      measures: What the points are of.
    """
    for writer, (i, job) in itertools.product(writers, enumerate(population.jobs)):
        own = {n: at for n, at in steps.items() if not np.isnan(curve[i, n]).all()}
        for index, step in own.items():
            values = dict(
                zip(measures.columns, map(float, curve[i, index]), strict=True)
            )
            writer.points(where(job), step, values)
    return _text(population.jobs, curve, list(steps), measures)


def where(job: Any) -> str:
    """Returns the name of a training: "ticket/seed_0/level_03"."""
    return f"{job.arm}/{job.member.folder}/level_{job.ticket.level:02d}"


def _text(jobs, curve, indices, measures):
    """Returns "validation accuracy: ticket 90.12 %, reinit 71.00 %", means by arm."""
    if not indices:
        return ""
    column = measures.columns.index(f"validation_{measures.shown}")
    shown = curve[:, : indices[-1] + 1, column]  # NaN where a member had stopped
    last = [measures.scale * own[~np.isnan(own)][-1] for own in shown]
    groups = {}
    for job, value in zip(jobs, last, strict=True):
        arm = "dense" if member.is_dense(_identity(job)) else job.arm
        groups.setdefault(arm, []).append(value)
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
    *,
    views: Views | None = None,
) -> list[dict]:
    """Returns the record of every member.

    Args:
      population: A `population.Population` at the end of its level.
      masks: The masks that each member ended with.
      drawn: Learning curves, all parts of these members' among them.
      measures: What they are of, and what the best validation is judged by.
      described: More columns of each; no validation before the step "plain_from" in
        them, of a network that is not the one deployed, counts as the best.
      views: What the axes of the leaves are.
    """
    found = []
    described = described or [{}] * len(masks)
    for job, kept, more in zip(population.jobs, masks, described, strict=True):
        parts = [c for c in drawn if c.items() >= _identity(job).items()]
        parts.sort(key=lambda c: c["start"])  # of a file that was mended, none are
        names = "step", *measures.columns
        curve = {name: sum((c[name] for c in parts), []) for name in names}
        row = {**_identity(job), **_amounts(kept)}
        row |= {name: curve[name][-1] for name in measures.columns}
        row |= _at_best(curve, measures, more.get("plain_from", 0))
        row["steps"] = sum(c["step"][-1] - c["start"] for c in parts)
        row["seconds"] = round(sum(c["seconds"] for c in parts), 3)
        layers = masks_lib.layers(kept)
        row["collapsed"] = masks_lib.collapsed(kept, views)
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
