"""Text files that are written whole or not at all."""

import os
import pathlib

from lthjax import whole_files
from lthjax.devices import processes


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
