"""What two tickets share: overlap, distance, signs, and the line between them."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import linen as nn

from lthjax import models
from lthjax.analysis import comparison
from lthjax.pruning import masks

SHAPES = {"conv": (3, 3, 4, 8), "head": (8, 10)}
KEEP = {"conv": 0.2, "head": 0.6}


def drawn(seed, keep=KEEP):
    """Masks that keep each weight with its layer's probability."""
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    return {
        name: {"kernel": jax.random.bernoulli(key, keep[name], shape), "bias": None}
        for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }


def weights(seed):
    keys = iter(jax.random.split(jax.random.key(seed), 2 * len(SHAPES)))
    return {
        name: {
            "kernel": jax.random.normal(next(keys), shape),
            "bias": jax.random.normal(next(keys), shape[-1:]),
        }
        for name, shape in SHAPES.items()
    }


def inverted(tree):
    return jax.tree.map(jnp.logical_not, tree)


def nothing(tree):
    return jax.tree.map(jnp.zeros_like, tree)


A, B, C = (drawn(seed) for seed in range(3))


@pytest.mark.usefixtures("strict_dtypes")
def test_masks_overlap_wholly_with_themselves_and_not_with_their_rest():
    assert comparison.overlap(A, A) == comparison.overlap(nothing(A), nothing(A)) == 1
    assert comparison.overlap(A, inverted(A)) == 0
    assert comparison.overlap(A, nothing(A)) == 0


@pytest.mark.usefixtures("strict_dtypes")
def test_overlap_is_intersection_over_union_whichever_comes_first():
    leaves = [np.concatenate([m.ravel() for m in jax.tree.leaves(t)]) for t in (A, B)]
    both, either = np.sum(leaves[0] & leaves[1]), np.sum(leaves[0] | leaves[1])
    assert 0 < both < either
    expected = np.float32(both) / np.float32(either)
    assert comparison.overlap(A, B) == comparison.overlap(B, A) == expected


def test_masks_inside_others_overlap_by_the_ratio_of_their_counts():
    inner = jax.tree.map(jnp.logical_and, A, B)
    (few, _), (many, _) = masks.count(inner), masks.count(A)
    assert comparison.overlap(inner, A) == few.astype(jnp.float32) / many


@pytest.mark.usefixtures("strict_dtypes")
def test_hamming_is_a_metric():
    _, total = masks.count(A)

    def apart(a, b):
        return round(total * float(comparison.hamming(a, b)))

    for x, y, z in [(A, B, C), (B, A, C), (A, inverted(A), B), (A, nothing(A), C)]:
        assert apart(x, x) == 0 < apart(x, y) == apart(y, x)
        assert apart(x, y) <= apart(x, z) + apart(z, y)
    assert apart(A, inverted(A)) == total
    assert apart(A, nothing(A)) == masks.count(A)[0]


def test_random_masks_overlap_by_chance():
    pairs = [(drawn(seed), drawn(seed + 50)) for seed in range(50)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs)
    a, b = (jax.tree.map(lambda leaf, i=i: leaf, stacked[i]) for i in range(2))
    found = jax.vmap(comparison.overlap)(a, b)
    chance = jax.vmap(comparison.chance_overlap)(a, b)
    # Given its counts an intersection is hypergeometric, of variance at most
    # N p (1 - p) q (1 - q) N / (N - 1) < N p q. The overlap moves by less than 2 / U
    # when it moves by one: five of its standard errors over the 50 pairs.
    sizes = np.array([np.prod(shape) for shape in SHAPES.values()])
    p = np.array(list(KEEP.values()))
    union = np.sum(sizes * (2 * p - p**2))
    error = 5 * 2 / union * np.sqrt(np.sum(sizes * p**2) / len(pairs))
    assert abs(np.mean(found - chance)) < error


@pytest.mark.usefixtures("strict_dtypes")
def test_chance_is_the_formula_of_the_densities():
    half = {"kernel": jnp.arange(8) < 4}
    other = {"kernel": jnp.arange(8) >= 4}
    # Of 4 and 4 of 8, 4 * 4 / 8 = 2 meet, and 4 + 4 - 2 = 6 are in one of them.
    assert comparison.chance_overlap(half, other) == jnp.float32(2) / 6
    # One layer full, one empty: all that is kept meets; in all, it would be as above.
    layers = {"full": jnp.ones(4, bool), "none": jnp.zeros(4, bool)}
    assert comparison.chance_overlap(layers, layers) == 1
    assert comparison.chance_overlap(layers, layers, "global") == jnp.float32(2) / 6
    assert comparison.chance_overlap(nothing(half), nothing(half)) == 1


def test_densities_are_the_kept_fractions_of_the_layers():
    rows = masks.layers(A).items()
    expected = {
        name: np.float32(kept) / np.float32(size) for name, (kept, size) in rows
    }
    found = comparison.densities(A)
    assert found.keys() == expected.keys() == {"conv/kernel", "head/kernel"}
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


