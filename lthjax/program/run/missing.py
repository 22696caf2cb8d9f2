"""What the records of a run lack of what its searches say was trained."""

import itertools
import logging
import pathlib
from collections.abc import Collection
from typing import Any, NamedTuple

import jax

from lthjax.callables import InitFn
from lthjax.program.build import spans
from lthjax.program.build.parts import Parts, Plan
from lthjax.program.run import search_progress
from lthjax.program.workdir import layout, results
from lthjax.program.workdir.measures import Measures
from lthjax.program.workdir.member import Member
from lthjax.saving import checkpoints
from lthjax.tickets import Ticket
from lthjax.training import members

log = logging.getLogger(__name__)

Row = tuple[int, str, Member]


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
    root: pathlib.Path, plan: Plan, one: Member, done: list[Training]
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
    root: pathlib.Path, plan: Plan, one: Member, last: Ticket | None
) -> list[Training]:
    """Returns what the search of a member had trained, in order.

    Args:
      root: The workdir.
      plan: The numbers of the run.
      one: The member.
      last: The last ticket that the search had trained, `None` without one.
    """
    noted = [Training(*row) for row in layout.trainings(root, one)]
    if last is None or noted and noted[0][:2] == (0, 0):
        return noted if last else []
    top, rounds = last.level - last.searching, spans.rounds(plan)
    whole = not spans.drawn(plan) and spans.dense(plan) >= plan.steps
    first = 0 if whole and (last.level or last.until >= plan.steps) else 1
    earlier = [Training(n, None, plan.steps) for n in range(first, top + 1)]
    earlier += [Training(n, None, plan.steps, 1) for n in range(1, top + 1) if rounds]
    known = {(row.level, row.searching) for row in noted}
    return [r for r in earlier if (r.level, r.searching) not in known] + noted


def from_its_ticket(
    root: pathlib.Path, parts: Parts, one: Member, row: Training
) -> bool:
    """Says whether the saved ticket is all that a training needs to be done again.

    It is not where the training went on from another one, optimizer state and all.

    Args:
      root: The workdir.
      parts: The functions of the run.
      one: The member.
      row: The training.
    """
    if parts.moving or row.searching or row.until < parts.plan.steps:
        return False
    try:
        ticket = layout.load_ticket(root, one, row.level)
    except checkpoints.DamagedError:
        return False
    return ticket.until >= parts.plan.steps


def place(row: Training | Ticket) -> tuple[int, ...]:
    """Returns what orders the trainings of a search: a level's round comes first."""
    return row.level, 1 - row.searching, row.until


def with_companions(
    wanted: list[Row], found: list[Row], current: Collection, arms: Collection
) -> list[Row]:
    """Returns what is absent, with what it was trained together with if it is lost.

    In a population of another size the members of one `vmap` round differently, so that
    what is lost of a level is trained again with all that was trained beside it.

    Args:
      wanted: (level, arm, member) of all that should be there, in order.
      found: Those of them that are not, and that have not been trained just now.
      current: (level, member) of what the searches have to train next: is not lost.
      arms: (arm, level) of the other ways to retrain, which are trained apart.
    """
    there = {row[:2] for row in set(wanted) - set(found)}
    lost = {
        (level, (arm, level) in arms)
        for level, arm, one in found
        if (level, one) not in current and ((level, arm) in there or arm == "ticket")
    }
    found = set(found)
    return [r for r in wanted if r in found or (r[0], (r[1], r[0]) in arms) in lost]


def absent(this: Any) -> list[Row]:
    """Returns all trainings of a run that are to be done with a known ticket.

    Args:
      this: An `experiment.Run`.
    """
    records, rows = results.read(this.root / results.RESULTS), []
    present = recorded(this.root).whole
    for one, (_, ticket) in this.chains.items():
        last = search_progress.last(records, one, len(this.parts.plan.targets))
        wanted = [] if one in this.behind else _trained(this, one)
        if ticket is not None:
            wanted = [*wanted, (ticket.level, ticket.arm)]
            last = ticket.level - ticket.searching
        wanted += itertools.product(range(1, last + 1), this.parts.options.controls)
        # Once the level's own training is over, and with it that of the dense network.
        after = last + 1 if ticket is None else ticket.level
        wanted += [(n, arm) for arm, n in this.parts.arms if n < after]
        rows += [(level, arm, one) for level, arm in dict.fromkeys(wanted)]
    rows = [row for row in rows if _is_next(this, row) or row not in this.again]
    found = [r for r in rows if _is_next(this, r) or _identity(r) not in present]
    if not this.together:
        return found
    pairs = [(one, ticket) for one, (_, ticket) in this.chains.items()]
    current = {(ticket.level, one) for one, ticket in pairs if ticket is not None}
    return with_companions(rows, found, current, this.parts.arms)


def _trained(this, one):
    """Returns (level, arm) of the tickets of a chain that were trained to their end."""
    plan = this.parts.plan
    own = [row for row in this.done[one] if not row.searching]
    own = [r for r in own if r.until >= plan.steps and r.level <= len(plan.targets)]
    return [(row.level, row.arm) for row in own]


def _is_next(this, row):
    """Says whether a row is what a search has to train next."""
    level, arm, one = row
    _, ticket = this.chains[one]
    return ticket is not None and (ticket.level, ticket.arm) == (level, arm)


def _identity(row):
    level, arm, one = row
    return results.identity({"level": level, "arm": arm, **one.identity})


def together(init_fn: InitFn) -> bool:
    """Says whether what a member trains to depends, in rounding, on the others.

    Args:
      init_fn: key -> (params, model_state).
    """
    params, _ = jax.eval_shape(init_fn, jax.random.key(0))
    return members.together(params) != 1


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


def say_changes(root: pathlib.Path, rows: list[dict], measures: Measures) -> None:
    """Says which records of what was trained again would be others; the first stay.

    Args:
      root: The workdir.
      rows: The new ones.
      measures: What they are of.
    """
    recorded = {results.identity(r): r for r in results.read(root / results.RESULTS)}
    for row in rows:
        old = recorded.get(results.identity(row), row)
        names = "kept", *measures.columns
        other = [name for name in names if old.get(name) != row.get(name)]
        if other:
            log.warning(
                "level %d, seed %d (%s), trained again, has other values than its "
                "record, which stays: %s; another machine or version rounds "
                "differently",
                row["level"],
                row["seed"],
                row["arm"],
                ", ".join(f"{k} {row.get(k)} for {old.get(k)}" for k in other),
            )
