"""Checks of a config: its keys, types by the defaults, and values by their ranges."""

import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from lthjax import moved, values
from lthjax.program.config import ranges
from lthjax.program.config.choices import CHOICES
from lthjax.program.config.defaults import default
from lthjax.registry import suggestion

WORDS = {str: "texts", int: "whole numbers", float: "numbers"}


def flat(config: ConfigDict | dict, prefix: str = "") -> dict[str, Any]:
    """Returns {"a.b.c": value}; an empty dict is a value."""
    rows = {}
    for key, value in config.items():
        nested = isinstance(value, ConfigDict | dict) and len(value)
        inner = flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
        rows |= inner
    return rows


def validate(config: ConfigDict) -> None:
    """Checks the keys and the values that no later step checks.

    Raises:
      ValueError: A key is unknown (the nearest one is named) or absent, its type is
        wrong, or a value is out of its range, or names what has moved.
    """
    _check_keys(config)
    found = flat(config)
    _check_moved(found)
    for name, limits in ranges.RANGES.items():
        _check_range(name, found[name], limits)
    for name in ranges.EXPRESSIONS:
        _check_expressions(name, found[name])
    for name in ranges.DIFFERENT:
        _check_different(name, found[name])
    _check_train(config.train)
    check_seeds(config.seeds)
    cuts = ("", *CHOICES["data.cut"])  # "": by the set
    _check_choice("data.cut", config.data.cut, cuts, repr)
    _check_search(config.search)
    _check_dynamic(config.dynamic)
    _check_schedule(config.schedule, config.train.epochs)
    _check_distillation(config.retraining.distillation)
    _check_mesh(config.mesh)


def _check_moved(found):
    """Refuses what a config names by a module of the version before."""
    for name, value in found.items():
        if isinstance(value, str) and (now := moved.now(value)):
            raise ValueError(
                "a function of ours must be named by the module that it is in now, got "
                f"{name} = {value!r}; write {now!r}"
            )


def check_seeds(seeds: Sequence[int]) -> None:
    """Checks that seeds are different keys: JAX takes them modulo 2^32.

    Raises:
      ValueError: They are not.
    """
    whole = all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise ValueError(
            "seeds must be one integer from 0 to 2^32 - 1, or several different ones, "
            f"got seeds = {seeds}"
        )


def _check_train(train):
    if (train.epochs > 0) == (train.steps > 0):
        raise ValueError(
            "exactly one of train.epochs and train.steps must be positive, got "
            f"train.epochs = {train.epochs}, train.steps = {train.steps}"
        )


def _check_choice(name, value, choices, shown):
    sentence = f"{name} must be one of {', '.join(map(shown, choices))}"
    _require(value in choices, sentence, name, repr(value))


def _check_search(search):
    """Checks the scope, and that first logits of gates name folders of their own."""
    _check_choice("search.scope", search.scope, CHOICES["search.scope"], str)
    initial, name = search.gates.initial, "search.gates.initial"
    shown = {f"{logit:g}" for logit in initial}  # folders are named by them
    several = len(initial) > 0 and len(shown) == len(initial)
    sentence = f"{name} must be one logit or different ones, in six digits"
    _require(several, sentence, name, initial)


def _check_dynamic(given):
    ordered = 0 <= given.begin < given.end <= 1
    window = f"begin = {given.begin}, end = {given.end}"
    _require(ordered, "dynamic needs 0 <= begin < end <= 1", "dynamic", window)


def _check_schedule(schedule, epochs):
    """Checks that drops come one after the other, and within the training."""
    drops, warmup = tuple(schedule.drops), schedule.warmup
    rising = all(a < b for a, b in zip(drops, drops[1:], strict=False))
    sentence = "schedule.drops must rise from one to the next"
    _require(rising, sentence, "schedule.drops", drops)
    if schedule.name == "piecewise":
        sentence = "schedule.name = 'piecewise' needs schedule.drops, the epochs at "
        sentence += "which the rate is multiplied"
        _require(drops, sentence, "schedule.drops", drops)
        sentence = f"schedule.drops must be below train.epochs = {epochs}"
        below = not epochs or drops[-1] < epochs
        _require(below, sentence, "schedule.drops", drops)
    sentence = f"schedule.warmup must be at most train.epochs = {epochs}"
    _require(not epochs or warmup <= epochs, sentence, "schedule.warmup", warmup)


