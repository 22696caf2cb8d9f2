"""Optimizers of several groups of layers, each of which carries its own masks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax import dynamic
from lthjax.pruning import masks as masks_lib

PARAMS = {
    "a": {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)},
    "b": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
    "c": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
}
GROUPS = {"a": "half", "b": "quarter", "c": "dense"}
LABELS = {name: dict.fromkeys(PARAMS[name], GROUPS[name]) for name in PARAMS}
WHEN = {"begin": 0, "end": 2, "every": 1}
GRADS = jax.tree.map(
    lambda w: jnp.arange(w.size, dtype=w.dtype).reshape(w.shape), PARAMS
)


def grouped(law):
    """Returns an optimizer that keeps a half of one layer, a quarter of another."""
    own = {"half": 0.5, "quarter": 0.75}
    own = {name: law(optax.sgd(0.1), share, **WHEN) for name, share in own.items()}
    return optax.multi_transform({**own, "dense": optax.sgd(0.1)}, LABELS)


def trained(tx, steps=4):
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = jax.jit(tx.update)(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("law", [dynamic.gradual, dynamic.straight_through])
def test_masks_are_those_of_every_group(law):
    _, state = trained(grouped(law))
    found = dynamic.masks(state)
    assert sorted(masks_lib.names(found)) == ["a/kernel", "b/kernel"]
    assert found["c"] == {"kernel": None, "bias": None}
    assert [int(found[name]["kernel"].sum()) for name in "ab"] == [8, 2]


def test_the_forward_pass_is_masked_in_every_group():
    params, state = trained(grouped(dynamic.straight_through))
    forward, found = dynamic.forward(params, state), dynamic.masks(state)
    for name in "ab":
        kept = np.where(found[name]["kernel"], params[name]["kernel"], 0)
        np.testing.assert_array_equal(forward[name]["kernel"], kept)
        assert (np.asarray(params[name]["kernel"]) != 0).all()
    np.testing.assert_array_equal(forward["c"]["kernel"], params["c"]["kernel"])


def test_each_group_starts_with_the_masks_of_its_own_layers():
    tx = grouped(dynamic.gradual)
    masks = masks_lib.full({"a": PARAMS["a"], "b": PARAMS["b"]}) | {"c": LACKING}
    masks["b"]["kernel"] = masks["b"]["kernel"].at[0, 0].set(False)
    found = dynamic.masks(dynamic.start(tx.init(PARAMS), masks))
    jax.tree.map(np.testing.assert_array_equal, found, masks)


LACKING = {"kernel": None, "bias": None}


def test_counts_are_of_one_optimizer():
    state = grouped(dynamic.gradual).init(PARAMS)
    masks = masks_lib.full(PARAMS) | {"c": LACKING}
    with pytest.raises(ValueError, match="kept must be of one optimizer .* for 2 of"):
        dynamic.start(state, masks, kept=4)


def test_masks_of_two_networks_are_not_mixed_up():
    tx = dynamic.gradual(optax.sgd(0.1), 0.5, **WHEN)
    states = tx.init(PARAMS["a"]), tx.init({"own": PARAMS["b"]})
    with pytest.raises(ValueError, match="of one network, got those of 2"):
        dynamic.masks(states)
