"""What a population measured, as records, learning curves and TensorBoard scalars."""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import tensorboardX

from lthjax import masks as masks_lib
from lthjax.training import METRICS


@contextlib.contextmanager
def scalars(
    root: pathlib.Path, steps: list[int], *, wanted: bool
) -> Iterator[Callable]:
    """Yields add(population, curve, indices), which writes new points of every curve.

    `add` returns a text on the last of them.

    Args:
      root: The workdir; the events go to its folder `tensorboard`.
      steps: The steps of the points.
      wanted: Whether to write events at all.
    """
    with contextlib.ExitStack() as stack:
        # Without a suffix the files of two trainings in one second are the same one.
        suffix = f".{time.time_ns()}"
        folder = str(root / "tensorboard")
        writer = wanted and stack.enter_context(
            tensorboardX.SummaryWriter(folder, filename_suffix=suffix)
        )

        def add(population, curve, indices):
            triples = itertools.product(indices, range(len(METRICS)), range(len(curve)))
            for index, metric, i in triples if wanted else ():
                tag = f"{_tag(population.jobs[i])}/{METRICS[metric]}"
                writer.add_scalar(tag, curve[i, index, metric], steps[index])
            return _text(curve, indices)

        yield add


def _tag(job):
    return f"{job.arm}/seed_{job.seed}/level_{job.ticket.level}"


def _text(curve, indices):
    if not indices:
        return ""
    accuracy = curve[:, indices[-1], METRICS.index("validation_accuracy")]
    return f"validation accuracy {100 * accuracy.mean():.2f} %"


def of_population(
    population: Any, steps: list[int], best_by: str
) -> tuple[list[dict], list[dict]]:
    """Returns (results, learning curves), one record of each for every member.

    Args:
      population: A `populations.Population` at its end.
      steps: The steps at which it was validated.
      best_by: "accuracy" or "loss": what the best validation is judged by.
    """
    rows, curves = [], []
    measured = jax.device_get(population.states.curve)
    for i, job in enumerate(population.jobs):
        curve = {
            name: [round(float(x), 6) for x in measured[i, : len(steps), j]]
            for j, name in enumerate(METRICS)
        }
        share = population.seconds / len(population.jobs)
        row = {**_identity(job), **_amounts(job.ticket)}
        row |= {name: values[-1] for name, values in curve.items()}
        row |= _at_best(steps, curve, best_by)
        row |= {"steps": job.ticket.until - job.ticket.step, "seconds": round(share, 3)}
        layers = masks_lib.layers(job.ticket.masks)
        row["collapsed"] = [name for name, (kept, _) in layers.items() if kept == 0]
        row["layers"] = {name: kept / size for name, (kept, size) in layers.items()}
        rows.append(row)
        curves.append({**_identity(job), "step": steps, **curve})
    return rows, curves


def _identity(job):
    return {"level": job.ticket.level, "seed": job.seed, "arm": job.arm}


def _amounts(ticket):
    kept, prunable = masks_lib.count(ticket.masks)
    kept = int(kept)
    sparsity = (prunable - kept) / prunable
    return {"sparsity": sparsity, "kept": kept, "prunable": prunable}


def _at_best(steps, curve, best_by):
    """Returns the step of best validation, the first on a tie, and what it gave."""
    values = curve[f"validation_{best_by}"]
    index = values.index(max(values) if best_by == "accuracy" else min(values))
    names = ("validation_accuracy", "test_accuracy")
    return {"best_step": steps[index]} | {f"best_{n}": curve[n][index] for n in names}
