"""Files that are written whole or not at all, whoever else writes them."""

import contextlib
import glob
import os
import pathlib
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
    path, host = pathlib.Path(path), socket.gethostname()
    _sweep(path, host)
    own = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    partial = path.with_name(f".{own}.partial.{path.name}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _sweep(path, host):
    """Removes what writers of a file left who are no more."""
    end = f".partial.{path.name}"
    for left in path.parent.glob(f".{glob.escape(host)}-*{glob.escape(end)}"):
        number = left.name.removeprefix(f".{host}-").partition("-")[0]
        if number.isdecimal() and not lives(int(number)):
            left.unlink(missing_ok=True)


def lives(number: int) -> bool:
    """Says whether a process of this machine, by its number, is there."""
    try:
        with contextlib.suppress(PermissionError):  # somebody else's
            os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
