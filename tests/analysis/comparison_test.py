"""What two tickets share: overlap, distance, signs, and the line between them."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from two_networks import KEEP, SHAPES, A, B, C, drawn, weights

from lthjax.analysis import barriers, comparison
from lthjax.pruning import masks


def inverted(tree):
    return jax.tree.map(jnp.logical_not, tree)


def nothing(tree):
    return jax.tree.map(jnp.zeros_like, tree)


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
    empty = {**half, "none": jnp.zeros(0, bool)}
    assert comparison.chance_overlap(empty, {**other, "none": empty["none"]}) == (
        jnp.float32(2) / 6
    )


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
        barriers.interpolate(0.5, params, A)
    with pytest.raises(ValueError, match=r"head/kernel = \(8, 11\)"):
        comparison.sign_agreement(params, params, wider)
    with pytest.raises(ValueError, match="without head/kernel"):
        comparison.by_layer(comparison.overlap, fewer, A)
    with pytest.raises(ValueError, match="'global' or 'layer', got scope = 'all'"):
        comparison.chance_overlap(A, B, "all")


def test_networks_without_masks_do_not_differ_in_them():
    none = {"b": None}
    assert comparison.hamming(none, none) == 0
    assert comparison.overlap(none, none) == 1
    for scope in ("layer", "global"):
        assert comparison.chance_overlap(none, none, scope) == 1


MASK, OTHER = jnp.arange(4) < 2, jnp.arange(4) < 1
TREES = {
    "frozen": (flax.core.freeze({"a": {"k": MASK}}), {"a": {"k": OTHER}}),
    "a list and a tuple": ([MASK], (OTHER,)),
    "a list and a dict": ([MASK, MASK], {0: OTHER, 1: OTHER}),
    "numbers as text": ([MASK] * 11, {str(i): OTHER for i in range(11)}),
    "none and nothing": ({"k": MASK, "bias": None}, {"k": OTHER}),
}


@pytest.mark.parametrize("one, other", TREES.values(), ids=TREES)
def test_trees_of_the_same_leaves_compare_whatever_holds_them(one, other):
    for a, b in ((one, other), (other, one)):
        assert comparison.overlap(a, b) == 0.5
        assert comparison.hamming(a, b) == 0.25
        for scope in ("layer", "global"):
            expected = comparison.chance_overlap(MASK, OTHER, scope)
            assert comparison.chance_overlap(a, b, scope) == pytest.approx(expected)
        signs = [jax.tree.map(lambda m: m * 2.0 - 1, tree) for tree in (a, b)]
        full = jax.tree.map(jnp.ones_like, a)
        assert comparison.sign_agreement(*signs, full) == 0.75
        half = barriers.interpolate(0.5, *signs)
        assert jax.tree.structure(half) == jax.tree.structure(signs[0])
        for leaf in jax.tree.leaves(half):
            np.testing.assert_array_equal(leaf, [1, 0, -1, -1])


def test_leaves_are_matched_by_their_names():
    rows = [jnp.arange(4) == i % 4 for i in range(11)]
    assert comparison.overlap(rows, {str(i): row for i, row in enumerate(rows)}) == 1


@pytest.mark.parametrize("name", ["overlap", "hamming", "chance_overlap"])
def test_masks_of_numbers_are_refused(name):
    soft = {"k": jnp.array([0.3, 0.0])}
    mask = {"k": jnp.array([True, False])}
    for pair in ((soft, soft), (soft, mask), (mask, soft)):
        with pytest.raises(ValueError, match="a mask must be bool.*k = float32"):
            getattr(comparison, name)(*pair)
