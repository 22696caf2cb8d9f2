"""The batches of a training and of an evaluation, read ahead of their use.

What step t takes is a function of the data key and of t alone, and the same as where
the data lie on the device (`batches.over_steps`): a run that is cut and continued needs
nothing but its step to read on.
"""

import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing import connection
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from lthjax.callables import PlaceFn
from lthjax.data import batches
from lthjax.data.splits import Stored, read, size

PIECE = 32  # images a thread or a process reads at once
AHEAD = 2  # batches in memory, and as many on the device
THREADS = 16  # at most, in this process


class Key(NamedTuple):
    """A data key in a form that can be compared, and sent to another process."""

    data: tuple[int, ...]
    kind: Any  # what `jax.random.key_impl` says


class Training(NamedTuple):
    """The training batches of one or more data keys.

    Attributes:
      split: What is read.
      keys: The data keys; each decides an order of its own, and its crops.
      batch_size: Of a step, in all processes together.
      rows: The part of every batch that this process reads.
    """

    split: Stored
    keys: tuple[Key, ...]
    batch_size: int
    rows: slice = slice(None)


class HeldOut(NamedTuple):
    """The chunks of sets that are evaluated on, one set after the other, in a circle.

    Attributes:
      splits: What is read.
      chunk: Images a chunk, in all processes together.
      rows: The part of every chunk that this process reads.
    """

    splits: tuple[Stored, ...]
    chunk: int
    rows: slice = slice(None)


def distinct(keys: jax.Array) -> tuple[tuple[Key, ...], np.ndarray]:
    """Returns the different ones among data keys [n], and which one each is [n]."""
    kind = jax.random.key_impl(keys)
    rows = [tuple(map(int, row)) for row in np.asarray(jax.random.key_data(keys))]
    found = sorted(set(rows))
    which = np.array([found.index(row) for row in rows], np.int32)
    return tuple(Key(row, kind) for row in found), which


def indices(key: Key, step: int, *, size: int, batch_size: int) -> np.ndarray:
    """Returns what a step of `batches.over_steps` takes, if it runs with a data key.

    Step t of epoch e = t // S, with S = ceil(size / batch_size), takes

      (P_e, P_{e+1})[(t - e S) batch_size :][: batch_size],  P_e = permutation(k, e)

    with k the first half of the data key, as `training.runner` splits it.

    Args:
      key: The data key.
      step: Its number.
      size: Number of examples.
      batch_size: Number of examples a step.

    Returns:
      Numbers below `size` [batch_size].
    """
    epoch, at = divmod(step, batches.steps_per_epoch(size, batch_size))
    at *= batch_size
    taken = _order(key, epoch, size)[at : at + batch_size]
    if len(taken) == batch_size:
        return taken
    following = _order(key, epoch + 1, size)[: batch_size - len(taken)]
    return np.concatenate([taken, following])


def training(
    stream: Training,
    start: int,
    stop: int,
    *,
    workers: int = 0,
    place_fn: PlaceFn = jax.device_put,
) -> Iterator:
    """Returns an iterator over the batches of the steps from `start` to `stop` - 1.

    A batch is (images uint8 [keys, rows, h, w, c], labels int32 [keys, rows]). Crops
    are a function of data key, step and place in the batch. Close it after use.

    Args:
      stream: What is read.
      start: The first step.
      stop: The step after the last.
      workers: Processes that read; 0: threads of this one.
      place_fn: What brings a batch to the devices, ahead of its use: `placed`.

    Raises:
      ValueError: `rows` is empty, or there is no batch of that size. In iterating: an
        image cannot be read.
    """
    batches.steps_per_epoch(size(stream.split), stream.batch_size)
    pieces = _pieces(stream.batch_size, stream.rows)
    read_fn = functools.partial(_of_training, stream, pieces)
    return _read_ahead(read_fn, (start, stop), len(pieces), workers, place_fn)


def held_out(stream: HeldOut, *, place_fn: PlaceFn = jax.device_put) -> Iterator:
    """Returns an endless iterator over chunks, the first one again after the last.

    Threads of this process read them, ahead from one evaluation to the next.

    A chunk is (images uint8 [1, rows, h, w, c], labels int32 [1, rows], weights float32
    [1, rows]), the weights 1, or 0 for what only fills the last chunk of a set. Close
    it after use.

    Args:
      stream: What is read.
      place_fn: What brings a chunk to the devices: `placed`.

    Raises:
      ValueError: `rows` is empty. In iterating: an image cannot be read.
    """
    pieces = _pieces(stream.chunk, stream.rows)
    read_fn = functools.partial(_of_held_out, stream, pieces)
    return _read_ahead(read_fn, (0, 2**40), len(pieces), 0, place_fn)


