"""Metadata as JSON gives them back, before they are saved and where they are compared.

What JSON has no form for is refused by its key.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def plain(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns metadata in JSON's own kinds: texts, numbers, lists and dicts of texts.

    Numbers of arrays become Python's, tuples lists, and keys texts.

    Args:
      metadata: {key: value}.

    Raises:
      ValueError: JSON does not hold a value, or a key, or two keys have one text.
    """
    return _dict(metadata, ())


def same(a: Any, b: Any) -> bool:
    """Says whether two plain values are the same, NaN being the same as NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def _plain(value, place):
    """Returns a value as JSON gives it back; `place` holds the keys that lead to it."""
    if isinstance(value, Mapping):
        return _dict(value, place)
    if isinstance(value, list | tuple):
        return [_plain(x, (*place, str(i))) for i, x in enumerate(value)]
    found = _number(value)
    if found is None or isinstance(found, str | int | float):
        return found
    raise ValueError(
        "metadata must be what JSON holds (texts, numbers, lists, dicts), got "
        f"{'/'.join(place)} = {_shown(value)}; make it one of these, or leave it out"
    )


def _dict(mapping, place):
    found = {}
    for key, value in mapping.items():
        name = _key(_number(key), place)
        if name in found:
            raise ValueError(
                "the keys of metadata must differ as texts, got "
                f"{'/'.join((*place, name))} twice; rename one"
            )
        found[name] = _plain(value, (*place, name))
    return found


def _key(key, place):
    """Returns the text that JSON makes of a key."""
    if key is None or isinstance(key, str | int | float):
        (text,) = json.loads(json.dumps({key: None}))
        return text
    raise ValueError(
        f"the keys of metadata must be texts, got {_shown(key)} in "
        f"{'/'.join(place) or 'them'}; name it"
    )


def _number(value):
    """Returns the number of an array as Python's, anything else as it came."""
    array = isinstance(value, jax.Array | np.ndarray | np.generic)
    if not array or value.ndim:
        return value
    numbers = np.bool_, np.number
    held = any(jax.dtypes.issubdtype(value.dtype, kind) for kind in numbers)
    return np.asarray(value).item() if held else value


def _shown(value):
    shape = f" of shape {list(value.shape)}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"
