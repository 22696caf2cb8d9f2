"""An average of the weights, an early stop, a batch in parts, weights of classes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from small_training import (
    EVALUATE,
    EVERY,
    IMAGES,
    LABELS,
    POINTS,
    TX,
    apply_fn,
    data,
    network,
    run_of,
    ticket,
)
from trees import assert_same

from lthjax.devices import meshes
from lthjax.pruning import masks as masks_lib
from lthjax.training import accumulation, class_weights, extras
from lthjax.training import members as members_lib
from lthjax.training import steps as steps_lib
from lthjax.training.extras import Extras, Rule
from lthjax.training.objective import CLASSIFICATION

DECAY = 0.75
NEVER = Rule(column=1, higher=False, patience=100)
# A loss is no better by more than that: at the second validation that counts it ends.
SOON = Rule(column=1, higher=False, patience=1, delta=100.0, after=3)


@functools.cache
def trained(asked):
    """Returns (member, run) with something beside the optimizer's state."""
    objective = steps_lib.supervised(apply_fn)
    step = steps_lib.step(objective, TX, decay=asked.decay)
    measure = steps_lib.validation(EVALUATE, every=EVERY, rule=asked.rule)
    state = steps_lib.begin(TX, ticket(), points=POINTS, extras=asked)
    run = jax.jit(run_of(step, measure, every=EVERY))
    return (state, ticket().masks, jax.random.key(3)), run


@pytest.fixture(scope="module")
def bare():
    member, run = trained(extras.NONE)
    return run(member, data(), 0, 10)


def test_an_average_is_the_recursion_over_the_steps_and_zero_where_they_are():
    member, run = trained(Extras(DECAY))
    state, masks, key = member
    expected = state.params
    for at in range(4):
        state = run((state, masks, key), data(), at, at + 1)
        expected = jax.tree.map(
            lambda a, w: DECAY * a + (1 - DECAY) * w, expected, state.params
        )
    found = state.opt_state.average.params
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5), found, expected
    )
    assert_same(found, masks_lib.apply(found, masks))
    assert any(
        (x != y).any()
        for x, y in zip(*map(jax.tree.leaves, (found, state.params)), strict=True)
    )


def test_an_average_changes_nothing_of_what_is_trained_and_is_what_is_measured(bare):
    member, run = trained(Extras(DECAY))
    state = run(member, data(), 0, 10)
    assert_same(state.params, bare.params)
    assert_same(extras.inner(state.opt_state), bare.opt_state)
    np.testing.assert_array_equal(state.curve[:, 0], bare.curve[:, 0])
    params, model_state = extras.weights(state, steps_lib.plain)
    row = EVALUATE(params, model_state, data().validation)
    np.testing.assert_allclose(state.curve[3, 1:3], jnp.stack(row), rtol=1e-5)


def test_batch_statistics_are_averaged_and_what_is_no_float_stays():
    model_state = {
        "batch_stats": {"mean": jnp.ones(2)},
        "draws": {"step": jnp.int32(3)},
    }
    weights = {"kernel": jnp.array([0.0, 2.0])}
    begun = extras.begin(Extras(0.5), (), weights, model_state)
    later = {"batch_stats": {"mean": 3 * jnp.ones(2)}, "draws": {"step": jnp.int32(4)}}
    state = steps_lib.State({"kernel": jnp.array([0.0, 4.0])}, later, begun, 0.0, None)
    masks = {"kernel": jnp.array([False, True])}
    moved = extras.averaged(state, masks, 0.5, steps_lib.plain)
    params, found = extras.weights(moved, steps_lib.plain)
    np.testing.assert_array_equal(params["kernel"], [0.0, 3.0])
    np.testing.assert_array_equal(found["batch_stats"]["mean"], [2.0, 2.0])
    assert found["draws"]["step"] == 4


def test_a_rule_that_never_ends_changes_no_bit(bare):
    member, run = trained(Extras(rule=NEVER))
    state = run(member, data(), 0, 10)
    assert_same(state.params, bare.params)
    np.testing.assert_array_equal(state.curve, bare.curve)
    assert state.opt_state.stop.at == -1


