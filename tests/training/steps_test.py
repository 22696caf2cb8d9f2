"""Training: the same bits however it is cut, the same numbers on any devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec
from small_training import (
    EVALUATE,
    EVERY,
    IMAGES,
    KEY,
    LABELS,
    MEASURE,
    STEP,
    TX,
    apply_fn,
    begin,
    data,
    examples,
    member,
    network,
    plain,
    run_of,
    ticket,
    validated,
)
from trees import assert_same

from lthjax.pruning import masks as masks_lib
from lthjax.training import members as members_lib
from lthjax.training import schedules
from lthjax.training import steps as steps_lib

# Where training starts.


def test_a_ticket_begins_masked_with_empty_momentum_and_the_rate_of_its_step():
    start = steps_lib.begin(TX, ticket(step=7), points=2)
    assert_same(start.params, masks_lib.apply(ticket().params, ticket().masks))
    fresh = TX.init(start.params)
    assert_same(start.opt_state, schedules.at_step(fresh, 7))
    counts = optax.tree.get_all_with_path(start.opt_state, "count")
    assert [int(count) for _, count in counts] == [7]
    assert start.curve.shape == (2, len(steps_lib.COLUMNS))
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
        return lambda *tree: members_lib.member(mapped(*tree, *split), 0)
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
    assert_same(found.params, masks_lib.apply(found.params, masks))
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
    assert_same(state, whole)


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
        assert_same(state.params, kept)
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
    assert_same(found.params, state.params)


def test_a_validated_run_may_be_cut_between_points():
    whole = validated(member(ticket()), data(), 0, 10)
    state, masks, key = member(ticket())
    for start, stop in ((0, 2), (2, 3), (3, 8), (8, 10)):
        state = validated((state, masks, key), data(), start, stop)
    assert_same(state, whole)


def test_whether_validation_is_due_stays_a_branch_for_a_population():
    run = run_of(STEP, MEASURE, every=EVERY)
    members = jax.vmap(lambda key: (begin(ticket()), ticket().masks, key))(
        jax.random.split(KEY, 2)
    )

    def branches(fn, *args):
        return str(jax.make_jaxpr(fn)(*args)).count(" cond[")

    alone = branches(run, members_lib.member(members, 0), data(), 0, 10)
    together = members_lib.population(run)
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
    assert_same(EVALUATE(params, state, spoilt), (loss, accuracy))
    logits, _ = apply_fn(params, state, IMAGES[:7], False)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, LABELS[:7])
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    right = (logits.argmax(1) == LABELS[:7]).mean()
    np.testing.assert_allclose(accuracy, right, rtol=1e-5)
