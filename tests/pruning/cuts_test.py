"""Where a choice cuts through scores: what is said, and what cannot be meant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.pruning import choose, cuts, masks

NAMES = ["a/kernel", "b/kernel"]


def tree(a, b):
    return {"a": {"kernel": jnp.asarray(a)}, "b": {"kernel": jnp.asarray(b)}}


def cut(scores, kept, *, left=None):
    full = left or jax.tree.map(lambda s: jnp.ones(s.shape, bool), scores)
    chosen = choose.prune(full, scores, kept=kept)
    return cuts.cut(full, scores, chosen, by_layer=isinstance(kept, list))


def test_a_cut_counts_what_is_equal_to_the_best_that_goes():
    found = cut(tree([3.0, 2.0, 2.0, 0.0], [2.0, 1.0]), 3)
    assert found.there.tolist() == [4, 2] and found.pruned.tolist() == [1, 2]
    assert found.at.tolist() == [2.0, 2.0]
    assert found.equal.tolist() == [2, 1] and found.kept.tolist() == [2, 0]
    layered = cut(tree([3.0, 2.0, 2.0, 0.0], [2.0, 1.0]), [2, 1])
    assert layered.at.tolist() == [2.0, 1.0] and layered.kept.tolist() == [1, 0]


def test_ties_at_the_cut_are_said_with_their_numbers():
    found = cut(tree([3.0, 2.0, 2.0, 0.0], [2.0, 1.0, 4.0]), 3)
    said = cuts.judged(NAMES, found)
    assert said.startswith("3 of 7 scores are equal at the cut, at 2: 1 of these")
    assert cuts.judged(NAMES, cut(tree([3.0, 2.0], [1.0, 0.0]), 2)) == ""
    assert cuts.judged(NAMES, cut(tree([1.0, 1.0], [1.0, 0.0]), 3)) == ""


def test_zeros_of_what_is_pruned_already_are_no_ties():
    left = tree([True, True, False, False], [True, True])
    found = cut(tree([3.0, 0.0, 0.0, 0.0], [2.0, 1.0]), 3, left=left)
    assert cuts.judged(NAMES, found) == ""
    assert found.there.tolist() == [2, 2]


def test_ties_of_every_round_are_counted_and_the_largest_is_named():
    rounds = [
        tree([3.0, 1.0, 2.0], [5.0, 4.0, 4.0]),
        tree([1.0, 1.0, 3.0], [1.0, 9.0, 9.0]),
    ]
    found = [cut(scores, kept) for scores, kept in zip(rounds, (2, 4), strict=True)]
    said = cuts.judged(NAMES, jax.tree.map(lambda *x: jnp.stack(x), *found))
    assert "3 of 6 scores are equal at the cut in round 2 of 2, at 1: 1 of" in said
    assert said.endswith("and so 1 times more")


@pytest.mark.parametrize(
    "scores, kept, message",
    [
        (tree([1.0, 1.0], [1.0, 1.0]), 3, "the same one, 1, for all 4 of a/kernel, b"),
        (tree([0.0, 0.0], [0.0, 0.0]), 1, "the same one, 0, for all"),
        (tree([2.0, 1.0], [3.0, 3.0]), [1, 1], "for all 2 of b/kernel"),
        (tree([1.0, 0.0, 0.0], [0.0, 0.0]), 2, "would be emptied: b/kernel; take"),
    ],
)
def test_a_choice_by_index_alone_is_refused(scores, kept, message):
    layered = isinstance(kept, list)
    with pytest.raises(ValueError, match=message):
        cuts.judged(NAMES, cut(scores, kept), by_layer=layered)


def test_what_falls_by_rank_or_goes_wholly_is_not_refused():
    lower = tree([3.0, 2.0], [1.0, 1.0])  # the layer with the lower scores
    assert cuts.judged(NAMES, cut(lower, 2)) == ""
    assert cuts.judged(NAMES, cut(lower, 4)) == ""  # nothing goes


def test_the_same_check_is_made_in_every_round():
    full = tree(np.ones(4, bool), np.ones(4, bool))
    first, later = tree(*np.arange(8.0).reshape(2, 4)), tree(np.zeros(4), np.zeros(4))

    def score(left):
        whole = masks.count(left)[0] == 8
        return jax.tree.map(lambda x, y: jnp.where(whole, x, y), first, later)

    assert masks.count(choose.in_rounds(score, full, [6]))[0] == 6
    with pytest.raises(ValueError, match="0, for all 6 of .* in round 2 of 2"):
        choose.in_rounds(score, full, [6, 3])
    left, found = jax.jit(lambda m: choose.rounds(score, m, [6, 3]))(full)
    assert masks.count(left)[0] == 3 and found.equal.shape == (2, 2)


def test_a_flow_is_refused_below_zero_but_for_rounding():
    good = cut(tree([1.0, 0.5], [-1e-6, 0.2]), 2)
    cuts.check_flow(NAMES, good)
    bad = cut(tree([1.0, 0.5], [-0.1, 0.2]), 2)
    with pytest.raises(ValueError, match="scores down to -0.1 in b/kernel"):
        cuts.check_flow(NAMES, bad)
    turned = cut(tree([-1.0, -0.5], [0.1, -0.2]), 2)
    with pytest.raises(ValueError, match="scores down to -0.1 in b/kernel"):
        cuts.check_flow(NAMES, turned, inverted=True)


@pytest.mark.parametrize("degree", [0.0, 0.5, 2.0, float("nan")])
def test_a_flow_must_grow_as_its_inputs_do(degree):
    cuts.check_linear(1.001)
    with pytest.raises(ValueError, match="linear above zero"):
        cuts.check_linear(degree)


def test_a_first_choice_among_what_nothing_flows_through_is_refused():
    with pytest.raises(ValueError, match="3 of 5 weights that nothing flows through"):
        cuts.check_dead(cut(tree([1.0, 0.0, 0.0], [2.0, 0.0]), 3))
    cuts.check_dead(cut(tree([1.0, 0.0, 0.0], [2.0, 0.0]), 2))
    cuts.check_dead(cut(tree([1.0, 0.5, 0.5], [2.0, 0.0]), 3))


@pytest.mark.parametrize(
    "scores, message",
    [
        ({"a": {"kernel": jnp.ones(2)}}, "got none for b/kernel"),
        (None, "none for a/kernel, b/kernel"),
        (tree([1.0], [1.0]) | {"c": jnp.ones(1)}, "scores of c"),
        (tree([1.0, 1.0], [1.0]), r"a/kernel = \(2,\) for \(1,\)"),
        (tree([True], [True]), "real numbers, got a/kernel = bool"),
    ],
)
def test_scores_that_do_not_fit_the_masks_are_named(scores, message):
    with pytest.raises(ValueError, match=message):
        cuts.pairs(tree([True], [True]), scores)
