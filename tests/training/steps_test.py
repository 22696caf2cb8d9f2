"""Training: the same bits however it is cut, the same numbers on any devices."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from lthjax import models
from lthjax.data import batches
from lthjax.data.in_memory import Split
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket
from lthjax.training import optimizers
from lthjax.training import steps as steps_lib

KEY = jax.random.key(0)
SIZE, BATCH, CLASSES = 20, 6, 3
IMAGES = jax.random.normal(KEY, (SIZE, 4, 4, 1))
LABELS = jax.random.randint(KEY, (SIZE,), 0, CLASSES)


class Data(NamedTuple):
    span: tuple[int, int]
    train: Split
    validation: tuple
    test: tuple


def examples(first, last):
    split = Split(np.asarray(IMAGES[first:last]), np.asarray(LABELS[first:last]))
    return jax.device_put(batches.chunks(split, 4))


def data(start=0, until=10):
    return Data((start, until), Split(IMAGES, LABELS), examples(0, 7), examples(7, 20))


@functools.cache
def network(axis_name=None):
    """A perceptron, or for a mesh axis (or "one") a convolution and batch norm."""
    if axis_name is None:
        return models.build("mlp", CLASSES, options={"hidden": (5,)})
    options = {"blocks": (), "channels": (4,)}
    axis_name = None if axis_name == "one" else axis_name
    return models.build("resnet20", CLASSES, axis_name=axis_name, options=options)


def apply_fn(params, model_state, images, train, *, model=None):
    model = model or network()
    return models.apply(model, params, model_state, images, train=train)


TX = optimizers.build(
    "sgd", optax.linear_schedule(0.5, 0.0, 60), weight_decay=1e-3, clip=1.0
)
STEP = steps_lib.step(steps_lib.supervised(apply_fn), TX)
EVALUATE = jax.jit(steps_lib.evaluator(apply_fn, lambda images: images))


def fetch(key, data, indices):
    """A batch with noise on the images, as augmentation would have it."""
    images, labels = batches.take(data.train, indices)
    return images + 0.1 * jax.random.normal(key, images.shape), labels


@functools.partial(jax.jit, static_argnums=1)
def draw(key, model):
    params, state = models.initialise(model, key, IMAGES[:1])
    full = masks_lib.full(params)
    kept = jax.tree.map(lambda m: jax.random.bernoulli(key, 2 / 3, m.shape), full)
    return params, state, kept


def ticket(seed=0, model=None, **changes):
    """A ticket with about a third of its weights pruned."""
    drawn = draw(jax.random.key(seed), model or network())
    return Ticket(1, 0, 10, *drawn)._replace(**changes)


POINTS = 4
begin = jax.jit(functools.partial(steps_lib.begin, TX, points=POINTS))


def member(ticket):
    return begin(ticket), ticket.masks, jax.random.key(3)


def run_of(step_fn=STEP, *measure, every=None):
    options = {"size": SIZE, "batch_size": BATCH, "every": every}
    return steps_lib.runner(step_fn, fetch, *measure, **options)


EVERY = 3  # steps; an epoch has four
MEASURE = steps_lib.validation(EVALUATE, every=EVERY)
plain = jax.jit(run_of())
validated = jax.jit(run_of(STEP, MEASURE, every=EVERY))


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# Where training starts.


def test_a_ticket_begins_masked_with_empty_momentum_and_the_rate_of_its_step():
    start = steps_lib.begin(TX, ticket(step=7), points=2)
    assert_same_bits(start.params, masks_lib.apply(ticket().params, ticket().masks))
    fresh = TX.init(start.params)
    assert_same_bits(start.opt_state, optimizers.at_step(fresh, 7))
    counts = optax.tree.get_all_with_path(start.opt_state, "count")
    assert [int(count) for _, count in counts] == [7]
    assert start.curve.shape == (2, len(steps_lib.METRICS))
    assert jnp.isnan(start.curve).all()
    assert start.loss == 0.0


def test_a_ticket_with_an_optimizer_state_goes_on_with_it():
    trained = plain(member(ticket()), data(), 0, 4)
    goes_on = ticket(step=4, params=trained.params, opt_state=trained.opt_state)
    assert steps_lib.begin(TX, goes_on).opt_state is trained.opt_state


# One step, on one device and on four.


def four_devices(kind):
    """Returns the step of a network with batch norm, mapped over four devices."""
    objective = steps_lib.supervised(functools.partial(apply_fn, model=network("data")))
    step = steps_lib.step(objective, TX, axis_name="data")
    if kind == "pmap":
        split = [x.reshape(4, 4, *x.shape[1:]) for x in (IMAGES[:16], LABELS[:16])]
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, None, 0, 0))
        return lambda *tree: steps_lib.member(mapped(*tree, *split), 0)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    whole, parts = PartitionSpec(), PartitionSpec("data")
    specs = (whole, whole, parts, parts)
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=specs, out_specs=whole, check_vma=False
    )
    return lambda *tree: jax.jit(mapped)(*tree, IMAGES[:16], LABELS[:16])


@pytest.mark.parametrize("kind", ["shard_map", "pmap"])
def test_one_device_equals_four(kind):
    start = ticket(model=network("one"))
    tree = steps_lib.begin(TX, start), start.masks
    objective = steps_lib.supervised(functools.partial(apply_fn, model=network("one")))
    one = jax.jit(steps_lib.step(objective, TX))(*tree, IMAGES[:16], LABELS[:16])
    four = four_devices(kind)(*tree)
    moved = jax.tree.map(lambda a, b: jnp.any(a != b), one.params, tree[0].params)
    assert all(jax.tree.leaves(moved))

    def check(a, b):
        scale = np.linalg.norm(a)
        assert np.linalg.norm(np.asarray(a) - np.asarray(b)) <= 1e-5 * scale

    jax.tree.map(check, one, four)


def test_by_local_norms_a_device_s_gradients_are_by_its_own_rows():
    plain = network("one")
    start = ticket(model=plain)
    tree = steps_lib.begin(TX, start), start.masks
    objective = steps_lib.supervised(functools.partial(apply_fn, model=plain))
    step = steps_lib.step(objective, TX, axis_name="data", local=True)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    whole, rows = PartitionSpec(), PartitionSpec("data")
    specs = {"in_specs": (whole, whole, rows, rows), "out_specs": whole}
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, **specs, check_vma=False))
    found = mapped(*tree, IMAGES[:16], LABELS[:16])

    def mean(params):
        parts = IMAGES[:16].reshape(4, 4, 4, 4, 1), LABELS[:16].reshape(4, 4)
        given = params, start.model_state
        losses, after = jax.vmap(lambda *part: objective(*given, *part))(*parts)
        return losses.mean(), jax.tree.map(lambda x: x.mean(0), after)

    value_and_grad = jax.jit(jax.value_and_grad(mean, has_aux=True))
    (loss, after), grads = value_and_grad(tree[0].params)
    params = tree[0].params
    updates, _ = TX.update(grads, tree[0].opt_state, params, masks=start.masks)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, found.params, optax.apply_updates(params, updates))
    jax.tree.map(close, found.model_state, after)
    close(found.loss, loss)


def test_a_step_is_that_of_the_masked_objective():
    state, masks, _ = member(ticket())

    def masked(params, *rest):
        return steps_lib.supervised(apply_fn)(masks_lib.apply(params, masks), *rest)

    steps = STEP, steps_lib.step(masked, TX)
    found, expected = (jax.jit(s)(state, masks, IMAGES, LABELS) for s in steps)
    assert_same_bits(found.params, masks_lib.apply(found.params, masks))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        found.params,
        expected.params,
    )


# From step to step.


@pytest.mark.parametrize("cuts", [(4,), (0, 1, 9), (3, 3, 5)])
def test_a_run_cut_anywhere_and_continued_has_the_same_bits(cuts):
    whole = plain(member(ticket()), data(), 0, 10)
    state, masks, key = member(ticket())
    for start, stop in zip((0, *cuts), (*cuts, 10), strict=True):
        state = plain((state, masks, key), data(), start, stop)
    assert_same_bits(state, whole)


def test_many_levels_and_lengths_and_dispatches_are_one_compilation():
    traces = []

    def counted(*args):
        traces.append(1)
        return STEP(*args)

    run = jax.jit(run_of(counted))
    for seed, stop in ((0, 2), (1, 7), (2, 10)):
        _, masks, key = start = member(ticket(seed))
        state = run((run(start, data(), 0, stop), masks, key), data(), stop, 10)
        kept = masks_lib.apply(state.params, ticket(seed).masks)
        assert_same_bits(state.params, kept)
    assert len(traces) == 1


def test_the_key_chooses_the_examples_and_the_step_continues_the_order():
    state, masks, _ = member(ticket())
    first, second = (
        plain((state, masks, jax.random.key(seed)), data(), 0, 3).loss
        for seed in (1, 2)
    )
    assert first != second
    later = plain((state, masks, jax.random.key(1)), data(), 3, 6).loss
    assert later != first


# Validation.


@pytest.mark.parametrize("start, until, every", [(0, 10, 5), (0, 9, 4), (3, 11, 4)])
def test_a_training_is_validated_at_multiples_and_at_its_end(start, until, every):
    due = [at for at in range(start + 1, until) if at % every == 0] + [until]
    assert steps_lib.points(start, until, every) == due


@pytest.mark.parametrize("start, until", [(0, 8), (2, 10), (3, 6)])
def test_each_point_holds_the_mean_loss_since_the_last_and_what_was_measured(
    start, until
):
    shown, due = data(start, until), steps_lib.points(start, until, EVERY)
    found = validated(member(ticket()), shown, start, until)
    state, masks, key = member(ticket())
    for i, (first, last) in enumerate(zip([start, *due[:-1]], due, strict=True)):
        state = plain((state, masks, key), shown, first, last)
        row = [state.loss / (last - first)]
        for held_out in (shown.validation, shown.test):
            row += EVALUATE(state.params, state.model_state, held_out)
        np.testing.assert_allclose(found.curve[i], jnp.stack(row), rtol=1e-5)
        state = state._replace(loss=jnp.zeros(()))
    assert jnp.isnan(found.curve[len(due) :]).all()
    assert found.loss == 0.0
    assert_same_bits(found.params, state.params)


def test_a_validated_run_may_be_cut_between_points():
    whole = validated(member(ticket()), data(), 0, 10)
    state, masks, key = member(ticket())
    for start, stop in ((0, 2), (2, 3), (3, 8), (8, 10)):
        state = validated((state, masks, key), data(), start, stop)
    assert_same_bits(state, whole)


def test_whether_validation_is_due_stays_a_branch_for_a_population():
    run = run_of(STEP, MEASURE, every=EVERY)
    members = jax.vmap(lambda key: (begin(ticket()), ticket().masks, key))(
        jax.random.split(KEY, 2)
    )

    def branches(fn, *args):
        return str(jax.make_jaxpr(fn)(*args)).count(" cond[")

    alone = branches(run, steps_lib.member(members, 0), data(), 0, 10)
    together = steps_lib.population(run)
    assert branches(together, members, data(), 0, 10) == alone > 0
    # What it must not become: with a step for each member it would be a selection.
    apart = jax.vmap(run, (0, None, None, 0))
    assert branches(apart, members, data(), 0, jnp.array([9, 10])) < alone


def test_padding_counts_for_nothing_in_an_evaluation():
    params, state = ticket().params, {}
    padded = examples(0, 7)
    loss, accuracy = EVALUATE(params, state, padded)
    images, labels, weights = padded
    fill = weights.reshape(*weights.shape, 1, 1, 1)
    spoilt = jnp.where(fill == 1, images, 9.0), labels, weights
    assert (spoilt[0] != images).any()
    assert_same_bits(EVALUATE(params, state, spoilt), (loss, accuracy))
    logits, _ = apply_fn(params, state, IMAGES[:7], False)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS[:7])
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    right = (logits.argmax(1) == LABELS[:7]).mean()
    np.testing.assert_allclose(accuracy, right, rtol=1e-5)


# Populations.


@functools.cache
def population(*, together):
    """Fifty steps of three members, and each of them trained alone."""
    members = [member(ticket(seed)) for seed in (0, 1, 2)]
    run = jax.jit(steps_lib.population(run_of(), together=together))
    found = run(steps_lib.stack(members), data(), 0, 50)
    return found, [plain(one, data(), 0, 50) for one in members]


def test_a_population_one_by_one_has_the_bits_of_separate_runs():
    found, alone = population(together=1)
    for i, state in enumerate(alone):
        assert_same_bits(steps_lib.member(found, i), state)


@pytest.mark.parametrize("together", [None, 2])
def test_a_population_at_once_has_the_numbers_of_separate_runs(together):
    found, alone = population(together=together)
    for i, state in enumerate(alone):
        jax.tree.map(
            # Fifty steps of a small network: rounding has not had time to grow.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            steps_lib.member(found, i),
            state,
        )


def test_on_a_cpu_networks_with_convolutions_go_one_by_one_and_others_in_groups():
    small, convolutional = (ticket(model=network(n)).params for n in (None, "one"))
    assert steps_lib.together(convolutional) == 1
    assert steps_lib.together(small) > 100
    lenet = {"kernel": jax.ShapeDtypeStruct((266_610,), "float32")}
    assert steps_lib.together(lenet) == 4
    assert steps_lib.together({"kernel": jnp.zeros((2000, 1000))}) == 1


def test_members_are_stacked_and_taken_out_again():
    members = [member(ticket(seed)) for seed in (0, 1)]
    stacked = steps_lib.stack(members)
    for i, one in enumerate(members):
        assert_same_bits(steps_lib.member(stacked, i)[:2], one[:2])
