"""Append and read records: one JSON line per level, seed and arm."""

import csv
import io
import json
import logging
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lthjax import moved, whole_files
from lthjax.devices import processes
from lthjax.program.config import checksums
from lthjax.program.workdir import origin, text_files

log = logging.getLogger(__name__)

RESULTS = "results.jsonl"
CURVES = "curves.jsonl"
STUDIES = "studies"  # the folder of what is measured of a run beside its records
IDENTITY = ("level", "seed", "arm")
KEYS = {RESULTS: IDENTITY, CURVES: (*IDENTITY, "start")}
# What a line must have to be one.
NEEDED = {**KEYS, "sittings.jsonl": ("began",), "rounds.jsonl": ("round",)}
LARGEST = 3.4028234663852886e38  # of 32 bits, in the place of an infinite number
VARIANT = "initial"  # in records of a run whose members differ in it too


class Lines(NamedTuple):
    """What a JSON-lines file holds.

    Attributes:
      records: {line number from 1: record} of the whole lines.
      damaged: {line number: what is wrong with it} of the others.
      unchecked: How many of the whole ones have no checksum.
      runs: Of which runs the whole lines with one are, as digests.
    """

    records: dict[int, dict]
    damaged: dict[int, str]
    unchecked: int
    runs: set[str]


def read(path: str | os.PathLike) -> list[dict]:
    """Returns the records of a JSON-lines file; a torn last line is not a record.

    Nor is a damaged line: one whose checksum, which is taken off, differs, that repeats
    another, or that is of another run. Those are said, by their numbers.
    """
    found = scan(path)
    if found.damaged:
        log.warning("%s", told(path, found.damaged))
    return list(found.records.values())


def told(path: str | os.PathLike, damaged: dict[int, str]) -> str:
    """Returns a sentence on the damaged lines of a file."""
    rows = [f"line {number} {why}" for number, why in damaged.items()]
    more = f" and {len(rows) - 9} more" if len(rows) > 9 else ""
    return f"damaged lines of {path} are not used: {'; '.join(rows[:9])}{more}"


def scan(path: str | os.PathLike, run: str | None = None) -> Lines:
    """Returns what a JSON-lines file holds, and what is wrong with its lines.

    Args:
      path: The file; there may be none.
      run: The digest of the run that its lines must be of; that of the copy of the
        config beside it if `None`, and where there is none that of most lines.
    """
    path, seen = pathlib.Path(path), {}
    found = Lines({}, {}, 0, set())
    read_lines = {n: _opened(text, path.name) for n, text in _lines(path)}
    marks = [one[1] for one in read_lines.values() if not isinstance(one, str)]
    expected = _expected(path, [mark for mark in marks if mark], run)
    for number, one in read_lines.items():
        why = one if isinstance(one, str) else _foreign(one, expected, found.runs)
        if not why and (key := _text(one[0], path.name)) in seen:
            why = f"repeats line {seen[key]}"
        if why:
            found.damaged[number] = why
            continue
        seen[key] = number
        found.records[number] = one[0]
        found = found._replace(unchecked=found.unchecked + (one[1] is None))
        found.runs.update(() if one[1] is None else (one[1],))
    return found


def _lines(path):
    """Returns (number, bytes) of the lines of a file that are not empty."""
    return [(n, x) for n, x in enumerate(_whole(path).split(b"\n"), 1) if x.strip()]


def _opened(text, name):
    """Returns (record, run) of a line, or what is wrong with it."""
    try:
        record, run = checksums.opened(text)
    except ValueError as error:
        return str(error)
    texts, needed = ("arm", "began"), NEEDED.get(name, ())
    kinds = {key: str if key in texts else int for key in needed}
    lacking = [key for key in needed if not isinstance(record.get(key), kinds[key])]
    if name == RESULTS and "start" in record and isinstance(record.get("step"), list):
        return f"is one of {CURVES}"
    return f"has no {', '.join(lacking)}" if lacking else (record, run)