def _check_distillation(taught):
    weights = f"coefficient = {taught.coefficient}, hard = {taught.hard}"
    sentence = "coefficient and hard must not both be 0, there is no loss then"
    some = values.in_float32(taught.coefficient) + values.in_float32(taught.hard) > 0
    _require(some, sentence, "retraining.distillation", weights)


def _check_mesh(mesh):
    sizes = mesh.ticket, mesh.data
    if 0 in sizes or sizes == (-1, -1):
        raise ValueError(
            "an axis of the mesh must have at least 1 device, or one of them -1, the "
            f"rest, got mesh.ticket = {sizes[0]}, mesh.data = {sizes[1]}"
        )


def _require(holds, sentence, name, value):
    if not holds:
        raise ValueError(f"{sentence}, got {name} = {value}")


def _check_range(name, value, limits):
    """Checks a number, or each of a tuple; of pairs, the second."""
    several = isinstance(value, tuple | list)
    if several and tuple(value) == ranges.NAMED.get(name):
        return
    for one in value if several else [value]:
        number = one[1] if isinstance(one, tuple | list) else one
        if not values.inside(number, limits):
            what = f"every number of {name}" if several else name
            raise ValueError(f"{what} must be in {limits.text}, got {name} = {value}")


def _check_expressions(name, found):
    """Checks that texts are regular expressions, and pairs have different ones."""
    found = (found,) if isinstance(found, str) else found
    texts = [one if isinstance(one, str) else one[0] for one in found]
    for text in texts:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(
                f"{name} must hold regular expressions, got {name} = {text!r}, where "
                f"there is {error}; a backslash makes a character itself"
            ) from error
    _check_different(name, texts)


def _check_different(name, found):
    different = len(set(found)) == len(found)
    _require(different, f"{name} must all be different", name, tuple(found))


def _check_keys(config):
    if not isinstance(config, ConfigDict):
        raise ValueError(
            "a config must be a ConfigDict, as lthjax.program.config.files.default() "
            f"returns it, got {type(config).__name__}"
        )
    known, found = flat(default()), flat(config)
    for name in ranges.OPTIONS:
        _check_options(name, config)
    found = {k: v for k, v in found.items() if not _of_options(k)}
    for name, value in found.items():
        if name not in known:
            raise ValueError(
                f"every config key must be known, got config.{name}"
                f"{suggestion(name, known)}"
            )
        _check_type(name, value, known[name])
    absent = [n for n in known if n not in found and not _of_options(n)]
    if absent:
        raise ValueError(
            "a config must have every key of lthjax.program.config.files.default(), "
            f"got none of {', '.join(absent)}; change what that returns"
        )


def _of_options(name):
    return any(name == part or name.startswith(f"{part}.") for part in ranges.OPTIONS)


def _check_options(name, config):
    section, key = name.split(".")
    found = config.get(section, {})
    found = found.get(key, {}) if isinstance(found, ConfigDict) else {}
    if not isinstance(found, ConfigDict | dict):
        raise ValueError(
            f"config.{name} must be a dict of options, got config.{name} = {found!r}"
        )
    found = found.to_dict() if isinstance(found, ConfigDict) else found
    for option, value in found.items():
        if not values.plain({option: value}):
            raise ValueError(
                f"config.{name} must hold texts, finite numbers, None, and tuples and "
                f"dicts of them by name, got {option} = {value!r}"
            )


def _check_type(name, value, example):
    if not isinstance(example, tuple):
        right, kind = values.like(value, example), type(example).__name__
    else:
        element = ranges.ELEMENTS[name]
        whole = name in ranges.NAMED and value == ranges.NAMED[name]
        right = whole or values.like(value, (element,))
        kind = WORDS.get(type(element), f"pairs such as {element!r}")
        named = f", or {ranges.NAMED[name]}" if name in ranges.NAMED else ""
        kind = f"tuple of {kind}{named}"
    if not right:
        raise ValueError(
            f"config.{name} must be of type {kind}, got config.{name} = {value!r}"
        )


moved.answers(__name__)
