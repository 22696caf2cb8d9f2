"""Whose the folder of a run is: its config and data, who writes to it, its room."""

import contextlib
import copy
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import filelock
import jax

from lthjax import whole_files
from lthjax.devices import processes
from lthjax.program.config import files
from lthjax.program.workdir import origin, results, text_files
from lthjax.program.workdir.measures import ACCURACY, Measures
from lthjax.saving import checkpoints

log = logging.getLogger(__name__)

TRAINED = ("tickets", "search", "training")
RUN, SWEEP, FEDERATED = "run", "sweep", "federated run"
# What tells whose a folder is: each writes these, and no other does.
MARKS = {
    RUN: (origin.CONFIG, *results.KEYS),
    SWEEP: ("sweep.json",),
    FEDERATED: ("federated.json", "rounds.jsonl"),
}


def folder(root: str | os.PathLike, kind: str = RUN) -> pathlib.Path:
    """Returns the path of a workdir, which need not exist.

    Args:
      root: The path.
      kind: Of what it is to be the workdir, a key of `MARKS`.

    Raises:
      ValueError: It is a file or lies below one, holds a folder where a file must be,
        or is the workdir of another kind.
    """
    root = pathlib.Path(root)
    for path in (root, *root.parents):
        if path.exists() and not path.is_dir():
            where = "a file" if path == root else f"below the file {path}"
            raise ValueError(
                f"the workdir must be a folder, got workdir = {root}, {where}; take "
                "another"
            )
    for name in MARKS[kind]:
        if (root / name).is_dir():
            raise ValueError(
                f"the {name} of a workdir must be a file, got {root / name}, a folder; "
                "take another workdir"
            )
    for other in MARKS.keys() - {kind}:
        if found := [name for name in MARKS[other] if (root / name).exists()]:
            raise ValueError(
                f"a workdir must be new or of a {kind}, got workdir = {root} with the "
                f"{found[0]} of a {other}; take another workdir"
            )
    return root


def with_own_cut(root: pathlib.Path, config) -> Any:
    """Returns a config whose data are cut as a folder's run cut them before.

    Where `data.cut` is left to the set, that is what `config.json` says of it; one
    without that key is of a time when any set's first images were cut. Of a damaged
    one nothing is taken: `claimed` says so.

    Args:
      root: The folder, which need not exist.
      config: A config; it is not changed.
    """
    found = copy.deepcopy(config)
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # see `claimed`
        held = {} if config.data.cut else origin.config(root)
        found.data.cut = held["data"]["cut"] if held else config.data.cut
    return found


@contextlib.contextmanager
def claimed(
    root: pathlib.Path,
    config,
    data: dict | None = None,
    measures: Measures = ACCURACY,
) -> Iterator[str]:
    """Creates the folder or checks that it belongs to this config, and locks it.

    Damaged lines of its records and curves are taken out, and said.

    Args:
      root: The folder.
      config: The config.
      data: The fingerprint of the data, to be compared with what it was.
      measures: What its records measure.

    Yields:
      The digest that records of the run are marked with.

    Raises:
      ValueError: The folder was made with another config (the differing keys are
        listed) or with other data, its config is gone, another process is writing to
        it, or nothing can be saved in a folder of its name.
      OSError: Inside, something could not be written, on a full disk for instance.
    """
    checkpoints.check_path(root)
    config = with_own_cut(root, config)
    own = ".lock" if processes.first() else f".lock.{jax.process_index()}"
    with _writable(root), contextlib.ExitStack() as stack:
        root.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(root / own))
        yield _claim(root, config, data, measures)


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Keeps others out of a workdir while it lasts, or until this process ends.

    Args:
      path: Of the lock, a file in the workdir.

    Raises:
      ValueError: Another process has it.
    """
    lock = filelock.FileLock(path, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ValueError(
            "one process at a time may write to a workdir, got workdir = "
            f"{path.parent}, which another one is writing to; stop it or take another "
            "workdir"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _writable(root):
    try:
        yield
    except OSError as error:
        raise OSError(
            f"the workdir must stay writable, got workdir = {root} ({error}); what "
            "was saved before is whole"
        ) from error


def _claim(root, config, data, measures):
    """Checks and writes what the folder is of, and takes damaged lines out of it."""
    marks = {run for name in results.KEYS for run in results.scan(root / name).runs}
    marks -= {""}
    begun = any((root / name).exists() for name in (*results.KEYS, *TRAINED))
    noted = {"begun": begun, "marks": marks, "measures": measures._asdict()}
    text = origin.check(root, config, data, **noted)
    processes.meet("the workdir is claimed")
    text_files.write(root / origin.COPY, text)
    text_files.write(root / origin.CONFIG, files.to_json(config))
    run = json.loads(text)["run"]
    found = {name: results.mend(root / name, run) for name in results.KEYS}
    old = {name: lines.unchecked for name, lines in found.items() if lines.unchecked}
    if old:
        rows = " and ".join(f"{n} lines of {name}" for name, n in old.items())
        log.info("%s, of an earlier version, have no checksum; they are used", rows)
    return run


def said(root: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """Returns {file: its bytes} of what a folder says of its run, and of what data.

    Args:
      root: The folder, which need not exist.
    """
    found = (root / origin.COPY, root / origin.CONFIG)
    return {path: path.read_bytes() for path in found if path.is_file()}


@contextlib.contextmanager
def put_back(held: dict[pathlib.Path, bytes]) -> Iterator[None]:
    """Has a folder say what it said before, where what is asked of it is refused.

    Args:
      held: As `said` returned it, before the folder was claimed.
    """
    try:
        yield
    except ValueError:
        for path, data in held.items():
            _rewrite(path, data)
        raise


def _rewrite(path, data):
    if processes.first():
        with whole_files.writing(path) as partial:
            partial.write_bytes(data)


def check_space(root: pathlib.Path, total: int) -> None:
    """Checks that there is room on the disk for what a run has still to write.

    Args:
      root: The workdir.
      total: The bytes of a whole run; what lies there already counts.

    Raises:
      ValueError: There is not.
    """
    needed = total - sum(p.stat().st_size for p in root.rglob("*") if p.is_file())
    free = shutil.disk_usage(root).free
    if free < needed:
        raise ValueError(
            f"the disk of the workdir must have {needed / 1e6:.0f} MB free, got "
            f"{free / 1e6:.0f} MB at {root}; make room or take another workdir"
        )
