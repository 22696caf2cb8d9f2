"""Counts of schedules are found in any state, moved, or refused."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from trees import assert_same

from lthjax.training import schedules, zeros

PARAMS = {"kernel": jnp.array([0.5, -1.0, 2.0]), "bias": jnp.ones(2)}


def falling(step):
    return 1.0 / (1.0 + step)


def test_inside_multisteps_a_step_is_not_an_update():
    inner = optax.chain(optax.add_decayed_weights(falling), optax.sgd(falling))
    tx = zeros.keep(optax.MultiSteps(inner, 2))
    fresh, given = tx.init(PARAMS), {"tx": tx, "params": PARAMS}
    state = schedules.at_step(fresh, 10, **given)
    assert (state.mini_step, state.gradient_step) == (0, 5)
    found = optax.tree.get_all_with_path(state.inner_opt_state, "count")
    assert [int(count) for _, count in found] == [5, 5]
    with pytest.raises(ValueError, match="its optimizer; call at_step.*tx=tx"):
        schedules.at_step(fresh, 10)
    with pytest.raises(
        ValueError, match="between two updates of MultiSteps.*step = 11"
    ):
        schedules.at_step(fresh, 11, **given)


class Counting(NamedTuple):
    """The state of somebody's own optimizer."""

    count: jax.Array


class Declared(NamedTuple):
    """Another, which says what it counts."""

    count: jax.Array
    others: jax.Array

    schedule_counts = ("count",)


def test_a_count_of_an_unknown_kind_is_refused_and_a_declared_one_moves():
    zero = jnp.int32(0)
    assert schedules.at_step((Counting(zero),), 0) == (Counting(0),)
    for state in (Counting(zero), {"n": zero}, zero, Counting(jnp.int32(3))):
        step = 0 if state == Counting(jnp.int32(3)) else 7
        with pytest.raises(ValueError, match="of no schedule.*schedule_counts"):
            schedules.at_step(state, step)
    moved = schedules.at_step(Declared(zero, zero), 7)
    assert (moved.count, moved.others) == (7, 0)


def test_a_count_that_is_a_number_of_python_is_moved_too():
    moved = schedules.at_step(optax.ScaleByScheduleState(0), 5)
    assert moved.count == 5 and moved.count.dtype == jnp.int32


@pytest.mark.parametrize("step", [-1, 2.5, float("nan"), "5", jnp.float32(2.5)])
def test_a_step_that_is_no_whole_number_is_refused(step):
    state = optax.sgd(falling).init(PARAMS)
    with pytest.raises(ValueError, match="step must be a whole number of at least 0"):
        schedules.at_step(state, step)


@pytest.mark.parametrize("step", [7, 7.0, np.int64(7), jnp.int32(7)])
def test_a_step_may_be_a_whole_number_of_any_kind(step):
    state = optax.sgd(falling).init(PARAMS)
    assert_same(schedules.at_step(state, step), schedules.at_step(state, 7))
    assert_same(jax.jit(schedules.at_step)(state, step), schedules.at_step(state, 7))


def test_the_counts_of_a_population_are_moved_too():
    tx = optax.sgd(optax.exponential_decay(0.1, 10, 0.5), momentum=0.9)
    stacked = jax.vmap(tx.init)({"w": jnp.ones((3, 2))})
    one = schedules.at_step(tx.init({"w": jnp.ones(2)}), 7)
    many = schedules.at_step(stacked, 7)
    same = jax.tree.map(
        lambda a, b: bool((a == b).all()), jax.vmap(lambda _: one)(jnp.arange(3)), many
    )
    counts = [x for x in jax.tree.leaves(many) if x.dtype == jnp.int32]
    assert counts and all((x == 7).all() and x.shape == (3,) for x in counts)
    assert jax.tree.structure(same) == jax.tree.structure(many)


@pytest.mark.parametrize("factory", [contrib.prodigy, contrib.schedule_free_sgd])
def test_counts_of_moments_and_a_schedule_are_refused_of_a_population_too(factory):
    stacked = jax.vmap(factory(0.1).init)(jnp.ones((3, 2)))
    assert_same(schedules.at_step(stacked, 0), stacked)
    with pytest.raises(ValueError, match="not of a schedule of learning_rate"):
        schedules.at_step(stacked, 7)
