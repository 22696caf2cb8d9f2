"""A configuration is read from a file, saved and compared."""

import inspect
import json
import os
import runpy
import traceback
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from lthjax import moved
from lthjax.program.config import checksums
from lthjax.program.config.defaults import default as default
from lthjax.program.config.validate import flat
from lthjax.registry import suggestion

# Keys that may change between two runs of one workdir: they choose what is trained
# next or how it is shown, never what a training computes.
FREE = ("seeds", "controls", "search.levels", "data_dir", "logging", "studies")
FREE += ("retraining.arms", "retraining.levels", "mesh", "data.workers")
EXACT = 2**53  # up to which every integer is a float


def named(text: str) -> ConfigDict:
    """Returns the config of "configs/mnist.py", or of "configs/mnist.py:short".

    Args:
      text: The file, and after a colon its variant.

    Raises:
      ValueError: As `load`.
    """
    path, colon, variant = text.partition(":")
    return load(path, variant if colon else None)


def load(path: str | os.PathLike, variant: str | None = None) -> ConfigDict:
    """Returns the config of a file such as `configs/mnist.py`, to be changed at will.

    Args:
      path: The file, which defines `get_config`.
      variant: Its argument, if it takes one.

    Raises:
      ValueError: There is no such file, it raises something, its `get_config` refuses
        the variant or takes none, or what that returns is no config.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        file = f"{path}.py"
        remedy = (
            f", did you mean {file!r}?"
            if os.path.isfile(file)
            else "; `lthjax run NAME` takes those of the package by their names"
        )
        raise ValueError(
            f"a config must be read from a file, got {path!r}, no file{remedy}"
        )
    make = _run(path, lambda: runpy.run_path(path).get("get_config"))
    if not callable(make):
        raise ValueError(
            "a config file must define get_config(), which returns the config, got "
            f"{path!r} with get_config = {make!r}"
        )
    given = () if variant is None else (variant,)
    try:
        inspect.signature(make).bind(*given)
    except TypeError as error:
        raise ValueError(
            f"the variant after the colon must be what get_config of {path!r} takes, "
            f"got variant = {variant!r} ({error})"
        ) from error
    found = _run(path, lambda: make(*given))
    if not isinstance(found, ConfigDict):
        raise ValueError(
            "get_config() must return a config, as "
            "lthjax.program.config.files.default() does, got "
            f"{found!r} from {path!r}"
        )
    return found


def variant(name: str, choices: Iterable[str]) -> None:
    """Refuses a variant that a config file does not have, in its `get_config`.

    Args:
      name: What stands after the colon.
      choices: The variants that there are.

    Raises:
      ValueError: It is none of them.
    """
    if name not in (known := tuple(choices)):
        raise ValueError(
            f"the variant must be one of {', '.join(known)}, got {name!r}"
            f"{suggestion(name, known)}"
        )


def _run(path, code):
    """Returns what the code of a config file gives; what it raises names its line."""
    try:
        return code()
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, ValueError) and frames[-1].filename == __file__:
            raise  # by `variant`, of what was typed
        lines = [frame.lineno for frame in frames if frame.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else "?")
        own = isinstance(error, ValueError) and frames[-1].filename == path
        text = str(error) if own else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{text}; the config file {path!r} stopped at line {line}"
        ) from error


def to_json(config: ConfigDict) -> str:
    """Returns the config as JSON text, keys sorted."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True, default=list) + "\n"


def from_json(text: str) -> ConfigDict:
    """Returns the config that `to_json` wrote; keys it lacks are at their defaults."""
    found = default()
    with found.unlocked(), found.ignore_type():
        found.update(_tuples(json.loads(text)))
    return found


def _tuples(value):
    """Returns what JSON holds, lists as the tuples that they were."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def digest(config: ConfigDict) -> str:
    """Returns a hash of what must stay as long as a workdir: 16 hexadecimal digits.

    That is all that differs from the defaults, less what `changed` lets change.
    """
    found, several = settings(config), "search.sparsities"
    rows = {key: value for key, value in found.items() if not _free(key, None, None)}
    first = {key: rows[key][:1] for key in (several,) if key in rows}
    return checksums.digest(rows | first)


def settings(config: ConfigDict) -> dict[str, Any]:
    """Returns {key: value} of all that a config has other than the defaults.

    In one form, whatever a value is spelled like: lists, and numbers as floats.
    """
    defaults = _numbers(flat(json.loads(to_json(default()))))
    found = _numbers(_settled(flat(json.loads(to_json(config)))))
    return {
        key: value
        for key, value in found.items()
        if key not in defaults or value != defaults[key]
    }


def _settled(found):
    """Returns keys without what says the same as a default in other words.

    "accuracy" chose the best step of what had no objective yet.
    """
    classes = found.get("objective", "classification") == "classification"
    same = classes and found.get("best_by") == "accuracy"
    return found | {"best_by": ""} if same else found


def _numbers(value):
    """Returns what JSON holds, integers as the floats that they equal, if they do."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if whole and abs(value) <= EXACT else value


def changed(old: dict, new: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Returns {key: (old, new)} of the differences that forbid continuing a workdir.

    Keys in `FREE` may differ, and keys that `old` lacks may be at their default.

    Args:
      old: What `config.json` of the workdir holds.
      new: The configuration asked for now.
    """
    old, defaults = _settled(flat(old)), flat(json.loads(to_json(default())))
    new = _settled(flat(json.loads(to_json(new))))
    rows = {}
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name, defaults.get(name)), new.get(name)
        if before != now and not _free(name, before, now):
            rows[name] = (before, now)
    return rows


def _free(name, before, now):
    if before == {} and now is None:  # there are options now, each with its own name
        return True
    if name == "search.sparsities":
        before, now = list(before or ()), list(now or ())
        return bool(before) and now[: len(before)] == before
    return any(name == key or name.startswith(key + ".") for key in FREE)


moved.answers(__name__)
