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


NUMBERS = (None, "median", "quartiles", "n")  # the titles of a table


def cells(row: Row) -> list:
    """Returns unit, `NUMBERS` and bound, as cells of a table."""
    bound = "" if row.most is None else f"at most {row.most:g}"
    bound = bound if row.least is None else f"at least {row.least:g}"
    bound += "" if met(row) else ", **missed**"
    quartiles = f"{row.low:.4g} to {row.high:.4g}"
    return [row.unit, f"{row.median:.4g}", quartiles, row.n, bound]


def met(row: Row) -> bool:
    """Returns whether the median is within its bound."""
    above = row.most is not None and row.median > row.most
    return not above and (row.least is None or row.median >= row.least)
