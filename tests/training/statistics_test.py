"""Batch statistics taken anew beside what a network draws from."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.training import statistics

STATE = {"stats": {"mean": jnp.float32(0)}, "draws": {"key": jnp.arange(2), "step": 3}}


def apply_fn(params, model_state, images, train):
    moved = 0.9 * model_state["stats"]["mean"] + 0.1 * jnp.mean(images)
    draws = {**model_state["draws"], "step": model_state["draws"]["step"] + 1}
    return images, {"stats": {"mean": moved}, "draws": draws}


@pytest.mark.parametrize("held", [lambda tree: tree, flax.core.freeze])
def test_statistics_are_taken_anew_and_draws_stay_in_what_held_them(held):
    found = statistics.recomputed(apply_fn, jnp.full((3, 2), 5.0))({}, held(STATE))
    assert jax.tree.structure(found) == jax.tree.structure(held(STATE))
    np.testing.assert_allclose(found["stats"]["mean"], 5, rtol=1e-5)
    assert found["draws"]["step"] == 3
