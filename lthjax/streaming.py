"""Training on data that stay on the disk: one dispatch a step, batches read ahead.

The same step, the same order and the same validations as where the data lie on the
device, in the same form: (states, (masks, keys), span, start, stop) -> states.
"""

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import training
from lthjax.data import splits as splits_lib
from lthjax.data import streams


class Feed(NamedTuple):
    """Where a program's batches come from, on the devices.

    Attributes:
      batches: (keys, start, stop, until) -> the batches of the steps from start to
        stop - 1 of a training that ends at until, keys as `streams.distinct` has them.
      chunks: () -> every chunk of the held-out sets once.
      sets: [(which set, how many images)] of these chunks.
    """

    batches: Callable[[tuple, int, int, int], Iterator]
    chunks: Callable[[], Iterator]
    sets: list[tuple[int, int]]


class Point(NamedTuple):
    """What a validation has found, as `training.validation` takes it.

    Attributes:
      span: The steps of the training.
      validation: (loss, accuracy).
      test: (loss, accuracy).
    """

    span: tuple
    validation: tuple
    test: tuple


def feed(
    source: splits_lib.Source,
    sizes: tuple[int, int],
    *,
    workers: int = 0,
    rows: tuple[slice, slice] = (slice(None), slice(None)),
    place_fn: Callable = jax.device_put,
) -> Feed:
    """Returns the feed of a source whose splits are `Stored`.

    Args:
      source: The data set.
      sizes: Of a batch in training, and of a chunk in evaluation.
      workers: Processes that read in training; 0: threads of this one.
      rows: The part of a batch, and of a chunk, that this process reads.
      place_fn: What brings a batch to the devices: `streams.placed`.
    """
    held_out = streams.HeldOut((source.validation, source.test), sizes[1], rows[1])

    def opened(asked, start):
        keys, until = asked
        stream = streams.Training(source.train, keys, sizes[0], rows[0])
        how = {"workers": workers, "place_fn": place_fn}
        return streams.training(stream, start, until, **how)

    follow, close = _continued(opened)
    count = sum(streams.chunks(held_out))
    circle, _ = _continued(
        lambda _, start: streams.held_out(held_out, place_fn=place_fn), count
    )

    def batches(keys, start, stop, until):
        yield from follow((keys, until), start, stop)
        if stop == until:
            close()

    sets = [
        (i, min(sizes[1], splits_lib.size(split) - at))
        for i, split in enumerate(held_out.splits)
        for at in range(0, splits_lib.size(split), sizes[1])
    ]
    return Feed(batches, lambda: circle(None, 0, count), sets)


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
    compile_fn: Callable,
    *,
    every: int,
    forward_fn: Callable = training.plain,
) -> Callable:
    """Returns the training of a population, in the form of `programs.trainer`.

    Nothing waits for a step: while one runs, the next are dispatched.

    Args:
      functions: (step, evaluate, prepare): the first two as `training.runner` and
        `training.validation` take them; prepare, (key, images) -> images, augments and
        normalises.
      feed: Where batches come from.
      compile_fn: A function (member, *shared) -> member's result becomes one of a
        population, (donated, rest of the members, *shared) -> results, compiled.
      every: Steps between two validations.
      forward_fn: As for `training.step`.

    Returns:
      (states, (masks, keys), span, start, stop) -> states; `states` are given away.
    """
    step, evaluate, prepare = functions

    def one(member, batch, at):
        state, masks, key, which = member
        _, augment_key = jax.random.split(key)  # as `training.runner`
        images, labels = (array[which] for array in batch)
        images = prepare(jax.random.fold_in(augment_key, at), images)
        return step(state, masks, images, labels, at)

    update = compile_fn(one)
    validate = _validation(evaluate, feed, compile_fn, every, forward_fn)

    def run(states, fixed, span, start, stop):
        masks, keys = fixed
        found, which = streams.distinct(keys)
        fixed = masks, keys, which
        for at, batch in enumerate(feed.batches(found, start, stop, span[1]), start):
            states = update(states, fixed, batch, np.int32(at))
            if (at + 1) % every == 0 or at + 1 == span[1]:
                states = validate(states, span, at + 1)
        return states

    return run


def evaluation(evaluate: Callable, feed: Feed) -> Callable:
    """Returns (params, model_state) -> {metric: value} of the held-out sets.

    Args:
      evaluate: As `training.validation` takes it.
      feed: Where the chunks come from.
    """
    count = jax.jit(_counter(evaluate), donate_argnums=0)

    def measure(params, model_state):
        sums = jnp.zeros((2, 3))
        for piece in _pieces(feed):
            sums = count(sums, params, model_state, piece)
        values = (sums[:, :2] / sums[:, 2:]).reshape(-1)
        return dict(zip(training.METRICS[1:], values, strict=True))

    return measure


def _validation(evaluate, feed, compile_fn, every, forward_fn):
    """Returns (states, span, at) -> states, with a point of the learning curve."""
    counted = _counter(evaluate)
    measured = training.validation(
        lambda params, model_state, found: found, every=every, forward_fn=forward_fn
    )

    def add(member, piece):
        sums, state = member
        return counted(sums, forward_fn(state), state.model_state, piece)

    def write(member, span, at):
        state, sums = member
        found = sums[:, :2] / sums[:, 2:]
        return measured(state, None, Point(span, *map(tuple, found)), at)

    add, write = compile_fn(add), compile_fn(write)

    def validate(states, span, at):
        sums = jnp.zeros((len(states.loss), 2, 3))
        for piece in _pieces(feed):
            sums = add(sums, (states,), piece)
        return write(states, (sums,), span, np.int32(at))

    return validate


def _counter(evaluate):
    """Returns what adds a chunk to the sums [set, (losses, correct, images)]."""

    def count(sums, params, model_state, piece):
        chunk, index, size = piece
        loss, accuracy = evaluate(params, model_state, chunk)
        correct = jnp.round(accuracy * size)  # a count, whatever dividing it has cost
        return sums.at[index].add(jnp.stack([loss * size, correct, size]))

    return count


def _pieces(feed):
    """Yields (chunk, its set, its images) of a round over the held-out sets."""
    for chunk, (index, size) in zip(feed.chunks(), feed.sets, strict=True):
        yield chunk, np.int32(index), np.float32(size)
