"""What a run's tickets are like, beside their accuracy: measured, tabled and drawn.

A study is a list of rows, each of a level and a seed, or of two networks, and a figure
of them. Rows are kept as they are measured, so that a study that was stopped goes on.
"""

import inspect
import logging
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lthjax import models, registry
from lthjax.analysis import comparison, costs
from lthjax.callables import ApplyFn, EvaluateFn, PrepareFn
from lthjax.data import batches, in_memory
from lthjax.data import splits as splits_lib
from lthjax.devices import processes
from lthjax.program import progress
from lthjax.program.report import axes
from lthjax.program.report.studies import (
    barrier,
    correlation,
    densities,
    flops,
    learning_rate,
    overlap,
    signs,
    ticket_rows,
)
from lthjax.program.workdir import layout, results, text_files
from lthjax.program.workdir import measures as measures_lib
from lthjax.program.workdir.measures import ACCURACY, Measures
from lthjax.pruning.masks import Params
from lthjax.saving import tickets
from lthjax.tickets import Ticket, Trained
from lthjax.training import evaluate as evaluate_lib
from lthjax.training.objective import CLASSIFICATION, Objective

log = logging.getLogger(__name__)

FOLDER = results.STUDIES
IDENTITY = ("level", "seed", "other")


class Network(NamedTuple):
    """What studies need to know of the network that a run trains.

    Attributes:
      apply: (params, model_state, images, train) -> (logits, model_state).
      evaluate: (params, model_state, examples) -> (loss, each measure): by default
        (loss, accuracy).
      params: The shapes of its parameters.
      uses: How often a pass uses each weight, by name: `costs.uses`.
      examples: Test images in chunks, for `evaluate`.
      images: How many those are.
      training: Training images as the network reads them, [number, batch, ...], for
        batch statistics; `None` where it has none.
      measures: What its records are of.
      rate: The learning rate that it is trained at.
      dense_at: rate -> the records of the dense network trained at another one; `None`
        where nobody can train it.
      seeds: Those that it trains; `None` for all that there are records of.
    """

    apply: ApplyFn
    evaluate: EvaluateFn
    params: Params
    uses: dict[str, float]
    examples: tuple
    images: int
    training: Any
    measures: Measures = ACCURACY
    rate: float = 0.0
    dense_at: Callable[[float], list[dict]] | None = None
    seeds: tuple[int, ...] | None = None


class Study(NamedTuple):
    """A study; of rows, each with the keys of `IDENTITY` and "kept".

    Attributes:
      jobs: (root, network) -> pairs of an identity, {key: value}, and a function that
        measures the rest of that row. Nothing is loaded before it is called.
      draw: rows -> Figure.
      needs_trained: Whether it reads the weights at the end of training.
    """

    jobs: Callable[[pathlib.Path, Any], Any]
    draw: Callable[[list[dict]], Any]
    needs_trained: bool = False


def network(
    apply_fn: ApplyFn,
    prepare_fn: PrepareFn,
    shapes: tuple[Params, Any],
    source: in_memory.Source,
    *,
    chunk: int = 500,
    images: int = 1000,
    objective: Objective = CLASSIFICATION,
) -> Network:
    """Returns what studies need to know of a network and its data.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      prepare_fn: uint8 images -> normalised images.
      shapes: Of (params, model_state).
      source: The data set.
      chunk: The size of a batch.
      images: How many test images barriers are measured on, the first ones, and how
        many training images batch statistics are of (in batches of `chunk`, at least
        one); fewer where there are fewer.
      objective: What is measured.
    """
    params, model_state = shapes
    test = _first(source.test, images)
    return Network(
        apply_fn,
        evaluate_lib.evaluator(apply_fn, prepare_fn, objective=objective),
        params,
        uses(apply_fn, shapes, source),
        batches.chunks(test, min(chunk, images)),
        len(test.labels),
        _batches(prepare_fn, _first(source.train, images).images, chunk)
        if jax.tree.leaves(models.statistics(model_state))
        else None,
        measures_lib.of(objective),
    )


def uses(
    apply_fn: ApplyFn, shapes: tuple[Params, Any], source: in_memory.Source
) -> dict[str, float]:
    """Returns how often a pass uses each weight, by name: `costs.uses`.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      shapes: Of (params, model_state).
      source: The data set.

    Raises:
      ValueError: The program of the network does not tell.
    """
    params, model_state = shapes
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model_state)
    shape = splits_lib.image_shape(source.train)
    dtype = splits_lib.input_dtype(source.train)
    return costs.uses(
        lambda w, x: apply_fn(w, zeros, x, False)[0], params, shape, dtype=dtype
    )


def _first(split, images):
    """Returns the first images of a split as arrays, all where there are fewer."""
    return splits_lib.take(split, range(min(images, splits_lib.size(split))))


