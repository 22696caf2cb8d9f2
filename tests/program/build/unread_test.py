"""What a config sets in vain is told, and nothing else is."""

import logging

import pytest
import tiny
from paths import ROOT

from lthjax.program.build import methods, source, unread
from lthjax.program.config import defaults, files
from lthjax.program.config.validate import flat
from lthjax.program.run import check

# {key: (a value, what makes it read)}
CASES = {
    "schedule.drops": ((1.0,), {"schedule.name": "piecewise"}),
    "schedule.factor": (0.2, {"schedule.name": "piecewise"}),
    "schedule.options": ({"decay_rate": 0.9}, {"schedule.name": "exponential_decay"}),
    "optimizer.momentum": (0.5, {}),
    "optimizer.nesterov": (True, {}),
    "optimizer.weight_decay": (0.1, {"optimizer.name": "lion"}),
    "search.batches": (2, {"search.score": "snip"}),
    "search.examples": (16, {"search.score": "grasp"}),
    "search.norms": ("running", {"search.score": "synflow"}),
    "search.rate": (0.5, {}),
    "search.minimum": (2, {}),
    "data.workers": (3, {"data.stream": True}),
    "model.frozen_statistics": (True, {"model.name": "mine:Net"}),
    "search.levels": (2, {"search.sparsities": (0.5, 0.7)}),
    "search.rewind_to": (2, {"search.method": "iterative"}),
    "search.gates.start": (
        "rewind_to",
        {"search.method": "continuous", "search.rewind_to": 2},
    ),
    "forward.number": (3, {"search.method": "forward"}),
    "transplant.heads": (("^a",), {"transplant.way": "task"}),
    "retraining.pools.examples": (
        7,
        {"retraining.arms": ("pools",), "retraining.pools.statistics": "recomputed"},
    ),
    "search.gates.momentum": (0.5, {"search.method": "continuous"}),
    "data.augment_options": ({"alpha": 0.3}, {"data.augment": "mixup"}),
    "elastic.order": ("interpolate", {"search.method": "elastic"}),
    "retraining.levels": ((1,), {"retraining.arms": ("vanilla",)}),
    "retraining.law": ("cosine", {"retraining.arms": ("skips+smoothing",)}),
    "retraining.neurons.end": (0.6, {"retraining.arms": ("tost_paper",)}),
    "retraining.neurons.hold": (0.1, {"retraining.arms": ("neurons",)}),
    "retraining.neurons.kind": ("mish", {"retraining.arms": ("tost_code",)}),
    "retraining.skips.start": ("zero_norm", {"retraining.arms": ("tost_code",)}),
    "retraining.skips.hold": (0.2, {"retraining.arms": ("skips", "tost_code")}),
    "retraining.skips.end": (0.6, {"retraining.arms": ("frozen_skips",)}),
    "retraining.smoothing": (0.2, {"retraining.arms": ("smoothing",)}),
    "retraining.convention": ("uniform", {"retraining.arms": ("smoothing",)}),
    "retraining.rescaling.rate": (0.1, {"retraining.arms": ("rescaling",)}),
    "retraining.distillation.temperature": (
        2.0,
        {"retraining.arms": ("distillation",)},
    ),
    "retraining.sign_in.beta": (0.5, {"retraining.arms": ("random+sign_in",)}),
    "retraining.pools.alphas": ((0.5,), {"retraining.arms": ("pools",)}),
}
# What leaves a key unread that a default config reads, or another one of the same key.
AGAINST = {
    "optimizer.momentum": {"optimizer.name": "adam"},
    "optimizer.nesterov": {"optimizer.momentum": 0.0},
    "search.rate": {"search.method": "continuous"},
    "search.minimum": {"search.pattern": "2:4", "search.sparsities": (0.5,)},
    "search.levels": {"search.sparsities": (0.5,)},
    "search.rewind_to": {"search.restart": "continue"},
    "search.gates.start": {
        "search.method": "continuous",
        "search.restart": "fine_tune",
    },
    "forward.number": {"forward.candidates": "all"},
    "optimizer.weight_decay": {"optimizer.name": "mine:optimizer"},
    "search.gates.momentum": {
        "search.method": "continuous",
        "search.gates.optimizer": "adam",
    },
    "elastic.order": {"search.method": "elastic", "elastic.map": "0:0"},
    "retraining.law": {"retraining.arms": ("tost_code", "smoothing")},
    "retraining.neurons.hold": {"retraining.arms": ("tost_code", "skips")},
    "retraining.skips.start": {"retraining.arms": ("frozen_skips", "neurons")},
    "retraining.skips.hold": {"retraining.arms": ("tost_code",)},
}


def config_of(key, value, others):
    config = defaults.default()
    with config.unlocked():
        config.update_from_flattened_dict({key: value, **others})
    return config


@pytest.mark.parametrize("key", CASES)
def test_a_key_is_told_where_nothing_reads_it_and_only_there(key):
    value, needed = CASES[key]
    (found,) = unread.unread(config_of(key, value, AGAINST.get(key, {})))
    assert found.startswith(key)
    assert unread.unread(config_of(key, value, needed)) == {}


@pytest.mark.parametrize("method", ["elastic", "transplant"])
def test_levels_of_a_source_are_in_place_of_a_number_of_levels(method):
    config = config_of("search.levels", 7, {"search.method": method})
    assert unread.unread(config) == {}
    config[method].levels = (3,)
    found = unread.unread(config)
    assert found == {"search.levels": f"{method}.levels is in its place"}


def test_nothing_is_told_of_the_defaults():
    assert unread.unread(defaults.default()) == {}


def test_every_tweak_and_its_keys_are_known():
    sections = {
        key
        for key in flat(defaults.default())
        if key.startswith("retraining.") and key != "retraining.arms"
    }
    own = [key for reader in unread.READERS for key in reader.keys]
    lacking = [s for s in sections if not any(s.startswith(key) for key in own)]
    assert not lacking


def test_a_run_warns_once_before_it_trains(caplog):
    config = tiny.config({"schedule.factor": 0.5})
    with caplog.at_level(logging.WARNING):
        check.check(config)
        tiny.build_anew(config, source.load(config))
    sentence = "schedule.factor = 0.5 is not read: it needs schedule.name = 'piecewise'"
    assert caplog.text.count(sentence) == 1


@pytest.mark.parametrize("scope, said", [("global", True), ("layer", False)])
def test_rates_by_layer_are_said_to_leave_the_default_scope_unread(caplog, scope, said):
    rates = (("^head/", 0.1),)
    config = tiny.config({"search.layer_rates": rates, "search.scope": scope})
    with caplog.at_level(logging.INFO):
        unread.warn(config)
    rows = [(row.levelname, row.getMessage()) for row in caplog.records]
    sentence = "search.layer_rates prunes each layer by itself: search.scope = "
    assert rows == [("INFO", f"{sentence}'global' is not read")] * said


@pytest.mark.parametrize("changes", [{}, {"retraining.arms": ("rescaling", "skips")}])
def test_nothing_is_told_of_what_a_config_leaves_or_a_small_one_sets(changes):
    found = tiny.config(changes)
    assert not unread.unread(methods.shrunk(found))
    assert unread.unread(found) == unread.unread(found.lock())  # as a command's is
    assert not unread.unread(files.named(str(ROOT / "configs" / "digits.py")).lock())
