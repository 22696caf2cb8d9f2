"""From which step to which every training of a chain goes, known before any is done."""

from typing import NamedTuple

from lthjax import dynamic
from lthjax.program.build import by_gates
from lthjax.tickets.iterative import span as pruned_span
from lthjax.tickets.rounds import span as round_span


class Training(NamedTuple):
    """A training of a chain.

    Attributes:
      arm: "search", "ticket", a control, or a way to retrain.
      level: Of its ticket.
      start: The step that it starts from.
      until: The step before which it stops.
    """

    arm: str
    level: int
    start: int
    until: int


def levels(config, plan) -> tuple[int, ...]:
    """Returns the levels whose tickets are retrained with tweaks.

    Raises:
      ValueError: One of those asked for does not exist, or has no ticket that is
        trained to its end.
    """
    last = len(plan.targets)
    asked = tuple(config.retraining.levels)
    for level in asked:
        if not 0 <= level <= last:
            raise ValueError(
                f"retraining.levels must be from 0, the dense network, to {last}, got "
                f"retraining.levels = {asked}"
            )
        if level == 0 and drawn(config):
            raise ValueError(
                "retraining.levels must be of tickets, the dense training of "
                "search.method = 'early_bird' ending where they are drawn, got "
                f"retraining.levels = {asked}; leave 0 out"
            )
        if level == 0 and dense(config, plan) < plan.steps:
            raise ValueError(
                "retraining.levels must be of tickets, the dense training ending at "
                f"forward.draw_at = {config.forward.draw_at}, got retraining.levels = "
                f"{asked}; leave 0 out"
            )
    return asked or tuple(range(1, last + 1))


def drawn(config) -> bool:
    """Says whether the data decide at which step a ticket starts."""
    return config.search.method == "early_bird"


def dense(config, plan) -> int:
    """Returns the steps of the dense training; at least so many where data decide."""
    if drawn(config):
        return plan.steps_per_epoch
    if config.search.method == "forward":
        return config.forward.draw_at or plan.steps
    return plan.steps


def span(config, plan, level: int) -> tuple[int, int]:
    """Returns the (first step, step after the last) of a ticket's training.

    Its controls and arms train over the same. Where the data decide when a ticket is
    drawn, that is the earliest, after one epoch.

    Args:
      config: A validated config.
      plan: The numbers of the run.
      level: Of the ticket; 0 for the dense network.

    Raises:
      ValueError: As the searches.
    """
    search, steps = config.search, plan.steps
    given = steps, search.rewind_to, search.restart
    if level == 0:
        return 0, dense(config, plan)
    if search.method in dynamic.METHODS:
        return 0, steps
    if search.method in by_gates.METHODS:
        return round_span(*given, search.gates.start)
    if search.method == "forward":
        return steps, steps + config.forward.tune
    if drawn(config):
        return plan.steps_per_epoch, steps
    return pruned_span(*given)


def trainings(config, plan) -> list[Training]:
    """Returns all trainings of a chain.

    Args:
      config: A validated config.
      plan: The numbers of the run.
    """
    found = [Training("ticket", 0, *span(config, plan, 0))]
    rounds = ("search",) * (config.search.method in by_gates.METHODS)
    for level in range(1, len(plan.targets) + 1):
        found += [Training(arm, level, 0, plan.steps) for arm in rounds]
        own = span(config, plan, level)
        found += [Training(a, level, *own) for a in ("ticket", *config.controls)]
    arms = config.retraining.arms
    retrained = levels(config, plan) if arms else ()
    found += [
        Training(arm, level, *span(config, plan, level))
        for level in retrained
        for arm in arms
    ]
    return found


def after(config, plan, ticket) -> tuple[int, int]:
    """Returns the steps of a chain that come after the training of a ticket.

    First what is left of the dense training or the round that it is part of, then all
    trainings that follow.

    Args:
      config: A validated config.
      plan: The numbers of the run.
      ticket: What is being trained.
    """
    rest = 0 if ticket.level or ticket.searching else dense(config, plan)
    rest = plan.steps if ticket.searching else rest
    later = [
        row
        for row in trainings(config, plan)
        if row.level > ticket.level
        or (ticket.searching and row.level == ticket.level and row.arm != "search")
    ]
    return max(0, rest - ticket.until), sum(row.until - row.start for row in later)


def longest(config, plan) -> int:
    """Returns the steps of the longest training of a chain, T at the least."""
    return max(plan.steps, *(row.until - row.start for row in trainings(config, plan)))


def starts(config, plan) -> set[int]:
    """Returns the steps at which tickets start with a fresh optimizer.

    Where the data decide, all that may be.
    """
    if drawn(config):
        return {0, *range(plan.steps_per_epoch, plan.steps, plan.steps_per_epoch)}
    return {row.start for row in trainings(config, plan)}


def timed(config, plan) -> list[Training]:
    """Returns all trainings of a chain, a drawn ticket's as short as it may be."""
    last = (plan.steps - 1) // plan.steps_per_epoch * plan.steps_per_epoch
    late = {"start": last} if drawn(config) else {}
    return [r._replace(**late) if r.level else r for r in trainings(config, plan)]
