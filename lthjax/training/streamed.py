"""Training on data that stay on the disk: one dispatch a step, batches read ahead.

The same step, the same order and the same validations as where the data lie on the
device, in the same form: (states, (masks, keys), span, start, stop) -> states.
"""

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax.callables import (
    CompileFn,
    CountFn,
    EvaluationFn,
    ForwardFn,
    StepFn,
    TrainFn,
)
from lthjax.data import read_ahead
from lthjax.data import splits as splits_lib
from lthjax.devices import meshes
from lthjax.training import evaluate, extras, steps
from lthjax.training import objective as objective_lib
from lthjax.training.extras import Rule
from lthjax.training.objective import CLASSIFICATION, Objective


class Feed(NamedTuple):
    """Where a program's batches come from, on the devices.

    Attributes:
      batches: (keys, start, stop, until) -> the batches of the steps from start to
        stop - 1 of a training that ends at until, keys as `read_ahead.distinct` has
        them.
      chunks: () -> every chunk of the held-out sets once.
      sets: Which of these sets each of the chunks is of.
      mesh: The devices.
    """

    batches: Callable[[tuple, int, int, int], Iterator]
    chunks: Callable[[], Iterator]
    sets: list[int]
    mesh: jax.sharding.Mesh


class Point(NamedTuple):
    """What a validation has found, as `training.validation` takes it.

    Attributes:
      span: The steps of the training.
      validation: The loss and each measure of that set.
      test: The same of the other one.
    """

    span: tuple
    validation: tuple
    test: tuple


def feed(
    source: splits_lib.Source,
    sizes: tuple[int, int],
    mesh: jax.sharding.Mesh,
    *,
    workers: int = 0,
) -> Feed:
    """Returns the feed of a source whose splits are `Stored`.

    Every process reads the rows of its own devices and no others.

    Args:
      source: The data set.
      sizes: Of a batch in training, and of a chunk in evaluation.
      mesh: The devices, whose axis `data` divides both.
      workers: Processes that read in training; 0: threads of this one.
    """
    rows = [meshes.own_rows(mesh, size) for size in sizes]
    sharding = meshes.by_rows(mesh)
    place_fn = jax.device_put if meshes.trivial(mesh) else read_ahead.placed(sharding)
    parts: Any = source.validation, source.test
    held_out = read_ahead.HeldOut(parts, sizes[1], rows[1])

    def opened(asked, start):
        keys, until = asked
        stream = read_ahead.Training(source.train, keys, sizes[0], rows[0])
        how = {"workers": workers, "place_fn": place_fn}
        return read_ahead.training(stream, start, until, **how)

    follow, close = _continued(opened)
    sets = [index for index, _ in read_ahead.chunks(held_out)]
    circle, _ = _continued(
        lambda _, start: read_ahead.held_out(held_out, place_fn=place_fn), len(sets)
    )

    def batches(keys, start, stop, until):
        yield from follow((keys, until), start, stop)
        if stop == until:
            close()

    return Feed(batches, lambda: circle(None, 0, len(sets)), sets, mesh)


def _continued(open_fn: Callable, period: int = sys.maxsize) -> tuple:
    """Returns (asked, start, stop) -> items, which goes on where it stopped; and close.

    Asked for something else, it closes its iterator and takes open_fn(asked, start);
    after `period` items it is where it began.
    """
    live, where = None, None

    def close():
        nonlocal live, where
        if live is not None:
            live.close()
        live, where = None, None

    def items(asked, start, stop):
        nonlocal live, where
        if where != (asked, start):
            close()
            live = open_fn(asked, start)
        where = None  # nowhere, unless all of it is taken
        for _ in range(start, stop):
            yield next(live)
        where = asked, stop % period

    weakref.finalize(items, close)  # or at the end of the program
    return items, close


def trainer(
    functions: tuple,
    feed: Feed,
    compile_fn: CompileFn,
    *,
    every: int,
    forward_fn: ForwardFn = steps.plain,
    axis_name: str | None = None,
    objective: Objective = CLASSIFICATION,
    follow_fn: Callable[[jax.Array, Any], Any] = lambda key, labels: labels,
    mix_fn: Callable[[jax.Array, Any], Any] = lambda key, batch: batch,
    rule: Rule | None = None,
) -> TrainFn:
    """Returns the training of a population, in the form of `callables.TrainFn`.

    Nothing waits for a step: while one runs, the next are dispatched.

    Args:
      functions: (step, count, prepare): a step as `training.runner` takes it, what
        `training.counter` returns of this objective, and (key, images) -> images,
        which augments and normalises.
      feed: Where batches come from.
      compile_fn: (fn, fed=bool) -> the function `fn(member, *shared)` of a population,
        `(donated, rest of the members, *shared) -> results`, compiled; `fed` as in
        `meshes.over`.
      every: Steps between two validations.
      forward_fn: As for `training.step`.
      axis_name: The mesh axis that batches and chunks are split over.
      objective: What is measured.
      follow_fn: (key, labels) -> labels, those of images that `prepare` has moved.
      mix_fn: (key, (inputs, labels)) -> the same of a batch, done last.
      rule: As for `training.validation`.

    Returns:
      (states, (masks, keys), span, start, stop) -> states; `states` are given away.
    """
    step, count, prepare = functions

    update = compile_fn(stepped(step, prepare, follow_fn, mix_fn), fed=True)
    when = {"every": every, "forward_fn": forward_fn, "axis_name": axis_name}
    when |= {"rule": rule}
    validate = _validation(count, feed, compile_fn, objective, **when)

    def run(states, fixed, span, start, stop):
        masks, keys = fixed
        found, which = read_ahead.distinct(meshes.collected(keys))
        fixed = masks, keys, meshes.spread(feed.mesh, which)
        for at, batch in enumerate(feed.batches(found, start, stop, span[1]), start):
            states = update(states, fixed, batch, np.int32(at))
            if (at + 1) % every == 0 or at + 1 == span[1]:
                states = validate(states, span, at + 1)
        return states

    return run


