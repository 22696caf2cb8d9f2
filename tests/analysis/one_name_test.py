"""Two leaves of one name: told apart by their places, refused where names are keys."""

import jax.numpy as jnp
import pytest

from lthjax.analysis import barriers, comparison, costs
from lthjax.pruning import leaf_names, masks
from lthjax.tickets import transplant

MASKS = {"a/b": jnp.array([True, False, False]), "a": {"b": jnp.ones(3, bool)}}
PARAMS = {"a/b": jnp.arange(1.0, 4), "a": {"b": -jnp.arange(1.0, 4)}}


def test_trees_of_one_form_go_together_by_their_places():
    assert comparison.overlap(MASKS, MASKS) == 1
    assert comparison.hamming(MASKS, MASKS) == 0
    assert comparison.sign_agreement(PARAMS, PARAMS, MASKS) == 1
    between = barriers.interpolate(1.0, PARAMS, PARAMS)
    assert between["a"]["b"].tolist() == [-1, -2, -3]


def test_there_is_no_barrier_between_a_network_and_itself():
    found = barriers.barrier(
        lambda w, _: jnp.sum(w["a/b"]) - 2 * jnp.sum(w["a"]["b"]),
        (PARAMS, {}),
        (PARAMS, {}),
        points=3,
    )
    assert found.errors.tolist() == [18, 18, 18]


@pytest.mark.parametrize(
    "asked",
    [
        leaf_names.by_name,
        comparison.densities,
        masks.layers,
        costs.parameters,
        transplant.flat,
        lambda tree: comparison.by_layer(comparison.hamming, tree, tree),
        lambda tree: comparison.overlap(tree, {"a": tree["a"], "c": tree["a/b"]}),
    ],
)
def test_what_goes_by_names_refuses_them(asked):
    with pytest.raises(ValueError, match="a name of its own, got two called 'a/b'"):
        asked(MASKS)


def test_masks_are_checked_by_the_places_of_their_weights():
    params = {"a": {"b": jnp.ones((2, 3))}, "a/b": jnp.ones(3)}
    fitting = {"a": {"b": jnp.ones((2, 3), bool)}, "a/b": jnp.ones(3, bool)}
    assert masks.apply(params, fitting)["a"]["b"].shape == (2, 3)
    with pytest.raises(ValueError, match=r"a/b = \(3,\) for \(2, 3\)"):
        masks.apply(params, {**fitting, "a": {"b": jnp.ones(3, bool)}})
