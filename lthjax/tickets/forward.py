"""Greedy forward selection as a search: pre-train, choose channels, fine-tune."""

from collections.abc import Callable

from lthjax.tickets.base import Search, Ticket, dense


def forward(select_fn: Callable, *, steps: int, draw_at: int, tune: int) -> Search:
    """Trains the dense network, selects its channels, and fine-tunes what is selected.

    The fine-tuning takes the steps T to T + `tune`, whose rates are the schedule's
    business, from fresh momentum.

    Args:
      select_fn: (key, trained) -> (params, masks): the weights of the selection are
        folded into the parameters.
      steps: T, the length of the schedule of the pre-training.
      draw_at: The step at which the selection is made, in (0, T].
      tune: Steps of fine-tuning, in [1, T].

    Raises:
      ValueError: `draw_at` or `tune` is out of its range.

    References:
      Ye et al., 2020, arXiv:2003.01794; Wolfe et al., 2021, arXiv:2108.00259.
      Departure: no fine-tuning between the layers (a tenth of an epoch in the released
      code).
    """
    if not 0 < draw_at <= steps:
        raise ValueError(f"draw_at must be in (0, {steps}], got draw_at = {draw_at}")
    if not 1 <= tune <= steps:
        raise ValueError(
            f"fine-tuning must take from 1 to {steps} steps, got tune = {tune}"
        )

    def init(key, params, model_state, masks):
        del key
        return (), dense(params, model_state, masks, draw_at)

    def step(key, state, ticket, trained):
        if ticket.level:
            return state, None
        params, masks = select_fn(key, trained)
        weights = params, trained.model_state
        return state, Ticket(1, steps, steps + tune, *weights, masks)

    return Search(init, step)
