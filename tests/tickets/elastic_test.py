"""Elastic tickets: copies are copies, and everything goes by the same map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax import models
from lthjax.models import stages
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket, block_maps, elastic


def network(blocks):
    options = {"blocks": blocks, "channels": (2, 4)}
    return models.build("resnet20", 3, options=options)


def begun(model, seed=0):
    images = jnp.zeros((1, 8, 8, 3))
    return jax.jit(lambda key: models.initialise(model, key, images))(
        jax.random.key(seed)
    )


SMALL, LARGE = network((2, 3)), network((4, 4))
SOURCE, TARGET = stages.units(SMALL), stages.units(LARGE)
MAPS = {
    name: block_maps.ORDERS[name](elastic.depths(SOURCE), elastic.depths(TARGET))
    for name in ("append", "interpolate")
}


@pytest.fixture(scope="module")
def small():
    params, state = begun(SMALL)
    full = masks_lib.full(params)
    found = scores.random(jax.random.key(1), params, full)
    masks = choose.prune(full, found, 0.7)
    return Ticket(1, 4, 9, masks_lib.apply(params, masks), state, masks)


@pytest.mark.parametrize("order", MAPS)
def test_what_is_stretched_fits_the_deeper_network(small, order):
    grown = elastic.remap_ticket(small, SOURCE, TARGET, MAPS[order])
    params, state = begun(LARGE)
    shapes = jax.tree.map(jnp.shape, (params, state, masks_lib.full(params)))
    found = jax.tree.map(jnp.shape, (grown.params, grown.model_state, grown.masks))
    assert found == shapes
    assert (grown.level, grown.step, grown.until) == (1, 4, 9)


def test_keys_may_be_whole_numbers():
    rows = [{"kernel": jnp.full(2, i), "bias": None} for i in range(2)]
    tree = {"layers": dict(enumerate(rows)), "head": {"kernel": jnp.ones(1)}}
    units = tuple((tuple(f"layers/{i}" for i in range(depth)),) for depth in (2, 3))
    found = elastic.remap(tree, *units, ((0, 1, 1),))
    assert_same(found, {**tree, "layers": {0: rows[0], 1: rows[1], 2: rows[1]}})
    full = masks_lib.full(tree)
    assert elastic.predicted_density(full, units[0], ((0, 1, 1),)) == (7, 7)
    key = jax.random.key(0)
    assert set(elastic.permuted_copies(key, full, *units, ((0, 1, 1),))["layers"]) == {
        0,
        1,
    }


@pytest.mark.parametrize(
    ("tree", "got"),
    [
        (jnp.ones(2), ".* at its root"),
        ([jnp.ones(2)], "list at its root"),
        ({"a": [jnp.ones(2)]}, "list at a"),
    ],
)
def test_a_tree_of_anything_but_dicts_is_refused(tree, got):
    with pytest.raises(ValueError, match=f"must be of nested dicts, got {got}"):
        elastic.remap(tree, SOURCE, TARGET, MAPS["append"])


def test_what_dropout_draws_from_is_no_unit_s(small):
    draws = {"key": jnp.array([7, 7]), "step": jnp.int32(3)}
    ticket = small._replace(model_state={**small.model_state, "draws": draws})
    grown = elastic.remap_ticket(ticket, SOURCE, TARGET, MAPS["append"])
    assert_same(grown.model_state["draws"], draws)


@pytest.mark.parametrize("order", MAPS)
def test_stretched_and_squeezed_back_is_the_identity(small, order):
    back = block_maps.inverse(MAPS[order])
    for tree in (small.params, small.model_state["batch_stats"], small.masks):
        grown = elastic.stretch(tree, SOURCE, TARGET, MAPS[order])
        assert_same(elastic.squeeze(grown, TARGET, SOURCE, back), tree)


def test_an_interpolated_tree_squeezed_by_intervals_is_another_one(small):
    grown = elastic.stretch(small.params, SOURCE, TARGET, MAPS["interpolate"])
    wrong = block_maps.interval(elastic.depths(TARGET), elastic.depths(SOURCE))
    assert wrong != block_maps.inverse(MAPS["interpolate"])
    other = elastic.squeeze(grown, TARGET, SOURCE, wrong)["stage2_block2"]
    assert np.any(
        other["conv1"]["kernel"] != small.params["stage2_block2"]["conv1"]["kernel"]
    )


def test_copies_are_equal_and_the_rest_is_the_sources(small):
    grown = elastic.stretch(small.params, SOURCE, TARGET, MAPS["append"])
    assert_same(grown["stage1_block3"], small.params["stage1_block1"])
    assert_same(grown["stage2_block3"], small.params["stage2_block1"])
    for name in ("stem", "head", "stage1_block0", "stage2_block0"):
        same = [n for n in grown if n.startswith(name)]
        assert_same([grown[n] for n in same], [small.params[n] for n in same])
    assert elastic.added(SOURCE, TARGET, MAPS["append"]) == (
        "stage1_block2",
        "stage1_block3",
        "stage2_block3",
    )


@pytest.mark.parametrize("order", MAPS)
def test_the_density_is_known_before(small, order):
    grown = elastic.stretch(small.masks, SOURCE, TARGET, MAPS[order])
    kept, prunable = masks_lib.count(grown)
    told = elastic.predicted_density(small.masks, SOURCE, MAPS[order])
    assert told == (int(kept), prunable)


def test_masks_and_weights_commute_with_the_map(small):
    params, _ = begun(SMALL, 3)
    how = SOURCE, TARGET, MAPS["append"]
    one = elastic.stretch(masks_lib.apply(params, small.masks), *how)
    other = masks_lib.apply(
        elastic.stretch(params, *how), elastic.stretch(small.masks, *how)
    )
    assert_same(one, other)


def test_only_added_copies_are_permuted_and_every_layer_keeps_its_count(small):
    how = SOURCE, TARGET, MAPS["append"]
    grown = elastic.stretch(small.masks, *how)
    found = elastic.permuted_copies(jax.random.key(0), grown, *how)
    assert masks_lib.layers(found) == masks_lib.layers(grown)
    added = elastic.added(*how)
    for unit in grown:
        same = [jnp.array_equal(a, b) for a, b in _pairs(grown[unit], found[unit])]
        assert all(same) == (unit not in added)


def _pairs(one, other):
    return zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)


def test_a_density_is_matched_exactly_from_both_sides(small):
    found = scores.random(jax.random.key(2), small.params, small.masks)
    kept, prunable = (int(n) for n in masks_lib.count(small.masks))
    for wanted in (kept - 7, kept, kept + 7, prunable):
        masks = elastic.match_density(small.masks, found, wanted)
        assert int(masks_lib.count(masks)[0]) == wanted
        both = jax.tree.map(jnp.logical_and, masks, small.masks)
        assert int(masks_lib.count(both)[0]) == min(kept, wanted)
    with pytest.raises(ValueError, match="kept"):
        elastic.match_density(small.masks, found, prunable + 1)


def test_what_is_far_is_said():
    assert elastic.far(SOURCE, SOURCE) == ""
    seven, sixteen = (stages.units(network((n, n))) for n in (2, 5))
    assert "stage 1 goes from 2 to 5 blocks" in elastic.far(seven, sixteen)
    assert elastic.far(sixteen, seven)
    counts = (1, 5), (5, 1), (2, 4), (4, 2), (3, 6), (3, 7)
    sizes = [[(tuple(map(str, range(n))),) for n in pair] for pair in counts]
    assert [bool(elastic.far(*pair)) for pair in sizes] == [
        True,
        True,
        *[False] * 3,
        True,
    ]


def test_a_norm_goes_with_its_convolution():
    six, four = (
        models.build(
            "vgg11", 10, width=0.05, options={"depths": d, "channels": (64,) * 2}
        )
        for d in ((2, 4), (2, 2))
    )
    (deep, deep_state), (params, state) = (
        jax.eval_shape(lambda m=model: begun(m)) for model in (six, four)
    )
    rng = np.random.default_rng(0)
    drawn = jax.tree.map(lambda x: rng.standard_normal(x.shape), (params, state))
    how = stages.units(four), stages.units(six), block_maps.append((2, 2), (2, 4))
    grown, moving = (
        elastic.stretch(tree, *how) for tree in (drawn[0], drawn[1]["batch_stats"])
    )
    wanted = jax.tree.map(jnp.shape, (deep, deep_state["batch_stats"]))
    assert jax.tree.map(jnp.shape, (grown, moving)) == wanted
    assert_same(grown["conv2_4_norm"], drawn[0]["conv2_2_norm"])
    assert_same(moving["conv2_3_norm"], drawn[1]["batch_stats"]["conv2_2_norm"])


def test_trees_of_another_network_are_refused(small):
    broken = {k: v for k, v in small.params.items() if k != "stage1_block1"}
    with pytest.raises(ValueError, match="got none of stage1_block1"):
        elastic.stretch(broken, SOURCE, TARGET, MAPS["append"])
    whole = {"params": small.params}
    with pytest.raises(ValueError, match="none of stage1_block0 among params; give"):
        elastic.stretch(whole, SOURCE, TARGET, MAPS["append"])
    assert elastic.stretch({}, SOURCE, TARGET, MAPS["append"]) == {}
    with pytest.raises(ValueError, match="nowhere deeper"):
        elastic.squeeze(small.params, SOURCE, TARGET, MAPS["append"])


def test_statistics_of_some_units_alone_go_along():
    kept = {"stage1_block1": {"mean": np.ones(2)}, "stem": {"mean": np.ones(1)}}
    found = elastic.remap(kept, SOURCE, TARGET, MAPS["append"], partial=True)
    row = MAPS["append"][0]
    copies = {unit for unit, i in zip(TARGET[0], row, strict=True) if i == 1}
    assert set(found) == {"stem", *copies}
    ticket = Ticket(0, 0, 1, {}, {"batch_stats": kept, "other": {"a": 1}}, {})
    state = elastic.remap_ticket(ticket, SOURCE, TARGET, MAPS["append"]).model_state
    assert set(state["batch_stats"]) == set(found) and state["other"] == {"a": 1}


def test_perceptrons_go_by_their_layers():
    four = stages.units(models.build("mlp", 10, options={"hidden": (5, 5, 5, 3)}))
    two = stages.units(models.build("mlp", 10, options={"hidden": (5, 5, 3)}))
    assert four == (("dense1", "dense2", "dense3"), ("dense4",))
    params = {f"dense{i}": {"kernel": jnp.full(2, i)} for i in (1, 2, 3)}
    found = elastic.stretch(
        params | {"head": {}}, two, four, block_maps.append((2, 1), (3, 1))
    )
    values = [int(found[f"dense{i}"]["kernel"][0]) for i in (1, 2, 3, 4)]
    assert values == [1, 2, 2, 3]


def test_what_is_empty_stays_in_masks_whose_copies_are_permuted():
    masks = {f"dense{i}": {"kernel": jnp.eye(3, dtype=bool)} for i in (1, 2, 3)}
    masks |= {"act": {}, "head": {"kernel": None}}
    units = (("dense1", "dense2"),), (("dense1", "dense2", "dense3"),)
    found = elastic.permuted_copies(jax.random.key(0), masks, *units, ((0, 1, 1),))
    assert jax.tree.structure(found) == jax.tree.structure(masks)
    assert_same(found["dense1"], masks["dense1"])


@pytest.mark.parametrize(
    "units, rename",
    [
        (("layers/0", "layers/1", "layers/2"), lambda i, tree: {"layers": tree}),
        (("a0", "a1", "a2"), lambda i, tree: {f"a{k}": v for k, v in tree.items()}),
    ],
)
def test_keys_below_a_unit_stay_what_they_are(units, rename):
    rows = [{"in/out": {"kernel": jnp.full(2, i)}, "rest": {7: None}} for i in (0, 1)]
    tree = {"layers": dict(enumerate(rows)), "head/last": {}}
    source = (("layers/0", "layers/1"),)
    found = elastic.remap(tree, source, (units,), ((0, 1, 1),))
    copied = rename(0, {0: rows[0], 1: rows[1], 2: rows[1]})
    assert found == {"head/last": {}, **copied}


def test_a_unit_may_be_a_key_with_slashes():
    tree = {f"net/~/b{i}/~/conv": {"w": jnp.full(2, i)} for i in (0, 1)}
    units = ((("net/~/b0", "net/~/b1"),), (("net/~/b0", "net/~/b1", "net/~/b2"),))
    found = elastic.remap(tree, *units, ((0, 1, 1),))
    assert_same(found, {**tree, "net/~/b2/~/conv": tree["net/~/b1/~/conv"]})
