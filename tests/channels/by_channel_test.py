"""Of each channel a truth or a number: what fits, and which leaves it acts on."""

import jax
import jax.numpy as jnp
import pytest

from lthjax import models
from lthjax.channels import by_channel, layers_of
from lthjax.channels.layers_of import Group


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
