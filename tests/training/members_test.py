"""How many members are computed at once, and that they train as if alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_training import (
    data,
    member,
    network,
    plain,
    run_of,
    ticket,
)
from trees import assert_same

from lthjax.devices import backend
from lthjax.training import members

DENSE = {"kernel": jnp.zeros((3, 4))}
CONVOLUTION = {"kernel": jnp.zeros((3, 3, 2, 2))}


@pytest.mark.parametrize(
    "platform, dense, convolution", [("gpu", None, None), ("tpu", None, 1)]
)
def test_on_an_accelerator_all_but_a_tpus_convolutions(platform, dense, convolution):
    with backend.aimed(platform, ()):
        assert members.together(DENSE) == dense
        assert members.together(CONVOLUTION) == convolution


@pytest.mark.parametrize("count", [1, 3])
def test_all_at_once_are_the_members_one_by_one(count):
    shared = jnp.arange(4.0)
    stacked = {"w": jnp.arange(4.0 * count).reshape(count, 4), "n": jnp.arange(count)}

    def fn(member, shared):
        return {"w": member["w"] * shared, "n": member["n"] + 1}

    found = members.population(fn)(stacked, shared)
    for i in range(count):
        one = fn(members.member(stacked, i), shared)
        assert found["w"][i].tolist() == one["w"].tolist()
        assert int(found["n"][i]) == int(one["n"])


@functools.cache
def population(*, together):
    """Fifty steps of three members, and each of them trained alone."""
    several = [member(ticket(seed)) for seed in (0, 1, 2)]
    run = jax.jit(members.population(run_of(), together=together))
    found = run(members.stack(several), data(), 0, 50)
    return found, [plain(one, data(), 0, 50) for one in several]


def test_a_population_one_by_one_has_the_bits_of_separate_runs():
    found, alone = population(together=1)
    for i, state in enumerate(alone):
        assert_same(members.member(found, i), state)


@pytest.mark.parametrize("together", [None, 2])
def test_a_population_at_once_has_the_numbers_of_separate_runs(together):
    found, alone = population(together=together)
    for i, state in enumerate(alone):
        jax.tree.map(
            # Fifty steps of a small network: rounding has not had time to grow.
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            members.member(found, i),
            state,
        )


def test_on_a_cpu_networks_with_convolutions_go_one_by_one_and_others_in_groups():
    small, convolutional = (ticket(model=network(n)).params for n in (None, "one"))
    assert members.together(convolutional) == 1
    assert members.together(small) > 100
    lenet = {"kernel": jax.ShapeDtypeStruct((266_610,), "float32")}
    assert members.together(lenet) == 4
    assert members.together({"kernel": jnp.zeros((2000, 1000))}) == 1


def test_members_are_stacked_and_taken_out_again():
    several = [member(ticket(seed)) for seed in (0, 1)]
    stacked = members.stack(several)
    for i, one in enumerate(several):
        assert_same(members.member(stacked, i)[:2], one[:2])


def test_members_on_axes_that_differ_are_refused():
    mapped = members.population(lambda member: member[0] + member[1])
    with pytest.raises(
        ValueError, match="a leading axis of all leaves, got axes of 1, 4"
    ):
        mapped((jnp.zeros(1), jnp.arange(4.0)))
    with pytest.raises(ValueError, match="got axes of no leaf"):
        mapped({})
    with pytest.raises(ValueError, match="got axes of 4, none"):
        mapped((jnp.float32(1), jnp.arange(4.0)))


@pytest.mark.parametrize("index", [3, 7, -4, np.int64(3), jnp.int32(3)])
def test_a_member_beyond_the_population_is_refused(index):
    with pytest.raises(ValueError, match="one of 3 members, .* got index = "):
        members.member({"a": jnp.arange(3)}, index)


def test_a_member_is_taken_by_any_whole_number_and_of_a_tree_without_leaves():
    stacked = {"a": jnp.arange(3), "state": {}}
    for index in (2, -1, np.int64(2), jnp.int32(2)):
        assert members.member(stacked, index) == {"a": 2, "state": {}}
    assert jax.jit(members.member)(stacked, 2) == {"a": 2, "state": {}}
    assert members.member({}, 0) == {}


def test_a_member_of_trees_on_axes_that_differ_is_refused():
    with pytest.raises(ValueError, match="all leaves, got axes of 3, 4"):
        members.member((jnp.arange(3), jnp.arange(4)), 3)


def test_no_trees_and_networks_without_a_weight_are_refused():
    with pytest.raises(ValueError, match="one at least, got none"):
        members.stack([])
    with pytest.raises(ValueError, match="must hold a weight, got none"):
        members.together({})
