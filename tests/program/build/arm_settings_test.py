"""Arms that set something for themselves train as runs whose config says the same."""

import logging

import pytest
import tiny
from trees import assert_same

from lthjax.program.build import arm_settings, recipes, unread
from lthjax.program.config import validate
from lthjax.program.report import gains
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout, results
from lthjax.retraining import arms
from lthjax.saving.tickets import load_trained

ONE = {"seeds": (0,), "search.levels": 1, "eval_every": 2}
# Two each of one program: numbers of a step, times of ghosts, and what comes before.
PAIRS = {
    "smoothing": ("smoothing", 0.1, 0.4),
    "neurons": ("neurons.end", 0.5, 0.9),
    "rescaling": ("rescaling.iterations", 1, 3),
}
OWN = tuple(f"{key}={value}" for key, *pair in PAIRS.values() for value in pair)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The workdir of one run with all of the arms."""
    changes = {**ONE, "retraining.arms": OWN}
    return tiny.uninterrupted(tmp_path_factory, changes)[1]


@pytest.mark.parametrize("which", [1, 2])
def test_an_arm_s_own_setting_trains_as_the_config_s_bit_for_bit(
    together, tmp_path, which
):
    base = {f"retraining.{pair[0]}": pair[which] for pair in PAIRS.values()}
    config = tiny.config({**ONE, **base, "retraining.arms": tuple(PAIRS)})
    experiment.run(config, tmp_path)
    alone, all_of_them = tiny.records(tmp_path), tiny.records(together)
    for arm, (key, *pair) in PAIRS.items():
        own = f"{key}={pair[which - 1]}"
        assert _told(alone[1, 0, arm]) == _told(all_of_them[1, 0, own])
        saved = [
            load_trained(layout.trained_path(root, name, 0, 1))
            for root, name in ((tmp_path, arm), (together, own))
        ]
        assert_same(*saved)


def _told(row):
    return {k: v for k, v in row.items() if k not in ("arm", "seconds", "checksum")}


def test_settings_that_differ_train_differently_and_each_has_its_gain(together):
    rows = tiny.records(together)
    losses = {rows[1, 0, arm]["test_loss"] for arm in ("ticket", *OWN)}
    assert len(losses) == len(OWN) + 1
    found = gains.gains(results.read(together / results.RESULTS))
    assert found.keys() == {(arm, 1) for arm in OWN}


def test_only_the_arm_s_own_config_changes_and_only_in_its_setting():
    config = tiny.config({"retraining.smoothing": 0.3})
    name = "frozen_skips+skips.end=1+neurons.kind=mish"
    found = arm_settings.of_arm(config, name)
    before, after = validate.flat(config), validate.flat(found)
    changed = {key: value for key, value in after.items() if before[key] != value}
    assert changed == {"retraining.skips.end": 1.0, "retraining.neurons.kind": "mish"}
    assert type(after["retraining.skips.end"]) is float
    assert arms.tweaks(name) == {"skips", "frozen", "neurons"}
    assert arm_settings.of_arm(config, "skips+smoothing") is config


def test_the_plus_of_a_number_parts_no_arm():
    name = "rescaling.rate=1e+1+rescaling.floor=1e+0+smoothing"
    assert arms.settings(name) == {"rescaling.rate": "1e+1", "rescaling.floor": "1e+0"}
    assert arms.tweaks(name) == {"rescaling", "smoothing"}
    own = arm_settings.of_arm(tiny.config({}), name).retraining.rescaling
    assert (own.rate, own.floor) == (10.0, 1.0)


@pytest.mark.parametrize("asked, told", [(("smoothing=0.2",), 1), (("smoothing",), 0)])
def test_a_key_that_every_arm_sets_for_itself_is_said_to_be_unread(caplog, asked, told):
    config = tiny.config({"retraining.smoothing": 0.3, "retraining.arms": asked})
    with caplog.at_level(logging.WARNING):
        unread.warn(config)
    sentence = "retraining.smoothing = 0.3 is not read: each arm that has it sets its"
    assert caplog.text.count(sentence) == told


def test_arms_of_one_tweak_and_several_settings_are_allowed():
    check.check(
        tiny.config({"retraining.arms": (*OWN, "smoothing+convention=uniform")})
    )


@pytest.mark.parametrize(
    "part, steps, end",
    [(0.55, 100, 55), (0.07, 100, 7), (0.1, 25, 3), (1 - 1 / 3, 1500, 1000)],
)
def test_ghosts_end_at_the_first_step_that_is_not_before_their_part(part, steps, end):
    config = tiny.config({"retraining.neurons.end": part})
    found = recipes.recipe(config, (5, 5 + steps), 10, "neurons")
    assert found.neurons_fade.end == 5 + end


@pytest.mark.parametrize("levels, told", [((), 1), ((0,), 0)])
def test_arms_without_a_ticket_to_retrain_are_said_to_be_idle(caplog, levels, told):
    changes = {"retraining.arms": ("smoothing",), "retraining.levels": levels}
    with caplog.at_level(logging.WARNING):
        check.check(tiny.config({"search.levels": 0, **changes}))
    assert caplog.text.count("has no ticket to retrain") == told
