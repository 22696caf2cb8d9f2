"""Another task's ticket in the program, from a classifier to a detector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.program.build import by_task, whole_sets
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import transplant


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
    found = by_task.rules(way, ())
    tree, report = transplant.transplant(classifier(5.0), recogniser(1.0), found)
    assert (tree["backbone"]["stem"]["kernel"] == 5).all()
    assert (tree["neck"]["mix"]["kernel"] == 1).all()
    assert (report.missing, report.unused) == ((), ("head/kernel",))


def test_of_a_recogniser_all_but_the_heads():
    found = by_task.rules("task", ("^heads/",))
    tree, report = transplant.transplant(recogniser(5.0), recogniser(1.0), found)
    assert (tree["neck"]["mix"]["kernel"] == 5).all()
    assert (tree["heads"]["a"]["kernel"] == 1).all()
    assert report.kept == ("heads/a/kernel",)


@pytest.mark.parametrize("way", by_task.WAYS)
def test_batch_statistics_go_by_the_same_rules(way):
    source = recogniser if way == "task" else classifier
    rules = by_task._inside(by_task.rules(way, ("^heads/",)))
    states = (
        {"batch_stats": make(x)} for make, x in ((source, 5.0), (recogniser, 1.0))
    )
    tree, report = transplant.transplant(*states, rules)
    own = tree["batch_stats"]
    assert (own["backbone"]["stem"]["kernel"] == 5).all()
    assert (own["heads"]["a"]["kernel"] == 1).all()
    assert not report.missing


def test_masks_lie_in_the_scope_of_the_target():
    source = {"stem": {"kernel": MASK}, "head": {"kernel": None}}
    full = masks_lib.full(recogniser(1.0), ("^neck/", "^heads/"))
    rules = by_task.rules("ticket", ())
    scoped = by_task._in_scope(source, full, rules)
    masks, _ = transplant.transplant(scoped, full, rules)
    np.testing.assert_array_equal(masks["backbone"]["stem"]["kernel"], MASK)
    assert masks["neck"]["mix"]["kernel"] is None
    # Of 12 weights in all, four in scope, one is removed.
    found = whole_sets.of_network(recogniser(1.0), masks)
    np.testing.assert_allclose(found, 1 / 12)


def test_what_the_source_never_prunes_is_kept_where_the_target_may():
    source = {"stem": {"kernel": None}, "head": {"kernel": None}}
    full = masks_lib.full(recogniser(1.0), ("^heads/",))
    rules = by_task.rules("ticket", ())
    masks, _ = transplant.transplant(
        by_task._in_scope(source, full, rules), full, rules
    )
    assert jax.tree.map(jnp.all, masks)["backbone"]["stem"]["kernel"]
