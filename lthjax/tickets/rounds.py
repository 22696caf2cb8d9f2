"""Searches in rounds: one training that looks for masks, then the ticket's own.

A round trains something else than a ticket (a network with gates, or one that is never
rewound), goes on from where the last round ended, and gives masks. The ticket of the
round starts from an early iterate with them. `Ticket.searching` marks the rounds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.callables import OptimizerFn, PruneFn
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Params
from lthjax.tickets.ticket import ModelState, Search, Ticket, Trained, dense, resumed


class Rounds(NamedTuple):
    """What a kind of search does between trainings.

    Attributes:
      open: (key, params, model_state, masks) -> Trained, what the first round starts
        from, its optimizer state with it.
      again: (key, Trained, level) -> Trained, what the next round starts from, given
        the end of a round.
      weights: Trained -> (params, model_state) of the network alone.
      harvest: (key, Trained, level) -> Trained, the pruned network with its masks.
    """

    open: Callable[[jax.Array, Any, Any, Any], Trained]
    again: Callable[[jax.Array, Trained, int], Trained]
    weights: Callable[[Trained], tuple[Any, Any]]
    harvest: Callable[[jax.Array, Trained, int], Trained]


class State(NamedTuple):
    """What the search remembers.

    Attributes:
      params: The parameters of the network at step `rewind_to` of the first round.
      model_state: Its batch statistics at that step.
      round: The end of the last round, optimizer state and all.
    """

    params: Params
    model_state: ModelState
    round: Trained


def continuous(
    rounds: Rounds,
    *,
    levels: int,
    steps: int,
    rewind_to: int = 0,
    restart: str = "weights",
    start: str = "zero",
) -> Search:
    """Trains the dense network; then, `levels` times, a round and the ticket it gives.

    A round trains from step 0 to T; nothing in it is rewound. Where its ticket starts,
    with T = `steps` and k = `rewind_to`:

        restart          weights                       trains
        "weights"        of step k of the first round  0 to T, or k to T
        "learning_rate"  the pruned network's          k to T
        "fine_tune"      the pruned network's          T to T + (T - k)

    "fine_tune" with one level is pruning: train once, harden, fine-tune. A round that
    leaves no weight is the last one, and has no ticket.

    Args:
      rounds: What a round starts from and gives.
      levels: How many rounds there are.
      steps: T, the length of the dense training and of a round.
      rewind_to: k, in [0, T).
      restart: One of the three above.
      start: For "weights", "zero" or "rewind_to".

    Raises:
      ValueError: `restart` or `start` is unknown, or `rewind_to` is not in [0, T).

    References:
      Savarese et al., 2020, arXiv:1912.04427. Its released code retrains a ticket from
      step 0 of the schedule ("zero") and keeps multiplying its weights by the constant
      c; ours do not. With a norm after every pruned layer that is the same training for
      "weights"; the others go on from `c H(s) w`, whose steps are 1 / c^2 as large in
      proportion.
    """
    trained_span = span(steps, rewind_to, restart, start)

    def init(key, params, model_state, masks):
        first = rounds.open(key, params, model_state, masks)
        ticket = dense(params, model_state, masks, steps)
        return State(params, model_state, first), ticket

    def step(key, state, ticket, trained):
        if not ticket.searching or ticket.level > levels:
            return _open(key, state, ticket.level)
        state = state._replace(round=trained)
        if ticket.until < steps:
            point = rounds.weights(trained)
            state = State(*point, trained)
            return state, _searching(1, ticket.until, steps, trained)
        found = rounds.harvest(key, trained, ticket.level)
        if int(masks_lib.count(found.masks)[0]) == 0:
            return state, None
        pruned = found.params, found.model_state
        point = state[:2] if restart == "weights" else pruned
        return state, Ticket(ticket.level, *trained_span, *point, found.masks)

    def _open(key, state, level):
        if level >= levels:
            return state, None
        if level == 0:
            return state, _searching(1, 0, rewind_to or steps, state.round)
        following = rounds.again(key, state.round, level)
        return state, _searching(level + 1, 0, steps, following)

    return Search(init, step)


class Dense(NamedTuple):
    """What a search remembers whose rounds all begin with the trained dense network.

    Attributes:
      params: The parameters at step `rewind_to` of the dense training.
      model_state: Its batch statistics at that step.
      dense: The dense network as far as it is trained.
      round: What a round is like, optimizer state and all.
    """

    params: Params
    model_state: ModelState
    dense: Trained
    round: Trained


def from_dense(
    rounds: Rounds,
    *,
    levels: int,
    steps: int,
    rewind_to: int = 0,
    restart: str = "weights",
) -> Search:
    """Trains the dense network; then, `levels` times, a round from its end, a ticket.

    The levels do not build on one another: each round starts from what the dense
    training ended with, over the whole schedule, and its masks need not lie inside
    those of the level before. Where its ticket starts, with T = `steps` and k =
    `rewind_to`:

        restart          weights                      trains
        "weights"        of step k of the dense run   k to T
        "learning_rate"  the pruned end of the round  k to T
        "fine_tune"      the pruned end of the round  T to T + (T - k)

    Args:
      rounds: `open` says what a round is like, `again` what that of a level starts
        from, given the trained dense network.
      levels: How many rounds there are.
      steps: T, the length of the dense training and of a round.
      rewind_to: k, in [0, T).
      restart: One of the three above.

    Raises:
      ValueError: `restart` is unknown, or `rewind_to` is not in [0, T).
    """
    trained_span = span(steps, rewind_to, restart, "rewind_to")

    def init(key, params, model_state, masks):
        ticket = dense(params, model_state, masks, rewind_to or steps)
        first = Trained(ticket.params, model_state, masks)
        opened = rounds.open(key, params, model_state, masks)
        return Dense(ticket.params, model_state, first, opened), ticket

    def step(key, state, ticket, trained):
        if ticket.level == 0 and ticket.until < steps:
            point = {"params": trained.params, "model_state": trained.model_state}
            return state._replace(**point), resumed(ticket, trained, steps)
        if ticket.level == 0:
            state = state._replace(dense=trained._replace(opt_state=None))
        if not ticket.searching:
            return state, _next(key, state, ticket.level)
        found = rounds.harvest(key, trained, ticket.level)
        point = state[:2] if restart == "weights" else found[:2]
        return state, Ticket(ticket.level, *trained_span, *point, found.masks)

    def _next(key, state, level):
        if level >= levels:
            return None
        first = rounds.again(key, state.dense, level + 1)
        return _searching(level + 1, 0, steps, first)

    return Search(init, step)


def span(
    steps: int, rewind_to: int, restart: str, start: str = "zero"
) -> tuple[int, int]:
    """Returns the (first step, step after the last) of a ticket's training.

    Args:
      steps: T, the length of a round.
      rewind_to: k, in [0, T).
      restart: As for `continuous`.
      start: As there.

    Raises:
      ValueError: As there.
    """
    if not 0 <= rewind_to < steps:
        raise ValueError(
            f"rewind_to must be in [0, {steps}), the steps of the dense training, got "
            f"rewind_to = {rewind_to}"
        )
    if start not in ("zero", "rewind_to"):
        raise ValueError(f"start must be one of zero, rewind_to, got start = {start!r}")
    spans = {
        "weights": (0 if start == "zero" else rewind_to, steps),
        "learning_rate": (rewind_to, steps),
        "fine_tune": (steps, 2 * steps - rewind_to),
    }
    if restart not in spans:
        raise ValueError(
            f"restart must be one of {', '.join(spans)}, got restart = {restart!r}"
        )
    return spans[restart]


def opened(state: Any) -> Ticket:
    """Returns what a round of a search trains, in its structure, over one step.

    Args:
      state: Of a search whose state has a field `round`.
    """
    return _searching(1, 0, 1, state.round)


def _searching(level, start, until, source):
    """Returns the ticket that trains a round, from what `source` holds."""
    point = source.params, source.model_state, source.masks, source.opt_state
    return Ticket(level, start, until, *point, searching=1)


def continued(prune_fn: PruneFn, optimizer_fn: OptimizerFn) -> Rounds:
    """Returns the rounds of pruning without rewinding: prune, and go on training.

    Each round trains from where the last one ended, by the schedule from its start and
    with empty momentum; its ticket has the masks it gives and the early weights.

    Args:
      prune_fn: (key, trained, level) -> masks, inside `trained.masks`.
      optimizer_fn: params -> optimizer state.

    References:
      Savarese et al., 2020, arXiv:1912.04427, from what is remembered of it: "IMP
      continued", which sets apart what its own search gains by not rewinding.
    """

    def fresh(params: Params, model_state: Any, masks: Any) -> Trained:
        return Trained(params, model_state, masks, optimizer_fn(params))

    def harvest(key, trained, level):
        masks = prune_fn(key, trained, level)
        params = masks_lib.apply(trained.params, masks)
        return Trained(params, trained.model_state, masks)

    def again(key, trained, level):
        return fresh(*harvest(key, trained, level)[:3])

    return Rounds(
        open=lambda key, *network: fresh(*network),
        again=again,
        weights=lambda trained: (trained.params, trained.model_state),
        harvest=harvest,
    )


def slimmed(
    slim_fn: Callable[[Any], Any],
    mask_fn: Callable[[Any, Any, int], Any],
    optimizer_fn: OptimizerFn,
) -> Rounds:
    """Returns rounds that train the network under a penalty and prune it once.

    Args:
      slim_fn: params -> the same, marked as to be trained under the penalty.
      mask_fn: (params, full masks, level) -> masks.
      optimizer_fn: params, marked -> optimizer state.
    """

    def open_round(key, params, model_state, masks):
        del key
        marked = slim_fn(params)
        return Trained(marked, model_state, slim_fn(masks), optimizer_fn(marked))

    def harvest(key, trained, level):
        del key
        (params,), (full,) = trained.params, trained.masks
        masks = mask_fn(params, full, level)
        return Trained(masks_lib.apply(params, masks), trained.model_state, masks)

    return Rounds(
        open=open_round,
        again=lambda key, trained, level: trained,
        weights=lambda trained: (trained.params[0], trained.model_state),
        harvest=harvest,
    )