def chunks(stream: HeldOut) -> list[tuple[int, int]]:
    """Returns (number of its set, number of its first image) of each chunk."""
    return [
        (i, first)
        for i, split in enumerate(stream.splits)
        for first in range(0, size(split), stream.chunk)
    ]


def placed(sharding: jax.sharding.Sharding) -> PlaceFn:
    """Returns what makes global arrays of the rows that this process has read.

    Args:
      sharding: Of the global arrays; their second axis, the rows, is what processes
        divide.
    """

    def place(batch):
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, x), batch
        )

    return place


@functools.lru_cache(maxsize=64)
def _order(key, epoch, size):
    """Returns `batches.permutation` on the host, once for all who ask for it."""
    wrapped = jax.random.wrap_key_data(np.array(key.data, np.uint32), impl=key.kind)
    return np.asarray(_permutation(wrapped, epoch, size=size))


@functools.partial(jax.jit, static_argnames="size")
def _permutation(key, epoch, *, size):
    order_key, _ = jax.random.split(key)
    return batches.permutation(order_key, epoch, size)


def _pieces(batch_size, rows):
    """Returns the places in a batch that this process reads, in pieces."""
    places = range(batch_size)[rows]
    if not places:
        raise ValueError(
            f"rows must be some of the {batch_size} of a batch, got rows = {rows}; "
            "give fewer processes or a larger batch"
        )
    return [places[i : i + PIECE] for i in range(0, len(places), PIECE)]


def _of_training(stream, pieces, number):
    """Reads a piece of a batch: `number` counts the pieces of all steps."""
    step, piece = divmod(number, len(pieces))
    sizes = {"size": size(stream.split), "batch_size": stream.batch_size}
    found = []
    for key in stream.keys:
        taken = indices(key, step, **sizes)[pieces[piece]]
        draws = [(*key.data, step, place) for place in pieces[piece]]
        found.append(read(stream.split, taken, draws))
    return tuple(np.stack(arrays) for arrays in zip(*found, strict=True))


def _of_held_out(stream, pieces, number):
    """Reads a piece of a chunk: `number` counts the pieces of all chunks."""
    chunk, piece = divmod(number, len(pieces))
    circle = chunks(stream)
    index, first = circle[chunk % len(circle)]
    return _padded(stream.splits[index], [first + place for place in pieces[piece]])


def _padded(split, wanted):
    """Returns examples and weights, zeros beyond the end of the split."""
    there = [i for i in wanted if i < size(split)]
    arrays = (*read(split, there), np.ones(len(there), np.float32))
    rest = len(wanted) - len(there)
    widths = [[(0, rest)] + [(0, 0)] * (array.ndim - 1) for array in arrays]
    return tuple(
        np.pad(array, width)[None] for array, width in zip(arrays, widths, strict=True)
    )


def _read_ahead(read_fn, span, pieces, workers, place_fn):
    """Returns an iterator over read_fn(number) for the pieces of a span, joined."""
    try:
        import grain  # here: it takes most of a second
    except ImportError as error:
        raise ValueError(
            "what is streamed must be read ahead with grain, which is not installed "
            "here, got data.stream = True; pip install grain, or give data.stream = "
            "False"
        ) from error
    numbers = grain.MapDataset.range(*(at * pieces for at in span)).map(read_fn)
    waiting = AHEAD * pieces
    threads = min(os.cpu_count() or 1, THREADS, waiting)
    if workers:
        flags.FLAGS.mark_as_parsed()  # or grain refuses, where absl has not started us
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
        processes = grain.MultiprocessingOptions(workers, -(-waiting // workers))
        dataset = numbers.to_iter_dataset(options)
        dataset = dataset.mp_prefetch(processes, worker_init_fn=_on_the_host)
    else:
        dataset = numbers.to_iter_dataset(grain.ReadOptions(threads, waiting))
    dataset = dataset.batch(pieces, batch_fn=_joined).map(place_fn)
    ahead = grain.experimental.ThreadPrefetchIterDataset
    return iter(ahead(dataset, prefetch_buffer_size=AHEAD))


def _joined(pieces):
    arrays = zip(*pieces, strict=True)
    return tuple(np.concatenate(parts, axis=1) for parts in arrays)


def _on_the_host(worker, workers):
    """Keeps a process that reads off the accelerator, and ends it with who started it.

    A parent that is killed cannot end it. Its shared memory goes with it: Python's
    resource tracker removes that where the last process that held some has ended.
    """
    del worker, workers
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
