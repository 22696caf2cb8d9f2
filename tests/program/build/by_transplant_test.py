"""Another task's ticket in the program, from a classifier to a detector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lthjax.program.build import by_transplant, parts, whole_sets
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.workdir import layout, results
from lthjax.pruning import choose, scores, sparsities
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket, transplant


def classifier(value):
    return {
        "stem": {"kernel": jnp.full((2, 2), value)},
        "head": {"kernel": jnp.ones(3)},
    }


def recogniser(value):
    kernel = {"kernel": jnp.full((2, 2), value)}
    return {
        "backbone": {"stem": kernel},
        "neck": {"mix": kernel},
        "heads": {"a": kernel},
    }


MASK = jnp.array([[True, False], [True, True]])


@pytest.mark.parametrize("way", ["ticket", "mask"])
def test_of_a_classifier_the_backbone_is_taken(way):
    found = by_transplant.rules(way, ())
    tree, report = transplant.transplant(classifier(5.0), recogniser(1.0), found)
    assert (tree["backbone"]["stem"]["kernel"] == 5).all()
    assert (tree["neck"]["mix"]["kernel"] == 1).all()
    assert (report.missing, report.unused) == ((), ("head/kernel",))


def test_of_a_recogniser_all_but_the_heads():
    found = by_transplant.rules("task", ("^heads/",))
    tree, report = transplant.transplant(recogniser(5.0), recogniser(1.0), found)
    assert (tree["neck"]["mix"]["kernel"] == 5).all()
    assert (tree["heads"]["a"]["kernel"] == 1).all()
    assert report.kept == ("heads/a/kernel",)


@pytest.mark.parametrize("heads", ["^heads/", "^[^bn]"])
@pytest.mark.parametrize("way", by_transplant.WAYS)
def test_batch_statistics_go_by_the_same_rules(way, heads):
    source = recogniser if way in ("task", "rewound") else classifier
    rules = by_transplant.rules(way, (heads,))
    own = by_transplant._statistics(None, source(5.0), recogniser(1.0), rules)
    assert (own["backbone"]["stem"]["kernel"] == 5).all()
    assert (own["heads"]["a"]["kernel"] == 1).all()
    assert by_transplant._statistics(None, {}, {}, rules) == {}


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_the_largest_are_those_of_what_is_taken_over_whatever_else_there_is(scale):
    params = jax.tree.map(lambda w: w * scale, recogniser(1.0))
    params["backbone"]["stem"]["kernel"] = jnp.array([[4.0, 3.0], [2.0, 1.0]])
    masks = masks_lib.full(params)
    masks["backbone"]["stem"]["kernel"] = jnp.array([[False, False], [True, True]])
    found = by_transplant._largest(
        params, masks, {"backbone/stem/kernel": "stem/kernel"}
    )
    wanted = [[True, True], [False, False]]
    np.testing.assert_array_equal(found["backbone"]["stem"]["kernel"], wanted)
    assert all(
        found[name][leaf]["kernel"].all()
        for name, leaf in (("neck", "mix"), ("heads", "a"))
    )


def test_masks_lie_in_the_scope_of_the_target():
    source = {"stem": {"kernel": MASK}, "head": {"kernel": None}}
    full = masks_lib.full(recogniser(1.0), ("^neck/", "^heads/"))
    rules = by_transplant.rules("ticket", ())
    scoped = by_transplant._in_scope(source, full, rules)
    masks, _ = transplant.transplant(scoped, full, rules)
    np.testing.assert_array_equal(masks["backbone"]["stem"]["kernel"], MASK)
    assert masks["neck"]["mix"]["kernel"] is None
    # Of 12 weights in all, four in scope, one is removed.
    found = whole_sets.of_network(recogniser(1.0), masks)
    np.testing.assert_allclose(found, 1 / 12)


def test_heads_a_thousand_times_as_large_change_no_mask_of_the_backbone():
    weights = jax.random.normal(jax.random.key(0), (3, 8, 8))
    names = ("backbone", "neck", "heads")
    tree = {name: {"kernel": w} for name, w in zip(names, weights, strict=True)}
    full = masks_lib.full(tree, ("^neck/", "^heads/"))
    large = tree | {"heads": jax.tree.map(lambda w: 1000 * w, tree["heads"])}
    found = [
        choose.prune(full, scores.magnitude(params, full), 0.75)
        for params in (tree, large)
    ]
    np.testing.assert_array_equal(*(masks["backbone"]["kernel"] for masks in found))
    assert int(masks_lib.count(found[0])[0]) == 64 // 4
    # With the heads in scope they push the backbone out.
    everywhere = masks_lib.full(large)
    masks = choose.prune(everywhere, scores.magnitude(large, everywhere), 0.75)
    assert masks["backbone"]["kernel"].sum() < 64 // 4


def test_the_first_of_the_papers_rounds_is_dense_and_the_last_keeps_what_is_left():
    # kappa^(i / (R - 1)), i = 0 .. R - 1: R - 1 prunings of ours, after the dense one.
    assert sparsities.exponential(1000, 100, 1) == [100]  # R = 2
    found = sparsities.exponential(1000, 100, 4)  # R = 5
    assert found == [round(1000 * 0.1 ** (i / 4)) for i in range(1, 5)]
    with pytest.raises(ValueError, match="rounds"):
        sparsities.exponential(1000, 100, 0)  # R = 1: nothing is pruned, nor divided


def test_what_the_source_never_prunes_is_kept_where_the_target_may():
    source = {"stem": {"kernel": None}, "head": {"kernel": None}}
    full = masks_lib.full(recogniser(1.0), ("^heads/",))
    rules = by_transplant.rules("ticket", ())
    masks, _ = transplant.transplant(
        by_transplant._in_scope(source, full, rules), full, rules
    )
    assert jax.tree.map(jnp.all, masks)["backbone"]["stem"]["kernel"]


def test_of_a_rewound_ticket_all_but_a_classifier_s_head_is_taken():
    found = by_transplant.rules("rewound", ("^heads/",))
    tree, report = transplant.transplant(classifier(5.0), classifier(1.0), found)
    assert (tree["stem"]["kernel"] == 5).all()
    assert report.kept == ("head/kernel",) and not report.missing


@pytest.fixture
def searched(tmp_path):
    """A workdir with a ticket of ten classes, rewound to weights of three quarters."""
    found = plan_lib.of(tiny.config(), source_lib.load(tiny.config()))
    params, state = found.init_fn(jax.random.key(7))
    masks = jax.tree.map(lambda m: m.at[0].set(False), masks_lib.full(params))
    ticket = Ticket(1, 2, 4, masks_lib.apply(params, masks), state, masks)
    layout.save_ticket(tmp_path, 0, ticket)
    results.append(
        tmp_path / results.RESULTS, [{"level": 0, "seed": 0, "arm": "ticket"}]
    )
    return tmp_path, ticket


def elsewhere(root, **changes):
    """Returns what a ticket of another run is trained on: a set of four classes."""
    given = {"search.method": "transplant", "transplant.way": "rewound", "seeds": (0,)}
    given |= {"transplant.source": str(root), "search.levels": 1}
    given["data.options"] = {"train": 48, "test": 16, "num_classes": 4}
    config = tiny.config(given | changes)
    return plan_lib.of(config, source_lib.load(config))


def test_a_ticket_is_retrained_on_another_set_from_what_it_was_rewound_to(searched):
    root, source = searched
    ground = elsewhere(root)
    found = by_transplant.ticket(ground, 0, 1)
    assert (found.level, found.step, found.until) == (1, 0, 4)
    own = ground.init_fn(parts.key(0, "init"))[0]
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            found.params["dense1"][name], source.params["dense1"][name]
        )
        np.testing.assert_array_equal(found.params["head"][name], own["head"][name])
    np.testing.assert_array_equal(
        found.masks["dense1"]["kernel"], source.masks["dense1"]["kernel"]
    )
    assert found.masks["head"]["kernel"].all()
    assert found.params["head"]["kernel"].shape[-1] == 4
    with pytest.raises(ValueError, match="must have the tickets .* no level 3 of seed"):
        by_transplant.check(elsewhere(root, **{"transplant.levels": (3,)}))
    with pytest.raises(ValueError, match="shape of what it replaces"):
        by_transplant.check(elsewhere(root, **{"model.options": {"hidden": (9,)}}))


@pytest.mark.parametrize("way", ["ticket", "mask"])
def test_a_network_without_a_backbone_is_told_the_other_ways_first(searched, way):
    with pytest.raises(ValueError, match="got model.name = 'mlp', .* give .*'rewound'"):
        by_transplant.check(elsewhere(searched[0], **{"transplant.way": way}))
