"""The types of the search: a ticket, a trained network, and who proposes tickets."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from lthjax.pruning.masks import Masks, Params

ModelState = Any
OptState = Any


class Ticket(NamedTuple):
    """Everything needed to restart, and nothing else: train from `step` to `until`.

    Attributes:
      level: 0 for the dense network, n after n prunings.
      step: The optimizer step that training starts from (schedule, data order).
      until: The step before which it stops.
      params: The parameters to start from. Training applies the masks first; rewound
        weights stay dense here, so that a control can take other masks on them.
      model_state: The batch statistics to start from, {} if there are none.
      masks: The mask tree.
      opt_state: The optimizer state to start from; `None` for a fresh one, its schedule
        moved to `step` (momentum from zero).
      searching: 1 where this training only looks for masks, in what may be another
        network than the ticket's, and the ticket of the level follows; else 0.
    """

    level: int
    step: int
    until: int
    params: Params
    model_state: ModelState
    masks: Masks
    opt_state: OptState | None = None
    searching: int = 0

    @property
    def arm(self) -> str:
        """What its training is called in records: "search" or "ticket"."""
        return "search" if self.searching else "ticket"


class Trained(NamedTuple):
    """What a training gives back, with the masks it ended with."""

    params: Params
    model_state: ModelState
    masks: Masks
    opt_state: OptState | None = None


class Search(NamedTuple):
    """Proposes tickets; asks for training, performs none, does no bookkeeping.

    Attributes:
      init: (key, params, model_state, masks) -> (state, ticket), the dense network.
      step: (key, state, ticket, trained) -> (state, ticket), or (state, None) at the
        end. The state is a tree of arrays whose structure stays what `init` gave it, so
        that it can be saved and restored. Where a search asks for trainings of another
        structure (`Ticket.searching`), its state has a field `round`, a `Trained` of
        theirs.
      between: (key, state, ticket, trained) -> iterator of states, for a search that
        works for long between two trainings: where it is after every bit of that work.
        `step` goes on from any of them, and does all of it from the first.
      describe: (state, ticket) -> what the search adds to the record of its ticket.
    """

    init: Callable[[jax.Array, Params, ModelState, Masks], tuple[Any, Ticket]]
    step: Callable[[jax.Array, Any, Ticket, Trained], tuple[Any, Ticket | None]]
    between: Callable[[jax.Array, Any, Ticket, Trained], Iterator] = (
        lambda key, state, ticket, trained: iter(())
    )
    describe: Callable[[Any, Ticket], dict] = lambda state, ticket: {}


def dense(params: Params, model_state: ModelState, masks: Masks, until: int) -> Ticket:
    """Returns the ticket of level 0, which trains from step 0 to `until`."""
    return Ticket(0, 0, until, params, model_state, masks)


def resumed(ticket: Ticket, trained: Trained, until: int) -> Ticket:
    """Returns the ticket that goes on from where it stopped, momentum and all."""
    return ticket._replace(
        step=ticket.until,
        until=until,
        params=trained.params,
        model_state=trained.model_state,
        opt_state=trained.opt_state,
    )
