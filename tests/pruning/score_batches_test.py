"""Scores over several batches: of their mean loss, and the average of their scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import flat, partly

from lthjax.pruning import masks, scores

LOSSES = {"snip": scores.snip, "taylor": scores.taylor, "grasp": scores.grasp}


def network():
    key = jax.random.key(0)
    names = ("first", "second")
    return {
        name: {"kernel": jax.random.normal(jax.random.fold_in(key, i), (6, 7))}
        for i, name in enumerate(names)
    }


def squares(params, x):
    """A loss of `network`, smooth in every weight."""
    hidden = jnp.tanh(x @ params["first"]["kernel"])
    return jnp.mean((hidden @ params["second"]["kernel"].T) ** 2)


BATCHES = jax.random.normal(jax.random.key(3), (3, 4, 6))


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_batches_is_the_loss_of_one_large_batch(name):
    params = network()
    part = partly(params, 60)

    def score(loss_fn):
        return flat(jax.jit(functools.partial(LOSSES[name], loss_fn))(params, part))

    found = score(scores.over_batches(squares, BATCHES))
    expected = score(lambda params: squares(params, BATCHES.reshape(12, 6)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_average_of_scores_is_that_of_the_batches_and_above_that_of_their_sum():
    params = network()
    full = masks.full(params)

    def score(batch):
        return scores.snip(lambda params: squares(params, batch), params, full)

    found = flat(jax.jit(functools.partial(scores.average, score))(BATCHES))
    expected = np.mean([flat(score(batch)) for batch in BATCHES], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    summed = flat(scores.snip(scores.over_batches(squares, BATCHES), params, full))
    assert (summed <= found * (1 + 1e-5)).all() and (summed < 0.5 * found).any()


def test_batches_of_no_common_length_are_refused():
    uneven = {"x": jnp.ones((2, 3)), "y": jnp.ones(3)}
    for batches in (uneven, jnp.ones((0, 3)), jnp.float32(1)):
        with pytest.raises(ValueError, match="one leading axis of at least one batch"):
            scores.over_batches(squares, batches)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_mean_over_many_batches_is_added_up_in_float32(dtype):
    batches, w = jnp.ones(3000, dtype), jnp.array(1.0, dtype)
    loss = scores.over_batches(lambda w, x: w * x, batches)
    value, slope = jax.value_and_grad(loss)(w)
    assert float(value) == pytest.approx(1, abs=1e-3)
    assert float(slope) == pytest.approx(1, abs=1e-2) and slope.dtype == dtype
    assert float(scores.average(lambda x: x, batches)) == pytest.approx(1, abs=1e-3)
    whole = scores.average(lambda x: x, jnp.full(300, 100, jnp.int8))
    assert float(whole) == pytest.approx(100)