def _batches(prepare_fn, images, size):
    """Returns prepared images in whole batches, [number, size, ...]."""
    size = min(size, len(images))
    whole = images[: len(images) // size * size]
    prepared = jax.jit(prepare_fn)(whole)
    return prepared.reshape(-1, size, *images.shape[1:])


def check(wanted: Sequence[str]) -> None:
    """Checks the names of studies.

    Raises:
      ValueError: One is unknown, with the choices and the nearest, or is no `Study`.
    """
    for name in wanted:
        found = registry.resolve(name, STUDIES, "study")
        if not isinstance(found, Study):
            raise ValueError(
                "a study must be a studies.Study of (jobs, draw, needs_trained), got "
                f"study = {name!r}, which is {found!r}"
            )
        with registry.calling("study", name):
            inspect.signature(found.jobs).bind(None, None)
            inspect.signature(found.draw).bind(None)


def keep(
    root: pathlib.Path,
    wanted: Sequence[str],
    seed: int,
    ticket: Ticket,
    trained: Trained,
) -> None:
    """Keeps the end of a ticket's training, if a study wants it.

    One does that reads the weights; where training changes the masks, all do.

    Args:
      root: The workdir; it goes to its folder `deployed/ticket/seed_0/level_03`.
      wanted: The names of the studies.
      seed: Of the ticket.
      ticket: The ticket.
      trained: What its training gave; a second one replaces the first.
    """
    found = [registry.resolve(name, STUDIES, "study") for name in wanted]
    needed = any(study.needs_trained for study in found)
    if needed or (found and comparison.hamming(ticket.masks, trained.masks) > 0):
        path = layout.trained_path(root, ticket_rows.TICKET, seed, ticket.level)
        tickets.save_trained(path, trained, seed=seed, level=ticket.level)


def write(
    root: str | pathlib.Path,
    wanted: Sequence[str],
    network: Network,
    *,
    asked: threading.Event | None = None,
) -> None:
    """Measures what is missing of some studies, and writes their tables and figures.

    Rows that are there already are not measured again; where nothing is new and all is
    written, nothing is.

    Args:
      root: A workdir; `studies/NAME.jsonl`, `.csv` and `.png` are written in it.
      wanted: Their names, keys of `STUDIES`.
      network: What the run trains.
      asked: An event; once it is set, `write` stops after the row that it is at.

    Raises:
      ValueError: A name is unknown.
      Interrupted: `asked` was set; what was measured is saved.
    """
    check(wanted)
    root = pathlib.Path(root)
    for name in wanted:
        study = registry.resolve(name, STUDIES, "study")
        rows = _measure(root, name, study.jobs(root, network), asked)
        if rows:
            _show(root / FOLDER / name.replace(":", "."), study.draw, rows)
        else:
            log.warning("study %s: there is nothing to show%s", name, _why(study))


def _why(study):
    if not study.needs_trained:
        return " yet"
    return (
        "; it reads the weights at the end of training, which a run keeps from where "
        "the study is asked for: take another workdir"
    )


def _measure(root, name, jobs, asked):
    """Appends the rows that are not there yet, one by one, and returns all."""
    file = root / FOLDER / f"{name.replace(':', '.')}.jsonl"
    rows = results.mend(file).records.values()
    present = {results.identity(row, IDENTITY) for row in rows}
    new = [j for j in jobs if results.identity(j[0], IDENTITY) not in present]
    if new:
        log.info("study %s: %d rows to be measured", name, len(new))
    for identity, measure in new:
        (wish,) = processes.largest(asked is not None and asked.is_set())
        if wish:
            raise progress.Interrupted(
                f"stopped in the study {name}; the same command goes on from there"
            )
        file.parent.mkdir(exist_ok=True)
        results.append(file, [identity | measure()], IDENTITY)
    rows = results.read(file)
    return sorted(rows, key=lambda row: results.identity(row, IDENTITY))


def _show(stem, draw, rows):
    """Writes table and figure, unless they are of these rows already."""
    if not processes.first():
        return
    table, figure = (stem.with_name(stem.name + end) for end in (".csv", ".png"))
    text = results.to_csv(rows)
    there = figure.exists() and table.exists()
    if there and table.read_bytes() == text.encode():
        return
    axes.save(draw(rows), figure)
    text_files.write(table, text)


STUDIES = {
    "overlap": Study(overlap.jobs, overlap.draw),
    "densities": Study(densities.jobs, densities.draw),
    "flops": Study(flops.jobs, flops.draw),
    "signs": Study(signs.jobs, signs.draw, needs_trained=True),
    "barrier": Study(barrier.jobs, barrier.draw, needs_trained=True),
    "learning_rate": Study(learning_rate.jobs, learning_rate.draw),
    "correlation": Study(correlation.jobs, correlation.draw, needs_trained=True),
}
