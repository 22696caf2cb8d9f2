"""What a score is: a number for each prunable weight, in which higher means keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax import masks, pruning, scores

pytestmark = pytest.mark.usefixtures("strict_dtypes")
KEY = jax.random.key(0)


def network(dtype="float32"):
    keys = jax.random.split(KEY, 2)
    return {
        "first": {
            "kernel": jax.random.normal(keys[0], (6, 7), dtype),
            "bias": jnp.ones(7, dtype),
        },
        "second": {"kernel": jax.random.normal(keys[1], (6, 7), dtype)},
    }


FUNCTIONS = {
    "magnitude": scores.magnitude,
    "random": lambda params, masks: scores.random(KEY, params, masks),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_are_float32_where_masks_are_and_none_elsewhere(name, dtype):
    params = network(dtype)
    full = masks.full(params)
    found = FUNCTIONS[name](params, full)
    assert jax.tree.structure(found) == jax.tree.structure(full)
    for score, mask in zip(jax.tree.leaves(found), jax.tree.leaves(full), strict=True):
        assert (score.shape, score.dtype) == (mask.shape, jnp.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scores_are_the_same_under_jit_and_vmap(name):
    params = network()
    other = jax.tree.map(lambda w: 2 * w, params)
    full = masks.full(params)
    stacked = jax.tree.map(lambda *ws: jnp.stack(ws), params, other)
    mapped = jax.jit(jax.vmap(lambda params: FUNCTIONS[name](params, full)))(stacked)
    for i, tree in enumerate((params, other)):
        jax.tree.map(
            np.testing.assert_array_equal,
            jax.tree.map(lambda leaf, i=i: leaf[i], mapped),
            FUNCTIONS[name](tree, full),
        )


def test_magnitude_is_the_absolute_value_of_each_prunable_weight():
    params = network()
    found = scores.magnitude(params, masks.full(params))
    for name in ("first", "second"):
        expected = np.abs(np.asarray(params[name]["kernel"]))
        np.testing.assert_array_equal(found[name]["kernel"], expected)


def test_the_derivative_of_magnitude_is_the_sign():
    params = network()

    def total(params):
        found = jax.tree.leaves(scores.magnitude(params, masks.full(params)))
        return jnp.sum(jnp.stack(found))

    gradient = jax.grad(total)(params)
    kernel = params["first"]["kernel"]
    np.testing.assert_array_equal(gradient["first"]["kernel"], jnp.sign(kernel))
    assert (gradient["first"]["bias"] == 0).all()


def test_random_scores_are_the_keys_and_not_the_weights():
    params = network()
    full = masks.full(params)
    other = jax.tree.map(lambda w: -3 * w, params)
    found = scores.random(KEY, params, full)
    jax.tree.map(np.testing.assert_array_equal, found, scores.random(KEY, other, full))
    another = scores.random(jax.random.key(1), params, full)
    assert (found["first"]["kernel"] != another["first"]["kernel"]).any()
    assert (found["first"]["kernel"] != found["second"]["kernel"]).any()


def test_pruning_by_random_scores_keeps_every_weight_equally_often():
    params = {"kernel": jnp.zeros(10)}
    full = masks.full(params)
    trials = 1_000

    def survivors(key):
        drawn = scores.random(key, params, full)
        return pruning.prune(full, drawn, kept=5)["kernel"]

    counts = np.sum(jax.vmap(survivors)(jax.random.split(KEY, trials)), axis=0)
    # Five standard deviations of a binomial count with probability a half.
    assert np.max(np.abs(counts - trials // 2)) < 5 * np.sqrt(trials / 4)
