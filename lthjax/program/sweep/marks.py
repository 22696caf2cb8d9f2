"""What a sweep notes: which runs it has, and that one of them is finished."""

import hashlib
import json
import logging
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import filelock

from lthjax.program.config import checksums
from lthjax.program.workdir import results, text_files

log = logging.getLogger(__name__)

FINISHED = "finished.json"


def text(value: dict) -> str:
    """Returns the JSON text of a note, with its checksum."""
    return json.dumps(checksums.sealed(value), indent=2) + "\n"


def noted(path: pathlib.Path) -> dict:
    """Returns what a sweep's folder says of its runs: "columns" and "runs".

    Args:
      path: The file; there may be none. One of an earlier version has no checksum.

    Raises:
      ValueError: It is damaged.
    """
    if not path.exists():
        return {"columns": [], "runs": {}}
    try:
        found, _ = checksums.opened(path.read_bytes())
        if not _is_note(found):
            raise ValueError("lacks columns or runs")
    except ValueError as error:
        raise ValueError(
            f"the list of a sweep's runs must be whole, got {path}, which {error}; "
            "remove it and give the commands of the sweep again: what is finished is "
            "not trained again"
        ) from error
    return found


def add(path: pathlib.Path, columns: Iterable[str], runs: Mapping[str, dict]) -> None:
    """Notes runs beside those that are noted already, the seeds of one run together.

    Of several commands at once each waits for the other.

    Args:
      path: The file; its folder is there.
      columns: The keys of the grid.
      runs: {name of the workdir: config as JSON holds it}.

    Raises:
      ValueError: As `noted`.
    """
    with filelock.FileLock(path.with_name(".lock")):
        before = noted(path)
        configs = before["runs"]
        for folder, config in runs.items():
            seeds = configs.get(folder, {}).get("seeds", [])
            configs[folder] = config | {"seeds": sorted({*seeds, *config["seeds"]})}
        keys = list(dict.fromkeys([*before["columns"], *columns]))
        text_files.write(path, text({"columns": keys, "runs": configs}))


def _is_note(found):
    columns, runs = found.get("columns"), found.get("runs")
    rows = runs.values() if isinstance(runs, dict) else [None]
    return isinstance(columns, list) and all(isinstance(row, dict) for row in rows)


def finish(folder: pathlib.Path, seeds: Iterable[int]) -> None:
    """Notes that a run is finished with some seeds, and what its records then are.

    Args:
      folder: Its workdir.
      seeds: The seeds; those of an earlier mark stay while its records do.
    """
    before = _mark(folder).get("seeds", ())
    known = {*seeds, *(before if finished(folder, before) else ())}
    files = {name: _prefix(folder / name, None) for name in results.KEYS}
    mark = {"seeds": sorted(known), "files": files}
    text_files.write(folder / FINISHED, text(mark))


def finished(folder: pathlib.Path, seeds: Collection[int]) -> bool:
    """Says whether a run was finished with these seeds and still has its records.

    Args:
      folder: Its workdir.
      seeds: The seeds.
    """
    mark = _mark(folder)
    if not set(seeds) <= set(mark.get("seeds", ())):
        return False
    if "files" in mark:
        files = mark["files"].items()
        return all(_prefix(folder / n, size) == [size, x] for n, (size, x) in files)
    lines = results.scan(folder / results.RESULTS)  # a mark of an earlier version
    there = {record["seed"] for record in lines.records.values()}
    return not lines.damaged and set(seeds) <= there


def _mark(folder) -> dict[str, Any]:
    """Returns the mark of a run, {} without a whole one."""
    path = folder / FINISHED
    if not path.exists():
        return {}
    content = path.read_bytes()
    try:
        if content.lstrip()[:1] == b"[":  # an earlier version's
            return {"seeds": [int(seed) for seed in json.loads(content)]}
        found, run = checksums.opened(content)
        if run is not None:
            return found
    except (TypeError, ValueError):
        pass
    log.warning("%s is damaged; whether its run is finished is looked at again", path)
    return {}


def _prefix(path, size):
    """Returns the length of a file, or of its first bytes, and a hash of them."""
    content = path.read_bytes()[:size] if path.exists() else b""
    return [len(content), hashlib.blake2b(content, digest_size=8).hexdigest()]
