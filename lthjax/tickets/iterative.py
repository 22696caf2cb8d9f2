"""Iterative and one-shot pruning, after training or before, with every restart.

All train the dense network, then prune and retrain level after level. The iterative
search prunes what the last level trained; one-shot prunes the trained dense network
again for each level; pruning at initialisation prunes the network before its training.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax.callables import PruneFn
from lthjax.pruning.masks import Params
from lthjax.tickets.ticket import ModelState, Search, Ticket, Trained, dense, resumed


class State(NamedTuple):
    """What a search remembers.

    Attributes:
      params: The parameters at step `rewind_to` of the dense training.
      model_state: Its batch statistics at that step.
      dense: For one-shot pruning, the dense network as far as it is trained.
    """

    params: Params
    model_state: ModelState
    dense: Trained | None = None


class Restart(NamedTuple):
    """Where the levels of a search begin and end.

    Attributes:
      late: The step of the dense training that weights are rewound to, 0 if none.
      steps: The length of the dense training.
      start: The step at which a pruned level begins.
      until: The one after its last.
      rewinds: Whether a pruned level begins with the weights of `late`.
    """

    late: int
    steps: int
    start: int
    until: int
    rewinds: bool


def iterative(
    prune_fn: PruneFn,
    *,
    levels: int,
    steps: int,
    rewind_to: int = 0,
    restart: str = "weights",
) -> Search:
    """Trains, prunes, restarts and retrains, `levels` times.

    Where a level restarts, with T = `steps` and k = `rewind_to`:

        restart          weights                  schedule        trains
        "weights"        of step k, dense run     from step k     k to T
        "learning_rate"  end of the last level    from step k     k to T
        "fine_tune"      end of the last level    held            T to T + (T - k)
        "continue"       end of the last level    from step 0     0 to T

    Batch statistics go with the weights. Momentum starts from zero at every level but
    the dense one, which trains through step k undisturbed.

    Args:
      prune_fn: (key, trained, level) -> masks, inside `trained.masks`.
      levels: How many prunings there are.
      steps: T, the length of the dense training.
      rewind_to: k, in [0, T).
      restart: One of the four above.

    Raises:
      ValueError: `restart` is unknown, or `rewind_to` is not in [0, T).

    References:
      Frankle and Carbin, 2019, arXiv:1803.03635 (weights, k = 0, and "continue", its
      strategy of continued training); Frankle et al., 2019, arXiv:1912.05671 (k > 0);
      Renda et al., 2020, arXiv:2003.02389 (learning-rate rewinding, fine-tuning, with
      T - k as the retraining time). Departure: open_lth's dense run restarts with empty
      momentum at step k; ours keeps it, so that level 0 is ordinary training. What
      level n prunes is what level n - 1 trained to, the last step.
    """
    return _search(prune_fn, levels, _restart(steps, rewind_to, restart), one=False)


def one_shot(
    prune_fn: PruneFn,
    *,
    levels: int,
    steps: int,
    rewind_to: int = 0,
    restart: str = "weights",
) -> Search:
    """Prunes the trained dense network once for each level, and retrains it.

    As `iterative`, but the "end of the last level" is always the end of the dense
    training, and so are the scores: the levels do not build on one another.

    Args:
      prune_fn: (key, trained, level) -> masks, inside `trained.masks`.
      levels: How many sparsities there are.
      steps: T, the length of the dense training.
      rewind_to: k, in [0, T).
      restart: As for `iterative`.

    Raises:
      ValueError: As for `iterative`.

    References:
      Renda et al., 2020, arXiv:2003.02389, its one-shot curves.
    """
    return _search(prune_fn, levels, _restart(steps, rewind_to, restart), one=True)


def at_init(
    prune_fn: PruneFn,
    *,
    levels: int,
    steps: int,
    rewind_to: int = 0,
    restart: str = "weights",
) -> Search:
    """Prunes the network before its training once for each level, and trains it.

    With `rewind_to` = k the network is pruned at step k of the dense training, and goes
    on from there. Level 0 is the dense network all the same: what the others are
    compared with.

    Args:
      prune_fn: (key, untrained, level) -> masks, inside `untrained.masks`, all full.
      levels: How many sparsities there are.
      steps: T, the length of the dense training.
      rewind_to: k, in [0, T).
      restart: "weights"; there is nothing else to restart from.

    Raises:
      ValueError: As for `iterative`, or `restart` is another one.

    References:
      Lee et al., 2019, arXiv:1810.02340 (k = 0); Frankle et al., 2021,
      arXiv:2009.08576 (pruning at step k, and the controls).
    """
    if restart != "weights":
        raise ValueError(
            "pruning at initialisation trains each level from the weights it was "
            f"pruned at, got restart = {restart!r}; give 'weights'"
        )
    found = _restart(steps, rewind_to, restart)
    return _search(prune_fn, levels, found, one=False, early=True)


def span(steps: int, rewind_to: int, restart: str) -> tuple[int, int]:
    """Returns the (first step, step after the last) of a pruned level's training.

    Args:
      steps: T, the length of the dense training.
      rewind_to: k, in [0, T).
      restart: As for `iterative`.

    Raises:
      ValueError: As for `iterative`.
    """
    found = _restart(steps, rewind_to, restart)
    return found.start, found.until


def _restart(steps, rewind_to, restart):
    if not 0 <= rewind_to < steps:
        raise ValueError(
            f"rewind_to must be in [0, {steps}), the steps of the dense training, got "
            f"rewind_to = {rewind_to}"
        )
    spans = {
        "weights": (rewind_to, steps),
        "learning_rate": (rewind_to, steps),
        "fine_tune": (steps, 2 * steps - rewind_to),
        "continue": (0, steps),
    }
    if restart not in spans:
        raise ValueError(
            f"restart must be one of {', '.join(spans)}, got restart = {restart!r}"
        )
    rewinds = restart == "weights"
    return Restart(rewind_to if rewinds else 0, steps, *spans[restart], rewinds)


def _search(prune_fn, levels, restart, *, one, early=False):
    def init(key, params, model_state, masks):
        del key
        ticket = dense(params, model_state, masks, restart.late or restart.steps)
        start = Trained(ticket.params, model_state, masks) if one else None
        return State(ticket.params, model_state, start), ticket

    def step(key, state, ticket, trained):
        if ticket.level == 0 and ticket.until < restart.steps:
            state = state._replace(
                params=trained.params, model_state=trained.model_state
            )
            return state, resumed(ticket, trained, restart.steps)
        if one and ticket.level == 0:
            state = state._replace(dense=trained._replace(opt_state=None))
        if ticket.level >= levels:
            return state, None
        source = state.dense if one else trained
        if early:
            full = jax.tree.map(jnp.ones_like, trained.masks)
            source = Trained(state.params, state.model_state, full)
        masks = prune_fn(key, source, ticket.level + 1)
        weights = state if restart.rewinds else source
        point = weights.params, weights.model_state
        span = restart.start, restart.until
        return state, Ticket(ticket.level + 1, *span, *point, masks)

    return Search(init, step)


SEARCHES = {"iterative": iterative, "one_shot": one_shot, "at_init": at_init}
