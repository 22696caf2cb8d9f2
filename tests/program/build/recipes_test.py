"""Arms of products and of controls: the same bits again, refused in time."""

import jax
import numpy as np
import optax
import pytest
import tiny
from trees import assert_same

from lthjax.program.build import assemble, methods
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.report import gains
from lthjax.program.run import check, experiment
from lthjax.program.run import population as population_lib
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks
from lthjax.retraining import ghosts
from lthjax.saving.tickets import load_trained

WHOLE = {
    "seeds": (0,),
    "search.levels": 1,
    "controls": ("random",),
    "search.rewind_to": 1,
    "eval_every": 2,
    "retraining.arms": ("sign_in", "random+sign_in", "random+vanilla"),
    "retraining.sign_in.period": 2,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a ticket and of random masks, trained as ever and as products."""
    return tiny.uninterrupted(tmp_path_factory, WHOLE)


def trained(root, arm):
    return load_trained(layout.trained_path(root, arm, 0, 1))


@pytest.mark.parametrize("start", ["ticket", "random"])
def test_a_ticket_is_trained_as_products_and_deployed_as_weights(whole, start):
    _, root = whole
    arm = {"ticket": "sign_in", "random": "random+sign_in"}[start]
    rows, found = tiny.records(root), trained(root, arm)
    own, products = rows[1, 0, start], rows[1, 0, arm]
    for name in ("kept", "steps", "layers"):
        assert own[name] == products[name]
    assert own["train_loss"] != products["train_loss"] and products["retrained"]
    kept = trained(root, {"ticket": "ticket", "random": "random+vanilla"}[start]).masks
    assert_same(found.masks, kept)
    masked = masks.apply(found.params, found.masks)
    assert_same(masked, found.params)


def test_a_control_retrained_plainly_is_the_control_bit_for_bit(whole):
    _, root = whole
    rows, curves = tiny.records(root), tiny.curves(root)
    own, again = (curves[1, 0, arm, 1] for arm in ("random", "random+vanilla"))
    assert {**own, "arm": ""} == {**again, "arm": ""}
    assert rows[1, 0, "random"]["layers"] != rows[1, 0, "ticket"]["layers"]


def test_a_gain_is_over_what_was_retrained(whole):
    _, root = whole
    rows, found = tiny.records(root), gains.gains(results.read(root / results.RESULTS))
    assert found.keys() == {(arm, 1) for arm in WHOLE["retraining.arms"]}
    assert found["random+vanilla", 1].mean == 0
    far = [rows[1, 0, arm]["test_accuracy"] for arm in ("random+sign_in", "random")]
    np.testing.assert_allclose(found["random+sign_in", 1].mean, 100 * (far[0] - far[1]))


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
    pair = [trained(folder, "random+sign_in") for folder in (root, tmp_path)]
    assert_same(*pair)


def test_the_state_has_the_factors_and_an_epoch_is_the_period(whole):
    config, _ = whole
    source = source_lib.load(config)
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


def unmasked(ground, schedule, exclude):
    """Returns an optimizer that takes no masks."""
    return optax.sgd(0.1)


OWN = methods.METHODS["iterative"]._replace(optimizer=unmasked)


def test_products_go_with_admm_whose_tickets_keep_their_masks():
    changes = {"search.method": "admm", "search.admm.steps": 2}
    changes |= {"retraining.arms": ("sign_in",)}
    check.check(tiny.config({**WHOLE, **changes}))


BAD = [
    (
        {"search.method": f"{__name__}:OWN", "retraining.arms": ("sign_in",)},
        r"an optimizer that takes masks, got .* \('sign_in',\) with .*:OWN'; leave it",
    ),
    ({"retraining.sign_in.beta": 0.0}, "retraining.sign_in.beta must be in"),
    ({"retraining.sign_in.period": -1}, "retraining.sign_in.period must be in"),
    (
        {"search.method": "rigl", "dynamic.every": 1},
        r"controls go with .* got retraining.arms = \('random\+sign_in', .* 'rigl'",
    ),
    (
        {"search.method": "rigl", "dynamic.every": 1, "retraining.arms": ("sign_in",)},
        r"of weights whose masks stay, got retraining.arms = \('sign_in',\) .* 'rigl'",
    ),
    ({"retraining.arms": ("random",)}, "at most one control, and a tweak .* 'random'"),
    ({"retraining.arms": ("random+reinit+sign_in",)}, "at most one control"),
    (
        {"retraining.arms": ("random+sign_in", "sign_in+random")},
        "'sign_in.random' is the same as 'random.sign_in'",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_is_wrong_is_refused_before_anything_is_trained(changes, message):
    given = {**WHOLE, **changes}
    if "search.method" in changes:
        given |= {"controls": (), "search.rewind_to": 0}
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(given))


@pytest.mark.slow
def test_products_go_with_masks_that_were_learnt(tmp_path):
    changes = {**WHOLE, "search.method": "continuous", "search.rewind_to": 0}
    experiment.run(tiny.config({**changes, "retraining.arms": ("sign_in",)}), tmp_path)
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
    assert_same(masked, found.params)
