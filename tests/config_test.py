"""A config is complete, refuses what nobody reads, and knows what may change later."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from lthjax import config


def valid(**changes):
    """The default config with an end, and with changes by dotted key."""
    found = config.default()
    found.train.epochs = 2
    with found.ignore_type():
        for key, value in changes.items():
            found.update_from_flattened_dict({key.replace("__", "."): value})
    return found


def saved(found):
    return json.loads(config.to_json(found))


def test_the_default_needs_nothing_but_a_length():
    config.validate(valid())
    config.validate(valid(train__epochs=0, train__steps=5))


@pytest.mark.parametrize("epochs, steps", [(0, 0), (2, 5)])
def test_exactly_one_length_must_be_given(epochs, steps):
    expected = f"got train.epochs = {epochs}, train.steps = {steps}"
    with pytest.raises(ValueError, match=expected):
        config.validate(valid(train__epochs=epochs, train__steps=steps))


def test_flat_names_every_value_once():
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": (2, 3)}
    assert config.flat(nested) == {"a.b.c": 1, "a.d": {}, "e": (2, 3)}
    assert config.flat(ConfigDict(nested)).keys() == config.flat(nested).keys()


@pytest.mark.parametrize(
    "place, key, nearest",
    [
        ((), "seed", "'seeds'"),
        (("search",), "rewind", "'search.rewind_to'"),
        (("optimizer",), "learning_rat", "'optimizer.learning_rate'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(place, key, nearest):
    found = valid()
    part = found
    for name in place:
        part = part[name]
    with part.unlocked():
        part[key] = 1
    expected = f"got config.{'.'.join((*place, key))}, did you mean {nearest}"
    with pytest.raises(ValueError, match=expected):
        config.validate(found)


def test_the_options_of_models_and_data_are_the_users():
    found = valid()
    with found.unlocked():
        found.model.options.blocks = (1, 1)
        found.data.options.anything = {"deep": 1}
    config.validate(found)


@pytest.mark.parametrize(
    "key, value",
    [
        ("seeds", 3),
        ("train.batch_size", 1.5),
        ("train.batch_size", True),
        ("optimizer.learning_rate", "0.1"),
        ("data.flip", 1),
        ("search.method", None),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_key(key, value):
    found = valid(**{key.replace(".", "__"): value})
    with pytest.raises(ValueError, match=f"config.{key} must be of type"):
        config.validate(found)


def test_a_whole_number_may_stand_for_a_float_and_a_list_for_a_tuple():
    config.validate(valid(optimizer__learning_rate=1, seeds=[1, 2]))
    config.validate(valid(seeds=[0, 2**32 - 1]))


@pytest.mark.parametrize(
    "key, value",
    [
        ("seeds", ()),
        ("seeds", (1, 1)),
        ("seeds", (2**32, 0)),
        ("seeds", (-1, 2**32 - 1)),
        ("seeds", (2**63,)),
        ("seeds", (True,)),
        ("seeds", (np.int64(1),)),
        ("search.gates.initial", (0.12345671, 0.12345672)),
        ("train.batch_size", 0),
        ("train.steps", -5),
        ("eval_batch", -1),
        ("eval_every", -1),
        ("data.limit", -1),
        ("data.validation", -1),
        ("optimizer.learning_rate", 0.0),
        ("best_by", "speed"),
        ("search.scope", "local"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key_and_value(key, value):
    found = valid(**{key.replace(".", "__"): value})
    with pytest.raises(ValueError) as error:
        config.validate(found)
    assert f"got {key} = " in str(error.value)
    assert str(value) in str(error.value)


def test_a_config_is_unchanged_by_json():
    found = valid(search__layer_rates=(("head", 0.1),), controls=("shuffle",))
    assert config.changed(saved(found), found) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (0, 1, 2)},
        {"controls": ("shuffle",)},
        {"search__levels": 9},
        {"data_dir": "elsewhere"},
        {"logging__line_seconds": 1.0},
        {"search__sparsities": (0.5, 0.9)},
    ],
)
def test_what_is_trained_next_or_how_it_is_shown_may_change(change):
    old = saved(valid(search__sparsities=(0.5,)))
    new = valid(**{"search__sparsities": (0.5,)} | change)
    assert config.changed(old, new) == {}


@pytest.mark.parametrize(
    "key, now",
    [
        ("train.epochs", 3),
        ("optimizer.learning_rate", 0.2),
        ("search.rate", 0.3),
        ("search.sparsities", [0.4, 0.9]),
        ("search.sparsities", []),
        ("seeds_of_old", None),
    ],
)
def test_what_was_trained_may_not_and_is_named_with_both_values(key, now):
    new = valid(search__sparsities=(0.5,))
    old = saved(new)
    if key == "seeds_of_old":
        old[key] = 1
    else:
        new = valid(**{"search__sparsities": (0.5,), key.replace(".", "__"): now})
    before = config.flat(old).get(key)
    assert config.changed(old, new) == {key: (before, now)}


def test_a_key_the_old_run_did_not_know_must_be_at_its_default():
    old = saved(valid())
    del old["optimizer"]["clip"]
    assert config.changed(old, valid()) == {}
    changed = config.changed(old, valid(optimizer__clip=1.0))
    assert changed == {"optimizer.clip": (0.0, 1.0)}


def test_options_are_compared_like_everything_else():
    new = valid()
    old = saved(new)
    with new.unlocked():
        new.model.options.hidden = (8,)
    assert config.changed(old, new)["model.options.hidden"] == (None, [8])


def test_a_schedule_by_rate_is_not_exchanged_for_a_list_in_an_old_workdir():
    old = json.loads(config.to_json(config.default()))
    new = config.default()
    new.search.sparsities = (0.5, 0.9)
    assert list(config.changed(old, new)) == ["search.sparsities"]
    longer = config.default()
    longer.search.sparsities = (0.5, 0.9, 0.95)
    assert not config.changed(json.loads(config.to_json(new)), longer)
