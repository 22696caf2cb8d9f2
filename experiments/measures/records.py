"""Records of runs: those that are asked for, their accuracies, how they are shown."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from lthjax.program.workdir import results, spreads


def of(rows: Iterable[dict], **columns: Any) -> list[dict]:
    """Returns the records that have these values in these columns."""
    return [r for r in rows if all(r[name] == x for name, x in columns.items())]


def asked(rows: Iterable[dict], config: Any) -> list[dict]:
    """Returns the records of the seeds, levels and arms that a config asks for.

    A workdir that was asked for more before keeps those records too.
    """
    last = len(config.search.sparsities) or config.search.levels
    arms = {"ticket", "search", *config.controls, *config.retraining.arms}
    return [
        row
        for row in rows
        if row["seed"] in config.seeds and row["level"] <= last and row["arm"] in arms
    ]


def there(configs: Mapping[str, Any], root: pathlib.Path) -> list[dict]:
    """Returns the records that runs have left, as `grid.run` does, which ends them.

    Args:
      configs: {name: config}.
      root: The folder of the workdirs, which there need not be.
    """
    return [
        {"run": name, **row}
        for name, config in configs.items()
        for row in asked(results.read(root / name / results.RESULTS), config)
    ]


def accuracies(rows: Iterable[dict], **columns: Any) -> list[float]:
    """Returns the test accuracies, in %, of the records that `of` returns."""
    return [100 * row["test_accuracy"] for row in of(rows, **columns)]


def shown(values: Iterable[float], form: str = ".2f", nothing: str = "") -> str:
    """Returns mean and deviation of values as text, `nothing` where there are none."""
    values = list(values)
    return spreads.shown(spreads.spread(values), form) if values else nothing


def bars(found: Iterable[spreads.Spread]) -> tuple[list[float], list[float]]:
    """Returns means and deviations, as `errorbar` takes them."""
    found = list(found)
    return [one.mean for one in found], [one.std for one in found]
