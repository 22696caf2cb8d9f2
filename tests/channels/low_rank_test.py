"""Two thin layers compute what one did, and are made where they are fewer numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from trees import assert_same

from lthjax import models
from lthjax.channels import low_rank
from lthjax.pruning import bases, patterns, scores, views
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.basis_names import BASES

KEY = jax.random.key(1)


class Net(nn.Module):
    """A strided convolution, a norm and two dense layers."""

    groups: int = 1

    @nn.compact
    def __call__(self, images, train=False):
        """Returns 3 logits."""
        conv = nn.Conv(
            8,
            (3, 3),
            strides=2,
            padding=1,
            name="conv",
            feature_group_count=self.groups,
        )
        x = nn.BatchNorm(use_running_average=not train, name="norm")(conv(images))
        x = nn.relu(x).reshape(len(x), -1)
        return nn.Dense(3, name="head")(nn.relu(nn.Dense(12, name="dense")(x)))


def drawn(model, kept, names=("conv/kernel", "dense/kernel")):
    images = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    params, state = models.initialise(model, jax.random.key(1), images)
    rules = [(name, BASES["svd_rows"]) for name in names]
    found = bases.choose(params, rules, prunable=names, image_shape=(6, 6, 4))
    arrays = bases.init(jax.random.key(2), params, found, params)
    z = bases.to_basis(params, found, arrays)
    excluded = [n for n in ("conv", "dense", "head") if f"{n}/kernel" not in names]
    masks = masks_lib.full(params, excluded)
    masks = patterns.channels(masks, scores.energy(z, masks), kept=kept)
    return images, state, z, (masks, found, arrays)


@pytest.mark.parametrize("train", [False, True])
def test_two_thin_layers_compute_what_one_did(train):
    model = Net()
    images, state, z, rest = drawn(model, 9)
    thin, plain = low_rank.split(z, *rest), bases.materialize(z, *rest)
    assert {"first", "second", "bias"} == thin["dense"].keys()
    assert thin["conv"].keys() == {"first", "second", "bias"}
    sizes = [sum(w.size for w in jax.tree.leaves(tree)) for tree in (thin, plain)]
    assert sizes[0] < sizes[1]
    one, other = (
        fn(model, params, state, images, train=train)
        for fn, params in ((low_rank.apply, thin), (models.apply, plain))
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other
    )


def test_a_speed_up_is_measured_a_round():
    model = Net()
    images, state, z, rest = drawn(model, 9)
    pair = bases.materialize(z, *rest), low_rank.split(z, *rest)
    given = {"rounds": 2, "seconds": 0.001}
    ratios = low_rank.speed_up(model, pair, state, images, **given)
    assert ratios.shape == (2,) and (ratios > 0).all()


def test_a_kernel_of_too_many_rows_stays_one():
    _, _, z, rest = drawn(Net(), 20)
    thin, plain = low_rank.split(z, *rest), bases.materialize(z, *rest)
    assert jax.tree.structure(thin) == jax.tree.structure(plain)
    assert_same(thin, plain)


def test_groups_of_channels_are_refused():
    model = Net(groups=4)
    images, state, z, rest = drawn(model, 2, ("conv/kernel",))
    thin = low_rank.split(z, *rest)
    with pytest.raises(ValueError, match="without groups of channels.*got conv = Conv"):
        low_rank.apply(model, thin, state, images, train=False)


def test_where_groups_are_known_a_kernel_stays_one():
    model = Net(groups=4)
    images, state, z, (masks, _, arrays) = drawn(model, 2, ("conv/kernel",))
    known = views.of(lambda *given: model.init(*given)["params"], KEY, images)
    rules, names = [("conv", BASES["svd_rows"])], ["conv/kernel"]
    found = bases.choose(z, rules, prunable=names, image_shape=(6, 6, 4), views=known)
    assert not found["conv/kernel"].thin
    split = low_rank.split(z, masks, found, arrays, views=known)
    plain = bases.materialize(z, masks, found, arrays)
    assert_same(split, plain)
    low_rank.apply(model, split, state, images, train=False)


class First(nn.Module):
    """A network whose layers have the names of thin kernels."""

    @nn.compact
    def __call__(self, images, train=False):
        """Returns 3 logits."""
        return nn.Dense(3, name="second")(nn.Dense(5, name="first")(images))


def test_a_layer_of_which_nothing_is_kept_gives_its_bias():
    images = jax.random.normal(KEY, (2, 4))
    params, _ = models.initialise(First(), KEY, images)
    bias = params["second"]["bias"] + jnp.arange(3.0)
    thin = {low_rank.FIRST: jnp.zeros((5, 0)), low_rank.SECOND: jnp.zeros((0, 3))}
    thin = {**params, "second": {"bias": bias, **thin}}
    found, _ = low_rank.apply(First(), thin, {}, images, train=False)
    np.testing.assert_array_equal(found, jnp.broadcast_to(bias, (2, 3)))


def test_layers_called_as_thin_kernels_are_layers():
    images = jax.random.normal(KEY, (2, 4))
    params, _ = models.initialise(First(), KEY, images)
    found, _ = low_rank.apply(First(), params, {}, images, train=False)
    np.testing.assert_array_equal(found, First().apply({"params": params}, images))


def test_a_lone_layer_is_split():
    model, images = nn.Dense(8), jax.random.normal(KEY, (2, 8))
    params = model.init(KEY, images)["params"]
    rules = [("kernel", BASES["svd_rows"])]
    found = bases.choose(params, rules, prunable=["kernel"], image_shape=(8,))
    arrays = bases.init(KEY, params, found, params)
    z = bases.to_basis(params, found, arrays)
    kept = jnp.zeros((8, 8), bool).at[:, :2].set(True)
    thin = low_rank.split(z, {"kernel": kept, "bias": None}, found, arrays)
    assert thin[low_rank.FIRST].shape == (8, 2)
    whole = thin[low_rank.FIRST] @ thin[low_rank.SECOND]
    plain = bases.materialize(z, {"kernel": kept, "bias": None}, found, arrays)
    np.testing.assert_allclose(whole, plain["kernel"], rtol=1e-5, atol=1e-6)


class Slashed(nn.Module):
    """A network whose layer has a slash in its name."""

    @nn.compact
    def __call__(self, images, train=False):
        """Returns 8 logits."""
        return nn.Dense(8, name="in/out")(images)


def test_a_layer_with_a_slash_in_its_name_is_split():
    images = jax.random.normal(KEY, (2, 8))
    params, _ = models.initialise(Slashed(), KEY, images)
    rules, names = [("in/out", BASES["svd_rows"])], ["in/out/kernel"]
    found = bases.choose(params, rules, prunable=names, image_shape=(8,))
    arrays = bases.init(KEY, params, found, params)
    z = bases.to_basis(params, found, arrays)
    masks = masks_lib.full(params)
    masks = patterns.channels(masks, scores.energy(z, masks), kept=2)
    thin = low_rank.split(z, masks, found, arrays)
    assert thin["in/out"].keys() == {"first", "second", "bias"}
    plain = bases.materialize(z, masks, found, arrays)
    expected = Slashed().apply({"params": plain}, images)
    found, _ = low_rank.apply(Slashed(), thin, {}, images, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
