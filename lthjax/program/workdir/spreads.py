"""Means over seeds, with their spread and how many there were."""

import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Mean, sample standard deviation (0 for one value) and number of values."""

    mean: float
    std: float
    n: int


def spread(values: Iterable[float]) -> Spread:
    """Returns mean, sample standard deviation and n of some numbers."""
    values = list(values)
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, len(values))


def shown(spread: Spread, form: str = ".2f", beside: str = "") -> str:
    """Returns "1.20 ± 0.30", the mean alone where it is of one value.

    Args:
      spread: Mean, deviation (or another half width) and n.
      form: How the mean is written, and what is beside it, that without a plus.
      beside: How that is written, if otherwise.
    """
    std = f" ± {spread.std:{beside or form.lstrip('+')}}"
    sign, rest = form[: form.startswith("+")], form.removeprefix("+")
    mean = f"{spread.mean:{sign}z{rest}}"  # no -0.00
    return f"{mean}{std if spread.n > 1 else ''}"


def aggregate(
    rows: Iterable[dict], value: str, by: Sequence[str] = ("arm", "level")
) -> dict[tuple, Spread]:
    """Groups rows by some keys and returns {group: Spread of `value`}.

    Args:
      rows: Records.
      value: The key whose numbers are averaged; rows without it are left out.
      by: The keys that rows of one group share.
    """
    groups = {}
    for row in rows:
        if row.get(value) is not None:
            groups.setdefault(tuple(row[key] for key in by), []).append(row[value])
    return {group: spread(values) for group, values in sorted(groups.items())}
