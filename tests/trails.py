"""A search driven to its end by a training of a few additions."""

import jax
import jax.numpy as jnp

from lthjax.pruning import masks
from lthjax.tickets import Search, Ticket, Trained

KEY = jax.random.key(0)
SEEN = {"seen": jnp.int32(0)}


def train(ticket: Ticket) -> Trained:
    """Adds one a step, and counts the steps in statistics and optimizer."""
    number = ticket.until - ticket.step
    before = 0 if ticket.opt_state is None else ticket.opt_state["steps"]
    params = {**ticket.params, "kernel": ticket.params["kernel"] + number}
    seen = {"seen": ticket.model_state["seen"] + number}
    return Trained(params, seen, ticket.masks, {"steps": before + number})


def fresh(params, model_state, tree) -> Trained:
    """Returns what a round begins with: an optimizer that has taken no step."""
    return Trained(params, model_state, tree, {"steps": jnp.int32(0)})


def trail(search: Search, params: dict, most: int = 60) -> list[tuple]:
    """Returns [(state, ticket, trained), ...] of a whole search.

    Args:
      search: The search.
      params: What the dense network begins with, a "kernel" among them.
      most: How many trainings it may ask for.
    """
    state, ticket = search.init(KEY, params, SEEN, masks.full(params))
    rows = []
    while ticket is not None:
        assert len(rows) < most, "a search must end"
        rows.append((state, ticket, train(ticket)))
        state, ticket = search.step(KEY, *rows[-1])
    return rows
