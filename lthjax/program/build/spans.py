"""From which step to which every training of a chain goes, known before any is done."""

from lthjax.program.build.parts import Ground, Plan, Training
from lthjax.retraining import arms
from lthjax.tickets import Ticket


def trainings(ground: Ground) -> list[Training]:
    """Returns all trainings of a chain: the method's, its controls' and its arms'.

    Controls and arms train over the span of their ticket.

    Args:
      ground: What the method is built on; its plan has no trainings yet.

    Raises:
      ValueError: As `levels`, and as the searches.
    """
    config, found = ground.options, []
    own = ground.method.spans(ground)
    for row in own:
        found.append(row)
        if row.level and row.arm == "ticket":
            found += [row._replace(arm=arm) for arm in config.controls]
    trained = arms.trained(config.retraining.arms)
    if not trained:
        return found
    plan = ground.plan._replace(trainings=tuple(own))
    for level in levels(config.retraining.levels, plan):
        start, until = span(plan, level)
        found += [Training(a, level, start, until) for a in trained]
    return found


def chain(plan: Plan, span: tuple[int, int], *, rounds: bool = False) -> list[Training]:
    """Returns the dense training, then of every level its ticket's.

    Args:
      plan: The numbers of the run; it has no trainings yet.
      span: The (first step, step after the last) of a ticket's training.
      rounds: Whether a round of the search, from its start to its end, comes before.
    """
    found = [Training("ticket", 0, 0, plan.steps)]
    for level in range(1, len(plan.targets) + 1):
        if rounds:
            found.append(Training("search", level, 0, plan.steps))
        found.append(Training("ticket", level, *span))
    return found


def whole(ground: Ground) -> list[Training]:
    """Returns the dense training, and that of every level's ticket, from the start.

    Args:
      ground: What the method is built on.
    """
    return chain(ground.plan, (0, ground.plan.steps))


def levels(asked: tuple[int, ...], plan: Plan) -> tuple[int, ...]:
    """Returns the levels whose tickets are retrained with tweaks.

    Args:
      asked: `retraining.levels`; () for all but the dense network's.
      plan: The numbers of the run.

    Raises:
      ValueError: One of those asked for does not exist, or has no ticket that is
        trained to its end.
    """
    last, asked = len(plan.targets), tuple(asked)
    for level in asked:
        if not 0 <= level <= last:
            raise ValueError(
                f"retraining.levels must be from 0, the dense network, to {last}, got "
                f"retraining.levels = {asked}"
            )
        if level == 0 and (drawn(plan) or dense(plan) < plan.steps):
            where = "where they are drawn" if drawn(plan) else f"at step {dense(plan)}"
            raise ValueError(
                f"retraining.levels must be of tickets, the dense training ending "
                f"{where}, got retraining.levels = {asked}; leave 0 out"
            )
    return asked or tuple(range(1, last + 1))


def drawn(plan: Plan) -> bool:
    """Says whether the data decide at which step a ticket starts."""
    return plan.trainings[0].until is None


def dense(plan: Plan) -> int:
    """Returns the steps of the dense training; at least so many where data decide."""
    return plan.steps_per_epoch if drawn(plan) else plan.trainings[0].until


def span(plan: Plan, level: int) -> tuple[int, int]:
    """Returns the (first step, step after the last) of a ticket's training.

    Its controls and arms train over the same. Where the data decide when a ticket is
    drawn, that is the earliest, after one epoch.

    Args:
      plan: The numbers of the run.
      level: Of the ticket; 0 for the dense network.
    """
    if level == 0:
        return 0, dense(plan)
    rows = [r for r in plan.trainings if (r.arm, r.level) == ("ticket", level)]
    return rows[0].start, rows[0].until


def rounds(plan: Plan) -> bool:
    """Says whether a search trains rounds of its own, beside the tickets."""
    return any(row.arm == "search" for row in plan.trainings)


def after(plan: Plan, ticket: Ticket) -> tuple[int, int]:
    """Returns the steps of a chain that come after the training of a ticket.

    First what is left of the dense training or the round that it is part of, then all
    trainings that follow.

    Args:
      plan: The numbers of the run.
      ticket: What is being trained.
    """
    rest = 0 if ticket.level or ticket.searching else dense(plan)
    rest = plan.steps if ticket.searching else rest
    later = [
        row
        for row in plan.trainings[1:]
        if row.level > ticket.level
        or (ticket.searching and row.level == ticket.level and row.arm != "search")
    ]
    return max(0, rest - ticket.until), sum(row.until - row.start for row in later)


def longest(plan: Plan) -> int:
    """Returns the steps of the longest training of a chain, T at the least."""
    return max(plan.steps, *(row.until - row.start for row in _known(plan)))


def starts(plan: Plan) -> set[int]:
    """Returns the steps at which tickets start with a fresh optimizer.

    Where the data decide, all that may be.
    """
    if drawn(plan):
        return {0, *range(plan.steps_per_epoch, plan.steps, plan.steps_per_epoch)}
    return {row.start for row in plan.trainings}


def timed(plan: Plan) -> list[Training]:
    """Returns all trainings of a chain, a drawn ticket's as short as it may be."""
    last = (plan.steps - 1) // plan.steps_per_epoch * plan.steps_per_epoch
    late = {"start": last} if drawn(plan) else {}
    return [r._replace(**late) if r.level else r for r in _known(plan)]


def steps(plan: Plan) -> list[int]:
    """Returns the steps of every training of a chain, at least where data decide."""
    return [row.until - row.start for row in _known(plan)]


def by_kind(plan: Plan) -> dict[bool, list[int]]:
    """Returns {whether it is a round of a search: its steps} of all trainings."""
    found: dict[bool, list[int]] = {}
    for row in _known(plan):
        found.setdefault(row.arm == "search", []).append(row.until - row.start)
    return found


def _known(plan):
    """Returns the trainings, the dense one ending where it does at the earliest."""
    return [row._replace(until=row.until or dense(plan)) for row in plan.trainings]
