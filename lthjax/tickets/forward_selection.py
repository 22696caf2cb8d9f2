"""Greedy forward selection as a search: pre-train, choose channels, fine-tune."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from lthjax.tickets.ticket import Search, Ticket, Trained, dense


class State(NamedTuple):
    """How far a selection is.

    Attributes:
      layer: How many layers are done, int32 [].
      counts: How often each channel is chosen so far, float32 [size] of every layer.
    """

    layer: jax.Array
    counts: tuple[jax.Array, ...]


class Selection(NamedTuple):
    """What chooses the channels of a trained network.

    Attributes:
      begin: params -> State, nothing chosen.
      grow: (key, trained, State) -> iterator of States, one after every choice, until
        all layers are done.
      end: (trained, State) -> (params, masks), the weights of the selection folded into
        the parameters.
    """

    begin: Callable[[Any], State]
    grow: Callable[[jax.Array, Trained, State], Iterator[State]]
    end: Callable[[Trained, State], tuple[Any, Any]]


def forward(selection: Selection, *, steps: int, draw_at: int, tune: int) -> Search:
    """Trains the dense network, selects its channels, and fine-tunes what is selected.

    The fine-tuning takes the steps T to T + `tune`, whose rates are the schedule's
    business, from fresh momentum.

    Args:
      selection: What chooses the channels.
      steps: T, the length of the schedule of the pre-training.
      draw_at: The step at which the selection is made, in (0, T].
      tune: Steps of fine-tuning, at least one.

    Raises:
      ValueError: `draw_at` or `tune` is out of its range.

    References:
      Ye et al., 2020, arXiv:2003.01794; Wolfe et al., 2021, arXiv:2108.00259.
      Departures: no fine-tuning between the layers (a tenth of an epoch in the released
      code). Batch statistics stay those of the dense network while channels are chosen,
      and are not computed anew for the smaller one: the fine-tuning moves them on.
    """
    if not 0 < draw_at <= steps:
        raise ValueError(f"draw_at must be in (0, {steps}], got draw_at = {draw_at}")
    if tune < 1:
        raise ValueError(f"fine-tuning must take a step at least, got tune = {tune}")

    def init(key, params, model_state, masks):
        del key
        return selection.begin(params), dense(params, model_state, masks, draw_at)

    def between(key, state, ticket, trained):
        return iter(()) if ticket.level else selection.grow(key, trained, state)

    def step(key, state, ticket, trained):
        if ticket.level:
            return state, None
        states = between(key, state, ticket, trained)
        state = functools.reduce(lambda _, later: later, states, state)
        params, masks = selection.end(trained, state)
        weights = params, trained.model_state
        return state, Ticket(1, steps, steps + tune, *weights, masks)

    return Search(init, step, between)
