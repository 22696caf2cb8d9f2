"""Tickets that come from outside the run: another network's, carried over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.tickets.ticket import Search, Ticket, dense


class State(NamedTuple):
    """What the search remembers: the data of its key; nothing else is its own."""

    key: jax.Array


def outside(
    ticket_fn: Callable[[Any, int], Ticket], *, levels: int, steps: int
) -> Search:
    """Trains the dense network, then at every level a ticket that it is handed.

    Level 0 is what the others are compared with; nothing of it goes into them.

    Args:
      ticket_fn: (key, level) -> the ticket of that level, level and steps in it.
      levels: How many there are.
      steps: T, the length of the dense training.
    """

    def init(key, params, model_state, masks):
        return State(jax.random.key_data(key)), dense(params, model_state, masks, steps)

    def step(key, state, ticket, trained):
        del trained
        if ticket.level >= levels:
            return state, None
        return state, ticket_fn(key, ticket.level + 1)

    return Search(init, step)
