"""Lottery Pools: the order of neighbours, exact averages, and nothing that hurts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.pruning import masks as masks_lib
from lthjax.retraining import pools
from lthjax.retraining.pools import Network, Taken


def network(kernel, other=(2.0, -3.0), mean=0.0):
    params = {
        "a": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.ones(1)},
        "b": {"kernel": jnp.asarray(other, jnp.float32)},
    }
    masks = {
        "a": {"kernel": params["a"]["kernel"] != 0, "bias": None},
        "b": {"kernel": params["b"]["kernel"] != 0},
    }
    return Network(params, {"mean": jnp.full(2, mean), "count": jnp.int32(3)}, masks)


def test_neighbours_come_by_closeness_and_of_equals_the_earlier_first():
    assert pools.nearest([0.0, 0.2, 0.4, 0.6], 1) == [0, 2, 3]
    assert pools.nearest([0.5], 0) == []


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_an_average_by_hand_keeps_exactly_as_many(scope):
    one = network([4.0, 0.0, 0.0, 2.0], (1.0, -3.0))
    other = network([1.0, 8.0, -1.0, 0.0], (1.0, -3.0), mean=2.0)
    found = pools.averaged(0.75, one, other, scope)
    # 3.25, 2.0, -0.25, 1.5 and 1.0, -3.0: as many as before, four, or two of each.
    whole = [3.25, 2.0, 0.0, 1.5], [0.0, -3.0]
    layers = [3.25, 2.0, 0.0, 0.0], [1.0, -3.0]
    expected = whole if scope == "global" else layers
    for name, kernel in zip("ab", expected, strict=True):
        np.testing.assert_allclose(found.params[name]["kernel"], kernel)
        np.testing.assert_array_equal(
            found.masks[name]["kernel"], np.array(kernel) != 0
        )
    np.testing.assert_allclose(found.model_state["mean"], 0.5)
    assert found.model_state["count"] == 3
    counted = [int(masks_lib.count(n.masks)[0]) for n in (one, found)]
    assert counted == [4, 4]


def test_what_does_not_lower_the_score_is_taken_and_nothing_else():
    goal = jnp.array([2.5, 4.0, 0.0, 0.0])
    one, good = network([4.0, 0.0, 0.0, 2.0]), network([1.0, 8.0, 0.0, 0.0])
    bad = network([9.0, 0.0, 9.0, 0.0])

    def score(found):
        return -jnp.sum((found.params["a"]["kernel"] - goal) ** 2)

    pool = pools.pooled(one, [bad, good, bad], score)
    assert pool.taken == (Taken(1, pytest.approx(0.5)),)
    np.testing.assert_allclose(pool.network.params["a"]["kernel"], [2.5, 4, 0, 0])
    assert pool.score == pytest.approx(0.0, abs=1e-9) and pool.score > score(one)


def test_a_ticket_without_neighbours_or_with_itself_is_itself():
    one = network([4.0, 0.0, 0.0, 2.0], mean=1.0)
    for neighbours in ([], [one]):
        pool = pools.pooled(one, neighbours, lambda found: jnp.float32(1))
        jax.tree.map(np.testing.assert_array_equal, pool.network, one)
        assert len(pool.taken) == len(neighbours)


def test_statistics_of_its_own_are_seen_by_the_score():
    one = network([4.0, 0.0, 0.0, 2.0])

    def settle(found):
        return found._replace(
            model_state=found.model_state | {"mean": jnp.full(2, 7.0)}
        )

    pool = pools.pooled(one, [one], lambda n: n.model_state["mean"][0], settle=settle)
    assert pool.score == 7.0 and pool.network.model_state["mean"][0] == 7.0


def test_networks_that_differ_are_refused():
    one = network([4.0, 0.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="a/kernel"):
        pools.averaged(0.5, one, network([1.0, 2.0]))
