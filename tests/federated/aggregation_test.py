import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.federated import aggregation

OLD = {"kernel": jnp.array([7.0, 8.0, 9.0]), "bias": jnp.array([1.0])}
MASKS = {
    "kernel": jnp.array([[True, False, False], [True, True, False]]),
    "bias": None,
}
PARAMS = {
    "kernel": jnp.array([[2.0, 0.0, 0.0], [4.0, 6.0, 0.0]]),
    "bias": jnp.array([[2.0], [4.0]]),
}
HALVES = jnp.array([0.5, 0.5])


@pytest.mark.parametrize(
    "name, kernel",
    [("zero_fill", [3.0, 3.0, 0.0]), ("mask_mean", [3.0, 6.0, 9.0])],
)
def test_two_clients_by_hand(name, kernel):
    found = aggregation.by_name(name)(OLD, PARAMS, MASKS, HALVES)
    np.testing.assert_array_equal(found["kernel"], kernel)
    np.testing.assert_array_equal(found["bias"], [3.0])


@pytest.mark.parametrize("name", aggregation.AGGREGATIONS)
def test_the_order_of_clients_does_not_matter(name):
    keys = jax.random.split(jax.random.key(0), 3)
    masks = {"kernel": jax.random.bernoulli(keys[0], 0.5, (5, 3)), "bias": None}
    params = {
        "kernel": jax.random.normal(keys[1], (5, 3)),
        "bias": jax.random.normal(keys[2], (5, 1)),
    }
    sizes, order = jnp.array([3, 1, 4, 1, 5]), jnp.array([3, 0, 4, 2, 1])
    share = aggregation.shares(sizes, jnp.ones(5, bool))
    combine = aggregation.by_name(name)
    turned = jax.tree.map(lambda x: x[order], (params, masks, share))
    one, two = combine(OLD, params, masks, share), combine(OLD, *turned)
    for leaf in OLD:
        np.testing.assert_allclose(one[leaf], two[leaf], rtol=1e-6)


@pytest.mark.parametrize("name", ["zero_fill", "mask_mean"])
def test_who_is_absent_may_be_nan_and_nobody_leaves_the_old_weights(name):
    combine = aggregation.by_name(name)
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), PARAMS)
    share = aggregation.shares(jnp.array([5, 7]), jnp.array([False, True]))
    found = combine(OLD, broken, MASKS, share)
    np.testing.assert_array_equal(found["kernel"][:2], [4.0, 6.0])
    nobody = aggregation.shares(jnp.array([5, 7]), jnp.zeros(2, bool))
    found = combine(OLD, broken, MASKS, nobody)
    assert_same(found, OLD)


def test_shares_are_those_of_the_examples_of_who_is_there():
    found = aggregation.shares(jnp.array([1, 2, 3]), jnp.array([True, False, True]))
    np.testing.assert_allclose(found, [0.25, 0, 0.75], rtol=1e-7)
    parts = aggregation.shares(jnp.array([0.25, 0.5, 0.125]), jnp.ones(3, bool))
    np.testing.assert_allclose(parts, [2 / 7, 4 / 7, 1 / 7], rtol=1e-6)
    nobody = aggregation.shares(jnp.zeros(2, int), jnp.ones(2, bool))
    np.testing.assert_array_equal(nobody, [0, 0])


def test_an_unknown_aggregation_is_named():
    with pytest.raises(ValueError, match="zero_fill"):
        aggregation.by_name("zero_fil")


@pytest.mark.parametrize("name", sorted(aggregation.AGGREGATIONS))
def test_global_weights_keep_their_type(name):
    old = {"w": jnp.ones(2, jnp.bfloat16)}
    params = {"w": jnp.ones((3, 2), jnp.bfloat16)}
    masks = {"w": jnp.ones((3, 2), bool)}
    found = aggregation.by_name(name)(old, params, masks, jnp.full(3, 1 / 3))
    assert found["w"].dtype == jnp.bfloat16


@pytest.mark.parametrize("name", ["zero_fill", "mask_mean"])
def test_a_whole_number_that_all_clients_have_stays(name):
    big = 2**24 + 1  # is no float32: where nobody counts it stays, too
    old = {"steps": jnp.array([0, big])}
    params = {"steps": jnp.full((9, 2), 7)}
    combine, share = aggregation.by_name(name), jnp.full(9, 1 / 9)
    found = combine(old, params, {"steps": None}, share)
    assert found["steps"].dtype == jnp.int32 and found["steps"].tolist() == [7, 7]
    found = combine(old, params, {"steps": None}, jnp.zeros(9))
    assert found["steps"].tolist() == [0, big]


@pytest.mark.parametrize("name", ["zero_fill", "mask_mean"])
def test_means_are_of_float32_on_an_accelerator_too(name):
    old, clients = {"kernel": jnp.ones(3)}, {"kernel": jnp.ones((2, 3))}
    masks = {"kernel": jnp.ones((2, 3), bool)}
    given = old, clients, masks, jnp.full(2, 0.5)
    program = str(jax.make_jaxpr(aggregation.by_name(name))(*given))
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST")
