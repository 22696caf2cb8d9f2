"""Layers with methods of one's own, whose channels nothing is known of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import models
from lthjax.channels import by_channel, layers_of, low_rank
from lthjax.channels.smaller import compact
from lthjax.pruning import bases, patterns, scores, views
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.basis_names import BASES

KEY = jax.random.key(0)
IMAGES = jax.random.normal(KEY, (2, 4))


class Centred(nn.Dense):
    """Takes the mean off its kernel: a row of zeros is none any more."""

    def param(self, name, *args, **options):
        """Returns a parameter as the layer computes with it."""
        found = super().param(name, *args, **options)
        return found - found.mean(0, keepdims=True) if name == "kernel" else found


class Shares(nn.Dense):
    """Gives shares of all its channels."""

    @nn.compact
    def __call__(self, x):
        """Returns the shares."""
        return nn.softmax(super().__call__(x))


class Wide(nn.Dense):
    """Only begins with another default."""

    use_bias: bool = False


class Net(nn.Module):
    """Two layers, of any classes."""

    first: type = nn.Dense
    last: type = nn.Dense

    @nn.compact
    def __call__(self, x, train=False):
        """Returns 8 numbers."""
        return self.last(8, name="last")(nn.relu(self.first(8, name="first")(x)))


def narrowed(model):
    """Returns what a network gives with and without the channels that are masked."""
    params = model.init(KEY, IMAGES)["params"]
    found = (layers_of.Group("first", ("first",), "last", 8),)
    stay = {"first": jnp.arange(8) < 5}
    kept = by_channel.spread(by_channel.full(params, found), stay, found)
    small = compact(model, params, kept, groups=found)
    small = compact(small.model, *_whole(small), groups=found[:0])
    whole = model.apply({"params": masks_lib.apply(params, kept)}, IMAGES)
    return whole, small.model.apply({"params": small.params}, IMAGES)


def _whole(small):
    return small.params, masks_lib.full(small.params)


def thin(model, rank=2):
    """Returns what a network gives with one kernel, and with two."""
    variables = model.init(KEY, IMAGES)
    params, known = variables["params"], views.of(model.init, KEY, IMAGES)
    (name,) = (n for n in masks_lib.names(params) if n.endswith("first/kernel"))
    rules = [(name, BASES["svd_rows"])]
    given = {"prunable": [name], "image_shape": (4,), "views": known}
    found = bases.choose(params, rules, **given)
    arrays = bases.init(KEY, params, found, params)
    z = bases.to_basis(params, found, arrays)
    masks = masks_lib.full(params, include=name)
    ranked = scores.energy(z, masks)
    masks = patterns.channels(masks, ranked, kept=rank, views=known)
    plain = bases.materialize(z, masks, found, arrays)
    split = low_rank.split(z, masks, found, arrays, views=known)
    whole, _ = models.apply(model, plain, {}, IMAGES, train=False)
    return whole, low_rank.apply(model, split, {}, IMAGES, train=False)[0]


@pytest.mark.parametrize("build", [narrowed, thin])
@pytest.mark.parametrize("kind", [nn.Dense, Wide, nn.remat(nn.Dense)])
def test_a_layer_of_flax_or_with_another_default_is_cut(build, kind):
    whole, cut = build(Net(kind, kind))
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [Centred, Shares, nn.remat(Centred)])
def test_a_layer_with_methods_of_ones_own_is_refused_by_name(kind):
    for model, name in ((Net(first=kind), "first"), (Net(last=kind), "last")):
        with pytest.raises(ValueError, match=f"got {name}, of .*leave its group out"):
            narrowed(model)
    with pytest.raises(ValueError, match="methods of one's own, got first = "):
        thin(Net(first=kind))


class Normed(nn.Module):
    """A layer whose kernel is normalised before it is multiplied with."""

    @nn.compact
    def __call__(self, x, train=False):
        """Returns 8 numbers."""
        return nn.WeightNorm(nn.Dense(8, name="first"), use_scale=False)(x)


class Holes(nn.Module):
    """A layer whose kernel has a mask of its own."""

    @nn.compact
    def __call__(self, x, train=False):
        """Returns 8 numbers."""
        mask = (jnp.arange(32).reshape(1, 4, 8) % 3 > 0) * 1.0
        return nn.Conv(8, (1,), mask=mask, name="first")(x[:, None])[:, 0]


@pytest.mark.parametrize("model", [Normed(), Holes()])
def test_what_computes_with_another_kernel_than_its_leaf_stays_one_layer(model):
    whole, cut = thin(model, rank=1)
    np.testing.assert_array_equal(cut, whole)
