"""What the records of a run lack of what its searches say was trained."""

import logging
import pathlib
from typing import Any, NamedTuple

from lthjax import (
    checkpoints,
    dynamic,
    learnt,
    results,
    structured,
    tickets,
    workdir,
)
from lthjax.tickets import Ticket
from lthjax.workdir import Member

log = logging.getLogger(__name__)


class Training(NamedTuple):
    """A training that a search had done.

    Attributes:
      level: Of its ticket.
      step: Where it began; `None` where an earlier version did not note it.
      until: The step before which it stopped.
      searching: Whether it was a round of a search.
    """

    level: int
    step: int | None
    until: int
    searching: int = 0

    @property
    def arm(self) -> str:
        """What it is called in records."""
        return "search" if self.searching else "ticket"


class Recorded(NamedTuple):
    """What is in the records of a run.

    Attributes:
      whole: The identities of records whose learning curve is there from end to end.
      parts: (identity, start) of the parts of learning curves.
    """

    whole: set[tuple]
    parts: set[tuple]


def recorded(root: pathlib.Path) -> Recorded:
    """Returns what is in the records and the learning curves of a run.

    Args:
      root: The workdir.
    """
    steps, parts = {}, set()
    for curve in results.read(root / results.CURVES):
        name = results.identity(curve)
        steps[name] = steps.get(name, 0) + curve["step"][-1] - curve["start"]
        parts.add((name, curve["start"]))
    rows = results.read(root / results.RESULTS)
    names = [(results.identity(row), row.get("steps")) for row in rows]
    return Recorded({n for n, own in names if steps.get(n) == own}, parts)


def lost(
    root: pathlib.Path, plan: Any, one: Member, done: list[Training]
) -> list[Training]:
    """Returns the trainings of a search, at the levels asked for, that lack records.

    Args:
      root: The workdir.
      plan: The numbers of the run.
      one: The member.
      done: What its search had trained.
    """
    found = recorded(root)

    def there(row):
        name = results.identity({"level": row.level, "arm": row.arm, **one.identity})
        whole = row.until >= plan.steps
        return name in found.whole if whole else (name, row.step) in found.parts

    return [row for row in done if row.level <= len(plan.targets) and not there(row)]


def trainings(
    root: pathlib.Path, config: Any, plan: Any, one: Member, last: Ticket | None
) -> list[Training]:
    """Returns what the search of a member had trained, in order.

    Args:
      root: The workdir.
      config: Of the run.
      plan: Its numbers.
      one: The member.
      last: The last ticket that the search had trained, `None` without one.
    """
    noted = [Training(*row) for row in workdir.trainings(root, one)]
    if last is None or noted and noted[0][:2] == (0, 0):
        return noted if last else []
    top, rounds = last.level - last.searching, config.search.method in learnt.METHODS
    unnoted = config.search.method in structured.METHODS
    first = 1 if unnoted or not last.level and last.until < plan.steps else 0
    earlier = [Training(n, None, plan.steps) for n in range(first, top + 1)]
    earlier += [Training(n, None, plan.steps, 1) for n in range(1, top + 1) if rounds]
    known = {(row.level, row.searching) for row in noted}
    return [r for r in earlier if (r.level, r.searching) not in known] + noted


def from_its_ticket(
    root: pathlib.Path, config: Any, plan: Any, one: Member, row: Training
) -> bool:
    """Says whether the saved ticket is all that a training needs to be done again.

    It is not where the training went on from another one, optimizer state and all.

    Args:
      root: The workdir.
      config: Of the run.
      plan: Its numbers.
      one: The member.
      row: The training.
    """
    if row.searching or row.until < plan.steps:
        return False
    try:
        ticket = tickets.load(workdir.ticket_path(root, one, row.level))
    except checkpoints.DamagedError:
        return False
    return ticket.until >= plan.steps and config.search.method not in dynamic.METHODS


def say(one: Member, rows: list[Training]) -> None:
    """Says what is trained again.

    Args:
      one: The member.
      rows: What lacks records.
    """
    if rows:
        names = [f"level {row.level} ({row.arm})" for row in rows]
        log.warning(
            "%s: what %s and %s have lost is trained again: %s",
            one.text,
            results.RESULTS,
            results.CURVES,
            ", ".join(dict.fromkeys(names)),
        )