def test_the_whole_is_the_mean_of_its_layers_by_their_sizes():
    by_layer = comparison.by_layer(comparison.hamming, A, B)
    sizes = {name: size for name, (_, size) in masks.layers(A).items()}
    assert by_layer.keys() == sizes.keys()
    mean = sum(by_layer[n] * size for n, size in sizes.items()) / sum(sizes.values())
    np.testing.assert_allclose(comparison.hamming(A, B), mean, rtol=1e-6)
    signs = comparison.by_layer(comparison.sign_agreement, weights(0), weights(1), A)
    assert signs.keys() == sizes.keys()


@pytest.mark.usefixtures("strict_dtypes")
def test_signs_agree_with_themselves_and_not_with_their_negatives():
    start = weights(0)
    negative = jax.tree.map(jnp.negative, start)
    assert comparison.sign_agreement(start, start, A) == 1
    assert comparison.sign_agreement(start, negative, A) == 0
    assert comparison.sign_agreement(start, negative, nothing(A)) == 1


def test_only_the_signs_of_kept_weights_count():
    start = weights(0)
    flipped = jax.tree.map(
        lambda w, mask: -w if mask is None else jnp.where(mask, w, -w), start, A
    )
    assert comparison.sign_agreement(start, flipped, A) == 1
    assert comparison.sign_agreement(start, flipped, inverted(A)) == 0
    kept, total = masks.count(A)
    everywhere = jax.tree.map(jnp.ones_like, A)
    expected = kept.astype(jnp.float32) / total
    assert comparison.sign_agreement(start, flipped, everywhere) == expected


def test_all_comparisons_map_and_compile():
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), A, B, C)
    start, end = weights(0), weights(1)

    def everything(tree):
        layers = comparison.by_layer(comparison.overlap, tree, B)
        return (
            comparison.overlap(tree, B),
            comparison.hamming(tree, B),
            comparison.chance_overlap(tree, B),
            comparison.sign_agreement(start, end, tree),
            (layers, comparison.densities(tree)),
        )

    mapped = jax.jit(jax.vmap(everything))(stacked)
    for i, tree in enumerate((A, B, C)):
        for x, y in zip(
            jax.tree.leaves(mapped), jax.tree.leaves(everything(tree)), strict=True
        ):
            np.testing.assert_allclose(x[i], y, rtol=1e-6)


def test_trees_of_other_networks_are_refused_with_their_leaves():
    wider = {**A, "head": {"kernel": jnp.ones((8, 11), bool), "bias": None}}
    fewer = {**A, "head": {"kernel": None, "bias": None}}
    for fn in (comparison.overlap, comparison.hamming, comparison.chance_overlap):
        with pytest.raises(ValueError, match=r"head/kernel = \(8, 10\) and \(8, 11\)"):
            fn(A, wider)
        with pytest.raises(ValueError, match=r"head/kernel = nothing and \(8, 10\)"):
            fn(fewer, A)
    params = weights(0)
    with pytest.raises(ValueError, match="conv/bias = .* and nothing"):
        comparison.interpolate(0.5, params, A)
    with pytest.raises(ValueError, match=r"head/kernel = \(8, 11\)"):
        comparison.sign_agreement(params, params, wider)
    with pytest.raises(ValueError, match="without head/kernel"):
        comparison.by_layer(comparison.overlap, fewer, A)
    with pytest.raises(ValueError, match="'global' or 'layer', got scope = 'all'"):
        comparison.chance_overlap(A, B, "all")


def same(x, y):
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_line_begins_and_ends_at_its_ends_and_is_straight(dtype):
    a, b = ({"w": w["conv"], "n": jnp.int32(3)} for w in (weights(0), weights(1)))
    a, b = (
        jax.tree.map(lambda x: x if x.ndim == 0 else x.astype(dtype), t) for t in (a, b)
    )
    assert same(comparison.interpolate(0, a, b), a)
    assert same(comparison.interpolate(1, a, b), b)
    assert all(
        same(comparison.interpolate(alpha, a, a), a) for alpha in (0.1, 0.3, 0.7)
    )
    half = comparison.interpolate(0.5, a, b)
    middle = jax.tree.map(lambda x, y: (x + y) / 2, a["w"], b["w"])
    limit = 1e-5 if dtype == "float32" else 2**-7  # bfloat16 has 8 bits
    for x, y in zip(jax.tree.leaves(half["w"]), jax.tree.leaves(middle), strict=True):
        gap = jnp.abs(x - y).astype(jnp.float32)
        assert gap.max() <= limit * jnp.abs(y).astype(jnp.float32).max()


def test_a_line_between_tickets_keeps_the_union_of_their_masks():
    pair = [masks.apply(w, m) for w, m in ((weights(0), A), (weights(1), B))]
    half = comparison.interpolate(0.5, *pair)
    for name in SHAPES:
        union = A[name]["kernel"] | B[name]["kernel"]
        np.testing.assert_array_equal(half[name]["kernel"] != 0, union)


def height_of_a_bump(x):
    """Two at 1/2, falling to zero at the ends 0 and 1."""
    return 2 - 4 * jnp.abs(x - 0.5)


