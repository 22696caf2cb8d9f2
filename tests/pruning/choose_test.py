"""Which weights go: exactly k by rank, the first index on a tie, never one back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import FULL, SHAPES, SIZES, TOTAL, by_layer, drawn_scores, flat, inside, tree

from lthjax.pruning import choose, kept_counts, scores, sparsities
from lthjax.pruning import masks as masks_lib

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def reference(masks, scores, k):
    """The rule by a stable sort over what is kept, all leaves in one row."""
    alive = np.flatnonzero(flat(masks))
    order = np.argsort(-flat(scores).astype(np.float64)[alive], kind="stable")
    chosen = np.zeros(flat(masks).size, bool)
    chosen[alive[order[:k]]] = True
    return chosen


@functools.cache
def for_every_k():
    """The masks for k = 0 ... N at once, k and the scores batched and traced."""
    select = jax.vmap(lambda m, s, k: choose.prune(m, s, kept=k), (None, None, 0))
    return jax.jit(select)


@pytest.mark.parametrize("kind", ["tied", "constant", "wide", "extreme"])
@pytest.mark.parametrize("alive", [TOTAL, TOTAL // 3])
def test_for_every_k_the_set_is_that_of_a_stable_sort(kind, alive):
    start = choose.prune(FULL, drawn_scores(5, "wide"), kept=alive)
    ranked = drawn_scores(6, kind)
    found = for_every_k()(start, ranked, jnp.arange(TOTAL + 1))
    for k in range(TOTAL + 1):
        chosen = flat(jax.tree.map(lambda leaf, k=k: leaf[k], found))
        np.testing.assert_array_equal(chosen, reference(start, ranked, k))
        assert chosen.sum() == min(k, alive)


def test_scores_and_masks_may_be_batched_too():
    starts = [
        choose.prune(FULL, drawn_scores(seed, "wide"), kept=20) for seed in (1, 2)
    ]
    ranked = [drawn_scores(seed, "tied") for seed in (3, 4)]
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    kept = jnp.array([7, 9])
    select = jax.vmap(lambda m, s, k: choose.prune(m, s, kept=k))
    found = select(stack(*starts), stack(*ranked), kept)
    for i in range(2):
        chosen = flat(jax.tree.map(lambda leaf, i=i: leaf[i], found))
        expected = reference(starts[i], ranked[i], int(kept[i]))
        np.testing.assert_array_equal(chosen, expected)


def test_zero_and_negative_zero_tie():
    ranked = {"kernel": jnp.array([-1.0, -0.0, 0.0, -0.0])}
    full = jax.tree.map(lambda s: jnp.ones(s.shape, bool), ranked)
    chosen = choose.prune(full, ranked, kept=2)["kernel"]
    np.testing.assert_array_equal(chosen, [False, True, True, False])


def test_bfloat16_scores_tie_as_their_float32_values_do():
    ranked = jax.tree.map(lambda s: s.astype(jnp.bfloat16), drawn_scores(0, "wide"))
    ranked = jax.tree.map(lambda s: jnp.round(s), ranked)
    wide = jax.tree.map(lambda s: s.astype(jnp.float32), ranked)
    chosen = flat(choose.prune(FULL, ranked, kept=13))
    np.testing.assert_array_equal(chosen, reference(FULL, wide, 13))


def test_many_counts_are_one_compilation():
    traces = []

    @jax.jit
    def select(kept):
        traces.append(kept)
        return choose.prune(FULL, drawn_scores(0, "tied"), kept=kept)

    for k in (0, 3, TOTAL):
        assert masks_lib.count(select(k)) == (k, TOTAL)
    assert len(traces) == 1


def test_the_count_of_a_sparsity_is_rounded_from_the_prunable_total():
    for sparsity in (0.0, 0.2, 0.5, 0.9, 0.99):
        chosen = choose.prune(FULL, drawn_scores(0, "tied"), sparsity)
        expected = kept_counts.kept_count(TOTAL, sparsity)
        assert masks_lib.count(chosen) == (expected, TOTAL)
    assert expected == 0  # round(0.29)


def test_later_masks_lie_inside_earlier_ones_and_meet_their_targets():
    targets = sparsities.by_rate({"all": TOTAL}, 0.2, 8)
    masks = FULL
    for level, kept in enumerate(targets):
        before, masks = (
            masks,
            choose.prune(masks, drawn_scores(level, "tied"), kept=kept),
        )
        assert inside(masks, before)
        assert masks_lib.count(masks) == (kept, TOTAL)


@pytest.mark.parametrize("asked", [{"kept": TOTAL}, {"sparsity": 0.0}])
def test_asking_for_more_than_is_left_brings_nothing_back(asked):
    few = choose.prune(FULL, drawn_scores(0, "wide"), kept=4)
    same = choose.prune(few, drawn_scores(1, "wide"), **asked)
    np.testing.assert_array_equal(flat(same), flat(few))


def test_the_scope_layer_prunes_each_layer_of_its_own_total():
    ranked = drawn_scores(0, "tied")
    ranked["third"]["kernel"] += 100.0
    chosen = choose.prune(FULL, ranked, 0.5, "layer")
    assert by_layer(chosen) == [6, 6, round(2.5)]
    for name in SHAPES:
        layer, score = FULL[name]["kernel"], ranked[name]["kernel"]
        count = int(chosen[name]["kernel"].sum())
        expected = reference(layer, score, count)
        np.testing.assert_array_equal(flat(chosen[name]["kernel"]), expected)


FRACTIONS, COUNTS = [0.75, 0.5, 0.0], [3, 6, 5]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda row: tree(row),
        lambda row: dict(zip(masks_lib.names(FULL), row, strict=True)),
    ],
    ids=["list", "tuple", "tree", "names"],
)
def test_each_layer_may_have_its_own_target_in_any_form(form, scope):
    ranked = drawn_scores(0, "wide")
    assert by_layer(choose.prune(FULL, ranked, form(FRACTIONS), scope)) == COUNTS
    assert by_layer(choose.prune(FULL, ranked, scope=scope, kept=form(COUNTS))) == (
        COUNTS
    )


def test_counts_by_layer_may_be_traced():
    select = jax.jit(
        lambda kept: choose.prune(FULL, drawn_scores(0, "tied"), kept=kept)
    )
    assert by_layer(select(COUNTS)) == COUNTS
    assert by_layer(select([0, 12, 1])) == [0, 12, 1]


@pytest.mark.parametrize(
    "targets", [[0.5, 0.5], tree([0.5] * 3) | {"first": {"kernal": 0.5}}, {"all": 0.5}]
)
def test_targets_that_are_not_the_layers_are_refused_with_their_names(targets):
    expected = "one target for each prunable layer.*first/kernel, second/kernel"
    with pytest.raises(ValueError, match=expected):
        choose.prune(FULL, drawn_scores(0, "wide"), targets)


def test_the_derivative_passes_through_what_is_kept_only():
    params = tree([jnp.arange(1.0, size + 1) for size in SIZES])
    full = jax.tree.map(lambda w: jnp.ones(w.shape, bool), params)

    def total(params):
        chosen = choose.prune(full, scores.magnitude(params, full), kept=6)
        kept = jax.tree.leaves(masks_lib.apply(params, chosen))
        return jnp.sum(jnp.concatenate(kept))

    chosen = choose.prune(full, params, kept=6)
    np.testing.assert_array_equal(flat(jax.grad(total)(params)), flat(chosen))


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_a_sparsity_outside_its_range_is_refused(sparsity):
    expected = rf"in \[0, 1\), got sparsity = {sparsity}"
    with pytest.raises(ValueError, match=expected):
        choose.prune(FULL, drawn_scores(0, "wide"), sparsity)
    with pytest.raises(ValueError, match=expected):
        choose.prune(FULL, drawn_scores(0, "wide"), [0.5, sparsity, 0.5])


@pytest.mark.parametrize("kept", [-1, TOTAL + 1])
def test_a_count_outside_its_range_is_refused(kept):
    with pytest.raises(ValueError, match=rf"in \[0, {TOTAL}\], got kept = {kept}"):
        choose.prune(FULL, drawn_scores(0, "wide"), kept=kept)


def test_a_traced_sparsity_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="hand in the integer kept"):
        jax.jit(lambda s: choose.prune(FULL, drawn_scores(0, "wide"), s))(0.5)


@pytest.mark.parametrize("asked", [{}, {"sparsity": 0.5, "kept": 3}])
def test_exactly_one_amount_must_be_given(asked):
    with pytest.raises(ValueError, match="exactly one of sparsity and kept"):
        choose.prune(FULL, drawn_scores(0, "wide"), **asked)


def test_an_unknown_scope_and_one_count_for_all_layers_are_refused():
    with pytest.raises(ValueError, match="'global' or 'layer', got scope = 'local'"):
        choose.prune(FULL, drawn_scores(0, "wide"), 0.5, "local")
    with pytest.raises(ValueError, match="a tree of counts by layer.*got kept = 3"):
        choose.prune(FULL, drawn_scores(0, "wide"), scope="layer", kept=3)


@pytest.mark.parametrize("damage", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_damaged_score_is_refused_with_its_layer_unless_it_is_pruned_already(damage):
    ranked = drawn_scores(0, "wide")
    ranked["second"]["kernel"] = ranked["second"]["kernel"].at[0, 0, 0].set(damage)
    with pytest.raises(ValueError, match="got NaN or infinity in second/kernel$"):
        choose.prune(FULL, ranked, kept=3)
    finite = jnp.isfinite(ranked["second"]["kernel"])
    without = FULL | {"second": {"kernel": finite, "bias": None}}
    chosen = choose.prune(without, ranked, kept=TOTAL)
    np.testing.assert_array_equal(flat(chosen), flat(without))


@pytest.mark.usefixtures("double")
def test_scores_that_float32_does_not_hold_are_refused():
    ranked = {"a": jnp.array([1e300, 2.0, 1e200, 5e300])}  # all but one rank alike
    with pytest.raises(ValueError, match="got NaN or infinity in a$"):
        choose.prune({"a": jnp.ones(4, bool)}, ranked, kept=1)
    chosen = choose.prune({"a": ranked["a"] < 1e100}, ranked, kept=1)
    assert chosen["a"].tolist() == [False, True, False, False]


def test_scores_of_another_tree_or_shape_are_refused():
    ranked = drawn_scores(0, "wide")
    with pytest.raises(ValueError, match="shapes of masks, got third/kernel"):
        spoilt = ranked | {"third": {"kernel": jnp.ones(6), "bias": None}}
        choose.prune(FULL, spoilt, kept=3)
    with pytest.raises(ValueError, match="structure of masks"):
        choose.prune(FULL, ranked | {"third": None}, kept=3)


def test_closed_over_masks_and_scores_are_pruned_under_jit():
    masks = {"a": jnp.ones(6, bool)}
    scores = {"a": jnp.arange(6.0)}
    found = jax.jit(lambda kept: choose.prune(masks, scores, kept=kept))(2)
    assert found["a"].tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("kept", [0.5, [0.9], jnp.float32(2.0)])
def test_a_share_is_no_count(kept):
    masks, scores = {"w": jnp.ones(4, bool)}, {"w": jnp.arange(4.0)}
    with pytest.raises(ValueError, match="kept must be a whole number of weights"):
        choose.prune(masks, scores, kept=kept)
    with pytest.raises(ValueError, match="kept must be a whole number of weights"):
        jax.jit(lambda k: choose.prune(masks, scores, kept=k))(jnp.float32(2.0))
    with pytest.raises(ValueError, match="counts must be a whole number"):
        choose.in_rounds(lambda _: scores, masks, [0.5, 0.25])


def test_an_array_of_counts_is_refused_in_words():
    masks, scores = {"w": jnp.ones(4, bool)}, {"w": jnp.arange(4.0)}
    with pytest.raises(ValueError, match=r"an array of shape \(1,\); give list"):
        choose.prune(masks, scores, kept=jnp.array([2]))


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_masks_of_numbers_are_refused(kind):
    masks, scores = {"w": jnp.ones(4, kind)}, {"w": jnp.array([1.0, jnp.nan, 2.0, 4.0])}
    with pytest.raises(ValueError, match=f"a mask must be bool.* w = {kind}"):
        choose.prune(masks, scores, kept=2)


def test_what_has_nothing_to_prune_is_refused():
    with pytest.raises(ValueError, match="a layer to prune, got masks of none"):
        choose.prune({"b": None}, {"b": None}, kept=0)


def test_a_sparsity_is_one_number():
    masks, rows = {"w": jnp.ones(4, bool)}, {"w": jnp.arange(4.0)}
    for wrong, message in [
        (np.array([0.5]), r"one number, got sparsity of shape \(1,\); .* give a list"),
        ("half", r"sparsity must be in \[0, 1\), got sparsity = 'half'"),
        (1.0, r"in \[0, 1\), got sparsity = 1.0"),
    ]:
        with pytest.raises(ValueError, match=message):
            choose.prune(masks, rows, wrong)


@pytest.mark.parametrize("kind", [jnp.uint8, jnp.int8, jnp.int32])
def test_a_traced_count_of_few_bits_is_compared_with_larger_ones(kind):
    masks, drawn = {"w": jnp.ones(400, bool)}, {"w": jnp.arange(400.0)}
    kept = jax.jit(lambda k: choose.prune(masks, drawn, kept=[k], minimum=300))
    assert kept(kind(3))["w"].sum() == 300
