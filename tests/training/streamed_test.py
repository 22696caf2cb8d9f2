"""A streamed run is the run of the data that lie on the device."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

from lthjax.data import augment, batches, in_memory, on_disk, read_ahead
from lthjax.devices import meshes
from lthjax.tickets import Ticket
from lthjax.training import evaluate, losses, members, steps, zeros
from lthjax.training import streamed as streamed_lib
from lthjax.training.objective import Counted, Objective, columns

VALIDATION, CHUNK, EVERY, UNTIL = 6, 4, 4, 11
OPTIONS = {"like": "mnist", "image_shape": (4, 4, 1), "train": 28, "test": 5}
SIZES = {"size": OPTIONS["train"] - VALIDATION, "batch_size": 5, "every": EVERY}
SEEDS = (3, 8, 3)
CLASSES = Counted(  # how many classes there are in a set, no mean of what images have
    lambda logits, labels, weights: weights @ jax.nn.one_hot(labels, 10),
    lambda sums: (sums > 0).sum().astype(jnp.float32),
)


class Data(NamedTuple):
    span: tuple
    train: Any
    validation: Any
    test: Any


def apply_fn(params, model_state, images, train):
    del train
    return images.reshape(len(images), -1) @ params["kernel"], model_state


def normalised(images):
    return augment.normalise(images, (0.5,), (0.25,))


def prepare(key, images):
    return normalised(augment.augment(key, images, padding=1, flip=True))


TX = zeros.keep(optax.sgd(0.05, 0.9))
STEP = steps.step(steps.supervised(apply_fn), TX)
EVALUATE = evaluate.evaluator(apply_fn, normalised)
COUNT = evaluate.counter(apply_fn, normalised)


def population():
    """Returns (states, (masks, keys)) of three members, two of them of one seed."""
    kernel = jax.random.normal(jax.random.key(0), (16, 10)) / 4
    masks = {"kernel": kernel > -0.2}
    tickets = [
        Ticket(0, 0, UNTIL, {"kernel": kernel + i / 10}, {}, masks)
        for i in range(len(SEEDS))
    ]
    states = [steps.begin(TX, ticket, points=3) for ticket in tickets]
    keys = jnp.stack([jax.random.key(seed) for seed in SEEDS])
    return members.stack(states), (members.stack([masks] * len(SEEDS)), keys)


def compiled(fn, traced=None, *, fed=False):
    del fed

    mapped = members.population(fn)

    def run(given, fixed, *shared):
        if traced is not None:
            traced.append(fn)
        return mapped((given, *fixed), *shared)

    return jax.jit(run, donate_argnums=0)


def feed():
    source = on_disk.load("synthetic", validation=VALIDATION, options=OPTIONS)
    return streamed_lib.feed(source, (SIZES["batch_size"], CHUNK), meshes.mesh())


def trainer(traced=None):
    return streamed_lib.trainer(
        (STEP, COUNT, prepare),
        feed(),
        functools.partial(compiled, traced=traced),
        every=EVERY,
    )


def trained(run, *stops):
    """Returns the states at the end of dispatches that stop at these steps."""
    states, fixed = population()
    for start, stop in zip((0, *stops[:-1]), stops, strict=True):
        states = run(states, fixed, (0, UNTIL), start, stop)
    return states


@pytest.fixture(scope="module")
def streamed():
    return trained(trainer(), UNTIL)


def resident():
    """Returns the same run of data on the device."""
    source = in_memory.load("synthetic", validation=VALIDATION, **OPTIONS)
    held_out = [batches.chunks(s, CHUNK) for s in (source.validation, source.test)]
    data = jax.device_put(Data((0, UNTIL), tuple(source.train), *held_out))

    def fetch(key, data, indices):
        images, labels = batches.take(data.train, indices)
        return prepare(key, images), labels

    measure = steps.validation(EVALUATE, every=EVERY)
    run = compiled(steps.runner(STEP, fetch, measure, **SIZES))
    return run(*population(), data, 0, UNTIL)


def test_a_streamed_run_is_the_resident_one(streamed):
    expected = resident()
    assert np.isfinite(expected.curve).all()
    for leaf, other in zip(
        jax.tree.leaves(streamed), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(leaf, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("stops", [(1, 2, UNTIL), (EVERY, 7, 8, UNTIL)])
def test_a_run_cut_anywhere_has_the_same_bits(streamed, stops):
    found = trained(trainer(), *stops)
    assert_same(found, streamed)


def test_a_run_goes_on_from_a_step_with_nothing_but_its_number(streamed):
    states = trained(trainer(), 6)
    states = trainer()(states, population()[1], (0, UNTIL), 6, UNTIL)
    assert_same(states, streamed)


def test_steps_and_validations_compile_once(streamed):
    traced = []
    run = trainer(traced)
    trained(run, 2, UNTIL)
    trained(run, 3, 4, UNTIL)
    assert len(traced) == 3  # the step, a chunk, a point of the curve


def test_no_steps_change_nothing():
    states = trained(trainer(), 0)
    assert_same(states, population()[0])


def test_an_evaluation_is_that_of_data_on_the_device():
    states, _ = population()
    params = members.member(states, 0).params
    source = in_memory.load("synthetic", validation=VALIDATION, **OPTIONS)
    measure = streamed_lib.evaluation(COUNT, feed())
    for _ in range(2):
        found = measure(params, {})
        for name in ("validation", "test"):
            chunks = batches.chunks(getattr(source, name), CHUNK)
            loss, accuracy = EVALUATE(params, {}, chunks)
            np.testing.assert_allclose(found[f"{name}_loss"], loss, rtol=1e-6)
            np.testing.assert_array_equal(found[f"{name}_accuracy"], accuracy)


def test_validation_alone_is_the_first_part_of_that():
    params, given = members.member(population()[0], 0).params, feed()
    whole = streamed_lib.evaluation(COUNT, given)(params, {})
    measure = streamed_lib.evaluation(COUNT, given, sets=1)
    for _ in range(2):
        found = measure(params, {})
        assert found == {"validation_loss": whole["validation_loss"]} | {
            "validation_accuracy": whole["validation_accuracy"]
        }


def test_another_objective_is_measured_as_it_says():
    own = Objective(
        losses.cross_entropy,
        {"perplexity": losses.cross_entropy},
        {"perplexity": jnp.exp},
        counted={"classes": CLASSES},
    )
    count = evaluate.counter(apply_fn, normalised, own)
    params = members.member(population()[0], 0).params
    found = streamed_lib.evaluation(count, feed(), own)(params, {})
    assert tuple(found) == columns(own)[1:]
    for name in ("validation", "test"):
        loss = jnp.log(found[f"{name}_perplexity"])
        np.testing.assert_allclose(loss, found[f"{name}_loss"], rtol=1e-5)
    source = in_memory.load("synthetic", validation=VALIDATION, **OPTIONS)
    for name in ("validation", "test"):
        labels = getattr(source, name).labels
        assert found[f"{name}_classes"] == len(np.unique(labels))


def test_what_is_counted_has_its_place_in_the_curve():
    own = Objective(losses.cross_entropy, counted={"classes": CLASSES})
    states, fixed = population()
    shape = states.curve.shape[:2]
    curve = jnp.full((*shape, len(columns(own))), jnp.nan)
    given = STEP, evaluate.counter(apply_fn, normalised, own), prepare
    how = {"every": EVERY, "objective": own}
    run = streamed_lib.trainer(given, feed(), compiled, **how)
    found = run(states._replace(curve=curve), fixed, (0, UNTIL), 0, UNTIL).curve
    expected = len(np.unique(in_memory.load("synthetic", **OPTIONS).test.labels))
    column = columns(own).index("test_classes")
    np.testing.assert_array_equal(found[:, -1, column], expected)


def test_a_feed_that_was_left_begins_again():
    keys, until = read_ahead.distinct(population()[1][1])[0], UNTIL
    one, other = feed(), feed()
    left = one.batches(keys, 0, 5, until)
    next(left)
    for batch, expected in zip(
        one.batches(keys, 0, 3, until), other.batches(keys, 0, 3, until), strict=True
    ):
        assert_same(batch, expected)
    next(other.chunks())
    for chunk, expected in zip(other.chunks(), one.chunks(), strict=True):
        assert_same(chunk, expected)
