import functools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from cases import rest_slow
from flax import linen as nn
from trees import assert_same

from lthjax import models
from lthjax.channels import by_channel, layers_of
from lthjax.channels.smaller import Slim, compact, speed_up
from lthjax.pruning import masks

NETWORKS = {
    "vgg11": {"depths": (1, 2), "channels": (6, 8)},
    "resnet34": {"blocks": (1, 1), "channels": (6, 8)},
    "resnet50": {"blocks": (1,), "channels": (5,)},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
    "lenet5": {},
    "conv4": {"channels": (4,), "hidden": (7,)},
    "mlp": {"hidden": (9, 6)},
}
TINY = {"mobilenet_v1": 0.1, "mobilenet_v2": 0.1, "lenet5": 0.2}
IMAGES = jax.random.normal(jax.random.key(5), (2, 16, 16, 3))


@functools.cache
def network(name):
    return networks.drawn(name, IMAGES, NETWORKS[name], TINY.get(name, 1.0))


def drawn(found, seed=0):
    """Returns for each group about half of its channels, at least one."""
    rng = np.random.default_rng(seed)
    kept = {group.name: rng.random(group.size) < 0.5 for group in found}
    return {
        name: jnp.asarray(np.append(mask[:-1], True)) for name, mask in kept.items()
    }


def shrunk(params, found, seed):
    """Returns masks that keep about half of the channels."""
    return by_channel.spread(by_channel.full(params, found), drawn(found, seed), found)


def logits(model, params, state):
    forward = jax.jit(lambda p, s: models.apply(model, p, s, IMAGES, train=False)[0])
    return forward(params, state)


@pytest.mark.parametrize(
    "name", rest_slow(NETWORKS, "vgg11", "resnet34", "lenet5", "mlp")
)
def test_a_compact_network_computes_what_the_masked_one_does(name):
    model, params, state = network(name)
    found = layers_of.groups(model, params)
    kept = drawn(found)
    tree = by_channel.spread(by_channel.full(params, found), kept, found)
    small = compact(model, params, tree, state)
    wanted = logits(model, masks.apply(params, tree), state)
    np.testing.assert_allclose(
        logits(*small), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max()
    )
    for group in found:
        made = layers_of.leaves(params, group)[0]
        sizes = {layers_of.named(small.params)[leaf].shape[-1] for leaf in made}
        assert sizes == {int(kept[group.name].sum())}
    again, _ = jax.eval_shape(
        lambda key: models.initialise(small.model, key, IMAGES), jax.random.key(1)
    )
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, small.params)


def test_masks_of_kernels_alone_do_not_remove_what_the_norm_still_emits():
    model, params, state = network("resnet34")
    group = layers_of.groups(model, params)[0]
    tree = masks.full(params)
    name = f"{group.producers[0]}/kernel"
    half = jax.tree_util.tree_map_with_path(
        lambda path, m: m.at[..., 0].set(False) if masks.path_name(path) == name else m,
        tree,
    )
    small = compact(model, params, half, state)
    assert layers_of.named(small.params)[name].shape[-1] == group.size
    wanted = logits(model, masks.apply(params, half), state)
    np.testing.assert_allclose(logits(*small), wanted, rtol=1e-5, atol=1e-5)


def test_norms_alone_remove_channels_only_where_the_activation_is_zero_at_zero():
    model, params, state = network("vgg11")
    group = layers_of.groups(model, params)[0]
    tree = jax.tree_util.tree_map_with_path(
        lambda path, m: (
            jnp.arange(m.size) < 2
            if masks.path_name(path).startswith(f"{group.name}_norm/")
            else m
        ),
        by_channel.full(params, layers_of.groups(model, params)),
    )
    for activation, left in ((nn.relu, 2), (nn.sigmoid, group.size)):
        other = model.clone(activation=activation)
        small = compact(other, params, tree, state)
        assert dict(small.model.widths)[group.name] == left
        wanted = logits(other, masks.apply(params, tree), state)
        np.testing.assert_allclose(logits(*small), wanted, rtol=1e-5, atol=1e-5)


def test_a_compact_network_is_compacted_again_and_computes_the_same():
    model, params, state = network("resnet34")
    found = layers_of.groups(model, params)
    once = compact(model, params, shrunk(params, found, 0), state, groups=found[:1])
    assert {*dict(once.model.widths)} == {p for g in found[:1] for p in g.producers}
    found = layers_of.groups(once.model, once.params)
    tree = shrunk(once.params, found, 1)
    twice = compact(*once[:2], tree, once.model_state)
    wanted = logits(once.model, masks.apply(once.params, tree), once.model_state)
    np.testing.assert_allclose(
        logits(*twice), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max()
    )
    assert twice.model.model is model


@pytest.mark.parametrize(
    "name", rest_slow(["mobilenet_v2", "resnet34", "lenet5"], "resnet34", "lenet5")
)
def test_counts_above_one_are_weights_on_what_the_next_layer_reads(name):
    model, params, state = network(name)
    found = layers_of.groups(model, params)
    rng = np.random.default_rng(0)
    counts = {g.name: np.append(rng.integers(0, 4, g.size - 1), 2) for g in found}
    weights = {
        name: jnp.asarray(n * n.size / n.sum(), jnp.float32)
        for name, n in counts.items()
    }
    kept = {name: jnp.asarray(n > 0) for name, n in counts.items()}
    folded = by_channel.fold(params, weights, found)
    tree = by_channel.spread(by_channel.full(params, found), kept, found)
    small = compact(model, folded, tree, state)
    readers = {g.consumer: np.asarray(weights[g.name]) for g in found}

    def weighted(call, args, options, context):
        layer = context.module
        factor = readers.get("/".join(layer.path))
        if context.method_name != "__call__" or factor is None:
            return call(*args, **options)
        # A flattened feature map has all channels of a pixel side by side.
        wide = np.resize(factor, args[0].shape[-1])
        return call(args[0] * jnp.broadcast_to(wide, args[0].shape), **options)

    with nn.intercept_methods(weighted):
        wanted = logits(model, params, state)
    np.testing.assert_allclose(
        logits(*small), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max()
    )


