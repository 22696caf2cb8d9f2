"""Which channels slimming takes, and that what it takes has no say any more."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from lthjax import models
from lthjax.channels import by_channel, layers_of, slimming
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


# Sorted, GAMMA is .05 .1 .2 .3 .4 .5 .7 .9. Of ten scales, p = 0.3 leaves seven; the
# released codes keep what is above the one at int(10 * 0.3), .4: six.
TEN = {"a": [0.1, 0.5, 0.3, 0.2, 0.9, 0.4, 0.6, 0.8, 0.7, 1.0]}


def shown(kept):
    return {name: "".join(str(int(k)) for k in mask) for name, mask in kept.items()}


@pytest.mark.parametrize(
    "gamma, released, kept",
    [
        (GAMMA, False, {"a": "1010", "b": "0101"}),
        (GAMMA, True, {"a": "1010", "b": "0100"}),
        (
            {"a": [-0.5, 0.1, -0.9, 0.3], "b": [0.05, -0.7]},
            False,
            {"a": "1010", "b": "01"},
        ),
    ],
)
def test_half_of_the_channels_stay_exactly_or_by_the_released_rule(
    gamma, released, kept
):
    assert shown(slimming.slimmed(gamma, 0.5, released=released)) == kept
    draw = jax.jit(lambda tree: slimming.slimmed(tree, 0.5, released=released))
    assert shown(draw(jax.tree.map(jnp.asarray, gamma))) == kept


def test_seven_of_ten_stay_where_the_released_rule_keeps_six():
    assert shown(slimming.slimmed(TEN, 0.3)) == {"a": "0100111111"}
    assert shown(slimming.slimmed(TEN, 0.3, released=True)) == {"a": "0100101111"}


def test_of_equal_scales_the_first_stay_where_the_released_rule_keeps_none():
    equal = {"a": [0.5] * 6, "b": [0.5] * 4}
    assert by_channel.count(slimming.slimmed(equal, 0.5)) == (5, 10)
    with pytest.raises(ValueError, match="got sparsity = 0.5, .* leaves none in a"):
        slimming.slimmed(equal, 0.5, released=True)


def test_every_layer_keeps_its_best_channel():
    uneven = {"a": jnp.arange(1.0, 7), "b": jnp.array([1e-3, 2e-3, 1e-3, 1e-3])}
    assert shown(slimming.slimmed(uneven, 0.5)) == {"a": "001111", "b": "0100"}
    with pytest.raises(ValueError, match="cannot be emptied, got sparsity = 0.9"):
        slimming.slimmed(uneven, 0.9)
    with pytest.raises(ValueError, match="got sparsity = 0.5, .* leaves none in b"):
        slimming.slimmed(uneven, 0.5, released=True)
    with pytest.raises(ValueError, match=r"in \[0, 1\), got sparsity = 1"):
        slimming.slimmed(GAMMA, 1)


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
    kept = slimming.slimmed(slimming.scales(params), 0.3)
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


def test_the_tenth_layer_comes_after_the_ninth():
    names = [f"conv{i}" for i in range(1, 12)]
    full = {n: {"kernel": jnp.ones((2, 2), bool)} for n in [*names, "head"]}
    kept = {n: jnp.ones(2, bool) for n in names}
    kept["conv1"] = jnp.array([True, False])
    found = slimming.masks(full, kept)
    cut = [n for n, leaf in found.items() if not leaf["kernel"].all()]
    assert sorted(cut) == ["conv1", "conv2"]
    sizes = dict(zip(names, range(2, 13), strict=True))
    before = dict(zip([*names[1:], "head"], names, strict=True))
    params = {
        n: {"kernel": jnp.ones((sizes.get(before.get(n), 3), sizes.get(n, 2)))}
        for n in [*names, "head"]
    }
    params |= {f"{n}_norm": {"scale": jnp.ones(sizes[n])} for n in names}
    slimming.check(params)


def test_every_layer_of_the_chain_must_be_given_and_finite():
    kernels = {f"conv{i}": {"kernel": jnp.ones((1, 1, 4, 4))} for i in (1, 2, 3)}
    full = masks.full(kernels | {"head": {"kernel": jnp.ones((4, 2))}})
    kept = dict.fromkeys(("conv1", "conv3"), jnp.array([True, False, False, False]))
    with pytest.raises(ValueError, match="got conv2 on one side alone"):
        slimming.masks(full, kept)
    with pytest.raises(ValueError, match="scales must be finite, got conv1"):
        slimming.slimmed({"conv1": jnp.array([jnp.nan, 1.0])}, 0.5, released=True)


@pytest.mark.parametrize("released", [False, True])
def test_the_least_of_whole_numbers_is_the_largest_scale(released):
    scales = {"a": jnp.array([-128, 5, 6, 7], jnp.int8)}
    kept = {"a": "1000" if released else "1001"}
    assert shown(slimming.slimmed(scales, 0.5, released=released)) == kept
    group = layers_of.Group("a", ("a",), "head", 4)
    params = {"a_norm": {"scale": scales["a"]}}
    assert slimming.norm_scales(params, (group,))["a"].tolist() == [128, 5, 6, 7]


def test_channels_that_are_kept_are_no_numbers():
    full = {"conv1": {"kernel": jnp.ones((1, 1, 1, 3), bool)}}
    full["head"] = {"kernel": jnp.ones((3, 2), bool)}
    for stays in (jnp.array([2, 0, 1]), np.ones(3, np.float32)):
        with pytest.raises(ValueError, match=f"bool, .* got conv1 = {stays.dtype}"):
            slimming.masks(full, {"conv1": stays})
