"""A measurement, and the bound that it must keep."""

from typing import NamedTuple

import numpy as np


class Row(NamedTuple):
    """A measurement: median and quartiles of n, and the bound on the median, if any."""

    what: str
    unit: str
    median: float
    low: float
    high: float
    n: int
    most: float | None = None
    least: float | None = None


def row(what: str, unit: str, values, **bound) -> Row:
    """Returns the row of some values, with `most` or `least` as bound of the median."""
    low, median, high = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
    return Row(what, unit, median, low, high, len(values), **bound)


def met(row: Row) -> bool:
    """Returns whether the median is within its bound."""
    above = row.most is not None and row.median > row.most
    return not above and (row.least is None or row.median >= row.least)
