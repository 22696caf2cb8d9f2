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


def spread(rows: Iterable[dict], measures: Measures) -> Spread:
    """Returns mean, deviation and n of the measure on the test set, as it is shown."""
    known = [row[measures.value] for row in rows if row[measures.value] is not None]
    return spreads.spread(measures.scale * value for value in known)


def sentence(root: pathlib.Path, rows: list[dict], measures: Measures) -> str:
    """Returns what the dense network was trained at and to, and if its rate was tried.

    Args:
      root: The workdir.
      rows: Its records.
      measures: What they are of.
    """
    at, found = _dense(root, rows, measures)
    if found is None:
        return ""
    reached = f"{spreads.shown(found, measures.form)} (n = {found.n})"
    text = f"dense network: learning rate {at:g}, {measures.title} {reached}"
    if not (root / STUDY).exists():
        return f"{text}; {ASK}"
    return f"{text}; {_beside(root, found, at, measures)}"


def better(root: pathlib.Path, rows: list[dict], measures: Measures) -> str:
    """Returns a warning where a neighbouring rate trains the dense network better.

    Better by more than its spread, see `tolerance`; "" where none does, or none was
    tried.

    Args:
      root: The workdir.
      rows: Its records.
      measures: What they are of.
    """
    at, dense = _dense(root, rows, measures)
    if dense is None:
        return ""
    sign = 1 if measures.shown in measures.higher else -1
    found = _neighbours(root, at, measures)
    gains = {r: sign * (s.mean - dense.mean) for r, s in found.items()}
    best = max(gains, key=lambda r: gains[r], default=None)
    if best is None or gains[best] <= tolerance(dense, measures) + SLACK:
        return ""
    return (
        f"learning rate {best:g} trains the dense network to "
        f"{spreads.shown(found[best], measures.form)}, better by "
        f"{gains[best]:{measures.form}} than {at:g}, which the tickets are trained at: "
        "what reaches the dense network here has reached an under-trained one"
    )


def _dense(root, rows, measures):
    """Returns the rate of the dense network and what it reached, `None` if unknown."""
    own = [row for row in member.once(rows) if not row["level"]]
    own = [row for row in own if row[measures.value] is not None]
    at = rate(root)
    known = own and at is not None
    return at, spread(own, measures) if known else None


def _beside(root, dense, at, measures):
    """Returns what its neighbours train it to."""
    found = _neighbours(root, at, measures)
    cells = [
        f"{spreads.shown(s, measures.form)} at {r:g}" for r, s in sorted(found.items())
    ]
    return " and ".join(cells) or f"no other rate than {at:g} trained it to its end"


def _neighbours(root, at, measures):
    """Returns {another rate: Spread} of the study of learning rates."""
    groups: dict[float, list[dict]] = {}
    for row in results.read(root / STUDY):
        other = not math.isclose(row["rate"], at)
        if other and row.get(measures.value) is not None:
            groups.setdefault(row["rate"], []).append(row)
    return {r: spread(rows, measures) for r, rows in groups.items()}
