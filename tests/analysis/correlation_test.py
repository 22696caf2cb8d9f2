"""How far two networks' weights are correlated: the laws of the indicator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from scipy import stats
from two_networks import A, weights

from lthjax.analysis import comparison, correlation
from lthjax.data import in_memory
from lthjax.models import by_name
from lthjax.pruning import masks as masks_lib

ONE, OTHER = weights(0), weights(1)
FULL = masks_lib.full(ONE)
PARTS = (0.1, 0.2, 0.5)


overlap = jax.jit(correlation.overlap_ratio)
ranks = jax.jit(correlation.rank_correlation)
largest = jax.jit(correlation._largest)
distance = jax.jit(correlation.distance)


def changed(fn, tree):
    return jax.tree.map(fn, tree)


@pytest.mark.parametrize("masks", [FULL, A], ids=["full", "sparse"])
@pytest.mark.parametrize("part", [*PARTS, 1.0])
def test_a_tree_overlaps_with_itself_wholly(masks, part):
    assert overlap(ONE, ONE, masks, part) == 1
    layers = comparison.by_layer(functools.partial(overlap, part=part), ONE, ONE, masks)
    assert len(layers) == 2 and all(found == 1 for found in layers.values())


def test_trees_large_at_different_places_do_not_overlap():
    half = jnp.arange(10) < 5
    first, rest = (jnp.where(m, 2.0, 1.0) for m in (half, ~half))
    full = jnp.ones(10, bool)
    assert overlap(first, rest, full, 0.5) == 0
    assert overlap(first, rest, full, 0.6) == jnp.float32(2 / 6)


@pytest.mark.parametrize("part", PARTS)
def test_scale_by_layer_signs_and_one_order_of_both_make_no_difference(part):
    expected = overlap(ONE, OTHER, A, part)
    scales = iter((3.0, 0.2, 7.0, 0.5))
    scaled = changed(lambda w: next(scales) * w, ONE)
    assert overlap(scaled, OTHER, A, part) == expected
    turned = changed(lambda w: w * (-1.0) ** jnp.arange(w.size).reshape(w.shape), ONE)
    assert overlap(turned, OTHER, A, part) == expected

    def shuffled(tree):
        return changed(
            lambda w: jax.random.permutation(
                jax.random.key(w.size), w.ravel(), independent=False
            ),
            tree,
        )

    trees = map(shuffled, (ONE, OTHER, A))
    assert overlap(*trees, part) == expected


@pytest.mark.parametrize("part", PARTS)
def test_independent_trees_overlap_by_the_part_that_is_taken(part):
    size = 20_000
    pair = jax.random.normal(jax.random.key(3), (2, size))
    found = float(overlap(*pair, jnp.ones(size, bool), part))
    # Of k = p N drawn, those among k marked: hypergeometric, of variance
    # k p (1 - p) (N - k) / (N - 1), and a k-th of its root is (1 - p) / sqrt(N).
    assert abs(found - part) < 5 * (1 - part) / np.sqrt(size)
    found = float(ranks(*pair, jnp.ones(size, bool)))
    assert abs(found) < 5 / np.sqrt(size)


def test_of_sparse_trees_the_part_is_of_what_is_kept():
    sizes = jnp.arange(1.0, 101.0)
    kept = jnp.arange(100) >= 80  # the 20 largest of `sizes`
    other = jnp.where(jnp.arange(100) >= 90, sizes, -sizes / 1000)
    # A tenth of the 20 that are kept are 2; of all 100, 10.
    for part, wanted in ((0.1, 2), (0.5, 10)):
        found = largest(sizes, kept, part)
        assert found.sum() == wanted and not (found & ~kept).any()
    assert overlap(sizes, other, kept, 0.5) == 1
    np.testing.assert_allclose(correlation.lowest_density(kept), 0.2, rtol=1e-6)
    # What is pruned does not count, whatever it holds.
    noisy = jnp.where(kept, sizes, 1e6)
    assert overlap(noisy, sizes, kept, 0.3) == 1
    assert distance(noisy, sizes, kept) == 0


def test_a_layer_that_keeps_nothing_has_no_part_in_it():
    masks = {**A, "head": {"kernel": jnp.zeros((8, 10), bool), "bias": None}}
    only = overlap(ONE["conv"], OTHER["conv"], A["conv"], 0.2)
    assert overlap(ONE, OTHER, masks, 0.2) == only
    nothing = jax.tree.map(jnp.zeros_like, A)
    assert overlap(ONE, OTHER, nothing, 0.2) == 1


def test_one_tiny_step_changes_nothing_that_is_seen():
    tx = optax.sgd(1e-8)
    end, _ = toy.train(tx, (toy.PARAMS, tx.init(toy.PARAMS)), 0, 1)
    full = masks_lib.full(toy.PARAMS)
    for part in PARTS:
        assert overlap(toy.PARAMS, end, full, part) >= 0.999
    assert ranks(toy.PARAMS, end, full) >= 0.999
    assert distance(toy.PARAMS, end, full) < 1e-6


@pytest.mark.parametrize("masks", [FULL, A], ids=["full", "sparse"])
def test_correlations_are_those_of_scipy_layer_by_layer(masks):
    coarse = [changed(lambda w: jnp.round(2 * w), tree) for tree in (ONE, OTHER)]
    for name in ("conv", "head"):
        kernels = [tree[name]["kernel"] for tree in coarse]  # with many ties
        mask = np.asarray(masks[name]["kernel"])
        own = [np.abs(np.asarray(w))[mask] for w in kernels]
        for fn, expected in (
            (ranks, stats.spearmanr(*own).statistic),
            (correlation.magnitude_correlation, stats.pearsonr(*own).statistic),
        ):
            np.testing.assert_allclose(fn(*kernels, mask), expected, atol=1e-5)
    layers = comparison.by_layer(ranks, *coarse, masks)
    sizes = [float(mask.sum()) for mask in jax.tree.leaves(masks)]
    mean = np.average(list(map(float, layers.values())), weights=sizes)
    found = ranks(*coarse, masks)
    np.testing.assert_allclose(found, mean, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-22, 1.0, 1e22])
def test_magnitudes_correlate_alike_at_every_scale(scale):
    expected = correlation.magnitude_correlation(ONE, OTHER, A)
    scaled = [changed(lambda w: scale * w, tree) for tree in (ONE, OTHER)]
    found = correlation.magnitude_correlation(*scaled, A)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_where_all_magnitudes_are_equal_there_is_no_correlation():
    keys = jax.random.split(jax.random.key(0))
    flipped = [
        jnp.where(jax.random.bernoulli(k, 0.5, (30, 30)), 1.0, -1.0) for k in keys
    ]
    one, other = (
        {"kernel": size * w} for size, w in zip((0.05, 0.07), flipped, strict=True)
    )
    full = {"kernel": jnp.ones((30, 30), bool)}
    for a, b in ((one, other), (one, one)):
        assert correlation.magnitude_correlation(a, b, full) == 0


def test_distance_is_in_lengths_of_the_start():
    doubled = changed(lambda w: 2 * w, ONE)
    np.testing.assert_allclose(distance(ONE, doubled, A), 1, rtol=1e-6)
    assert distance(ONE, ONE, A) == 0
    assert comparison.sign_agreement(ONE, doubled, A) == 1


def test_a_part_outside_of_its_range_and_other_leaves_are_refused():
    for part in (0, -0.1, 1.1):
        with pytest.raises(ValueError, match=r"part must be in \(0, 1\], got part ="):
            correlation.overlap_ratio(ONE, OTHER, FULL, part)
    with pytest.raises(ValueError, match="head/kernel"):
        overlap(ONE, {"conv": OTHER["conv"]}, FULL, 0.5)


def test_it_maps_over_populations():
    stacked = jax.tree.map(lambda *w: jnp.stack(w), ONE, OTHER)
    found = jax.vmap(lambda tree: overlap(tree, ONE, A, 0.2))(stacked)
    assert found[0] == 1
    assert found[1] == overlap(OTHER, ONE, A, 0.2)


@pytest.mark.slow
def test_the_largest_weights_stay_where_the_learning_rate_is_small():
    """What arXiv:2102.11068 reports, as a direction: R_0.1 falls as the rate rises."""
    source = in_memory.digits()
    images = jnp.asarray(source.train.images, jnp.float32) / 127.5 - 1
    labels = jnp.asarray(source.train.labels)
    model = by_name.build("conv2", 10, options={"channels": (8,), "hidden": (32,)})

    def loss(params, key):
        batch = jax.random.randint(key, (32,), 0, len(labels))
        logits = model.apply({"params": params}, images[batch])
        found = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch])
        return found.mean()

    @functools.partial(jax.jit, static_argnums=1)
    def trained(seed, rate):
        key = jax.random.key(seed)
        start = model.init(key, images[:1])["params"]
        tx = optax.sgd(rate)

        def step(i, held):
            gradient = jax.grad(loss)(held[0], jax.random.fold_in(key, i))
            updates, state = tx.update(gradient, held[1])
            return optax.apply_updates(held[0], updates), state

        end, _ = jax.lax.fori_loop(0, 2000, step, (start, tx.init(start)))
        return overlap(start, end, masks_lib.full(start), 0.1), loss(end, key)

    small, large = ([trained(seed, rate) for seed in range(3)] for rate in (0.01, 0.1))
    assert max(error for _, error in [*small, *large]) < 0.5
    assert min(ratio for ratio, _ in small) > max(ratio for ratio, _ in large)


def test_of_what_is_no_number_nothing_correlates():
    good = jnp.arange(1.0, 9.0)
    bad = good.at[3].set(jnp.nan)
    masks = jnp.ones(8, bool)
    for fn in (
        correlation.magnitude_correlation,
        correlation.rank_correlation,
        comparison.sign_agreement,
        correlation.distance,
        functools.partial(correlation.overlap_ratio, part=0.5),
    ):
        for pair in ((bad, good), (good, bad)):
            assert jnp.isnan(jax.jit(fn)(*pair, masks)), fn
            assert jnp.isnan(fn(*pair, masks)), fn
            assert jnp.isfinite(fn(*pair, masks.at[3].set(False))), fn


def test_an_infinite_weight_is_among_the_largest():
    far = jnp.array([1.0, -jnp.inf, 3.0, 2.0])
    near, masks = jnp.array([1.0, 9.0, 2.0, 0.0]), jnp.ones(4, bool)
    assert correlation.overlap_ratio(far, near, masks, 0.5) == 1


@pytest.mark.parametrize("unit", [1e-25, 1.0, 1e25])
def test_a_distance_is_that_of_weights_of_any_size(unit):
    start = {"one": jnp.full(3, unit), "two": jnp.full(2, -unit)}
    end = jax.tree.map(lambda w: 2 * w, start)
    masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), start)
    assert correlation.distance(start, end, masks) == pytest.approx(1)
    assert correlation.distance(start, start, masks) == 0


def test_infinity_has_a_rank_and_no_magnitude_to_correlate():
    masks = jnp.arange(20) < 10
    one, other = jax.random.normal(jax.random.key(5), (2, 20))
    huge, infinite = one.at[3].set(1e6), one.at[3].set(-jnp.inf)
    expected = correlation.rank_correlation(huge, other, masks)
    assert correlation.rank_correlation(infinite, other, masks) == expected
    assert correlation.rank_correlation(infinite, huge, masks) == pytest.approx(1)
    for pair in ((infinite, other), (other, infinite), (infinite, infinite)):
        assert jnp.isnan(correlation.magnitude_correlation(*pair, masks))
        assert jnp.isfinite(
            correlation.magnitude_correlation(*pair, masks.at[3].set(False))
        )


def test_complex_weights_count_by_their_magnitudes():
    start, end = jnp.array([[3 + 4j, 2, 0.5j, 1], [3 - 4j, 2, 1.5j, 0]])
    masks = jnp.ones(4, bool)
    near = functools.partial(pytest.approx, rel=1e-6)
    length = np.sqrt(25 + 4 + 0.25 + 1)
    assert distance(start, end, masks) == near(np.sqrt(64 + 1 + 1) / length)
    rows = jnp.abs(start), jnp.abs(end)
    for fn in (
        correlation.magnitude_correlation,
        correlation.rank_correlation,
        functools.partial(correlation.overlap_ratio, part=0.5),
    ):
        assert fn(start, end, masks) == fn(*rows, masks)
        assert fn(start, end, masks).dtype == jnp.float32


def test_weights_of_64_bits_are_told_apart_by_them():
    with jax.enable_x64(True):
        start, masks = jnp.ones(4, jnp.float64), jnp.ones(4, bool)
        end = start + 1e-12 * jnp.arange(4)
        found = correlation.distance(start, end, masks)
        assert found == pytest.approx(1e-12 * np.sqrt(14) / 2, rel=1e-3)
        assert correlation.rank_correlation(end, end**2, masks) == pytest.approx(1)
        assert found.dtype == correlation.rank_correlation(end, end, masks).dtype
        assert found.dtype == jnp.float32


@pytest.mark.usefixtures("strict_dtypes", "double")
def test_the_largest_are_counted_under_strict_promotion_with_64_bits_too():
    weights = jnp.array([3.0, -2.0, 1.0, 0.0])
    found = correlation.overlap_ratio(weights, -weights, jnp.ones(4, bool), 0.5)
    assert found == 1


def test_a_layer_without_weights_has_no_lowest_density():
    masks = {"none": jnp.ones((0, 3), bool), "half": jnp.arange(4) < 2}
    assert correlation.lowest_density(masks) == 0.5


def test_masks_of_nothing_are_refused_in_words():
    own, masks = {"bias": jnp.ones(3)}, {"bias": None}
    calls = [functools.partial(correlation.lowest_density, masks)]
    calls += [
        functools.partial(fn, own, own, masks)
        for fn in (
            functools.partial(correlation.overlap_ratio, part=0.5),
            correlation.magnitude_correlation,
            correlation.rank_correlation,
            correlation.distance,
        )
    ]
    for call in calls:
        with pytest.raises(ValueError, match="prunable weights, got masks of none"):
            call()


@pytest.mark.parametrize(
    "start, end, ratio",
    [(1e-25, 1.0, 1e25), (1.0, 1e-25, 1.0), (2e-38, 2e-3, 1e35), (4e37, -4e37, 2.0)],
)
def test_a_distance_is_that_of_start_and_end_of_different_sizes(start, end, ratio):
    pair = [{"kernel": jnp.array([value, value])} for value in (start, end)]
    found = correlation.distance(*pair, {"kernel": jnp.array([True, True])})
    np.testing.assert_allclose(found, ratio, rtol=1e-5)
