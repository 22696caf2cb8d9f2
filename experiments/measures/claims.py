"""What a paper prints, ours beside it, and whether it lies within the band."""

import json
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lthjax.program import command_line
from lthjax.program.report import gains
from lthjax.program.workdir import spreads, text_files

RULE = (
    "*Within*: ours lies from the published number by no more than half the width of "
    "Student's 95 % interval over the seeds, or than the band that stands with the "
    "row, whichever is more; of a number that is published as a lower bound, ours may "
    'lie above it by any amount. A row of another size than "paper" is of a smaller '
    "protocol than the paper's, and its verdict says so; one of a single seed has no "
    "interval. *Order only*: ours is of another network or data set than the "
    "published, and only the order of rows can be compared."
)
PUBLISHED = pathlib.Path(__file__).parents[1] / "published"
EQUAL, ABOVE, ORDER = "equal", "above", "order"
WITHIN, OUTSIDE, NOT_RUN, OTHER = "within", "outside", "not run", "order only"


class Claim(NamedTuple):
    """A published number.

    Attributes:
      what: It is of.
      published: The number.
      unit: Of it.
      band: How far ours may lie from it whatever our spread is, in its unit.
      relation: "equal"; "above" of a lower bound; "order" where ours is of another
        network or data set, so that only the order of rows can be compared.
    """

    what: str
    published: float
    unit: str = "%"
    band: float = 1.0
    relation: str = EQUAL


def published(name: str) -> dict[str, Any]:
    """Returns the numbers of `published/<name>.json`."""
    return json.loads((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))


def relation(same: bool) -> str:
    """Returns how ours compares: by its value where network and data are the same."""
    return EQUAL if same else ORDER


class Row(NamedTuple):
    """A claim, and what was measured: nothing where it was not run."""

    what: str
    published: float
    ours: float | None
    spread: float | None
    n: int
    unit: str
    band: float
    relation: str
    size: str
    command: str


def told(claim: Claim | Row) -> str:
    """Returns a published number with its unit: "> 0.3 points"."""
    bound = "> " * (claim.relation == ABOVE)
    return f"{bound}{claim.published:g} {claim.unit}".rstrip()


def row(
    claim: Claim, values: Iterable[float], size: str = "", command: str = ""
) -> Row:
    """Returns the row of a claim and of ours, a value a seed; none: not run."""
    values = [float(value) for value in values]
    what, published, unit, band, relation = claim
    tail = unit, band, relation
    if not values:
        return Row(what, published, None, None, 0, *tail, "", "")
    spread = spreads.spread(values)
    # Digits beyond those shown: of two roundings 0.215019 became 0.21.
    ours, std = round(spread.mean, 8), round(spread.std, 8)
    return Row(what, published, ours, std, spread.n, *tail, size, command)


def allowed(row: Row) -> float:
    """Returns how far ours may lie from the published number.

    max(band, t(n - 1, 0.975) spread / sqrt(n))
    """
    if row.n < 2:
        return row.band
    shift = row.spread * math.sqrt((row.n - 1) / 2)  # two values of the same spread
    pair = gains.interval([-shift, *[0.0] * (row.n - 2), shift])
    return max(row.band, pair.half)


def verdict(row: Row) -> str:
    """Returns "within", "outside", "not run" or "order only"."""
    if row.ours is None:
        return NOT_RUN
    if row.relation == ORDER:
        return OTHER
    difference = row.ours - row.published
    if row.relation == ABOVE:
        difference = min(0.0, difference)
    # Of numbers as they are printed: a rounding is no difference.
    return WITHIN if abs(difference) <= allowed(row) + 1e-9 else OUTSIDE


def write(options, name: str, found: Sequence[tuple[Claim, Iterable[float]]]) -> None:
    """Writes `<name>.json` beside the table of an experiment.

    A smoke run is of made-up data, and what it measures stands beside nothing.

    Args:
      options: Of the experiment: its workdir and size.
      name: Of the table.
      found: Each claim, and ours by seed.
    """
    found = [(claim, () if options.smoke else ours) for claim, ours in found]
    rows = [
        row(claim, ours, options.size, command_line.typed()) for claim, ours in found
    ]
    text_files.write(options.workdir / f"{name}.json", text(rows))


def text(rows: Iterable[Row]) -> str:
    """Returns rows as JSON, a line each."""
    return "[\n" + ",\n".join(json.dumps(row._asdict()) for row in rows) + "\n]\n"


def read(path: pathlib.Path) -> list[Row]:
    """Returns the rows of a file.

    Raises:
      ValueError: It holds none.
    """
    try:
        return [Row(**one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path.name} must hold rows of a table beside the published, got {error}; "
            "run its experiment again"
        ) from error
