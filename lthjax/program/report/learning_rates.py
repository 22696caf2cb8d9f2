"""The learning rate that a dense network was trained at, beside what is claimed of it.

A ticket that reaches a dense network which another rate trains better has reached an
under-trained one.

References:
  Liu et al., 2021, arXiv:2102.11068: the winning property was seen at such rates only.
"""

import math
import pathlib
from collections.abc import Iterable

from lthjax.program.workdir import member, origin, results, spreads
from lthjax.program.workdir.measures import Measures
from lthjax.program.workdir.spreads import Spread

STUDY = pathlib.Path("studies") / "learning_rate.jsonl"
MATCH = 0.2  # points: the spread of one seed, which has none of its own
SLACK = 1e-9  # of rounding, in what is compared with a tolerance: 90 less 89.8 is 0.2
ASK = "its neighbours were not tried: --config.studies=learning_rate"


def rate(root: pathlib.Path) -> float | None:
    """Returns the learning rate of a workdir's config; `None` where none is whole."""
    try:
        return origin.config(root).get("optimizer", {}).get("learning_rate")
    except ValueError:  # records are shown all the same
        return None


def tolerance(spread: Spread, measures: Measures, match: float = MATCH) -> float:
    """Returns what two accuracies may differ by and be the same, as they are shown.

    That is the standard deviation over seeds; of one seed, `match` points, and of what
    is not shown in percent, as many per cent of it.

    Args:
      spread: Of the dense network.
      measures: What is measured.
      match: In points.
    """
    if spread.n > 1:
        return spread.std
    return match if measures.scale == 100 else match / 100 * abs(spread.mean)


def spread(rows: Iterable[dict], measures: Measures, column: str = "") -> Spread:
    """Returns mean, deviation and n of a measure, as it is shown.

    Args:
      rows: Records, or rows of the study.
      measures: What they are of.
      column: Which column of them; by default that of the measure on the test set.
    """
    values = [row[column or measures.value] for row in rows]
    return spreads.spread(measures.scale * v for v in values if v is not None)


def sentence(root: pathlib.Path, rows: list[dict], measures: Measures) -> str:
    """Returns what the dense network was trained at and to, and if its rate was tried.

    Args:
      root: The workdir.
      rows: Its records.
      measures: What they are of.
    """
    at, own = _dense(root, rows, measures)
    if not own:
        return ""
    found = spread(own, measures)
    reached = f"{spreads.shown(found, measures.form)} (n = {found.n})"
    text = f"dense network: learning rate {at:g}, {measures.title} {reached}"
    if not (root / STUDY).exists():
        return f"{text}; {ASK}"
    return f"{text}; {_beside(root, at, measures)}"


def better(root: pathlib.Path, rows: list[dict], measures: Measures) -> str:
    """Returns a warning where a neighbouring rate trains the dense network better.

    Better on the validation split, by more than its spread there, see `tolerance`; ""
    where none does, or none was tried. Rows of an earlier version are of the test split
    alone: where there are such, that one decides, and it is said.

    Args:
      root: The workdir.
      rows: Its records.
      measures: What they are of.
    """
    at, own = _dense(root, rows, measures)
    others = _neighbours(root, at, measures)
    if not own or not others:
        return ""
    column, where = _judge([own, *others.values()], measures)
    dense = spread(own, measures, column)
    sign = 1 if measures.shown in measures.higher else -1
    gains = {
        r: sign * (spread(rows, measures, column).mean - dense.mean)
        for r, rows in others.items()
    }
    best = max(gains, key=lambda r: gains[r])
    if gains[best] <= tolerance(dense, measures) + SLACK:
        return ""
    reached = spreads.shown(spread(others[best], measures), measures.form)
    return (
        f"learning rate {best:g} trains the dense network better than {at:g}, which "
        f"the tickets are trained at, by {gains[best]:{measures.form}} on the {where}, "
        f"to a {measures.title} of {reached}: what reaches the dense network here has "
        "reached an under-trained one"
    )


def _judge(groups, measures):
    """Returns the column that rates are compared by, and the words for its split."""
    known = [row.get(measures.validation) for rows in groups for row in rows]
    if None in known:
        return measures.value, "test split, as validation is not known of all rates"
    return measures.validation, "validation split"


def _dense(root, rows, measures):
    """Returns the rate of the dense network, and its records, [] if unknown."""
    own = [row for row in member.once(rows) if member.is_dense(row)]
    at = rate(root)
    known = [row for row in own if row[measures.value] is not None]
    return at, [] if at is None else known


def _beside(root, at, measures):
    """Returns what its neighbours train it to."""
    found = sorted(_neighbours(root, at, measures).items())
    reached = [(r, spread(rows, measures)) for r, rows in found]
    cells = [f"{spreads.shown(s, measures.form)} at {r:g}" for r, s in reached]
    return " and ".join(cells) or f"no other rate than {at:g} trained it to its end"


def _neighbours(root, at, measures):
    """Returns {another rate: rows} of the study of learning rates."""
    groups: dict[float, list[dict]] = {}
    for row in results.read(root / STUDY) if at is not None else ():
        other = not math.isclose(row["rate"], at)
        if other and row.get(measures.value) is not None:
            groups.setdefault(row["rate"], []).append(row)
    return groups
