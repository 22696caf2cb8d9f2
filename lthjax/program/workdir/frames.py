"""The records of runs as tidy pandas frames: one row a network, a point, a layer."""

import importlib
import os
from typing import Any

from lthjax.program.workdir import member, results, runs

NESTED = ("layers", "collapsed")
DENSE = "dense"
IDENTITY = ("workdir", "level", "arm", "seed")


def records(root: str | os.PathLike) -> Any:
    """Returns a frame with a row a level, arm and seed of every run below a folder.

    The dense network is an arm of its own. Columns are those of `results.jsonl`: losses
    in nats, accuracies and sparsity as fractions, `seconds` of training, `steps` of the
    optimizer; and `workdir`. What a record holds of each layer is in `layers`.

    Args:
      root: A workdir, or a folder that holds workdirs at any depth.

    Raises:
      ValueError: There is no record in or below it, or pandas is not installed.
    """
    rows = [_named(row) for row in _rows(root)]
    kept = [{k: v for k, v in row.items() if k not in NESTED} for row in rows]
    return _frame(kept)


def layers(root: str | os.PathLike) -> Any:
    """Returns a frame with a row a layer: its `name`, and the fraction `kept`, 0 to 1.

    Args:
      root: As for `records`.

    Raises:
      ValueError: As `records`.
    """
    found = []
    for row in map(_named, _rows(root)):
        own = {name: row[name] for name in IDENTITY}
        own |= {k: row[k] for k in (results.VARIANT,) if k in row}
        layers_of = row.get("layers", {}).items()
        found += [{**own, "name": name, "kept": kept} for name, kept in layers_of]
    return _frame(found)


def curves(root: str | os.PathLike) -> Any:
    """Returns a frame with a row a point of every learning curve, `step` and measures.

    Args:
      root: As for `records`.

    Raises:
      ValueError: As `records`.
    """
    found = []
    for file in runs.below(root, results.CURVES):
        for curve in _in_order(results.read(file)):
            found += _points({"workdir": str(file.parent), **_named(curve)})
    if not found:
        raise ValueError(f"root must hold a run's {results.CURVES}, got root = {root}")
    return _frame(found)


def _rows(root):
    """Returns all records, without the config that `runs.load` puts beside them."""
    rows = runs.load(root)
    return [{k: v for k, v in row.items() if "config." not in k} for row in rows]


def _named(row):
    """Returns a row whose arm is "dense" where that is what was trained."""
    return {**row, "arm": DENSE} if member.is_dense(row) else row


def _in_order(drawn):
    """Returns curves as they stand, but the parts of one training by their steps."""
    parts = {}
    for curve in sorted(drawn, key=lambda curve: curve["start"]):
        parts.setdefault(results.identity(curve, results.IDENTITY), []).append(curve)
    return [parts[results.identity(curve, results.IDENTITY)].pop(0) for curve in drawn]


def _points(curve):
    """Yields the points of a curve, each with what identifies it."""
    lists = {name: x for name, x in curve.items() if isinstance(x, list)}
    own = {k: v for k, v in curve.items() if k not in lists and k != "seconds"}
    for values in zip(*lists.values(), strict=True):
        yield {**own, **dict(zip(lists, values, strict=True))}


def _frame(rows):
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise ValueError(
            "frames need pandas, got none installed; pip install 'lthjax[pandas]', or "
            "take the rows of runs.load"
        ) from error
    return pandas.DataFrame(rows)
