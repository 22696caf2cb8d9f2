"""What is called outside of `jit` compiles once, and gives what is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lthjax as lth
from lthjax.pruning import programs

PARAMS = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.1, 0.2])}
MASKS = {"a": jnp.array([[True, True], [False, True]]), "bias": None}


def counted():
    """Returns a loss, a network, and the list of their traces."""
    traces = []

    def loss(params):
        traces.append("loss")
        return jnp.sum((params["a"] @ params["bias"]) ** 2)

    def network(params, inputs):
        traces.append("network")
        return jax.nn.relu(inputs @ params["a"])

    return loss, network, traces


CALLS = {
    "snip": lambda loss, network: lth.scores.snip(loss, PARAMS, MASKS),
    "taylor": lambda loss, network: lth.scores.taylor(loss, PARAMS, MASKS),
    "grasp": lambda loss, network: lth.scores.grasp(loss, PARAMS, MASKS),
    "synflow": lambda loss, network: lth.scores.synflow(network, PARAMS, MASKS, (2,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_of_a_loss_traces_nothing_and_is_that_of_jit(name):
    loss, network, traces = counted()
    first = CALLS[name](loss, network)
    seen = len(traces)
    again = CALLS[name](loss, network)
    assert len(traces) == seen > 0
    traced = jax.jit(lambda: CALLS[name](loss, network))()
    for own, other in ((first, again), (first, traced)):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), own, other
        )


def test_pruning_is_one_program():
    scores = {"a": jnp.array([[1.0, 4.0], [9.0, 2.0]]), "bias": None}
    found = lth.prune(MASKS, scores, kept=2)
    np.testing.assert_array_equal(found["a"], [[False, True], [False, True]])
    jaxpr = jax.make_jaxpr(lambda s: lth.prune(MASKS, s, kept=2))(scores)
    assert [str(eqn.primitive) for eqn in jaxpr.eqns] == ["jit"]


def test_a_loss_that_goes_by_values_is_still_scored():
    def loss(params):
        total = jnp.sum(params["a"] ** 2)
        return total if total > 1 else -total

    found = lth.scores.snip(loss, PARAMS, MASKS)
    np.testing.assert_allclose(found["a"], 2 * np.square(PARAMS["a"]) * MASKS["a"])


def test_a_loss_of_traced_batches_is_no_kept_program():
    programs._program.cache_clear()

    def score(batch):
        return lth.scores.snip(lambda w: jnp.sum(w["a"] * batch), PARAMS, MASKS)

    found = lth.scores.average(score, jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(found["a"], 2 * np.abs(PARAMS["a"]))
    assert programs._program.cache_info().currsize == 0
