"""Controls: the same training with one ingredient of the ticket taken away.

A control keeps the level, the steps and the kept count of its ticket. Given the same
`key` at every level, "shuffle" and "random" draw nested masks. They start from the
ticket's weights: where a search restarts from trained weights, not from rewound ones,
what earlier levels pruned starts at zero. What a network draws in training (dropout) is
the same for all.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import draws
from lthjax.callables import InitFn
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.tickets.ticket import Ticket, Trained

StartedFn = Callable[[Ticket, Ticket | Trained], Ticket]


def reinit(key: jax.Array, ticket: Ticket, init_fn: InitFn) -> Ticket:
    """Returns the ticket's masks on freshly drawn weights, another draw at each level.

    Args:
      key: A JAX PRNG key.
      ticket: The ticket.
      init_fn: key -> (params, model_state).

    References:
      Frankle and Carbin, 2019, arXiv:1803.03635, Section 2. With late rewinding the
      fresh weights train from the rewind step of the schedule, as in open_lth.
    """
    params, model_state = init_fn(jax.random.fold_in(key, ticket.level))
    model_state = draws.like(model_state, ticket.model_state)
    return ticket._replace(params=params, model_state=model_state, opt_state=None)


def shuffle(key: jax.Array, ticket: Ticket, init_fn: InitFn) -> Ticket:
    """Returns the ticket's weights with its masks permuted at random in each layer.

    Args:
      key: A JAX PRNG key.
      ticket: The ticket.
      init_fn: Not used.
    """
    del init_fn
    kept = [jnp.sum(mask) for mask in jax.tree.leaves(ticket.masks)]
    return ticket._replace(masks=_random_masks(key, ticket.masks, kept), opt_state=None)


def random(key: jax.Array, ticket: Ticket, init_fn: InitFn) -> Ticket:
    """Returns the ticket's weights with masks drawn over all prunable weights at once.

    Args:
      key: A JAX PRNG key.
      ticket: The ticket.
      init_fn: Not used.
    """
    del init_fn
    kept, _ = masks_lib.count(ticket.masks)
    return ticket._replace(masks=_random_masks(key, ticket.masks, kept), opt_state=None)


def shuffle_reinit(key: jax.Array, ticket: Ticket, init_fn: InitFn) -> Ticket:
    """Returns the ticket's masks permuted in each layer, on freshly drawn weights.

    Args:
      key: A JAX PRNG key.
      ticket: The ticket.
      init_fn: key -> (params, model_state).
    """
    return reinit(key, shuffle(key, ticket, init_fn), init_fn)


def started(ticket: Ticket, start: Ticket | Trained) -> Ticket:
    """Returns the ticket's masks on weights of another point of its seed's trainings.

    A control of `STARTS`: "init" begins with the seed's first weights (without late
    rewinding that is the ticket itself, bit for bit), "trained" with those that the
    dense training ended with, statistics and all; both train over the ticket's steps,
    by its schedule and in its data order.

    Args:
      ticket: The ticket.
      start: Whose weights and statistics: the first ticket, the trained dense network;
        its parameters must be what the ticket's masks are of, coefficients of the same
        basis where they are of coefficients.

    References:
      Liu et al., 2021, arXiv:2102.11068: the starts of its Sections 4 and 5. Where a
      search rewinds to step k, they train from k on too, so that all have the same
      schedule; the paper's are of k = 0.
    """
    model_state = draws.like(start.model_state, ticket.model_state)
    point = {"params": start.params, "model_state": model_state}
    return ticket._replace(**point, opt_state=None)


def _random_masks(key, masks, kept):
    full = jax.tree.map(jnp.ones_like, masks)
    return choose.prune(full, scores.random(key, full, full), kept=kept)


CONTROLS = {
    "reinit": reinit,
    "shuffle": shuffle,
    "random": random,
    "shuffle_reinit": shuffle_reinit,
}
# Controls that start from weights of their own seed, which `started` is handed.
STARTS = ("init", "trained")