def _foreign(one, expected, runs):
    """Returns what is wrong with a whole line beside the ones before it, "" if nothing.

    An earlier version's lines, without checksums, all come first.
    """
    if one[1] is None:
        return "has no checksum, below lines with one" if runs else ""
    foreign = one[1] and expected not in (None, one[1])
    return "is of another run" if foreign else ""


def _expected(path, marks, run):
    if run is None and marks:
        run = origin.copy(path.parent).get("run")
    return max(marks, key=marks.count) if run is None and marks else run


def _text(record, name):
    """Returns what no two lines of a file have in common."""
    known = identity(record, KEYS[name]) if name in KEYS else record
    return json.dumps(known)


def append(
    path: str | os.PathLike,
    records: Iterable[dict],
    keys: Sequence[str] = IDENTITY,
    run: str = "",
) -> None:
    """Appends the records that the file does not have yet, in the first process.

    The bytes are on the disk when it returns. A line that a kill tore is cut off first.
    Each line gets a last key more, "checksum", which `read` compares and takes off. An
    infinite number, as of a perplexity, is written as the largest of 32 bits.

    Args:
      path: A JSON-lines file, which need not exist.
      records: Dicts with at least those keys.
      keys: What identifies a record.
      run: The digest of the run that they are of.
    """
    _append(pathlib.Path(path), list(records), keys, run)


@processes.by_first
def _append(path, records, keys, run):
    there = [record for record in read(path) if {*keys} <= record.keys()]
    present = {identity(record, keys) for record in there}
    new = [record for record in records if identity(record, keys) not in present]
    if not new:
        return
    rows = [checksums.sealed(_finite(record), run) for record in new]
    lines = [json.dumps(row, allow_nan=False) + "\n" for row in rows]
    whole = _whole(path)
    lines = ["\n", *lines] if whole and not whole.endswith(b"\n") else lines
    with open(path, "ab") as file:
        file.truncate(len(whole))
        file.write("".join(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _finite(value):
    """Returns what a record holds without infinite numbers, which JSON has none of."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    infinite = isinstance(value, float) and math.isinf(value)
    return math.copysign(LARGEST, value) if infinite else value


def mend(path: str | os.PathLike, run: str | None = None) -> Lines:
    """Takes damaged lines out of a file, says so, and returns what it held.

    The file as it was stays beside it, with the ending `.damaged`.

    Args:
      path: A JSON-lines file; there may be none.
      run: As for `scan`.
    """
    found = scan(path, run)
    if found.damaged:
        log.warning("%s", told(path, found.damaged))
    (any_damaged,) = processes.largest(bool(found.damaged))  # all have read it by then
    if any_damaged:
        _mend(pathlib.Path(path), found)
    return found


@processes.by_first
def _mend(path, found):
    whole_files.aside(path, "damaged").write_bytes(path.read_bytes())
    kept = [text for number, text in _lines(path) if number in found.records]
    text_files.write(path, "".join(text.decode("utf-8") + "\n" for text in kept))


def identity(record: dict, keys: Sequence[str] = IDENTITY) -> tuple:
    """Returns the (level, seed, arm) of a record, or other keys of it.

    Where a run has several first logits of gates, its records have that one too.
    """
    variant = (record[VARIANT],) if VARIANT in record else ()
    return tuple(record[key] for key in keys) + variant


def to_csv(records: Sequence[dict]) -> str:
    """Returns the records as CSV text; a nested value becomes a JSON cell."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows({k: _cell(v) for k, v in record.items()} for record in records)
    return text.getvalue()


def _whole(path):
    """Returns what a file holds, less a last line that was torn."""
    data = path.read_bytes() if path.exists() else b""
    ended = data.rfind(b"\n") + 1
    torn = isinstance(_opened(data[ended:], path.name), str)
    return data[:ended] if torn else data


def _cell(value):
    return json.dumps(value) if isinstance(value, dict | list) else value


moved.answers(__name__)