def test_a_group_with_nothing_left_keeps_one_channel_of_zeros():
    model, params, state = network("resnet34")
    found = layers_of.groups(model, params)
    none = {found[0].name: jnp.zeros(found[0].size, bool)}
    tree = by_channel.spread(by_channel.full(params, found), none, found)
    small = compact(model, params, tree, state)
    wanted = logits(model, masks.apply(params, tree), state)
    np.testing.assert_allclose(logits(*small), wanted, rtol=1e-5, atol=1e-5)
    assert dict(small.model.widths)[found[0].name] == 1


def test_full_masks_change_nothing_and_the_kept_channels_are_read_back():
    model, params, state = network("vgg11")
    found = layers_of.groups(model, params)
    tree = by_channel.full(params, found)
    same = compact(model, params, tree, state)
    assert_same(same.params, params)
    kept = drawn(found)
    back = by_channel.kept(by_channel.spread(tree, kept, found), found)
    assert_same(back, kept)


def test_folded_weights_are_weights_on_the_channels():
    model, params, state = network("vgg11")
    found = layers_of.groups(model, params)
    rng = np.random.default_rng(0)
    weights = {g.name: jnp.asarray(rng.random(g.size), jnp.float32) for g in found}
    folded = by_channel.fold(params, weights, found)
    # A positive weight passes relu and the max pool: scaling what the norm emits is it.
    named = {}
    for group in found:
        for leaf in ("scale", "bias"):
            named[f"{group.producers[-1]}_norm/{leaf}"] = weights[group.name]
    scaled = jax.tree_util.tree_map_with_path(
        lambda path, w: w * named.get(masks.path_name(path), 1.0), params
    )
    wanted = logits(model, scaled, state)
    np.testing.assert_allclose(logits(model, folded, state), wanted, rtol=1e-4)


def test_a_smaller_network_is_timed_against_the_whole_one():
    model, params, state = network("mlp")
    found = layers_of.groups(model, params)
    tree = by_channel.full(params, found)
    small = compact(model, params, tree, state)
    ratios = speed_up(model, (params, state), small, IMAGES, rounds=1, seconds=0.01)
    assert ratios.shape == (1,) and ratios[0] > 0


def test_groups_of_another_network_are_asked_for():
    with pytest.raises(ValueError, match="got model = Dense"):
        layers_of.groups(nn.Dense(3), {})


def test_parameters_of_another_network_are_refused():
    params, resnet = network("vgg11")[1], network("resnet34")[0]
    with pytest.raises(ValueError, match="got none for model = ResNet"):
        compact(resnet, params, masks.full(params))


class Grouped(nn.Module):
    """A convolution of four groups, and what reads it."""

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        x = nn.Conv(8, (3, 3), feature_group_count=4, name="conv1")(images)
        return nn.Conv(3, (1, 1), name="conv2")(jnp.tanh(x)).mean((1, 2))


def test_a_grouped_convolution_loses_no_channels():
    images = jnp.ones((2, 4, 4, 4))
    params = Grouped().init(jax.random.key(0), images)["params"]
    groups = (layers_of.Group("conv1", ("conv1",), "conv2", 8),)
    stay = {"conv1": jnp.arange(8) < 4}
    pruned = by_channel.spread(by_channel.full(params, groups), stay, groups)
    small = compact(Grouped(), params, pruned, groups=groups)
    with pytest.raises(ValueError, match="got conv1 with 4 groups for 8 channels"):
        small.model.apply({"params": small.params}, images)


def test_what_is_nan_stays_in_the_compact_network():
    model = models.build("mlp", 2, options={"hidden": (3,)})
    params = jax.tree.map(
        jnp.ones_like, model.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    )
    kernel = params["head"]["kernel"].at[1].set(jnp.nan)
    params["head"]["kernel"] = kernel
    small = compact(model, params, masks.full(params))
    assert jnp.isnan(
        small.model.apply({"params": small.params}, jnp.ones((1, 4)))
    ).all()


class Named(nn.Module):
    """A network whose activation is a name."""

    activation: str = "relu"

    @nn.compact
    def __call__(self, x, train=False):
        x = getattr(nn, self.activation)(nn.Dense(3, name="first")(x))
        return nn.Dense(2, name="last")(x)


def test_an_activation_that_is_no_function_is_not_known_to_be_silent():
    model, x = Named(), jnp.ones((1, 4))
    params = model.init(jax.random.key(0), x)["params"]
    found = (layers_of.Group("first", ("first",), "last", 3),)
    full = by_channel.full(params, found)
    stay = {"first": jnp.array([True, False, True])}
    small = compact(model, params, by_channel.spread(full, stay, found), groups=found)
    assert small.params["last"]["kernel"].shape == (2, 2)


def test_a_compact_network_trains_as_the_whole_one_is_told_to():
    model = models.build(
        "mlp", 2, options={"hidden": (3,)}, remat=True, axis_name="data"
    )
    small = Slim(model, (("dense1", 2),))
    assert small.remat is True and small.axis_name == "data"
    plain = Slim(nn.Dense(2))
    assert plain.remat is False and plain.axis_name is None
