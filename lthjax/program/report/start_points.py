"""One mask, several starts: which of them win, and beside which dense network."""

import math
from typing import NamedTuple

import rich.table

from lthjax.program.report import learning_rates
from lthjax.program.workdir import member, results, spreads
from lthjax.program.workdir.measures import ACCURACY, Measures
from lthjax.program.workdir.spreads import Spread

FRESH = "reinit"
STARTS = ("ticket", "init", "trained")
GAP = 2.0  # standard errors


class Start(NamedTuple):
    """What the masks of a level are worth on some weights.

    Attributes:
      level: Of the ticket.
      arm: "ticket", or the control that starts elsewhere; of several first logits
        with its own, see `member.label`.
      kept: The fraction of the prunable weights that is kept.
      value: The measure on the test set, as it is shown.
      below: How far that is below the dense network's, in the same units.
      ahead: Mean and deviation of the paired differences to fresh weights under the
        same masks, better being positive; `None` where there are none.
      matches: Whether it comes about to the dense network: condition 1.
      wins: Whether it is clearly better than fresh weights: condition 2; `None` where
        that was not trained.
    """

    level: int
    arm: str
    kept: float
    value: Spread
    below: float
    ahead: Spread | None
    matches: bool
    wins: bool | None

    @property
    def winning(self) -> bool:
        """Whether it has the winning property: both conditions."""
        return self.matches and bool(self.wins)


def start_point_study(
    rows: list[dict],
    measures: Measures = ACCURACY,
    *,
    match: float = learning_rates.MATCH,
    gap: float = GAP,
) -> list[Start]:
    """Returns what starts one mask has been trained from, and which of them win.

    A start has the winning property if, over the same schedule,

        1.  value >= dense - match
        2.  mean(value - fresh) > gap std(value - fresh) / sqrt(n)

    with the dense network of the same seeds, and the differences paired by seed: the
    same masks and data order. Of one seed the second is value - fresh > match. Records
    without the measure are left out.

    Args:
      rows: Records; the controls "reinit", "init" and "trained" are looked at.
      measures: What they are of; where less is better, the signs turn.
      match: In points where the measure is shown in percent; else in per cent of the
        dense network's.
      gap: In standard errors.

    References:
      Liu et al., 2021, arXiv:2102.11068, Section 3. Departure: it says "about" and
      "clearly"; these tolerances are ours.
    """
    rows = [row for row in rows if row[measures.value] is not None]
    dense = {r["seed"]: r for r in member.once(rows) if member.is_dense(r)}
    groups = {}
    for row in rows:
        at = row["level"], row.get(results.VARIANT), row["arm"]
        groups.setdefault(at, []).append(row)
    found = [at for at in groups if at[0] and at[-1] in STARTS]
    tolerances, judged = (match, gap), []
    for at in sorted(found, key=_place):
        own = [row for row in groups[at] if row["seed"] in dense]
        beside = [dense[row["seed"]] for row in own], groups.get((*at[:-1], FRESH), [])
        judged += [_start(own, beside, measures, tolerances)] if own else []
    return judged


def _place(at):
    """Returns the place of a start: by level, first logit, and the order of starts."""
    level, logit, arm = at
    return level, -(logit or 0), STARTS.index(arm)


def _start(own, beside, measures, tolerances):
    """Returns one start, judged beside records of the dense network and fresh weights.

    The dense network's are those of its own seeds.
    """
    (dense, fresh), (match, gap) = beside, tolerances
    reached = learning_rates.spread(dense, measures).mean
    room = match if measures.scale == 100 else match / 100 * abs(reached)
    value, row = learning_rates.spread(own, measures), own[0]
    sign = 1 if measures.shown in measures.higher else -1
    below = sign * (reached - value.mean)
    ahead = _ahead(own, fresh, measures, sign)
    wins = None if ahead is None else _clear(ahead, room, gap)
    share = member.kept(own)
    at = row["level"], member.label(row), share, value, below
    return Start(*at, ahead, below <= room + learning_rates.SLACK, wins)


def _ahead(own, fresh, measures, sign):
    """Returns the paired differences to fresh weights, if there are any."""
    other = {member.chain(row): row[measures.value] for row in fresh}
    pairs = [row for row in own if member.chain(row) in other]
    found = [r[measures.value] - other[member.chain(r)] for r in pairs]
    return spreads.spread(sign * measures.scale * d for d in found) if found else None


def _clear(ahead, room, gap):
    """Says whether differences are clearly above zero."""
    least = room if ahead.n == 1 else gap * ahead.std / math.sqrt(ahead.n)
    return ahead.mean > least + learning_rates.SLACK


def table(
    rows: list[dict],
    beside: str = "",
    measures: Measures = ACCURACY,
) -> rich.table.Table:
    """Returns a table of the starts, the dense network beside them.

    Args:
      rows: Records.
      beside: `learning_rates.sentence`, for its foot.
      measures: What the records are of.
    """
    names = ("level", "% kept", "start", measures.title, "below dense")
    shown = rich.table.Table(
        *names,
        "ahead of reinit",
        "winning",
        "n",
        title="one mask, several starts",
        title_justify="left",
        caption=beside or None,
        caption_justify="left",
    )
    for start in start_point_study(rows, measures):
        shown.add_row(*cells(start, measures.form))
    return shown


def cells(start: Start, form: str = ".2f") -> tuple[str, ...]:
    """Returns the cells of a start: those of `table`.

    Args:
      start: The start.
      form: How a number is written.
    """
    ahead = "" if start.ahead is None else spreads.shown(start.ahead, f"+{form}")
    why = "no: below dense" if not start.matches else "no: not ahead"
    verdict = "not tried" if start.wins is None else "yes" if start.winning else why
    return (
        str(start.level),
        f"{100 * start.kept:.2f}",
        start.arm,
        spreads.shown(start.value, form),
        f"{start.below:{form}}",
        ahead,
        verdict,
        str(start.value.n),
    )
