"""flax's state with masks: what is pruned stays zero, and all else is as in flax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training import train_state as flax_state

from lthjax.pruning import masks as masks_lib
from lthjax.training import zeros
from lthjax.training.train_state import TrainState

PARAMS = {"kernel": jnp.arange(1.0, 7.0).reshape(2, 3), "bias": jnp.ones(3)}
GRADS = jax.tree.map(lambda w: 0.1 * w + 1, PARAMS)
MASKS = {"kernel": PARAMS["kernel"] % 2 == 0, "bias": None}
TX = optax.adamw(0.1, weight_decay=0.3)


def create(kind, tx):
    return kind.create(apply_fn=None, params=PARAMS, tx=tx)


@jax.jit
def twice(state, masks):
    for _ in range(2):
        state = state.apply_gradients(grads=GRADS, masks=masks)
    return state


def test_pruned_weights_stay_zero_and_the_others_take_the_steps_of_keep():
    state = twice(create(TrainState, TX).pruned(MASKS), MASKS)
    params, tx = masks_lib.apply(PARAMS, MASKS), zeros.keep(TX)
    inner = tx.init(params)
    for _ in range(2):
        updates, inner = tx.update(GRADS, inner, params, masks=MASKS)
        params = optax.apply_updates(params, updates)
    assert state.step == 2
    assert not state.params["kernel"][~MASKS["kernel"]].any()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        (state.params, state.opt_state),
        (params, inner),
    )


def test_full_masks_change_nothing_and_an_optimizer_may_be_kept_already():
    dense = create(flax_state.TrainState, TX)
    for _ in range(2):
        dense = dense.apply_gradients(grads=GRADS)
    full = masks_lib.full(PARAMS)
    for tx in (TX, zeros.keep(TX)):
        state = twice(create(TrainState, tx), full)
        assert state.tx is tx
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
            state.params,
            dense.params,
        )


def test_what_is_pruned_later_leaves_no_moments():
    state = twice(create(TrainState, optax.sgd(0.1, 0.9)), masks_lib.full(PARAMS))
    state = state.pruned(MASKS)
    trace = state.opt_state[0].trace["kernel"]
    np.testing.assert_array_equal(trace != 0, MASKS["kernel"])


def test_masks_of_other_parameters_are_refused():
    state = create(TrainState, TX)
    with pytest.raises(ValueError, match="masks of its parameters"):
        state.apply_gradients(grads=GRADS, masks={"kernel": None})
    with pytest.raises(TypeError, match="masks"):
        state.apply_gradients(grads=GRADS)
