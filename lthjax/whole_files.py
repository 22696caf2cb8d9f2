"""Files that are written whole or not at all, whoever else writes them."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a name beside `path`; what is written there takes its place at the end.

    The name is hidden, ends as `path` does and is of this call alone: of two processes
    that write one path at once each one's file is whole, and the later one stays. What
    is written is on the disk before it takes the place; when the block raises, `path`
    stays as it was.

    Args:
      path: The file; its folder must be there.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
