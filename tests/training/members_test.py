"""How many members of a population are computed at once, by what they run on."""

import jax.numpy as jnp
import pytest

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
