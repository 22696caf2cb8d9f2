"""Pruning in rounds: what is scored again is what is left, or all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import FULL, TOTAL, flat, inside, tree

from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib

pytestmark = pytest.mark.usefixtures("strict_dtypes")
COUNTS_BY_ROUND = [25, 17, 8, 3]


def by_what_is_left(masks):
    """Scores that depend on the masks, also at what is pruned, with ties."""
    left = masks_lib.count(masks)[0].astype(jnp.float32)
    sums = [m.sum(0, jnp.float32, keepdims=True) for m in jax.tree.leaves(masks)]
    waves = [
        jnp.round(4 * jnp.sin(left * s + jnp.arange(float(m.size)).reshape(m.shape)))
        for s, m in zip(sums, jax.tree.leaves(masks), strict=True)
    ]
    return tree(waves)


@pytest.mark.parametrize("revive", [False, True])
def test_rounds_equal_scoring_and_pruning_by_turns(revive):
    run = jax.jit(
        lambda counts: choose.in_rounds(by_what_is_left, FULL, counts, revive=revive)
    )
    masks, returned = FULL, False
    for i, kept in enumerate(COUNTS_BY_ROUND, start=1):
        before, pool = masks, FULL if revive else masks
        masks = choose.prune(pool, by_what_is_left(masks), kept=kept)
        returned |= not inside(masks, before)
        if i in (1, len(COUNTS_BY_ROUND)):
            found = run(jnp.array(COUNTS_BY_ROUND[:i]))
            np.testing.assert_array_equal(flat(found), flat(masks))
    assert returned == revive


def test_rounds_may_be_mapped_over_their_scores():
    def run(shift):
        def score(masks):  # no two alike, so that no layer is emptied by its index
            def wave(s):
                return jnp.cos(s + shift) + 1e-3 * jnp.arange(float(s.size)).reshape(
                    s.shape
                )

            return jax.tree.map(wave, by_what_is_left(masks))

        return choose.in_rounds(score, FULL, [20, 5])

    mapped = jax.jit(jax.vmap(run))(jnp.arange(2.0))
    for i in range(2):
        alone = flat(run(float(i)))
        np.testing.assert_array_equal(
            flat(jax.tree.map(lambda leaf, i=i: leaf[i], mapped)), alone
        )


def test_a_score_that_breaks_in_a_later_round_is_refused_with_layer_and_round():
    def breaking(masks):
        wave = by_what_is_left(masks)
        left, _ = masks_lib.count(masks)
        wave["third"]["kernel"] /= (left != 8).astype(jnp.float32)
        return wave

    expected = "NaN or infinity in third/kernel in round 4 of 4"
    with pytest.raises(ValueError, match=expected):
        choose.in_rounds(breaking, FULL, COUNTS_BY_ROUND, revive=True)


def test_rounds_that_start_from_scores_of_zero_are_refused():
    def zero(masks):
        return jax.tree.map(lambda mask: jnp.zeros(mask.shape), masks)

    with pytest.raises(
        ValueError, match="the same one, 0, for all 29 .* in round 1 of 4"
    ):
        choose.in_rounds(zero, FULL, COUNTS_BY_ROUND)


@pytest.mark.parametrize("counts", [[], 3, [[3]]])
def test_counts_that_are_no_row_are_refused(counts):
    with pytest.raises(ValueError, match="a row of at least one round, got shape"):
        choose.in_rounds(by_what_is_left, FULL, counts)


@pytest.mark.parametrize("count", [-1, TOTAL + 1])
def test_counts_of_rounds_outside_their_range_are_refused(count):
    with pytest.raises(ValueError, match=rf"in \[0, {TOTAL}\], got kept = {count}"):
        choose.in_rounds(by_what_is_left, FULL, [10, count])
