"""Which channels slimming takes, and that what it takes has no say any more."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from lthjax import models
from lthjax.channels import slimming
from lthjax.pruning import masks

GAMMA = {"a": [0.5, 0.1, 0.9, 0.3], "b": [0.05, 0.7, 0.2, 0.4]}


def vgg():
    options = {"depths": (1, 1), "channels": (4, 6)}
    network = models.build("vgg11", 3, options=options)
    images = jax.random.normal(jax.random.key(1), (2, 16, 16, 1))
    params, state = networks.initialise(network, jax.random.key(0), images)
    scales = {
        name: jax.random.normal(jax.random.key(i), gamma.shape)
        for i, (name, gamma) in enumerate(slimming.scales(params).items())
    }
    for name, gamma in scales.items():
        params[f"{name}_norm"] = {"scale": gamma, "bias": jnp.ones_like(gamma)}
    return network, params, state, images


def test_channels_strictly_above_the_threshold_stay():
    # Sorted: .05 .1 .2 .3 .4 .5 .7 .9; the one at 8 * 0.5 is .4, above it are three.
    kept = slimming.channels(GAMMA, 0.5)
    assert kept["a"].tolist() == [True, False, True, False]
    assert kept["b"].tolist() == [False, True, False, False]


def test_a_layer_that_would_lose_all_is_named():
    with pytest.raises(ValueError, match=r"share = 0.5, which leaves none in small"):
        slimming.channels({"small": [0.1, 0.2], "large": [1.0, 2.0]}, 0.5)
    with pytest.raises(ValueError, match=r"in \[0, 1\), got share = 1"):
        slimming.channels(GAMMA, 1)


def test_the_derivative_of_the_penalty_is_the_sign_of_the_scales_alone():
    params = {"conv": {"kernel": jnp.ones(3)}, "conv_norm": {"scale": jnp.ones(2)}}
    params["conv_norm"]["scale"] = jnp.array([-0.5, 2.0])
    slope = jax.grad(slimming.penalty)(params)
    assert slope["conv_norm"]["scale"].tolist() == [-1, 1]
    assert slope["conv"]["kernel"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="without any; its leaves are head/kernel"):
        slimming.penalty({"head": {"kernel": jnp.ones(3)}})


def test_a_pruned_channel_has_no_say():
    network, params, state, images = vgg()
    kept = slimming.channels(slimming.scales(params), 0.3)
    tree = slimming.masks(masks.full(params), kept)
    pruned = masks.apply(params, tree)

    def logits(params):
        return networks.apply(network, params, state, images, train=False)[0]

    expected = logits(pruned)
    for name, stays in kept.items():
        norm = pruned[f"{name}_norm"]
        norm["bias"] = jnp.where(jnp.asarray(stays), norm["bias"], 7.0)
    np.testing.assert_array_equal(logits(pruned), expected)
    assert not np.array_equal(logits(params), expected)


def test_a_network_that_is_no_chain_is_refused():
    full = {"conv1": {"kernel": jnp.ones((3, 3, 1, 4), bool)}}
    full["head"] = {"kernel": jnp.ones((5, 2), bool)}
    with pytest.raises(ValueError, match="one chain, .* got head with 5 inputs"):
        slimming.masks(full, {"conv1": np.ones(4, bool)})
