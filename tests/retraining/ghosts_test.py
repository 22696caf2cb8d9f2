"""Ghosts: soft neurons that become hard ones, branches that leave no trace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import rest_slow
from flax import linen as nn
from flax.core import FrozenDict
from trees import assert_same

from lthjax import models
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import ghosts
from lthjax.retraining.ghosts import Knobs
from lthjax.training import optimizers

# Both zeros, denormals, and values of every size.
GRID = np.concatenate(
    [
        np.array([0.0, -0.0, 1e-40, -1e-40, 1e4, -1e4], np.float32),
        np.linspace(-20, 20, 2001, dtype=np.float32),
    ]
)
SOFT = {"swish": nn.swish, "mish": jax.nn.mish, "sharpening_swish": nn.swish}


def activation(name):
    return jax.jit(ghosts.NEURONS[name])


@pytest.mark.parametrize("name", ghosts.NEURONS)
def test_a_faded_neuron_is_relu_with_finite_gradients(name):
    soften = activation(name)
    np.testing.assert_array_equal(soften(GRID, 1.0), nn.relu(GRID))
    for lam in (0.0, 0.5, 1.0):
        slopes = jax.vmap(jax.grad(soften), (0, None))(GRID, lam)
        assert np.isfinite(slopes).all()
        assert np.isfinite(jax.vmap(jax.grad(soften, 1), (0, None))(GRID, lam)).all()


@pytest.mark.parametrize("name", SOFT)
def test_a_neuron_that_has_not_faded_is_the_soft_one(name):
    expected = jax.jit(SOFT[name])(GRID)
    np.testing.assert_allclose(activation(name)(GRID, 0.0), expected, rtol=1e-6)


@pytest.mark.parametrize("beta", [1, 2, 5, 10])
def test_swish_is_as_far_from_relu_as_its_slope_says(beta):
    # x sigmoid(-x) has its maximum where 1 + exp(x) = x exp(x): 1.27846 and 0.278465.
    x = np.linspace(-2, 2, 400_001) / beta
    distance = np.abs(ghosts.parametric_swish(x, beta) - nn.relu(x)).max()
    np.testing.assert_allclose(distance, 0.278465 / beta, rtol=1e-4)


@pytest.mark.parametrize(
    "low, high, distance, place", [(-4, 4, 0.30884, -1.1924), (0, 4, 0.14030, 0.796)]
)
def test_mish_is_farthest_from_relu_where_it_is_known_to_be(low, high, distance, place):
    x = np.linspace(low, high, 400_001)
    found = np.abs(ghosts.mish(x) - nn.relu(x))
    np.testing.assert_allclose(found.max(), distance, rtol=1e-4)
    np.testing.assert_allclose(x[np.argmax(found)], place, atol=2e-3)


@pytest.mark.parametrize("name", ghosts.NEURONS)
def test_neurons_come_closer_to_relu_all_the_way(name):
    soften = activation(name)
    lams = np.linspace(0, 1, 21)
    distances = [np.abs(soften(GRID, lam) - nn.relu(GRID)).max() for lam in lams]
    # At 1e4 float32 has three digits behind the point.
    assert (np.diff(distances) <= 1e-3).all()
    assert distances[0] > 0.1 > distances[-1] == 0


NETWORKS = {
    "resnet20": {"blocks": (1, 1), "channels": (4, 6)},
    "vgg11": {"depths": (1, 1), "channels": (4, 6)},
}
IMAGES = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
ALL = {"neurons": "swish", "skips": "he"}


@functools.cache
def network(name, **ghost):
    """A small network, its variables, and those with ghosts around the same ones."""
    plain = models.build(name, 3, options=NETWORKS[name])
    own = jax.jit(functools.partial(models.initialise, plain))(
        jax.random.key(0), IMAGES
    )
    haunted = ghosts.attach(plain, Knobs(0.0, 1.0), **(ghost or ALL))
    init = jax.jit(functools.partial(models.initialise, haunted))
    return plain, own, ghosts.graft(init(jax.random.key(2), IMAGES), own)


@pytest.mark.parametrize("name", rest_slow(["resnet20", "vgg11"], "vgg11"))
def test_at_the_end_the_network_is_the_plain_one_exactly(name):
    plain, own, full = network(name)
    assert_same(ghosts.strip(full), own)
    haunted = ghosts.attach(plain, Knobs(1.0, 0.0), **ALL)
    for train in (True, False):  # operation by operation, so that XLA fuses nothing
        found = models.apply(haunted, *full, IMAGES, train=train)
        assert_same(ghosts.strip(found), models.apply(plain, *own, IMAGES, train=train))


def shapes(model):
    init = functools.partial(models.initialise, model, jax.random.key(0))
    return jax.eval_shape(init, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))[0]


@pytest.mark.parametrize(
    "name", ["resnet20", "resnet50", "vgg11", "mobilenet_v1", "mobilenet_v2"]
)
def test_every_3x3_convolution_but_the_stem_has_a_branch(name):
    plain = models.build(name, 3)
    own, full = shapes(plain), shapes(ghosts.attach(plain, Knobs(), skips="he"))
    kernels = {n: w for n, w in named(own).items() if n.endswith("kernel")}
    beside = {n for n, w in kernels.items() if w.shape[:2] == (3, 3)} - {"stem/kernel"}
    found = {n for n in set(named(full)) - set(named(own)) if n.endswith("kernel")}
    assert found == {n.replace("/kernel", "_ghost/kernel") for n in beside}
    assert len(found) > 0
    for n in found:
        shape, main = named(full)[n].shape, kernels[n.replace("_ghost", "")].shape
        assert shape == (1, 1, *main[2:])


def named(tree):
    return dict(zip(masks_lib.names(tree), jax.tree.leaves(tree), strict=True))


def total(tree):
    return sum(w.size for w in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "plain_size", "ghost_size"),
    # Of the source: section 2.2 of the specification, with 100 classes.
    [("resnet18", 11_220_132, 1_228_288), ("resnet34", 21_328_292, 2_358_016)],
)
def test_ghosts_are_as_large_as_those_of_the_source(name, plain_size, ghost_size):
    haunted = ghosts.attach(models.build(name, 100), Knobs(), skips="constant")
    params = shapes(haunted)
    assert total(ghosts.strip(params)) == plain_size
    assert total(params) - plain_size == ghost_size


@functools.cache
def _gradient(plain, places):
    """Returns the compiled gradient; how branches start does not change it."""

    def loss(params, state, knobs):
        haunted = ghosts.attach(plain, knobs, **{place: ALL[place] for place in places})
        logits, _ = models.apply(haunted, params, state, IMAGES, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.array([0, 1, 2, 0])
        ).sum()

    return jax.jit(jax.grad(loss))


def gradients(name, knobs, **ghost):
    plain, _, (params, state) = network(name, **ghost)
    found = named(_gradient(plain, tuple(ghost))(params, state, knobs))
    return {name: g for name, g in found.items() if "_ghost" in name}


def test_an_absent_branch_learns_nothing_and_a_whole_one_everywhere():
    for start in ("constant", "he"):
        absent = gradients("vgg11", Knobs(0.0, 0.0), skips=start)
        assert not any(np.any(g) for g in absent.values())
        whole = gradients("vgg11", Knobs(0.0, 1.0), skips=start)
        assert all(np.any(g) for g in whole.values())


def test_a_branch_whose_norm_starts_at_zero_learns_by_its_norm_first():
    start = gradients("vgg11", Knobs(0.0, 1.0), skips="zero_norm")
    learns = {name for name, g in start.items() if np.any(g)}
    assert learns == {name for name in start if "_norm/" in name}


def test_a_constant_branch_is_the_same_in_all_channels():
    _, _, (params, _) = network("resnet20", skips="constant")
    kernels = [w for n, w in named(params).items() if n.endswith("_ghost/kernel")]
    assert all(np.all(w == np.float32(1e-4)) for w in kernels)


def test_a_branch_whose_norm_is_zero_changes_nothing():
    plain, own, full = network("resnet20", skips="zero_norm")
    haunted = ghosts.attach(plain, Knobs(0.0, 1.0), skips="zero_norm")
    found, _ = models.apply(haunted, *full, IMAGES, train=True)
    expected, _ = models.apply(plain, *own, IMAGES, train=True)
    np.testing.assert_array_equal(found, expected)


def test_ghosts_are_in_no_mask_and_stay_when_everything_else_is_pruned():
    plain, (own, _), (full, _) = network("resnet20")
    kept = masks_lib.full(own)
    spared = ghosts.spare(full, kept)
    assert masks_lib.names(spared) == masks_lib.names(kept)
    none = jax.tree.map(jnp.zeros_like, spared)
    pruned = masks_lib.apply(full, none)
    left = {name for name, w in named(pruned).items() if np.any(w)}
    assert {n for n in named(full) if n.endswith("_ghost/kernel")} <= left
    assert not {n for n in named(own) if n.endswith("kernel")} & left


def test_the_optimizer_forgets_the_ghosts_and_nothing_else():
    _, (own, _), (full, _) = network("resnet20")
    tx = optimizers.build("sgd", optax.constant_schedule(0.1), clip=1.0)
    grads = jax.tree.map(jnp.ones_like, full)
    masks = ghosts.spare(full, masks_lib.full(own))
    _, state = jax.jit(tx.update)(grads, tx.init(full), full, masks=masks)
    plain = ghosts.strip(state)
    assert jax.tree.structure(plain) == jax.tree.structure(tx.init(own))
    assert_same(ghosts.graft(state, plain), state)


def test_varying_knobs_compile_nothing():
    traces = []
    plain, _, full = network("resnet20")

    @jax.jit
    def run(knobs):
        traces.append(knobs)
        haunted = ghosts.attach(plain, knobs, **ALL)
        return models.apply(haunted, *full, IMAGES, train=True)[0]

    for lam in (0.0, 0.3, 1.0):
        run(Knobs(jnp.float32(lam), jnp.float32(1 - lam)))
    assert len(traces) == 1


class Bare(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(3)(images.mean((1, 2)))


@pytest.mark.parametrize(
    ("ghost", "message"),
    [
        ({"neurons": "swish"}, "attribute 'activation', a function, got Bare"),
        (
            {"skips": "he"},
            "3x3 convolutions .* got Bare, which has none",
        ),
    ],
)
def test_a_network_without_a_place_for_ghosts_is_refused(ghost, message):
    with pytest.raises(ValueError, match=message):
        ghosts.attach(Bare(), Knobs(), **ghost)


def lost(x, lam, hard):
    return x[0]


def test_a_start_of_ones_own_is_a_pair_of_initialisers():
    model = models.build("resnet20", 3)
    with pytest.raises(ValueError, match="pair of initialisers, .* got .*:lost'"):
        ghosts.attach(model, Knobs(), skips=f"{__name__}:lost")


@pytest.mark.parametrize(
    "name, message",
    [
        (f"{__name__}:test_unknown_ghosts_are_refused_with_the_choices", "TypeError"),
        (f"{__name__}:lost", r"keep the shape \(2, 300\) .*, got \(300,\) from"),
    ],
)
def test_neurons_of_ones_own_are_refused_by_name(name, message):
    model = ghosts.attach(models.build("lenet_300_100", 3), Knobs(0.0), neurons=name)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((2, 4, 4, 1)))


def test_unknown_ghosts_are_refused_with_the_choices():
    model = models.build("resnet20", 3)
    with pytest.raises(ValueError, match="mish, .* got ghost neuron = 'mesh'"):
        ghosts.attach(model, Knobs(), neurons="mesh")
    with pytest.raises(ValueError, match="constant, .* got start of ghost skips"):
        ghosts.attach(model, Knobs(), skips="zeros")


def test_trees_that_do_not_match_are_refused():
    tree = {"conv": jnp.ones(2), f"conv{ghosts.SUFFIX}": jnp.ones(1)}
    frozen = FrozenDict(tree)
    assert ghosts.strip(frozen) == FrozenDict({"conv": tree["conv"]})
    with pytest.raises(ValueError, match="what is grafted must be of"):
        ghosts.graft(tree, {"conv": jnp.ones(2), "more": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"must be of parameters, got \['dense'\]"):
        ghosts.spare(tree, {"dense": jnp.ones(2, bool)})


@pytest.mark.parametrize("name", ["mlp", "lenet5", "lenet_tutorial", "conv4"])
def test_branches_of_a_network_without_norms_are_refused(name):
    with pytest.raises(ValueError, match="3x3 convolutions with norms .* has none"):
        ghosts.attach(models.build(name, 3), Knobs(0.0, 1.0), skips="he")


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit_tiny"])
def test_what_sharpens_to_a_relu_is_refused_where_there_is_another_activation(name):
    model = models.build(name, 3)
    ghosts.attach(model, Knobs(), neurons="swish")
    with pytest.raises(ValueError, match="sharpen to a relu, .* give 'swish'"):
        ghosts.attach(model, Knobs(), neurons="sharpening_swish")


@pytest.mark.parametrize("activation", ["relu", None])
def test_an_activation_that_is_no_function_is_refused(activation):
    class Named(nn.Module):
        activation: str | None

    with pytest.raises(ValueError, match="'activation', a function, got Named"):
        ghosts.attach(Named(activation), Knobs(), neurons="swish")
