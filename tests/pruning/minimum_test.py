"""What every layer keeps at the least, whatever the ranking says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import FULL, TOTAL, by_layer, drawn_scores, inside

from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.mark.parametrize("kind", ["tied", "wide"])
def test_a_minimum_keeps_the_best_of_each_layer_and_ranks_the_rest(kind):
    ranked = drawn_scores(0, kind)
    ranked["first"]["kernel"] -= 100.0
    ranked["third"]["kernel"] -= 200.0
    select = jax.jit(lambda kept: choose.prune(FULL, ranked, kept=kept, minimum=2))
    best = choose.prune(FULL, ranked, scope="layer", kept=[2, 2, 2])
    for kept in (6, 9, TOTAL):
        chosen = select(kept)
        assert masks_lib.count(chosen) == (kept, TOTAL)
        assert inside(best, chosen)
    assert by_layer(select(9)) == [2, 5, 2]
    assert by_layer(choose.prune(FULL, ranked, kept=9)) == [0, 9, 0]


def test_a_layer_smaller_than_the_minimum_keeps_what_it_has():
    few = choose.prune(FULL, drawn_scores(0, "wide"), scope="layer", kept=[12, 12, 1])
    chosen = choose.prune(few, drawn_scores(1, "wide"), kept=15, minimum=5)
    assert by_layer(chosen)[2] == 1 and masks_lib.count(chosen) == (15, TOTAL)
    # The third layer has five weights in all, and counts as such.
    chosen = choose.prune(FULL, drawn_scores(1, "wide"), kept=6 + 6 + 5, minimum=6)
    assert by_layer(chosen) == [6, 6, 5]


def test_an_emptied_layer_has_no_minimum():
    few = choose.prune(FULL, drawn_scores(0, "wide"), scope="layer", kept=[0, 7, 1])
    assert by_layer(choose.prune(few, drawn_scores(1, "wide"), kept=3, minimum=2)) == [
        0,
        2,
        1,
    ]
    layers = {"scope": "layer", "kept": [0, 3, 1]}
    assert by_layer(
        choose.prune(few, drawn_scores(1, "wide"), **layers, minimum=3)
    ) == [
        0,
        3,
        1,
    ]
    with pytest.raises(ValueError, match="is 3 for all 3 layers, with kept = 2"):
        choose.prune(few, drawn_scores(1, "wide"), kept=2, minimum=2)


def test_traced_counts_of_layers_are_the_minimum_at_the_least():
    few = choose.prune(FULL, drawn_scores(0, "wide"), scope="layer", kept=[12, 12, 1])
    ranked = drawn_scores(1, "wide")
    select = jax.jit(lambda k: choose.prune(few, ranked, kept=[k, 3, k], minimum=2))
    assert by_layer(select(1)) == [2, 3, 1]
    assert by_layer(select(5)) == [5, 3, 1]


def test_a_minimum_above_the_target_is_refused_with_the_numbers():
    ranked = drawn_scores(0, "wide")
    with pytest.raises(ValueError, match="is 17 for all 3 layers, with kept = 16"):
        choose.prune(FULL, ranked, kept=16, minimum=6)
    with pytest.raises(ValueError, match="is 3 for second/kernel, with kept = 2"):
        choose.prune(FULL, ranked, scope="layer", kept=[3, 2, 5], minimum=3)
    with pytest.raises(ValueError, match="at least 0, got minimum = -1"):
        choose.prune(FULL, ranked, kept=16, minimum=-1)
    with pytest.raises(ValueError, match="is 17 for all 3 layers, with kept = 9"):
        choose.in_rounds(lambda masks: ranked, FULL, [20, 9], minimum=6)


def test_a_minimum_may_be_any_whole_number():
    masks, rows = {"w": jnp.ones(4, bool)}, {"w": jnp.arange(4.0)}
    for one in (1, np.int64(1), jnp.int32(1)):
        assert choose.prune(masks, rows, 0.5, minimum=one)["w"].tolist()[2:] == [1, 1]
    with pytest.raises(ValueError, match="minimum must be a whole number, got .* 2.5"):
        choose.prune(masks, rows, 0.5, minimum=2.5)
