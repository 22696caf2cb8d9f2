import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxprs_in_params

from lthjax.data import batches, in_memory

SIZE, BATCH = 10, 4  # three batches an epoch, the last one half filled
STEPS = 3
KEY = jax.random.key(0)


def record(step, indices, log):
    return log.at[step].set(indices)


@functools.partial(jax.jit, static_argnames=("size", "batch"))
def order(key, log, start, stop, *, size=SIZE, batch=BATCH):
    """Writes the indices of the steps from start to stop into `log`."""
    return batches.over_steps(
        key, record, log, size=size, batch_size=batch, start=start, stop=stop
    )


def empty(steps, batch=BATCH):
    return jnp.full((steps, batch), -1, jnp.int32)


@pytest.mark.parametrize(
    "size, batch, steps", [(10, 4, 3), (8, 4, 2), (4, 4, 1), (45_000, 128, 352)]
)
def test_an_epoch_keeps_its_last_partial_batch(size, batch, steps):
    assert batches.steps_per_epoch(size, batch) == steps


@pytest.mark.parametrize("batch", [0, 11])
def test_a_batch_larger_than_the_set_is_refused_with_both_numbers(batch):
    with pytest.raises(ValueError, match=rf"from 1 to the 10 .* batch_size = {batch}"):
        batches.steps_per_epoch(10, batch)


def test_a_permutation_visits_every_example_once_and_is_the_keys_and_the_epochs():
    orders = [np.asarray(batches.permutation(KEY, e, 100)) for e in (0, 1)]
    other = np.asarray(batches.permutation(jax.random.key(1), 0, 100))
    for found in (*orders, other):
        np.testing.assert_array_equal(np.sort(found), np.arange(100))
    np.testing.assert_array_equal(orders[0], batches.permutation(KEY, 0, 100))
    assert (orders[0] != orders[1]).any()
    assert (orders[0] != other).any()


def test_every_example_comes_first_equally_often():
    draw = jax.jit(jax.vmap(lambda e: batches.permutation(KEY, e, SIZE)[0]))
    counts = np.bincount(draw(jnp.arange(1_000)), minlength=SIZE)
    # Five standard deviations of a binomial count of mean 100.
    assert np.abs(counts - 100).max() < 5 * np.sqrt(100)


@pytest.mark.parametrize("size", [SIZE, 2 * BATCH])
def test_the_last_batch_is_filled_from_the_next_epochs_beginning(size):
    per_epoch = batches.steps_per_epoch(size, BATCH)
    log = np.asarray(order(KEY, empty(3 * per_epoch), 0, 3 * per_epoch, size=size))
    for epoch, seen in enumerate(log.reshape(3, -1)):
        this, following = (batches.permutation(KEY, epoch + i, size) for i in (0, 1))
        np.testing.assert_array_equal(seen[:size], this)
        np.testing.assert_array_equal(seen[size:], following[: len(seen) - size])


@pytest.mark.parametrize("cut", range(3 * STEPS + 1))
def test_a_run_cut_at_any_step_and_continued_sees_the_same_batches(cut):
    whole = order(KEY, empty(3 * STEPS), 0, 3 * STEPS)
    first = order(KEY, empty(3 * STEPS), 0, cut)
    assert (first[cut:] == -1).all()
    np.testing.assert_array_equal(order(KEY, first, cut, 3 * STEPS), whole)


def test_any_length_from_any_step_is_one_compilation():
    before = order._cache_size()
    for start, stop in ((0, 1), (2, 7), (5, 5)):
        order(KEY, empty(7), start, stop)
    assert order._cache_size() == before + 1


def mapped(function):
    return lambda *members: lax.map(lambda member: function(*member), members)


@pytest.mark.parametrize("over", [jax.vmap, mapped])
def test_a_population_sees_the_batches_of_its_members_alone(over):
    keys, logs = jax.random.split(KEY, 3), jnp.stack([empty(5)] * 3)
    alone = [order(key, log, 2, 5) for key, log in zip(keys, logs, strict=True)]
    together = jax.jit(
        lambda keys, logs, start, stop: over(lambda k, x: order(k, x, start, stop))(
            keys, logs
        )
    )(keys, logs, 2, 5)
    np.testing.assert_array_equal(together, jnp.stack(alone))


def test_what_is_due_at_a_step_stays_one_branch_for_a_whole_population():
    def body(step, indices, total):
        del indices
        return lax.cond(step % 2 == 0, lambda t: t + 1, lambda t: t, total)

    def one(key, total, stop):
        options = {"size": SIZE, "batch_size": BATCH, "start": 0, "stop": stop}
        return batches.over_steps(key, body, total, **options)

    population = jax.vmap(one, (0, 0, None))
    args = jax.random.split(KEY, 3), jnp.zeros(3, jnp.int32), 5
    assert "cond[" in str(jax.make_jaxpr(population)(*args))
    np.testing.assert_array_equal(population(*args), [3, 3, 3])


def sorts(jaxpr, loops=0):
    """Yields in how many loops each sort of a program lies."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "sort":
            yield loops
        inside = loops + (eqn.primitive.name in ("while", "scan"))
        for inner in jaxprs_in_params(eqn.params):
            yield from sorts(inner, inside)


@pytest.mark.parametrize("over", [jax.vmap, lambda f: lambda *x: lax.map(f, *x)])
def test_an_order_is_drawn_once_an_epoch_and_once_a_call(over):
    def run(key):
        log = empty(4 * STEPS)
        return batches.over_steps(
            key, record, log, size=SIZE, batch_size=BATCH, start=0, stop=4 * STEPS
        )

    alone = list(sorts(jax.make_jaxpr(run)(KEY).jaxpr))
    assert alone == [0, 1]  # before the loop over epochs, and in it: not in its steps
    found = list(sorts(jax.make_jaxpr(over(run))(jax.random.split(KEY, 3)).jaxpr))
    assert len(found) == 2
    assert found[1] - found[0] == 1


def test_taking_a_batch_on_the_device_is_indexing():
    split = in_memory.load("digits").test
    indices = np.asarray([7, 0, 299, 7])
    taken = jax.jit(batches.take)(jax.tree.map(jnp.asarray, split), indices)
    np.testing.assert_array_equal(taken.images, split.images[indices])
    np.testing.assert_array_equal(taken.labels, split.labels[indices])


def test_chunks_hold_every_example_once_and_padding_weighs_nothing():
    test = in_memory.load("digits").test
    images, labels, weights = batches.chunks(test, 128)
    assert images.shape == (3, 128, 8, 8, 1)
    assert labels.shape == weights.shape == (3, 128)
    assert weights.sum() == len(test.labels)
    np.testing.assert_array_equal(images[weights == 1], test.images)
    np.testing.assert_array_equal(labels[weights == 1], test.labels)


def test_a_chunk_of_no_example_is_refused():
    with pytest.raises(ValueError, match="at least 1, got batch_size = 0"):
        batches.chunks(in_memory.load("digits").test, 0)
