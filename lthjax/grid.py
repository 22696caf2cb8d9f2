"""Several runs as one table: a workdir each, finished one after the other."""

import pathlib
from collections.abc import Mapping
from typing import Any

from lthjax import experiment


def run(configs: Mapping[str, Any], root: str | pathlib.Path) -> list[dict]:
    """Runs what is missing of each config in `root/name`, and returns all records.

    Args:
      configs: {name: config}.
      root: The folder of the workdirs.

    Returns:
      The records of all, each with its `run`, the name; those of seeds that the config
      no longer asks for are left out.
    """
    found = []
    for name, config in configs.items():
        rows = experiment.run(config, pathlib.Path(root) / name)
        found += [{"run": name, **row} for row in rows if row["seed"] in config.seeds]
    return found