def test_a_stopped_training_stays_as_it_was_and_has_no_points_after():
    member, run = trained(Extras(rule=SOON))
    # Validations at 3, which does not count, 6, the first best one, and 9.
    state = run(member, data(), 0, 9)
    after = run((state, *member[1:]), data(), 9, 10)
    assert after.opt_state.stop.at == 9
    assert_same(after.params, state.params)
    assert jnp.isfinite(after.curve[:3]).all() and jnp.isnan(after.curve[3]).all()


@pytest.mark.parametrize("asked", [Extras(DECAY), Extras(DECAY, SOON)])
def test_what_is_carried_is_cut_and_continued_with_the_same_bits(asked):
    member, run = trained(asked)
    whole = run(member, data(), 0, 10)
    state = run(member, data(), 0, 4)
    goes_on = ticket(step=4, params=state.params, opt_state=state.opt_state)
    again = steps_lib.begin(TX, goes_on, points=POINTS, extras=asked)
    state = again._replace(curve=state.curve, loss=state.loss)
    assert_same(run((state, *member[1:]), data(), 4, 10), whole)


def judged(rule, values):
    """Returns where a rule ends, of values at the steps 1, 2, ..."""
    stop = extras.begin(Extras(rule=rule), (), {}, {}).stop
    for at, value in enumerate(values, start=1):
        _, stop = extras.judged(rule, stop, jnp.array([0.0, value]), at)
    return int(stop.at)


@pytest.mark.parametrize(
    "rule, values, end",
    [
        (Rule(1, False, 2), [3.0, 2.0, 2.0, 2.5, 1.0], 4),
        (Rule(1, False, 2), [3.0, 2.0, 2.5, 1.0, 1.5], -1),
        (Rule(1, True, 1), [0.1, 0.2, 0.3, 0.2], 4),
        (Rule(1, True, 1, delta=0.15), [0.1, 0.2], 2),
        (Rule(1, True, 1, after=2), [0.3, 0.2, 0.1, 0.1], 4),
        (Rule(1, False, 2), [jnp.nan, jnp.nan], 2),
    ],
)
def test_a_rule_counts_validations_without_a_better_one(rule, values, end):
    assert judged(rule, values) == end


def test_each_member_of_a_population_stops_by_itself():
    member, run = trained(Extras(rule=SOON))
    other = steps_lib.begin(TX, ticket(1), points=POINTS, extras=Extras(rule=SOON))
    other = other._replace(
        opt_state=other.opt_state._replace(
            stop=other.opt_state.stop._replace(
                best=jnp.float32(-1e9), waited=jnp.int32(-9)
            )
        )
    )
    members = members_lib.stack([member, (other, ticket(1).masks, jax.random.key(4))])
    found = jax.jit(members_lib.population(run))(members, data(), 0, 10)
    assert found.opt_state.stop.at.tolist() == [9, -1]
    alone = run(member, data(), 0, 10)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        members_lib.member(found.params, 0),
        alone.params,
    )


def one_step(objective, parts):
    start = ticket()
    step = steps_lib.step(objective, TX, parts=parts)
    state = steps_lib.begin(TX, start)
    return jax.jit(step)(state, start.masks, IMAGES[:16], LABELS[:16])


def test_a_batch_in_parts_is_the_batch():
    objective = steps_lib.supervised(apply_fn)
    whole, parts = (one_step(objective, n) for n in (1, 4))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        parts,
        whole,
    )


@pytest.mark.parametrize("parts", [0, -2, 2.5, "2"])
def test_parts_that_are_no_whole_number_of_one_or_more_are_refused(parts):
    with pytest.raises(ValueError, match="parts must be a whole number of at least 1"):
        steps_lib.step(steps_lib.supervised(apply_fn), TX, parts=parts)


def test_parts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="got parts = 3 with 16 examples on a device"):
        one_step(steps_lib.supervised(apply_fn), 3)


def test_batch_statistics_move_with_every_part():
    apply = functools.partial(apply_fn, model=network("one"))
    start = ticket(model=network("one"))
    step = steps_lib.step(steps_lib.supervised(apply), TX, parts=2)
    state = steps_lib.begin(TX, start)
    found = jax.jit(step)(state, start.masks, IMAGES[:16], LABELS[:16])
    expected = start.model_state
    for part in (IMAGES[:16:2], IMAGES[1:16:2]):
        _, expected = apply(state.params, expected, part, True)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        found.model_state,
        expected,
    )


