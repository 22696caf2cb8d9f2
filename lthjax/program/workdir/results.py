"""Append and read records: one JSON line per level, seed and arm."""

import csv
import io
import json
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lthjax import whole_files
from lthjax.devices import processes
from lthjax.program.config import checksums
from lthjax.program.config import files as files_lib
from lthjax.program.workdir import origin
from lthjax.program.workdir.spreads import Spread as Spread
from lthjax.program.workdir.spreads import aggregate as aggregate
from lthjax.program.workdir.spreads import shown as shown
from lthjax.program.workdir.spreads import spread as spread

log = logging.getLogger(__name__)

RESULTS = "results.jsonl"
CURVES = "curves.jsonl"
STUDIES = "studies"  # the folder of what is measured of a run beside its records
IDENTITY = ("level", "seed", "arm")
KEYS = {RESULTS: IDENTITY, CURVES: (*IDENTITY, "start")}
NEEDED = {**KEYS, "sittings.jsonl": ("began",)}  # of a line, to be one
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
    if not path.exists():
        return []
    whole = path.read_bytes()[: _whole_bytes(path)]
    return [(n, x) for n, x in enumerate(whole.split(b"\n"), 1) if x.strip()]


def _opened(text, name):
    """Returns (record, run) of a line, or what is wrong with it."""
    try:
        record, run = checksums.opened(text)
    except ValueError as error:
        return str(error)
    kinds = {"level": int, "seed": int, "arm": str, "start": int, "began": str}
    needed = NEEDED.get(name, ())
    lacking = [key for key in needed if not isinstance(record.get(key), kinds[key])]
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
    Each line gets a last key more, "checksum", which `read` compares and takes off.

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
    rows = [checksums.sealed(record, run) for record in new]
    lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    with open(path, "ab") as file:
        file.truncate(_whole_bytes(path))
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())


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
    taken = len(list(path.parent.glob(f"{path.name}.damaged*")))
    aside = path.with_name(f"{path.name}.damaged{taken or ''}")
    aside.write_bytes(path.read_bytes())
    kept = [text for number, text in _lines(path) if number in found.records]
    write(path, "".join(text.decode("utf-8") + "\n" for text in kept))


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
    data = text.encode("utf-8")
    if not processes.first() or (path.exists() and path.read_bytes() == data):
        return
    with whole_files.writing(path) as partial:
        partial.write_bytes(data)


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
      root: A workdir, or a folder that holds workdirs at any depth. Trainings that a
        study has made for itself (`studies/rate_0.3`) are read where they are named.

    Raises:
      ValueError: There is no `results.jsonl` in or below `root`.
    """
    files = below(root, RESULTS)
    if not files:
        raise ValueError(f"root must hold a run's {RESULTS}, got root = {root}")
    return [row for file in files for row in _rows(file)]


def below(root: str | os.PathLike, name: str) -> list[pathlib.Path]:
    """Returns the files of a name in the workdirs below a folder, or in it, sorted.

    Trainings that a study has made for itself are not of the run: they are left out,
    unless the folder is one of them. Links to folders are followed, to each once.

    Args:
      root: The folder.
      name: `RESULTS` or `CURVES`.
    """
    root, seen, found = pathlib.Path(root), set(), []
    for folder, below, files in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:  # a link to what was there already, or above
            below.clear()
            continue
        seen.add(place)
        below.sort()
        found += [pathlib.Path(folder, name)] if name in files else []
    return [path for path in sorted(found) if not _of_study(path, root)]


def _of_study(path, root):
    """Returns whether a file lies in the studies of a workdir that is below a root."""
    above = [p for p in path.parents if p.name == STUDIES and root in p.parents]
    return any((folder.parent / RESULTS).exists() for folder in above)


def warn_of_lacking(root: str | os.PathLike, records: list[dict]) -> None:
    """Warns of tickets whose training was over, by the next one's, without a record.

    Args:
      root: A workdir.
      records: Of its `results.jsonl`.
    """
    there = {(row["level"], row["seed"], _logit(row)) for row in records}
    own = {level for level, *_ in there}
    lacking = [
        f"level {level} of {name}"
        for name, one, levels in _saved_tickets(pathlib.Path(root))
        for level in levels[:-1]
        if (level, *one) not in there and (level or 0 in own)
    ]
    if lacking:
        log.warning(
            "%s lacks %s, whose training was over: means are of the others; the run's "
            "command trains them again",
            pathlib.Path(root) / RESULTS,
            ", ".join(lacking),
        )


def _saved_tickets(root):
    """Yields (folder, (seed, first logit), levels) of the tickets of every member."""
    for folder in sorted((root / "tickets").glob("seed_*")):
        found = re.fullmatch(r"seed_(-?\d+)(?:_initial_(.+))?", folder.name)
        names = [re.fullmatch(r"level_(\d+)", path.name) for path in folder.glob("*")]
        if found:
            levels = sorted(int(name[1]) for name in names if name)
            yield folder.name, (int(found[1]), found[2]), levels


def _logit(row):
    """Returns the first logit of a record as its member's folder has it, or `None`."""
    return f"{row[VARIANT]:g}" if row.get(VARIANT) is not None else None


def _rows(file):
    constants = files_lib.flat(origin.config(file.parent), "config.")
    constants = {"workdir": str(file.parent), **constants}
    records = read(file)
    warn_of_lacking(file.parent, records)
    return [{**constants, **record} for record in records]


def _whole_bytes(path):
    """Returns the length of the file up to its last line end."""
    return path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0


def _cell(value):
    return json.dumps(value) if isinstance(value, dict | list) else value