def test_a_known_bump_is_found():
    def error(params, model_state):
        # A ramp of slope 1 takes the ends to 0 and 1: their mean is a half.
        return height_of_a_bump(params["x"]) + params["x"] + model_state["offset"]

    a, b = (({"x": jnp.float32(x)}, {"offset": jnp.float32(3)}) for x in (0, 1))
    found = comparison.barrier(error, a, b, points=5)
    np.testing.assert_array_equal(found.alphas, [0, 0.25, 0.5, 0.75, 1])
    # 2 + 1/2 at the middle, 3 everywhere; the mean of the ends is 3 + 1/2.
    assert found.height == 2
    assert comparison.barrier(error, b, a, points=5).height == 2
    # With two points there are only the ends: half of what they differ by.
    assert comparison.barrier(error, a, b, points=2).height == 0.5
    compiled = jax.jit(lambda a, b: comparison.barrier(error, a, b, points=5).height)
    assert compiled(a, b) == 2


@pytest.mark.parametrize("points", [2, 7, 30])
def test_between_a_network_and_itself_there_is_no_barrier(points):
    params = weights(0)

    def error(params, model_state):
        return sum(jnp.sum(w**3) for w in jax.tree.leaves(params)) + model_state["x"]

    end = params, {"x": jnp.float32(0.1)}
    found = comparison.barrier(error, end, end, points=points)
    assert found.height == 0
    assert len(set(np.asarray(found.errors).tolist())) == 1


def test_statistics_are_recomputed_at_every_point():
    def error(params, model_state):
        return model_state["seen"]

    def recompute(params, model_state):
        return {"seen": model_state["seen"] * 0 + jnp.square(params["x"] - 0.5)}

    a, b = (({"x": jnp.float32(x)}, {"seen": jnp.float32(x)}) for x in (0, 1))
    found = comparison.barrier(error, a, b, points=3, recompute_fn=recompute)
    np.testing.assert_array_equal(found.errors, [0.25, 0, 0.25])


def test_a_line_of_one_point_or_of_two_networks_is_refused():
    a = weights(0), {}

    def never(*args):
        raise AssertionError

    with pytest.raises(ValueError, match="at least 2, got points = 1"):
        comparison.barrier(never, a, a, points=1)
    with pytest.raises(ValueError, match="conv/kernel"):
        comparison.barrier(never, a, ({}, {}))


class Normed(nn.Module):
    """Two convolutions with flax's batch norms of different momenta."""

    @nn.compact
    def __call__(self, x, train=False):
        for features, momentum in ((3, 0.9), (4, 0.5)):
            x = nn.Conv(features, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=momentum)(x))
        return nn.Dense(5)(x.mean((1, 2)))


NETWORKS = {
    "flax": Normed(),
    "ours": models.build(
        "resnet20", 5, options={"blocks": (1,), "channels": (4,), "norm_scale": "half"}
    ),
}


@pytest.fixture(params=NETWORKS)
def normed(request):
    model = NETWORKS[request.param]
    images = 1 + 2 * jax.random.normal(jax.random.key(1), (8, 6, 6, 2))
    params, state = networks.initialise(model, jax.random.key(0), images)

    def apply_fn(params, model_state, images, train):
        return models.apply(model, params, model_state, images, train=train)

    return apply_fn, params, state, images


def test_by_recomputed_statistics_a_network_does_what_it_does_in_training(normed):
    apply_fn, params, state, images = normed
    expected, _ = apply_fn(params, state, images, True)
    found = comparison.recomputed(apply_fn, images[None])(params, state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    logits, _ = apply_fn(params, found, images, False)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * scale)


def test_recomputed_statistics_are_the_mean_of_those_of_the_batches(normed):
    apply_fn, params, state, images = normed
    halves = images.reshape(2, 4, *images.shape[1:])
    anything = jax.tree.map(lambda leaf: leaf + 7, state)
    found = comparison.recomputed(apply_fn, halves)(params, anything)
    each = [comparison.recomputed(apply_fn, h[None])(params, state) for h in halves]
    mean = jax.tree.map(lambda x, y: (x + y) / 2, *each)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(mean), strict=True):
        scale = float(jnp.abs(y).max())
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-5 * scale)


def test_what_is_no_running_statistic_stays_or_is_refused():
    def apply_fn(params, model_state, images, train):
        moved = 0.9 * model_state["mean"] + 0.1 * jnp.mean(images)
        return images, {"mean": moved, "fixed": model_state["fixed"]}

    state = {"mean": jnp.float32(0), "fixed": jnp.float32(4)}
    recompute = comparison.recomputed(apply_fn, jnp.full((3, 2), 5.0))
    found = recompute({}, state)
    np.testing.assert_allclose(found["mean"], 5, rtol=1e-5)
    assert found["fixed"] == 4
    with pytest.raises(ValueError, match="to be recomputed, got steps = int32"):
        recompute({}, {**state, "steps": jnp.int32(1)})
