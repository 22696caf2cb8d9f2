"""Dynamic sparse training as a search: the masks change while a ticket trains."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Params
from lthjax.tickets.ticket import ModelState, Search, Ticket, dense


class State(NamedTuple):
    """What the search remembers: the weights and batch statistics before training."""

    params: Params
    model_state: ModelState


def changing(
    begin_fn: Callable[[jax.Array, Any, Any, int], tuple[Any, Any]],
    *,
    levels: int,
    steps: int,
) -> Search:
    """Trains the dense network, and then one from the same weights for each level.

    The masks that a level ends with are the optimizer's, not the ticket's.

    Args:
      begin_fn: (key, params, masks, level) -> (masks, opt_state), which a level starts
        with, given full masks; at level 0 it changes nothing.
      levels: How many sparsities there are.
      steps: The length of each training.
    """

    def ticket(key, state, masks, level):
        masks, opt_state = begin_fn(key, state.params, masks, level)
        return Ticket(level, 0, steps, *state, masks, opt_state)

    def init(key, params, model_state, masks):
        state = State(params, model_state)
        _, opt_state = begin_fn(key, params, masks, 0)
        first = dense(params, model_state, masks, steps)
        return state, first._replace(opt_state=opt_state)

    def step(key, state, before, trained):
        del trained
        if before.level >= levels:
            return state, None
        full = jax.tree.map(jnp.ones_like, before.masks)
        return state, ticket(key, state, full, before.level + 1)

    return Search(init, step)
