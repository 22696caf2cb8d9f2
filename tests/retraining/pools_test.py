"""Pools: never worth less on what is held out, exactly as many weights, in order."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.pruning import masks as masks_lib
from lthjax.retraining import pools
from lthjax.tickets import Trained

SHAPES = {"first": {"kernel": (4, 5), "bias": (5,)}, "head": {"kernel": (5, 2)}}


def network(seed, kept, scale=1.0):
    """A network of made-up weights that keeps the first so many of either kernel."""
    keys = iter(jax.random.split(jax.random.key(seed), 3))
    params = jax.tree.map(
        lambda shape: scale * jax.random.normal(next(keys), shape),
        SHAPES,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    full = masks_lib.full(params)
    masks = jax.tree.map(lambda m: (jnp.arange(m.size) < kept).reshape(m.shape), full)
    state = {"mean": jnp.full(3, float(seed)), "count": jnp.int32(seed)}
    return Trained(masks_lib.apply(params, masks), state, masks)


NETWORKS = [network(seed, 10 - 2 * seed) for seed in range(4)]
GOAL = network(9, 10).params


def near(params, model_state):
    """How near the weights are to what they should be."""
    del model_state
    far = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, GOAL)
    return -sum(jax.tree.leaves(far))


def test_the_closest_level_comes_first_and_the_denser_of_two():
    assert pools.order([0, 1, 2, 3, 4], 2) == [1, 3, 0, 4]
    assert pools.order([1, 2, 5], 2) == [1, 0]
    assert pools.order([7], 0) == []


def test_an_average_by_hand():
    one = Trained(
        {"kernel": jnp.array([4.0, 0.0, 2.0, 0.0]), "bias": jnp.array([1.0])},
        {"mean": jnp.array([0.0])},
        {"kernel": jnp.array([True, False, True, False]), "bias": None},
    )
    other = Trained(
        {"kernel": jnp.array([0.0, 8.0, 2.0, 1.0]), "bias": jnp.array([3.0])},
        {"mean": jnp.array([4.0])},
        {"kernel": jnp.array([True, True, True, True]), "bias": None},
    )
    found = pools.averaged(0.5, one, other, 2)
    # 0.5 * one + 0.5 * other is [2, 4, 2, 0.5]: of two equal ones the first is kept.
    np.testing.assert_array_equal(found.params["kernel"], [2.0, 4.0, 0.0, 0.0])
    np.testing.assert_array_equal(found.masks["kernel"], [True, True, False, False])
    assert found.params["bias"] == 2.0 and found.model_state["mean"] == 2.0
    by_layer = pools.averaged(0.5, one, other, {"kernel": 1, "bias": None})
    np.testing.assert_array_equal(by_layer.params["kernel"], [0.0, 4.0, 0.0, 0.0])


@pytest.mark.parametrize("scope", pools.SCOPES)
@pytest.mark.parametrize("target", range(4))
def test_it_is_never_worth_less_and_keeps_exactly_as_many(target, scope):
    found = pools.pool(NETWORKS, target, near, scope=scope)
    own = NETWORKS[target]
    assert found.before == float(near(own.params, None))
    assert found.value == float(near(found.trained.params, None)) >= found.before
    counts, expected = (
        masks_lib.layers(found.trained.masks),
        masks_lib.layers(own.masks),
    )
    total = [sum(kept for kept, _ in rows.values()) for rows in (counts, expected)]
    assert total[0] == total[1]
    assert scope == "global" or counts == expected
    masked = masks_lib.apply(found.trained.params, found.trained.masks)
    assert_same(masked, found.trained.params)
    taken = [i for i, _ in found.taken]
    assert taken == [i for i in pools.order(range(4), target) if i in taken]
    assert found.trained.model_state["count"] == own.model_state["count"]


def test_each_step_is_the_best_alpha_of_what_is_so_far():
    own, value = NETWORKS[1], float(near(NETWORKS[1].params, None))
    taken, kept = [], masks_lib.count(NETWORKS[1].masks)[0]
    for i in (0, 2, 3):
        tried = {a: pools._averaged(a, own, NETWORKS[i], kept) for a in pools.ALPHAS}
        worth = {a: float(near(x.params, None)) for a, x in tried.items()}
        best = max(worth, key=lambda a: (worth[a], a))
        if worth[best] >= value:
            own, value = tried[best], worth[best]
            taken.append((i, best))
    found = pools.pool(NETWORKS, 1, near)
    assert taken and found.taken == tuple(taken)
    np.testing.assert_allclose(found.value, value, rtol=1e-6)


def test_one_ticket_alone_is_itself_and_so_is_one_among_worse_ones():
    alone = pools.pool(NETWORKS[:1], 0, near)
    far = [NETWORKS[0], network(5, 10, scale=100.0)]

    def small(params, model_state):
        return -sum(float(jnp.sum(w**2)) for w in jax.tree.leaves(params))

    among = pools.pool(far, 0, small, alphas=(0.05, 0.5))
    for found in (alone, among):
        assert found.taken == () and found.value == found.before
        assert_same(found.trained, NETWORKS[0])


def test_of_equal_averages_the_one_closest_to_the_ticket_is_taken():
    found = pools.pool(NETWORKS[:2], 0, lambda params, state: 1.0)
    assert found.taken == ((1, 0.95),)


def test_less_may_be_better_and_statistics_may_be_taken_anew():
    def far(params, model_state):
        return -near(params, model_state)

    found = pools.pool(NETWORKS, 2, far, higher=False)
    same = pools.pool(NETWORKS, 2, near)
    assert found.taken == same.taken and found.value == -same.value <= found.before

    def sevens(params, model_state):
        return {**model_state, "mean": jnp.full(3, 7.0)}

    anew = pools.pool(NETWORKS, 2, near, recompute_fn=sevens)
    assert anew.taken == same.taken
    assert (anew.trained.model_state["mean"] == 7.0).all()


def test_what_is_worth_nan_is_not_taken():
    values = iter([0.0, *[float("nan")] * 11])
    assert pools.pool(NETWORKS[:2], 0, lambda *network: next(values)).taken == ()


BAD = [
    ({"target": 4}, "target must be the place of one of the networks, .* target = 4"),
    ({"levels": [1]}, r"each must have a level, .* levels = \[1\]"),
    ({"alphas": (0.5, 1.0)}, r"alphas must be in \(0, 1\)"),
    ({"alphas": ()}, "one at least, got alphas"),
    ({"scope": "layers"}, "scope must be one of global, layer, got scope = 'layers'"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_what_is_out_of_range_is_refused(given, message):
    given = {"target": 0, **given}
    with pytest.raises(ValueError, match=message):
        pools.pool(NETWORKS, given.pop("target"), near, **given)


def test_networks_may_be_held_otherwise():
    def frozen(one):
        return Trained(*map(flax.core.freeze, one[:3]))

    expected = pools.pool(NETWORKS, 1, near)
    first, second, *others = NETWORKS
    found = pools.pool([frozen(first), second, *map(frozen, others)], 1, near)
    assert found.taken and found[1:] == expected[1:]
    assert_same(found.trained, expected.trained)


def test_networks_of_other_leaves_are_refused():
    other = NETWORKS[1]._replace(masks={**NETWORKS[1].masks, "head": {"kernel": None}})
    with pytest.raises(ValueError, match="both trees must have the same leaves"):
        pools.pool([NETWORKS[0], other], 0, near)


def test_where_no_average_is_worth_anything_the_ticket_stays():
    networks = [network(0, 4), network(1, 3)]
    found = pools.pool(networks, 0, lambda params, state: jnp.inf, higher=False)
    assert found.trained is networks[0] and found.taken == ()
