"""Whether several runs are of the same data, and what of those differs."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from lthjax.program.config import defaults
from lthjax.program.workdir import origin

# Of a fingerprint what is of the data, in words; it notes networks of elsewhere, too.
PARTS = {name: name for name in ("train", "validation", "test")}
PARTS |= {"all": "normalisation or classes"}
# Keys of `data` by which the set stays what it is: how it is read, and augmented.
FREE = ("workers", "stream", "crop", "flip", "augment", "augment_options")


def apart(runs: Sequence[Any], names: Sequence[str]) -> list[str]:
    """Returns a sentence on each run whose data are not those of the first ones.

    Data are told apart by their fingerprints, wherever they lie; where one of two runs
    has none, by the keys of `data` in their configs.

    Args:
      runs: Each a `page.Run`.
      names: What they are called.
    """
    told: dict[int, str] = {}
    for one, other in itertools.combinations(range(len(runs)), 2):
        found = _differing(runs[one], runs[other])
        if found and not told.keys() & {one, other}:
            told[other] = (
                f"The runs are of different data: {names[other]} differs from "
                f"{names[one]} in {', '.join(found)}."
            )
    return list(told.values())


def _differing(one, other):
    """Returns the parts of the data, or else the keys, in which two runs differ."""
    if not (one.data and other.data):
        return _keys(one.config, other.config)
    texts = origin.apart(_comparable(one.data, other.data), other.data)
    parts = dict.fromkeys(text.split()[0] for text in texts)
    return [PARTS[part] for part in parts if part in PARTS]


def _comparable(old, now):
    """Returns a fingerprint without hashes that are of another kind than in another.

    Labels of what stays on the disk are hashed in their own type.
    """
    found = {}
    for part, rows in old.items():
        alike = ("records" in rows) == ("records" in now.get(part, {}))
        found[part] = {k: x for k, x in rows.items() if alike or k != "labels"}
    return found


def _keys(one, other):
    """Returns the keys of `data` that two configs have otherwise, of whole ones."""
    if not (one and other):
        return []
    known = json.loads(defaults.default().data.to_json())
    old, now = ({**known, **config.get("data", {})} for config in (one, other))
    keys = sorted((old.keys() | now.keys()) - {*FREE})
    return [f"data.{key}" for key in keys if old.get(key) != now.get(key)]
