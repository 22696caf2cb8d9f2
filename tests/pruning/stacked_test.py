"""Layers stacked in a leaf: each keeps its minimum, and is named where it is empty."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn

from lthjax.program.run import experiment
from lthjax.pruning import choose, heads, masks, patterns, views

SHAPE = (3, 2, 4)  # three layers of two inputs and four outputs
PLACES = {"first": (0, 1, 2), "middle": (1, 0, 2), "last": (1, 2, 0)}
TEXTS = {"first": "copies in out", "middle": "in copies out", "last": "in out copies"}


def stack(place, leaf):
    """Returns ({"w": a leaf of three layers, stacked at a place}, its views)."""
    view = views.view(TEXTS[place].split())
    return {"w": jnp.asarray(leaf).transpose(PLACES[place])}, {"w": view}


def rising():
    """Returns scores of three layers: all of one are above all of that before it."""
    draw = np.random.default_rng(0).permuted
    ranks = np.arange(24.0, dtype=np.float32).reshape(3, 8)
    return draw(ranks, axis=1).reshape(SHAPE)


def kept(tree, place):
    back = np.argsort(PLACES[place])
    return np.asarray(tree["w"]).transpose(back).sum((1, 2)).tolist()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("how", [{"kept": 12}, {"kept": [12]}, {"sparsity": 0.5}])
def test_each_layer_of_a_stack_keeps_its_best_and_the_rest_is_ranked(place, how):
    scores, found = stack(place, rising())
    full = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
    for minimum, layers in {0: [0, 4, 8], 1: [1, 3, 8], 3: [3, 3, 6]}.items():
        chosen = choose.prune(full, scores, minimum=minimum, views=found, **how)
        assert kept(chosen, place) == layers
        best = scores["w"] >= 16 + 8 - layers[-1]
        np.testing.assert_array_equal(chosen["w"] & (scores["w"] >= 16), best)
    assert kept(choose.prune(full, scores, minimum=1, **how), place) == [0, 4, 8]


def test_what_a_layer_has_left_is_its_minimum_also_of_a_traced_count():
    scores, found = stack("middle", rising())
    few, _ = stack("middle", np.arange(24).reshape(SHAPE) >= 7)  # of the first: 1
    select = jax.jit(
        lambda k: choose.prune(few, scores, kept=[k], minimum=2, views=found)
    )
    assert kept(select(2), "middle") == [1, 2, 2]
    assert kept(select(9), "middle") == [1, 2, 6]
    with pytest.raises(ValueError, match="is 5 for all 3 layers, with kept = 4"):
        choose.prune(few, scores, kept=4, minimum=2, views=found)
    with pytest.raises(ValueError, match="is 5 for w, with kept = 4"):
        choose.prune(few, scores, kept=[4], minimum=2, views=found)


@pytest.mark.parametrize("minimum, layers", [(0, [0, 0, 6]), (1, [1, 1, 4])])
def test_each_layer_keeps_its_minimum_in_rounds(minimum, layers):
    scores, found = stack("last", rising())
    full = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
    given = {"minimum": minimum, "views": found}
    chosen = choose.in_rounds(lambda _: scores, full, [12, 6], **given)
    assert kept(chosen, "last") == layers


PATTERNS = {
    "channels": lambda *given, **how: patterns.channels(*given, kept=6, **how),
    "blocks": lambda *given, **how: patterns.blocks(*given, (2, 1), kept=6, **how),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PATTERNS)
def test_each_layer_keeps_its_minimum_of_groups(name, place):
    scores, found = stack(place, rising())
    full = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
    for minimum, groups in {0: [0, 2, 4], 1: [1, 1, 4], 2: [2, 2, 2]}.items():
        chosen = PATTERNS[name](full, scores, minimum=minimum, views=found)
        assert kept(chosen, place) == [2 * n for n in groups]
    with pytest.raises(ValueError, match="is 9 for all 3 layers, with kept = 6"):
        PATTERNS[name](full, scores, minimum=3, views=found)


def test_each_attention_of_a_stack_keeps_a_head():
    scores = {"own": {"query": {"kernel": jnp.asarray(rising()[..., None])}}}
    found = {"own/query/kernel": views.view(["copies", "in", "out", "out"])}
    full = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
    for minimum, layers in {0: [0, 1, 4], 1: [1, 1, 3]}.items():
        chosen = heads.heads(full, scores, kept=5, minimum=minimum, views=found)
        left = heads.counts(chosen, found)["own"] > 0
        assert left.sum(1).tolist() == layers


@pytest.mark.parametrize("place", PLACES)
def test_an_emptied_layer_of_a_stack_is_named(place):
    left = np.zeros(SHAPE, bool)
    left[1, 0, 2] = True
    tree, found = stack(place, left)
    assert masks.collapsed(tree, found) == ["w[0]", "w[2]"]
    assert masks.collapsed(tree) == []
    assert masks.collapsed({"w": jnp.zeros_like(tree["w"])}, found) == ["w"]
    two = {"w": views.view(["copies", "copies", "out"])}
    tree = {"w": jnp.ones((2, 2, 3), bool).at[1, 0].set(False)}
    assert masks.collapsed(tree, two) == ["w[1, 0]"]


def test_a_layer_with_a_kernel_at_each_place_is_one():
    images, local = jnp.ones((1, 4, 4, 2)), nn.ConvLocal(3, (2, 2))
    shapes, found = views.traced(local.init, jax.random.key(0), images)
    full = {"kernel": jnp.ones(shapes["kernel"].shape, bool)}
    scores = {"kernel": jnp.arange(full["kernel"].size).reshape(full["kernel"].shape)}
    chosen = choose.prune(full, scores, kept=30, minimum=2, views=found)
    assert masks.collapsed(chosen, found) == []
    assert int(chosen["kernel"][-1, -1].sum()) == 24


class Stack(nn.Module):
    """A user's network: three layers stacked by `nn.scan`, and a head."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        x = nn.Dense(4, name="first")(images.reshape(len(images), -1))
        scan = nn.scan(
            _Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
        )
        return nn.Dense(self.num_classes, name="head")(scan(name="steps")(x, None)[0])


class _Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.Dense(4, name="own")(x), None


def by_depth(evidence):
    """Returns scores of the stacked layers: the deeper, the better."""
    return jax.tree.map(
        lambda w, mask: None if mask is None else jnp.arange(w.size).reshape(w.shape),
        evidence.params,
        evidence.masks,
    )


@pytest.mark.parametrize("minimum", [0, 1])
def test_a_run_keeps_a_weight_of_each_layer_or_warns_of_it(minimum, tmp_path, caplog):
    changes = {
        "model.name": f"{__name__}:Stack",
        "model.options": {},
        "search.score": f"{__name__}:by_depth",
        "search.include": "own/kernel$",
        "search.sparsities": (0.75,),
        "search.minimum": minimum,
        "seeds": (0,),
    }
    caplog.set_level(logging.WARNING)
    experiment.run(tiny.config(changes), tmp_path)
    names = [f"steps/own/kernel[{n}]" for n in (0, 1)] if not minimum else []
    assert tiny.records(tmp_path)[1, 0, "ticket"]["collapsed"] == names
    assert all(f"no weight of {name} is left" in caplog.text for name in names)
    assert ("layer collapse" in caplog.text) == (not minimum)