def stepped(
    step: StepFn,
    prepare: Callable[[jax.Array, Any], Any],
    follow_fn: Callable[[jax.Array, Any], Any] = lambda key, labels: labels,
    mix_fn: Callable[[jax.Array, Any], Any] = lambda key, batch: batch,
) -> Callable[[Any, Any, Any], Any]:
    """Returns (member, batch, at) -> state, one step on a batch that was brought.

    A member is (state, masks, key, which): which of the batch's orders is its own.

    Args:
      step: A step as `training.runner` takes it.
      prepare: (key, inputs) -> inputs, augmented and normalised.
      follow_fn: As for `trainer`.
      mix_fn: Likewise.
    """

    def one(member, batch, at):
        state, masks, key, which = member
        _, augment_key = jax.random.split(key)  # as `training.runner`
        images, labels = (array[which] for array in batch)
        key = jax.random.fold_in(augment_key, at)
        moved = prepare(key, images), follow_fn(key, labels)
        return step(state, masks, *mix_fn(key, moved), at)

    return one


def evaluation(
    count: CountFn,
    feed: Feed,
    objective: Objective = CLASSIFICATION,
    *,
    sets: int = 2,
) -> EvaluationFn:
    """Returns (params, model_state) -> {measure: value} of the held-out sets.

    Args:
      count: What `training.counter` returns of this objective.
      feed: Where the chunks come from.
      objective: What is measured.
      sets: How many of the held-out sets: both, or 1, validation alone.
    """
    add = jax.jit(_added(count), donate_argnums=0)

    def measure(params, model_state):
        trees, sums = meshes.copied(feed.mesh, (params, model_state)), None
        for chunk, index in zip(feed.chunks(), feed.sets, strict=True):
            if index >= sets:
                break
            if sums is None:
                sums = meshes.copied(feed.mesh, _nothing(count)(*trees, chunk))
            sums = add(sums, *trees, chunk, np.int32(index))
        rows = _means(objective, meshes.collected(sums))[:sets]
        names = objective_lib.columns(objective)[1:][: sum(map(len, rows))]
        return dict(zip(names, [x for row in rows for x in row], strict=True))

    return measure


def _validation(count, feed, compile_fn, objective, *, axis_name, **when):
    """Returns (states, span, at) -> states, with a point of the learning curve."""
    add = _added(count, axis_name)
    measured = steps.validation(lambda params, model_state, found: found, **when)
    weights = functools.partial(extras.weights, forward_fn=when["forward_fn"])

    def chunked(member, chunk, index):
        sums, state = member
        return add(sums, *weights(state), chunk, index)

    def pointed(member, span, at):
        state, sums = member
        return measured(state, None, Point(span, *_means(objective, sums)), at)

    chunked, pointed = compile_fn(chunked, fed=True), compile_fn(pointed)
    shapes: list = []  # of a member's sums, once a chunk is there

    def begin(states, chunk):
        if not shapes:
            own = jax.tree.map(lambda x: jax.eval_shape(lambda y: y[0], x), states)
            network = jax.eval_shape(weights, own)
            none = jax.eval_shape(_nothing(count), *network, chunk)
            shapes.append(none)
        members = len(states.loss)
        none = jax.tree.map(
            lambda x: jnp.zeros((members, *x.shape), x.dtype), shapes[0]
        )
        return meshes.spread(feed.mesh, none)

    def validate(states, span, at):
        sums = None
        for chunk, index in zip(feed.chunks(), feed.sets, strict=True):
            sums = begin(states, chunk) if sums is None else sums
            sums = chunked(sums, (states,), chunk, np.int32(index))
        return pointed(states, (sums,), span, np.int32(at))

    return validate


def _added(count, axis_name=None):
    """Returns what adds a chunk to the sums [set, ...] of the set it is of."""

    def add(sums, params, model_state, chunk, index):
        found = count(params, model_state, [array[0] for array in chunk])
        found = found if axis_name is None else lax.psum(found, axis_name)
        return jax.tree.map(lambda x, own: x.at[index].add(own), sums, found)

    return add


def _nothing(count):
    """Returns (params, model_state, chunk) -> sums of no example [set, ...]."""

    def none(params, model_state, chunk):
        chunk = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in chunk]
        found = evaluate.nothing(count, params, model_state, chunk)
        sets = len(objective_lib.HELD_OUT)
        return jax.tree.map(lambda x: jnp.stack([x] * sets), found)

    return none


def _means(objective, sums):
    """Returns the loss and each measure, of each set."""
    sets = range(len(objective_lib.HELD_OUT))
    rows = [jax.tree.map(lambda x, i=i: x[i], sums) for i in sets]
    return tuple(objective_lib.averaged(objective, row) for row in rows)
