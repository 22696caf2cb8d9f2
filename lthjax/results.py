"""Append, read and aggregate records: one JSON line per level, seed and arm."""

import csv
import io
import json
import os
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lthjax import config as config_lib
from lthjax import processes

RESULTS = "results.jsonl"
CURVES = "curves.jsonl"
IDENTITY = ("level", "seed", "arm")
VARIANT = "initial"  # in records of a run whose members differ in it too


class Spread(NamedTuple):
    """Mean, sample standard deviation (0 for one value) and number of values."""

    mean: float
    std: float
    n: int


def read(path: str | os.PathLike) -> list[dict]:
    """Returns the records of a JSON-lines file; a torn last line is not a record."""
    path = pathlib.Path(path)
    if not path.exists():
        return []
    whole, _, _ = path.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def append(
    path: str | os.PathLike,
    records: Iterable[dict],
    keys: Sequence[str] = IDENTITY,
) -> None:
    """Appends the records that the file does not have yet, in the first process.

    The bytes are on the disk when it returns. A line that a kill tore is cut off first.

    Args:
      path: A JSON-lines file, which need not exist.
      records: Dicts with at least those keys.
      keys: What identifies a record.
    """
    _append(pathlib.Path(path), list(records), keys)


@processes.by_first
def _append(path, records, keys):
    present = {identity(record, keys) for record in read(path)}
    new = [record for record in records if identity(record, keys) not in present]
    if not new:
        return
    lines = "".join(json.dumps(record, allow_nan=False) + "\n" for record in new)
    with open(path, "ab") as file:
        file.truncate(_whole_bytes(path))
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


def identity(record: dict, keys: Sequence[str] = IDENTITY) -> tuple:
    """Returns the (level, seed, arm) of a record, or other keys of it.

    Where a run has several first logits of gates, its records have that one too.
    """
    variant = (record[VARIANT],) if VARIANT in record else ()
    return tuple(record[key] for key in keys) + variant


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, whole or not at all, unless it holds that text already.

    Of several processes the first one does; nobody waits for it.
    """
    path = pathlib.Path(path)
    if not processes.first() or (path.exists() and path.read_text() == text):
        return
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def to_csv(records: Sequence[dict]) -> str:
    """Returns the records as CSV text; a nested value becomes a JSON cell."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows({k: _cell(v) for k, v in record.items()} for record in records)
    return text.getvalue()


def load(root: str | os.PathLike) -> list[dict]:
    """Reads every run below `root` into one table, a list of rows.

    Each row is a record of a `results.jsonl` with `workdir` and the run's configuration
    as `config.a.b` beside it; `pandas.DataFrame(results.load(root))` makes it a frame.

    Args:
      root: A workdir, or a folder that holds workdirs at any depth.

    Raises:
      ValueError: There is no `results.jsonl` in or below `root`.
    """
    root = pathlib.Path(root)
    files = sorted(root.rglob(RESULTS))
    if not files:
        raise ValueError(f"root must hold a run's {RESULTS}, got root = {root}")
    return [row for file in files for row in _rows(file)]


def spread(values: Iterable[float]) -> Spread:
    """Returns mean, sample standard deviation and n of some numbers."""
    values = list(values)
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, len(values))


def aggregate(
    rows: Iterable[dict], value: str, by: Sequence[str] = ("arm", "level")
) -> dict[tuple, Spread]:
    """Groups rows by some keys and returns {group: Spread of `value`}.

    Args:
      rows: Records.
      value: The key whose numbers are averaged; rows without it are left out.
      by: The keys that rows of one group share.
    """
    groups = {}
    for row in rows:
        if row.get(value) is not None:
            groups.setdefault(tuple(row[key] for key in by), []).append(row[value])
    return {group: spread(values) for group, values in sorted(groups.items())}


def _rows(file):
    saved = file.parent / "config.json"
    config = json.loads(saved.read_text()) if saved.exists() else {}
    constants = {"workdir": str(file.parent), **config_lib.flat(config, "config.")}
    return [{**constants, **record} for record in read(file)]


def _whole_bytes(path):
    """Returns the length of the file up to its last line end."""
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0


def _cell(value):
    return json.dumps(value) if isinstance(value, dict | list) else value
