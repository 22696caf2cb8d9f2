import multiprocessing
import os
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import on_disk
import pytest
from trees import assert_same

from lthjax.data import batches, read_ahead, splits
from lthjax.data import on_disk as on_disk_lib

SIZE, BATCH = 10, 4
STEPS = -(-SIZE // BATCH)  # of an epoch


def numbered(numbers):
    return [(None, number, number) for number in numbers]


def drawn(data, where, draw):
    """An image of the step and the place in the batch that its crop is drawn for."""
    del data, where
    return np.array(draw[-2:], np.uint8).reshape(1, 1, 2)


NUMBERS = splits.Stored(numbered, drawn, range(SIZE), (1, 1, 2))


def distinct(*seeds):
    return read_ahead.distinct(jnp.stack([jax.random.key(seed) for seed in seeds]))


def stream(*seeds, batch_size=BATCH, **options):
    return read_ahead.Training(NUMBERS, distinct(*seeds)[0], batch_size, **options)


def taken(stream, start, stop, **options):
    """Returns the batches of some steps, and closes their iterator."""
    found = read_ahead.training(stream, start, stop, **options)
    batches = [jax.device_get(batch) for batch in found]
    found.close()
    return batches


def test_the_order_is_that_of_data_on_the_device():
    steps = 2 * STEPS + 1
    order_key, _ = jax.random.split(jax.random.key(7))
    expected = batches.over_steps(
        order_key,
        lambda step, indices, rows: rows.at[step].set(indices),
        jnp.zeros((steps, BATCH), int),
        size=SIZE,
        batch_size=BATCH,
        start=0,
        stop=steps,
    )
    found = taken(stream(7), 0, steps)
    np.testing.assert_array_equal([labels[0] for _, labels in found], expected)


@pytest.mark.parametrize("start", [1, STEPS, STEPS + 2])
def test_a_stream_begun_at_any_step_goes_on_alike(start):
    stop = 2 * STEPS + 1
    assert_same(taken(stream(0), 0, stop)[start:], taken(stream(0), start, stop))


def test_a_crop_is_drawn_for_its_step_and_its_place_in_the_batch():
    for step, (images, _) in enumerate(taken(stream(0), 0, STEPS + 1)):
        np.testing.assert_array_equal(images[0, :, 0, 0, 0], step)
        np.testing.assert_array_equal(images[0, :, 0, 0, 1], np.arange(BATCH))


def test_members_of_one_seed_share_a_stream_and_those_of_others_do_not():
    found, which = distinct(5, 3, 5)
    assert len(found) == 2 and which[0] == which[2] != which[1]
    both = taken(stream(5, 3, 5), 0, 2 * STEPS)
    for i, seed in ((which[0], 5), (which[1], 3)):
        alone = taken(stream(seed), 0, 2 * STEPS)
        assert_same([(x[i], y[i]) for x, y in both], [(x[0], y[0]) for x, y in alone])
    orders = np.array([labels for _, labels in both])
    assert not np.array_equal(orders[:, 0], orders[:, 1])


def test_rows_are_the_part_of_the_whole_batch_that_a_process_reads(monkeypatch):
    monkeypatch.setattr(read_ahead, "PIECE", 2)
    batch_size = 7
    whole = taken(stream(1, batch_size=batch_size), 0, 3)
    for rows in (slice(0, 3), slice(3, 7)):
        part = taken(stream(1, batch_size=batch_size, rows=rows), 0, 3)
        assert_same(part, [(x[:, rows], y[:, rows]) for x, y in whole])


def test_processes_that_read_give_what_threads_give():
    options = {"like": "mnist", "image_shape": (4, 4, 1), "train": 12, "test": 3}
    source = on_disk_lib.load("synthetic", options=options)
    asked = read_ahead.Training(source.train, distinct(0, 1)[0], 5)
    assert_same(taken(asked, 1, 6, workers=2), taken(asked, 1, 6))


def test_a_process_that_reads_ends_when_its_parent_does(monkeypatch):
    parent, end = multiprocessing.Pipe(duplex=False)
    known, ended = types.SimpleNamespace(sentinel=parent.fileno()), threading.Event()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: known)
    monkeypatch.setattr(os, "_exit", lambda status: ended.set())
    read_ahead._on_the_host(0, 2)
    assert not ended.wait(0.05)
    end.close()  # as the system does, however the parent ends
    assert ended.wait(10)


def test_chunks_are_those_of_arrays_one_set_after_the_other_and_again():
    options = {"like": "mnist", "image_shape": (4, 4, 1), "train": 12, "test": 3}
    source = on_disk_lib.load("synthetic", validation=7, options=options)
    held_out = read_ahead.HeldOut((source.validation, source.test), 5)
    assert read_ahead.chunks(held_out) == [(0, 0), (0, 5), (1, 0)]
    arrays = [splits.take(s, range(splits.size(s))) for s in held_out.splits]
    expected = [
        [array[i : i + 1] for array in batches.chunks(split, 5)]
        for split, count in zip(arrays, (2, 1), strict=True)
        for i in range(count)
    ]
    found = read_ahead.held_out(held_out)
    for chunk in (*expected, *expected):
        assert_same(list(next(found)), chunk)
    found.close()


def test_an_unreadable_image_stops_the_one_who_reads_on_with_its_name(tmp_path):
    folder = on_disk.photographs(tmp_path)
    (folder / "train" / "n10" / "n10_1.JPEG").write_bytes(b"damaged")
    source = on_disk_lib.load("imagenet", data_dir=folder, crop=(8, True))
    asked = read_ahead.Training(source.train, distinct(0)[0], 9)
    with pytest.raises(ValueError, match="damaged one in .*n10_1.JPEG"):
        taken(asked, 0, 1)


def test_a_batch_that_is_none_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="batch_size must be from 1 to the 10 train"):
        read_ahead.training(stream(0, batch_size=SIZE + 1), 0, 1)
    with pytest.raises(ValueError, match="rows must be some of the 4 of a batch"):
        read_ahead.training(stream(0, rows=slice(BATCH, None)), 0, 1)


def test_placing_makes_global_arrays_of_the_rows_read():
    mesh = jax.make_mesh((2, 2), ("ticket", "data"), devices=jax.devices()[:4])
    sharding = jax.NamedSharding(mesh, jax.P(None, "data"))
    (images, labels), *_ = taken(stream(0), 0, 1, place_fn=read_ahead.placed(sharding))
    assert_same((images, labels), taken(stream(0), 0, 1)[0])
    live = read_ahead.training(stream(0), 0, 1, place_fn=read_ahead.placed(sharding))
    for array in next(live):
        assert array.sharding == sharding
    live.close()


def test_without_what_reads_ahead_streams_are_refused_in_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ValueError, match="with grain, which is not .*stream = False"):
        taken(stream(0), 0, 1)
