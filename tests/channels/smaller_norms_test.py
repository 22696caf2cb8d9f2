"""What a smaller network makes of norms between its layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax.channels import by_channel, layers_of
from lthjax.channels.smaller import compact
from lthjax.pruning import masks


class Normed(nn.Module):
    """A dense layer, some norm, and a head."""

    norm: type = nn.BatchNorm
    options: tuple = ()
    activation = staticmethod(nn.relu)

    @nn.compact
    def __call__(self, x, train=False):
        del train
        more = {"use_running_average": True} if self.norm is nn.BatchNorm else {}
        x = nn.Dense(4, name="dense1")(x)
        x = self.norm(**more, **dict(self.options), name="dense1_norm")(x)
        return nn.Dense(2, name="head")(nn.relu(x))


def normed(norm, **options):
    model = Normed(norm, tuple(options.items()))
    variables = dict(model.init(jax.random.key(0), jnp.ones((1, 3))))
    params, state = variables.pop("params"), variables
    state = jax.tree.map(lambda x: x + 0.5, state)
    group = layers_of.Group("dense1", ("dense1",), "head", 4)
    full = masks.full(params)
    kernel = full["dense1"]["kernel"].at[:, 0].set(False)
    return (
        model,
        params,
        {**full, "dense1": {**full["dense1"], "kernel": kernel}},
        state,
        group,
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_scale": False},
        {"use_bias": False},
        {"use_scale": False, "use_bias": False},
    ],
)
def test_a_norm_without_a_scale_keeps_what_it_makes_of_zeros(options):
    model, params, own, state, group = normed(nn.BatchNorm, **options)
    small = compact(model, params, own, state, groups=(group,))
    x = jax.random.normal(jax.random.key(1), (5, 3))
    expected = model.apply({"params": masks.apply(params, own), **state}, x)
    found = small.model.apply({"params": small.params, **small.model_state}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_norm_over_channels_is_refused():
    model, params, own, _, group = normed(nn.LayerNorm)
    for state in (None, {}, {"batch_stats": {"other_norm": {"mean": jnp.zeros(2)}}}):
        with pytest.raises(ValueError, match="dense1_norm, which has no running mean"):
            compact(model, params, own, state, groups=(group,))


PLAIN = {"use_scale": False, "use_bias": False}


def without_the_first(norm, **options):
    """Returns what a network says without its first channel, and with it masked."""
    model, params, _, state, group = normed(norm, **options)
    stay = {"dense1": jnp.arange(4) > 0}
    own = by_channel.spread(by_channel.full(params, (group,)), stay, (group,))
    small = compact(model, params, own, state, groups=(group,))
    assert dict(small.model.widths) == {"dense1": 3}
    x = jax.random.normal(jax.random.key(1), (5, 3))
    return (
        small.model.apply({"params": small.params, **small.model_state}, x),
        model.apply({"params": masks.apply(params, own), **state}, x),
    )


@pytest.mark.parametrize(
    ("norm", "options"),
    [
        (nn.LayerNorm, PLAIN),
        (nn.RMSNorm, {"use_scale": False}),
        (nn.GroupNorm, {"num_groups": 1, **PLAIN}),
    ],
)
def test_a_norm_over_channels_without_parameters_is_refused_too(norm, options):
    with pytest.raises(ValueError, match="dense1_norm over channels that have lost"):
        without_the_first(norm, **options)


def test_norms_without_parameters_that_take_each_channel_by_itself_are_taken():
    axes = {"reduction_axes": 0, "feature_axes": -1}
    for norm, options in (
        (nn.LayerNorm, {**axes, **PLAIN}),
        (nn.GroupNorm, {"num_groups": None, "group_size": 1, **PLAIN}),
    ):
        found, expected = without_the_first(norm, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
