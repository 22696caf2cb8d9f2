"""Files that are written whole or not at all, whoever else writes them."""

import contextlib
import itertools
import os
import pathlib
import re
import shutil
import socket
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a name beside `path`; what is written there takes its place at the end.

    The name is hidden, ends as `path` does and is of this call alone: of two processes
    that write one path at once each one's file is whole, and the later one stays. What
    is written is on the disk before it takes the place; when the block raises, `path`
    stays as it was. What a killed process of this machine left is removed.

    Args:
      path: The file; its folder must be there.
    """
    path = pathlib.Path(path)
    begin, end = ".", f".partial.{path.name}"
    sweep(path.parent, begin, end)
    partial = path.with_name(f"{begin}{own()}{end}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def own() -> str:
    """Returns a part of a name that is of this call alone, of this process."""
    return f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _host():
    return re.sub(r"[^a-zA-Z0-9.-]", "_", socket.gethostname())


def sweep(folder: pathlib.Path, begin: str, end: str = "") -> None:
    """Removes what processes of this machine left under such a name who are no more.

    Args:
      folder: Where.
      begin: What stands before `own()` in the name.
      end: What stands after it.
    """
    middle = rf"{re.escape(_host())}-(\d+)-[0-9a-f]{{8}}"
    form = re.compile(re.escape(begin) + middle + re.escape(end))
    names = os.listdir(folder) if folder.is_dir() else []
    for found in filter(None, map(form.fullmatch, names)):
        left = folder / found[0]
        if lives(int(found[1])):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def aside(path: pathlib.Path, ending: str) -> pathlib.Path:
    """Returns a free name beside a path: `x.damaged`, or else `x.damaged1`, ..."""
    numbers = (f"{path.name}.{ending}{n or ''}" for n in itertools.count())
    return next(x for x in map(path.with_name, numbers) if not os.path.lexists(x))


def lives(number: int) -> bool:
    """Says whether a process of this machine, by its number, is there."""
    try:
        with contextlib.suppress(PermissionError):  # somebody else's
            os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