@pytest.mark.parametrize("devices", [2, 4])
def test_batch_norm_of_a_part_is_the_same_on_any_mesh(devices):
    start = ticket(model=network("one"))
    state = steps_lib.begin(TX, start)

    def after(axis_name):
        apply = functools.partial(apply_fn, model=network(axis_name or "one"))
        given = {"parts": 2, "axis_name": axis_name}
        return steps_lib.step(steps_lib.supervised(apply), TX, **given)

    def of_a_device(*batch):
        rows = meshes.share(batch, meshes.DATA)
        return after(meshes.DATA)(state, start.masks, *rows)

    spread = {"in_specs": P(), "out_specs": P(), "check_vma": False}
    split = jax.shard_map(of_a_device, mesh=meshes.mesh(1, devices), **spread)
    batch = IMAGES[:16], LABELS[:16]
    found, expected = jax.jit(split)(*batch), after(None)(state, start.masks, *batch)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        found,
        expected,
    )


def test_class_weights_are_factors_of_the_loss_and_of_nothing_that_is_measured():
    logits, labels = IMAGES.reshape(20, -1)[:, :3], LABELS
    found = class_weights.weighted(CLASSIFICATION, (1.0, 2.0, 0.5))
    factors = jnp.array([1.0, 2.0, 0.5])[labels]
    plain = CLASSIFICATION.loss(logits, labels)
    np.testing.assert_allclose(found.loss(logits, labels), factors * plain, rtol=1e-6)
    smooth = CLASSIFICATION.smoothed(logits, labels, 0.1)
    own = found.smoothed(logits, labels, 0.1)
    np.testing.assert_allclose(own, factors * smooth, rtol=1e-6)
    assert found.measures is CLASSIFICATION.measures


def test_balanced_weights_have_the_mean_one_and_make_classes_alike():
    found = class_weights.balanced((6, 3, 1))
    np.testing.assert_allclose(np.multiply(found, (6, 3, 1)), [10 / 3] * 3)
    with pytest.raises(ValueError, match="got none of 1; give the weights"):
        class_weights.balanced((6, 0, 1))


@pytest.mark.usefixtures("strict_dtypes")
def test_an_average_in_half_precision_moves():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    carried = extras.begin(Extras(decay=0.999), (), params, {})
    state = steps_lib.State(
        {"w": 2 * params["w"]}, {}, carried, jnp.zeros(()), jnp.zeros(())
    )

    def step(_, state):
        return extras.averaged(state, {"w": None}, 0.999, lambda s: s.params)

    state = jax.lax.fori_loop(0, 3000, step, state)
    found, _ = extras.weights(state, lambda s: s.params)
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(found["w"], 2 - 0.999**3000, rtol=4e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_parts_are_added_up_in_float32(dtype):
    def objective(params, model_state, images, labels):
        return 300 * params["w"].astype(jnp.float32) * jnp.mean(images), model_state

    params = {"w": jnp.ones((), dtype)}
    fn = accumulation.accumulated(jax.value_and_grad(objective, has_aux=True), 512)
    (loss, _), grads = fn(params, {}, jnp.ones((512, 1)), jnp.ones(512))
    assert grads["w"].dtype == dtype
    np.testing.assert_allclose(grads["w"].astype(jnp.float32), 300, rtol=1e-2)
    np.testing.assert_allclose(loss, 300, rtol=1e-5)


def test_a_rule_and_a_curve_go_with_double_floats():
    with jax.enable_x64(True):
        params = {"w": jnp.ones(2, jnp.float64)}
        asked = Extras(rule=Rule(0, patience=1, delta=0.0, after=0, higher=False))
        carried = extras.begin(asked, (), params, {})
        row = jnp.array([0.5, 1.0], jnp.float64)
        _, found = jax.jit(functools.partial(extras.judged, asked.rule))(
            carried.stop, row, jnp.int32(1)
        )
        assert found.best == 0.5 and found.best.dtype == jnp.float32
