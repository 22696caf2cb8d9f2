"""Which keys and values a config may have."""

import re

import numpy as np
import pytest
from ml_collections import ConfigDict
from valid_config import valid

from lthjax import values
from lthjax.program.config import files, ranges, validate


def test_the_default_needs_nothing_but_a_length():
    validate.validate(valid())
    validate.validate(valid(train__epochs=0, train__steps=5))


@pytest.mark.parametrize("epochs, steps", [(0, 0), (2, 5)])
def test_exactly_one_length_must_be_given(epochs, steps):
    expected = f"got train.epochs = {epochs}, train.steps = {steps}"
    with pytest.raises(ValueError, match=expected):
        validate.validate(valid(train__epochs=epochs, train__steps=steps))


def test_flat_names_every_value_once():
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": (2, 3)}
    assert validate.flat(nested) == {"a.b.c": 1, "a.d": {}, "e": (2, 3)}
    assert validate.flat(ConfigDict(nested)).keys() == validate.flat(nested).keys()


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
        validate.validate(found)


def test_the_options_of_models_and_data_are_the_users():
    found = valid()
    with found.unlocked():
        found.model.options.blocks = (1, 1)
        found.data.options.anything = {"deep": 1}
    validate.validate(found)


@pytest.mark.parametrize(
    "key, value",
    [
        ("seeds", 3),
        ("seeds", 0),
        ("search.sparsities", 0),
        ("data.mean", False),
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
        validate.validate(found)


def test_a_whole_number_may_stand_for_a_float_and_a_list_for_a_tuple():
    validate.validate(valid(optimizer__learning_rate=1, seeds=[1, 2]))
    validate.validate(valid(seeds=[0, 2**32 - 1]))


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
        ("search.scope", "local"),
        ("mesh.ticket", 0),
        ("schedule.drops", (2, 1)),
        ("schedule.warmup", 3),
        ("controls", ("reinit", "reinit")),
        ("retraining.levels", (1, 1)),
        ("search.exclude", ("head", "head")),
        ("search.layer_rates", (("head", 0.1), ("head", 0.2))),
        ("search.gates.initial", (0.1, 0.10000001)),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key_and_value(key, value):
    found = valid(**{key.replace(".", "__"): value})
    with pytest.raises(ValueError) as error:
        validate.validate(found)
    assert f"{key} = " in str(error.value).partition(", got ")[2]
    shown = ("head", "head") if key == "search.layer_rates" else value
    assert str(shown) in str(error.value)


@pytest.mark.parametrize(
    "key", ["model.name", "data.name", "search.score", "model.options"]
)
def test_a_function_named_by_its_old_module_is_refused_with_its_new_one(key):
    value = "lthjax.models.applying:apply"
    given = {"by": value} if key.endswith("options") else value
    expected = f"{value!r}; write 'lthjax.models.functions:apply'"
    with pytest.raises(ValueError, match=re.escape(expected)):
        validate.validate(valid(**{key.replace(".", "__"): given}))


DEFAULTS = validate.flat(files.default())


NUMBERS = {
    name: value
    for name, value in DEFAULTS.items()
    if isinstance(ranges.ELEMENTS.get(name, value), int | float)
    and not isinstance(value, bool)
}
NUMBERS["search.layer_rates"] = ()


def test_every_number_has_its_range_and_every_tuple_its_elements():
    assert ranges.RANGES.keys() == NUMBERS.keys()
    tuples = {name for name, value in DEFAULTS.items() if isinstance(value, tuple)}
    assert ranges.ELEMENTS.keys() == tuples
    for name, element in ranges.ELEMENTS.items():
        assert values.like(DEFAULTS[name], (element,))


def in_place(name, number):
    """Returns a value of a key that holds a number, alone or in its tuple."""
    element = ranges.ELEMENTS.get(name)
    if isinstance(element, tuple):
        return ((element[0], number),)
    return number if element is None else (number,)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_refused_outside_of_its_range_and_where_it_is_none(name):
    limits, example = ranges.RANGES[name], NUMBERS[name]
    whole = isinstance(ranges.ELEMENTS.get(name, example), int)
    wrong = [limits.high + (whole and limits.ends[1] == "]"), limits.low - 1]
    wrong += [] if whole else [float("nan"), float("inf"), -float("inf"), 1e39]
    wrong += [limits.low] if limits.ends[0] == "(" else []
    for number in wrong:
        if number == 1 and limits.ends[1] == "]":
            continue  # a share that may be one
        value = in_place(name, number)
        with pytest.raises(ValueError, match=re.escape(f"got {name} = {value}")):
            validate.validate(valid(**{name.replace(".", "__"): value}))
    for word in ("1", None, True):
        value = in_place(name, word)
        with pytest.raises(ValueError, match=f"{name} must be of type"):
            validate.validate(with_value(name, value))


def with_value(name, value):
    """The config with a value of any type, which ConfigDict might make another one."""
    found = valid()
    *parents, key = name.split(".")
    part = found
    for parent in parents:
        part = part[parent]
    with part.unlocked():
        if key in part:
            del part[key]
        part[key] = value
    return found


@pytest.mark.parametrize("name", ranges.ELEMENTS)
def test_a_text_or_a_number_where_a_tuple_belongs_is_refused(name):
    for value in ("abc", "", 1, 0.5, ((),), ([1], 2), {"a": 1}.keys()):
        with pytest.raises(ValueError, match=f"config.{name} must be of type tuple of"):
            validate.validate(with_value(name, value))


@pytest.mark.parametrize("expression", ["(", "*", "[a", "a{2,1}", "(?P<1>)", "\\"])
@pytest.mark.parametrize("name", ranges.EXPRESSIONS)
def test_what_is_no_regular_expression_is_refused(name, expression):
    pairs = {"search.layer_rates": 0.1, "model.views": "in out"}
    pairs |= {"search.basis": "hadamard"}
    given = (expression, pairs[name]) if name in pairs else expression
    value = given if name in ("search.include", "elastic.unit") else (given,)
    with pytest.raises(ValueError, match=f"{name} must hold regular expressions, got"):
        validate.validate(valid(**{name.replace(".", "__"): value}))


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("train.batch_size", "absent", "every key .* got none of train.batch_size"),
        ("model.options", 5, "must be a dict of options, got config.model.options = 5"),
        ("data.options", {"a": len}, "must hold texts, .* got a = <built-in"),
        ("data.options", {"a": {"b": float("nan")}}, "got a = {'b': nan}"),
        ("model.options", {1: 2}, "by name, got 1 = 2"),
        ("model.optionsx", {}, "got config.model.optionsx, did you mean"),
        ("search", 3, "every config key must be known, got config.search"),
        ("schedule.name", "piecewise", "needs schedule.drops"),
    ],
)
def test_a_config_of_another_form_is_refused(key, value, message):
    found = with_value(key, value)
    if value == "absent":
        with found.unlocked():
            del found.train.batch_size
    with pytest.raises(ValueError, match=message):
        validate.validate(found)


def test_no_config_at_all_is_refused():
    with pytest.raises(ValueError, match="must be a ConfigDict, .* got dict"):
        validate.validate({})
    with pytest.raises(ValueError, match="got none of best_by, controls"):
        validate.validate(ConfigDict())


def test_drops_and_warmup_end_before_the_epochs_do():
    given = {"schedule__name": "piecewise", "train__epochs": 9}
    validate.validate(valid(**given, schedule__drops=(3, 8.5), schedule__warmup=9))
    for wrong in ({"schedule__drops": (3, 9)}, {"schedule__warmup": 10}):
        with pytest.raises(ValueError, match="train.epochs = 9, got schedule"):
            validate.validate(valid(**{"schedule__drops": (3,), **given, **wrong}))
