"""Which weights go together: groups go or stay as one, and their counts are exact."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from trees import assert_same

from lthjax.pruning import choose, kept_counts, pattern_names, patterns, targets, views

pytestmark = pytest.mark.usefixtures("strict_dtypes")
SHAPES = {"conv": (3, 3, 4, 6), "dense": (8, 2)}


def tree(leaves):
    return {
        name: {"kernel": leaf, "bias": None}
        for name, leaf in zip(SHAPES, leaves, strict=True)
    }


FULL = tree([jnp.ones(shape, bool) for shape in SHAPES.values()])


def draw(seed, ties=False):
    generator = np.random.default_rng(seed)
    drawn = [generator.normal(size=shape) for shape in SHAPES.values()]
    drawn = [np.round(leaf) for leaf in drawn] if ties else drawn
    return tree([jnp.array(leaf, jnp.float32) for leaf in drawn])


PART = choose.prune(FULL, draw(9), 0.6)


def leaves(masks):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(masks)]


def by_channel(leaf, axis):
    """Returns one row for each channel."""
    return np.moveaxis(leaf, axis, 0).reshape(leaf.shape[axis], -1)


def by_block(leaf, rows, columns):
    """Returns one row for each block, from its top left corner."""
    flat = leaf.reshape(-1, *leaf.shape[-2:])
    corners = [
        page[i : i + rows, j : j + columns]
        for page in flat
        for i in range(0, leaf.shape[-2], rows)
        for j in range(0, leaf.shape[-1], columns)
    ]
    return np.stack([corner.ravel() for corner in corners])


OUTPUTS = functools.partial(by_channel, axis=-1)
INPUTS = functools.partial(by_channel, axis=-2)
BLOCKS = functools.partial(by_block, rows=2, columns=2)
PATTERNS = {
    "outputs": (patterns.channels, OUTPUTS),
    "inputs": (functools.partial(patterns.channels, axis=-2), INPUTS),
    "blocks": (lambda m, s, **how: patterns.blocks(m, s, (2, 2), **how), BLOCKS),
}


def groups(name, masks, scores):
    """Returns (kept entries, scores) of all groups, one row each, layer by layer."""
    rows = PATTERNS[name][1]
    return [
        (rows(mask), rows(score))
        for mask, score in zip(leaves(masks), leaves(scores), strict=True)
    ]


def chosen_by_mean(pairs, kept):
    """Returns which groups have the highest means of what is kept, by a plain loop."""
    means = [
        np.mean(score[mask]) if mask.any() else -np.inf
        for masks, scores in pairs
        for mask, score in zip(masks, scores, strict=True)
    ]
    best = np.argsort(-np.array(means), kind="stable")[:kept]
    return np.isin(np.arange(len(means)), best)


@pytest.mark.parametrize("start", [FULL, PART], ids=["full", "part"])
@pytest.mark.parametrize("name", PATTERNS)
def test_groups_with_the_highest_means_stay_whole_and_the_others_go(name, start):
    scores = draw(1)
    pairs = groups(name, start, scores)
    total = sum(len(masks) for masks, _ in pairs)
    for kept in (0, 1, total // 2):
        found = PATTERNS[name][0](start, scores, kept=kept)
        rows = [np.asarray(masks) for masks, _ in groups(name, found, scores)]
        expected = chosen_by_mean(pairs, kept)
        for after, (before, _) in zip(rows, pairs, strict=True):
            stays, expected = expected[: len(after)], expected[len(after) :]
            np.testing.assert_array_equal(after, before & stays[:, None])


@pytest.mark.parametrize("name", PATTERNS)
def test_groups_are_counted_in_all_or_by_layer(name):
    make, rows = PATTERNS[name]
    totals = [len(rows(leaf)) for leaf in leaves(FULL)]

    def alive(masks):
        return [int(rows(leaf).any(1).sum()) for leaf in leaves(masks)]

    half = [total // 2 for total in totals]
    assert alive(make(FULL, draw(1), sparsity=0.5, scope="layer")) == half
    assert alive(make(FULL, draw(1), kept=[totals[0], 1])) == [totals[0], 1]
    in_all = alive(make(FULL, draw(1), sparsity=0.5))
    assert sum(in_all) == kept_counts.kept_count(sum(totals), 0.5)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_minimum_of_groups_stays_in_each_layer(name):
    make, rows = PATTERNS[name]
    scores = draw(1)
    scores["dense"]["kernel"] -= 100.0
    for minimum in (0, 1):
        found = make(FULL, scores, kept=3, minimum=minimum)
        alive = [int(rows(leaf).any(1).sum()) for leaf in leaves(found)]
        assert alive == [3 - minimum, minimum]
    with pytest.raises(ValueError, match="is 4 for all 2 layers, with kept = 3"):
        make(FULL, scores, kept=3, minimum=2)


NEIGHBOURS = {"n of m": lambda m, s: patterns.n_of_m(m, s, 1, 2)}
ALL = NEIGHBOURS | {
    name: functools.partial(make, kept=4) for name, (make, _) in PATTERNS.items()
}


@pytest.mark.parametrize("name", ALL)
def test_patterns_are_the_same_under_jit_and_vmap_and_inside_the_masks(name):
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    pairs = [(FULL, draw(1)), (PART, draw(2, ties=True))]
    mapped = jax.jit(jax.vmap(ALL[name]))(*map(stack, *pairs))
    for i, (start, scores) in enumerate(pairs):
        alone = ALL[name](start, scores)
        member = jax.tree.map(lambda leaf, i=i: leaf[i], mapped)
        assert_same(member, alone)
        for after, before in zip(leaves(alone), leaves(start), strict=True):
            assert (before | ~after).all() and after.dtype == bool


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_of_every_m_neighbours_the_n_best_stay(n, axis):
    scores = draw(3, ties=True)
    found = patterns.n_of_m(FULL, scores, n, 2, axis=axis)
    for mask, score in zip(leaves(found), leaves(scores), strict=True):
        masks = np.moveaxis(mask, axis, -1).reshape(-1, 2)
        rows = np.moveaxis(score, axis, -1).reshape(-1, 2)
        best = np.argsort(-rows, axis=1, kind="stable")[:, :n]
        assert (masks.sum(1) == n).all()
        assert all(mask[b].all() for mask, b in zip(masks, best, strict=True))


def test_n_of_m_brings_nothing_back_and_fills_up_with_what_is_left():
    scores = draw(4)
    found = patterns.n_of_m(PART, scores, 2, 4)
    for after, before in zip(leaves(found), leaves(PART), strict=True):
        left, had = (
            np.moveaxis(mask, -2, -1).reshape(-1, 4).sum(1) for mask in (after, before)
        )
        np.testing.assert_array_equal(left, np.minimum(had, 2))


@pytest.mark.parametrize("shape", [(4, 0), (0, 4), (0, 3, 4, 2)])
@pytest.mark.parametrize("axis", [-1, -2])
def test_n_of_m_of_a_leaf_without_weights_is_that_leaf(shape, axis):
    masks, scores = {"w": jnp.ones(shape, bool)}, {"w": jnp.ones(shape)}
    assert_same(patterns.n_of_m(masks, scores, 1, 2, axis=axis), masks)


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda: patterns.n_of_m(FULL, draw(0), 2, 8), "axis -2.*by 8, got conv/kern"),
        (lambda: patterns.n_of_m(FULL, draw(0), 2, 6, axis=-1), "got dense.*with 2:"),
        (lambda: patterns.blocks(FULL, draw(0), (4, 4), 0.5), "axis -1.*by 4, got con"),
        (lambda: patterns.blocks(FULL, draw(0), (3, 2), 0.5), "axis -2.*by 3, got con"),
        (lambda: patterns.channels(FULL, draw(0), 0.5, axis=3), "axis 3, got dense"),
        (lambda: patterns.n_of_m(FULL, draw(0), 3, 2), "got n = 3, m = 2"),
        (lambda: patterns.n_of_m(FULL, draw(0), -1, 2), "got n = -1, m = 2"),
        (
            lambda: patterns.n_of_m(FULL, draw(0), 1.5, 2),
            "n must be a whole number, got",
        ),
        (
            lambda: patterns.n_of_m(FULL, draw(0), 1, 1.5),
            "m must be a whole number, got",
        ),
        (lambda: patterns.channels(FULL, draw(0), kept=9), r"\[0, 8\], got kept = 9"),
    ],
)
def test_what_a_layer_cannot_meet_is_refused_with_the_numbers(make, expected):
    with pytest.raises(ValueError, match=expected):
        make()


@pytest.mark.parametrize("name", ALL)
def test_damaged_scores_are_refused_by_every_pattern(name):
    scores = draw(0)
    scores["dense"]["kernel"] = scores["dense"]["kernel"].at[0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="got NaN or infinity in dense/kernel"):
        ALL[name](FULL, scores)


def test_inputs_of_groups_are_no_channels():
    layer = nn.Conv(4, (1, 1), feature_group_count=2)
    seen = views.of(layer.init, jax.random.key(0), jnp.ones((1, 2, 2, 4)))
    masks = {"kernel": jnp.ones((1, 1, 2, 4), bool), "bias": None}
    scores = {"kernel": jnp.arange(8.0).reshape(1, 1, 2, 4), "bias": None}
    with pytest.raises(ValueError, match="with groups are other .* got kernel of shap"):
        patterns.channels(masks, scores, 0.5, axis=-2, views=seen)
    found = patterns.channels(masks, scores, 0.5, views=seen)["kernel"][0, 0]
    assert found.tolist() == [[False, False, True, True]] * 2


@pytest.mark.parametrize("ruled", [False, True])
def test_a_block_lies_in_one_group_of_a_convolution(ruled):
    layer = nn.Conv(8, (3, 3), feature_group_count=4)
    rules = [("kernel", "space space in out")] if ruled else []
    seen = views.of(layer.init, jax.random.key(0), jnp.ones((1, 4, 4, 8)), rules=rules)
    masks = {"kernel": jnp.ones((3, 3, 2, 8), bool)}
    scores = {"kernel": jnp.ones((3, 3, 2, 8)).at[..., 2:].set(0)}
    for outputs in (1, 2):
        found = patterns.blocks(masks, scores, (2, outputs), 0.75, views=seen)["kernel"]
        assert found.any((0, 1, 2)).tolist() == [True] * 2 + [False] * 6
    with pytest.raises(ValueError, match="by 4, .* with 2 in each of 4 groups"):
        patterns.blocks(masks, scores, (2, 4), 0.75, views=seen)


def test_of_a_layer_without_weights_no_channel_is_wanted():
    masks = {"a": jnp.ones((0, 3), bool), "b": jnp.ones((2, 4), bool)}
    found = pattern_names.target("channels", masks, targets.target([0, 4]))
    assert found.layers == (0, 2)
    none = {"a": masks["a"]}
    assert pattern_names.target("channels", none, targets.target(0)).kept == 0
