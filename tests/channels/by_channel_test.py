"""Of each channel a truth or a number: what fits, and which leaves it acts on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import models
from lthjax.channels import by_channel, layers_of, slimming, smaller
from lthjax.channels.layers_of import Group
from lthjax.pruning import masks, views


def test_a_reader_of_more_than_the_group_is_refused():
    params = {
        "a": {"kernel": jnp.ones((1, 1, 3, 4))},
        "c": {"kernel": jnp.ones((1, 1, 8, 2))},
    }
    groups = (layers_of.Group("a", ("a",), "c", 4),)
    with pytest.raises(ValueError, match="got 4 channels for c/kernel"):
        by_channel.full(params, groups)


KERNELS = {"a": {"kernel": jnp.ones((4, 3))}, "b": {"kernel": jnp.ones((3, 2))}}
CHAIN = (layers_of.Group("a", ("a",), "b", 3),)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"aa": jnp.ones(3, bool)}, "one of a, got 'aa'"),
        ({"a": jnp.ones(1, bool)}, r"each of its 3 channels, got bool \[1\]"),
        ({"a": jnp.array([2, 1, 0])}, r"bool for each of its 3 .*, got int32 \[3\]"),
    ],
)
def test_what_is_kept_is_a_mask_for_each_channel_of_a_group(given, message):
    with pytest.raises(ValueError, match=message):
        by_channel.spread(by_channel.full(KERNELS, CHAIN), given, CHAIN)
    if "int" not in message:
        with pytest.raises(ValueError, match=message):
            by_channel.fold(KERNELS, given, CHAIN)


def test_a_layer_that_our_networks_do_not_have_is_named():
    params = {f"{name}/kernel": jnp.ones((3, 3)) for name in ("dense1", "neck", "head")}
    params = {name.split("/")[0]: {"kernel": x} for name, x in params.items()}
    with pytest.raises(ValueError, match="got the layer 'neck'; hand your own"):
        layers_of.groups(models.build("mlp", 3, options={"hidden": (3,)}), params)


def test_whole_numbers_are_not_folded():
    whole = jax.tree.map(lambda w: w.astype(int), KERNELS)
    with pytest.raises(ValueError, match="must be floating, got .*/kernel = int"):
        by_channel.fold(whole, {"a": jnp.array([0.5, 1.0, 2.0])}, CHAIN)


def test_folding_keeps_the_type_of_the_weights():
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), KERNELS)
    found = by_channel.fold(half, {"a": jnp.array([0.5, 1.0, 2.0])}, CHAIN)
    assert found["b"]["kernel"].dtype == jnp.bfloat16
    turned = jax.tree.map(lambda w: (1 - 2j) * w, KERNELS)
    found = by_channel.fold(turned, {"a": jnp.array([0.5, 1.0, 2.0])}, CHAIN)
    assert found["b"]["kernel"][:, 0].tolist() == [0.5 - 1j, 1 - 2j, 2 - 4j]


def test_the_last_producer_is_told_from_one_whose_name_goes_on():
    params = {
        "c1": {"kernel": jnp.ones((3, 2))},
        "c10": {"kernel": jnp.ones((3, 2))},
        "read": {"kernel": jnp.ones((2, 1))},
    }
    groups = (layers_of.Group("c10", ("c10", "c1"), "read", 2),)
    full = by_channel.full(params, groups)
    full["c1"]["kernel"] = full["c1"]["kernel"].at[:, 0].set(False)
    assert by_channel.kept(full, groups)["c10"].tolist() == [False, True]


@pytest.mark.parametrize("group", [("dens1", "head"), ("dense1", "haed")])
def test_a_group_of_layers_that_are_not_there_is_refused_by_name(group):
    layer, reader = group
    params = {
        "dense1": {"kernel": jnp.ones((4, 3))},
        "head": {"kernel": jnp.ones((3, 2))},
    }
    groups = (Group(layer, (layer,), reader, 3),)
    wrong = layer if layer not in params else reader
    message = f"kernels, got none of '{wrong}' in .*; the layers are dense1, head"
    with pytest.raises(ValueError, match=message):
        by_channel.full(params, groups)


def test_channels_may_be_said_in_lists():
    full = by_channel.full(KERNELS, CHAIN)
    found = by_channel.spread(full, {"a": [True, False, True]}, CHAIN)
    assert found["b"]["kernel"][:, 0].tolist() == [True, False, True]
    found = by_channel.fold(KERNELS, {"a": [0.5, 1.0, 2.0]}, CHAIN)
    assert found["b"]["kernel"][:, 0].tolist() == [0.5, 1.0, 2.0]


class Turned(nn.Module):
    """A chain through a transposed convolution, which may be stored either way."""

    turned: bool

    @nn.compact
    def __call__(self, images):
        """Returns the logits."""
        x = nn.Conv(4, (3, 3), use_bias=False, name="conv1")(images)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="conv1_norm")(x))
        up = nn.ConvTranspose(
            4, (3, 3), use_bias=False, transpose_kernel=self.turned, name="conv2"
        )
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="conv2_norm")(up(x)))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


IMAGES = jax.random.normal(jax.random.key(1), (2, 6, 6, 1))
STAY = {"conv1": jnp.array([True, False, False, False]), "conv2": jnp.ones(4, bool)}
FIRST = (Group("conv1", ("conv1",), "conv2", 4),)


def turned(turned):
    model = Turned(turned)
    variables = model.init(jax.random.key(0), IMAGES)
    return model, variables, views.of(model.init, jax.random.key(0), IMAGES)


def test_channels_of_a_transposed_convolution_that_is_read_like_any_other_are_gone():
    model, variables, found = turned(False)
    params = variables["params"]
    slimming.check(params, found)
    scale = params["conv1_norm"]["scale"] * STAY["conv1"]
    silent = {**params, "conv1_norm": {**params["conv1_norm"], "scale": scale}}
    expected = model.apply({**variables, "params": silent}, IMAGES)
    slim = slimming.masks(masks.full(params), STAY, views=found)
    full = by_channel.full(params, FIRST, views=found)
    spread = by_channel.spread(full, {"conv1": STAY["conv1"]}, FIRST, views=found)
    folded = by_channel.fold(params, {"conv1": STAY["conv1"]}, FIRST, views=found)
    pruned = (masks.apply(params, tree) for tree in (slim, spread))
    for own in (*pruned, folded):
        got = model.apply({**variables, "params": own}, IMAGES)
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_a_kernel_whose_inputs_are_its_last_axis_is_refused_by_name():
    _, variables, found = turned(True)
    params, one = variables["params"], {"conv1": STAY["conv1"]}
    full, whole = masks.full(params), by_channel.full(params, FIRST)
    calls = (
        lambda: by_channel.full(params, FIRST, views=found),
        lambda: by_channel.spread(whole, one, FIRST, views=found),
        lambda: by_channel.kept(whole, FIRST, views=found),
        lambda: by_channel.fold(params, one, FIRST, views=found),
        lambda: smaller.compact(None, params, whole, groups=FIRST, views=found),
        lambda: slimming.check(params, found),
        lambda: slimming.masks(full, STAY, views=found),
    )
    for call in calls:
        with pytest.raises(ValueError, match="conv2/kernel, .* space space out in;"):
            call()


@pytest.mark.parametrize("text", ["in in out out", "copies copies in out", "out in"])
def test_a_kernel_with_other_axes_is_refused_even_where_its_shape_fits(text):
    params = {"a": {"kernel": jnp.ones((4, 4))}, "b": {"kernel": jnp.ones((4, 4))}}
    params["b"]["kernel"] = jnp.ones((4,) * len(text.split()))
    found = {"b/kernel": views.view(text.split())}
    for group in (Group("a", ("a",), "b", 4), Group("b", ("b",), "a", 4)):
        by_channel.full(params, (group,))
        with pytest.raises(ValueError, match=f"b/kernel, whose axes are {text};"):
            by_channel.full(params, (group,), views=found)
