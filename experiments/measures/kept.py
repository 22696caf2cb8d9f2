"""Rows that an experiment keeps in its workdir, each with the config that it is of."""

import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

from lthjax.program.config import files
from lthjax.program.workdir import results

CONFIG = "config"


class ConfigFn(Protocol):
    """(a row's identity) -> the config that it is asked for with."""

    def __call__(self, *identity: Any) -> Any:
        """Returns the config."""


def read(path: pathlib.Path, keys: Sequence[str], config: ConfigFn) -> list[dict]:
    """Returns the rows of a file, all of them of the configs asked for.

    Args:
      path: The file.
      keys: Of a row's identity.
      config: identity -> config.

    Raises:
      ValueError: One is of another config, or of an earlier version.
    """
    rows = results.read(path)
    if any(CONFIG not in row for row in rows):
        raise ValueError(
            "the rows of a workdir must say which config they are of, got those of an "
            f"earlier version in {path}; move it away"
        )
    for row in rows:
        identity = results.identity(row, keys)
        if row[CONFIG] != files.digest(config(*identity)):
            named = ", ".join(f"{k} = {v}" for k, v in zip(keys, identity, strict=True))
            raise ValueError(
                "the rows of a workdir must be of the options asked for, got one of "
                f"other options with {named} in {path}; take another --workdir, or "
                "give the options that it was made with"
            )
    return rows


def append(path: pathlib.Path, row: dict, keys: Sequence[str], config: Any) -> None:
    """Appends a row with a mark of its config."""
    results.append(path, [{**row, CONFIG: files.digest(config)}], keys)
