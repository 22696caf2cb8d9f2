"""Small JSON files beside the records, which the run's command writes again."""

import functools
import json
import logging
import os
import pathlib

from lthjax.program.config import checksums
from lthjax.program.workdir import text_files

log = logging.getLogger(__name__)


def write(path: str | os.PathLike, note: dict) -> None:
    """Writes a note with its checksum, whole or not at all.

    Args:
      path: The file.
      note: What JSON can hold.
    """
    text_files.write(path, json.dumps(checksums.sealed(note)) + "\n")


def read(path: str | os.PathLike) -> dict:
    """Returns a note as it was written, {} where there is none; a damaged one is said.

    One without a checksum is of an earlier version.

    Args:
      path: The file.
    """
    path = pathlib.Path(path)
    try:
        return checksums.opened(path.read_bytes())[0]
    except OSError:
        return {}
    except ValueError as error:
        _say(path, str(error))
        return {}


@functools.cache  # a report reads a note several times
def _say(path, why):
    log.warning("%s is damaged: it %s; the run's command writes it again", path, why)
