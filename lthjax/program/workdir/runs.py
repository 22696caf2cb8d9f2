"""The runs below a folder: their files, and all of their records as one table."""

import logging
import os
import pathlib
import re
from collections.abc import Iterable

from lthjax.program.config.validate import flat
from lthjax.program.workdir import origin, results
from lthjax.program.workdir.member import TICKET

log = logging.getLogger(__name__)


def load(root: str | os.PathLike) -> list[dict]:
    """Reads every run below `root` into one table, a list of rows.

    Each row is a record of a `results.jsonl` with `workdir` and the run's configuration
    as `config.a.b` beside it; `pandas.DataFrame(runs.load(root))` makes it a frame.

    Args:
      root: A workdir, or a folder that holds workdirs at any depth. Trainings that a
        study has made for itself (`studies/rate_0.3`) are read where they are named.

    Raises:
      ValueError: There is no `results.jsonl` in or below `root`.
    """
    files = below(root, results.RESULTS)
    if not files:
        raise ValueError(f"root must hold a run's {results.RESULTS}, got root = {root}")
    return [row for file in files for row in _rows(file)]


def _rows(file):
    constants = flat(origin.config(file.parent), "config.")
    constants = {"workdir": str(file.parent), **constants}
    records = results.read(file)
    warn_of_lacking(file.parent, records)
    return [{**constants, **record} for record in records]


def below(root: str | os.PathLike, name: str) -> list[pathlib.Path]:
    """Returns the files of a name in the workdirs below a folder, or in it, sorted.

    Trainings that a study has made for itself are not of the run: they are left out,
    unless the folder is one of them. Links to folders are followed, to each once.

    Args:
      root: The folder.
      name: `results.RESULTS` or `results.CURVES`.
    """
    root, seen, found = pathlib.Path(root), set(), []
    for folder, below, files in os.walk(root, onerror=_say, followlinks=True):
        own = place(folder)
        if own in seen:  # a link to what was there already, or above
            below.clear()
            continue
        seen.add(own)
        below.sort()
        found += [pathlib.Path(folder, name)] if name in files else []
    return [path for path in sorted(found) if not _of_study(path, root)]


def place(folder: str | os.PathLike) -> str:
    """Returns where a folder lies, whatever links and dots its path has."""
    return os.path.realpath(folder)


def once(folders: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Returns folders, each by the first of the paths that lead to it.

    Args:
      folders: Their paths.
    """
    found: dict[str, pathlib.Path] = {}
    for folder in folders:
        found.setdefault(place(folder), folder)
    return list(found.values())


def _say(error):
    if not isinstance(error, FileNotFoundError):
        log.warning("left out, as it cannot be read: %s", error)


def _of_study(path, root):
    """Returns whether a file lies in the studies of a workdir that is below a root."""
    above = [p for p in path.parents if p.name == results.STUDIES and root in p.parents]
    return any((folder.parent / results.RESULTS).exists() for folder in above)


def warn_of_lacking(root: str | os.PathLike, records: list[dict]) -> None:
    """Warns of tickets whose training was over, by the next one's, without a record.

    Args:
      root: A workdir.
      records: Of its `results.jsonl`.
    """
    own = [row for row in records if row["arm"] == TICKET]  # not what else it trained
    there = {(row["level"], row["seed"], _logit(row)) for row in own}
    recorded = {level for level, *_ in there}
    lacking = [
        f"level {level} of {name}"
        for name, one, levels in _saved_tickets(pathlib.Path(root))
        for level in levels[:-1]
        if (level, *one) not in there and (level or 0 in recorded)
    ]
    if lacking:
        log.warning(
            "%s lacks %s, whose training was over: means are of the others; the run's "
            "command trains them again",
            pathlib.Path(root) / results.RESULTS,
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
    return f"{row[results.VARIANT]:g}" if row.get(results.VARIANT) is not None else None
