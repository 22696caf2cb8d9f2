"""Arms of products: masks of any search, the same bits again, refused in time."""

import jax
import numpy as np
import pytest
import tiny

from lthjax.program.build import assemble
from lthjax.program.build import plan as plan_lib
from lthjax.program.run import check, experiment
from lthjax.program.run import population as population_lib
from lthjax.program.workdir import layout
from lthjax.pruning import masks
from lthjax.retraining import ghosts
from lthjax.saving.tickets import load_trained

WHOLE = {
    "seeds": (0,),
    "search.method": "one_shot",
    "search.score": "random",
    "search.levels": 1,
    "search.rewind_to": 1,
    "eval_every": 2,
    "retraining.arms": ("sign_in",),
    "retraining.sign_in.period": 2,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a random ticket, trained as ever and as products."""
    return tiny.uninterrupted(tmp_path_factory, WHOLE)


def test_a_random_ticket_is_trained_as_products_and_deployed_as_weights(whole):
    _, root = whole
    rows = tiny.records(root)
    assert rows.keys() == {(0, 0, "ticket"), (1, 0, "ticket"), (1, 0, "sign_in")}
    ticket, products = rows[1, 0, "ticket"], rows[1, 0, "sign_in"]
    for name in ("kept", "steps", "deployed_parameters", "deployed_flops"):
        assert ticket[name] == products[name]
    assert ticket["train_loss"] != products["train_loss"] and products["retrained"]
    pair = [
        load_trained(layout.trained_path(root, arm, 0, 1))
        for arm in ("ticket", "sign_in")
    ]
    for tree in zip(*(found.masks for found in pair), strict=False):
        assert tree[0] == tree[1]
    jax.tree.map(np.testing.assert_array_equal, pair[0].masks, pair[1].masks)
    masked = masks.apply(pair[1].params, pair[1].masks)
    jax.tree.map(np.testing.assert_array_equal, masked, pair[1].params)


class Killed(BaseException):
    """What no `except Exception` catches."""


def test_killed_between_two_rebalancings_it_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch, compiled_once
):
    config, root = whole
    save = population_lib.save

    def deadly(folder, population):
        save(folder, population)
        if population.jobs[0].arm == "sign_in" and population.at in (2, 3):
            raise Killed

    monkeypatch.setattr(population_lib, "save", deadly)
    with pytest.raises(Killed):
        experiment.run(config, tmp_path)
    monkeypatch.setattr(population_lib, "save", save)
    experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
    pair = [
        load_trained(layout.trained_path(r, "sign_in", 0, 1)) for r in (root, tmp_path)
    ]
    jax.tree.map(np.testing.assert_array_equal, *pair)


def test_the_state_has_the_factors_and_an_epoch_is_the_period(whole):
    config, _ = whole
    source = experiment.load(config)
    parts = assemble.build(
        tiny.changed(config, {"retraining.sign_in.period": 0}), source
    )
    own = parts.arms["sign_in", 1]
    params, model_state = parts.init_fn(jax.random.key(0))
    state = own.tx.init(params)
    names = masks.names(state.factors.m)
    assert names == masks.names(parts.masks_fn(params))
    # Momentum is of both factors, which are held beside it.
    assert own.held > parts.held - 1 >= 0 and own.held > 3
    assert plan_lib.of(config, source).plan.steps_per_epoch == 3


BAD = [
    ({"retraining.sign_in.beta": 0.0}, "retraining.sign_in.beta must be in"),
    ({"retraining.sign_in.period": -1}, "retraining.sign_in.period must be in"),
    (
        {"search.method": "rigl", "dynamic.every": 1},
        r"masks stay, got retraining.arms = \('sign_in',\) .* 'rigl'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_is_wrong_is_refused_before_anything_is_trained(changes, message):
    given = {**WHOLE, **changes}
    if "search.method" in changes:
        given |= {"search.score": "magnitude", "search.rewind_to": 0}
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(given))


@pytest.mark.slow
def test_products_go_with_masks_that_were_learnt(tmp_path):
    changes = {**WHOLE, "search.method": "continuous", "search.score": "magnitude"}
    experiment.run(tiny.config({**changes, "search.rewind_to": 0}), tmp_path)
    rows = tiny.records(tmp_path)
    assert rows[1, 0, "sign_in"]["kept"] == rows[1, 0, "ticket"]["kept"]


@pytest.mark.slow
def test_products_go_with_ghosts_which_are_none(tmp_path):
    network = {"blocks": (1,), "channels": (4,)}
    changes = {**WHOLE, "model.name": "resnet20", "model.options": network}
    arm = "sign_in+skips+neurons+smoothing"
    experiment.run(tiny.config({**changes, "retraining.arms": (arm,)}), tmp_path)
    rows = tiny.records(tmp_path)
    assert rows[1, 0, arm]["kept"] == rows[1, 0, "ticket"]["kept"]
    found = load_trained(layout.trained_path(tmp_path, arm, 0, 1))
    assert not [name for name in masks.names(found.params) if ghosts.SUFFIX in name]
    masked = masks.apply(found.params, found.masks)
    jax.tree.map(np.testing.assert_array_equal, masked, found.params)
