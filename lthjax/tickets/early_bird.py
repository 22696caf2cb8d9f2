"""Early-bird tickets: the dense training ends by itself once the mask it would draw
has stopped changing.

The search asks for one epoch after another, momentum and all, until the detector
(`tickets.stability`) fires, and goes on with what is left of the schedule on the pruned
network.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Masks
from lthjax.tickets.stability import QUEUE, THRESHOLD, Watch, check, update, watch
from lthjax.tickets.ticket import Search, Ticket, Trained, dense, resumed


class State(NamedTuple):
    """What the search remembers: the detector, and what it said at each epoch.

    Attributes:
      watch: The detector.
      history: The newest distance after each epoch, infinite after the first one, which
        has but one mask, and NaN for those to come, float32 [epochs].
    """

    watch: Watch
    history: jax.Array


def early_bird(
    draw_fn: Callable[[Trained], tuple[Any, Any]],
    *,
    steps: int,
    epoch: int,
    rule: str = "consecutive",
    threshold: float = THRESHOLD,
    queue: int = QUEUE,
    report: Callable[[Any, Ticket], None] = lambda state, ticket: None,
) -> Search:
    """Trains epoch by epoch until the mask stays, draws the ticket, trains it on.

    The ticket goes on from the weights, batch statistics and step at which it was
    drawn, momentum from zero, to the end of the schedule: pre-training costs only the
    epochs up to the draw. Where the detector never fires the ticket is drawn one epoch
    before the end.

    Args:
      draw_fn: trained -> (mask to watch bool [bits], masks of the ticket).
      steps: T, the length of the schedule.
      epoch: Steps between two masks.
      rule: As for `stability.watch`.
      threshold: Of the distances, in (0, 1].
      queue: As for `stability.watch`.
      report: (state, ticket) -> None, told what was drawn.

    Raises:
      ValueError: The schedule has fewer than two epochs, or as for `stability.watch`.

    References:
      You et al., 2020, arXiv:1909.11957, "EB Train". Departures: the schedule goes on
      at the number of completed epochs, and with the drawn weights (the released code
      skips an epoch, and starts from fresh weights). Channels that are watched, and
      ranked, are those that can be pruned (the released code's are those of all batch
      norms, on shortcuts and at the end of a block too). Not built: its training in 8
      bits, and several sparsities watched in one training.
    """
    if not 0 < epoch <= steps // 2:
        raise ValueError(
            f"an early-bird search needs two epochs at least, got {steps} steps of "
            f"which an epoch has {epoch}"
        )
    check(rule, queue, threshold)
    queue = min(queue, max(QUEUE, steps // epoch + 1))  # a longer one is never full

    def init(key, params, model_state, masks):
        del key
        bits = jax.eval_shape(draw_fn, _as_trained(params, model_state, masks))[0].size
        history = jnp.full(steps // epoch, jnp.nan)
        state = State(watch(bits, rule, queue, threshold), history)
        return state, dense(params, model_state, masks, epoch)

    def step(key, state, ticket, trained):
        del key
        if ticket.level:
            return state, None
        at = ticket.until // epoch
        mask, masks = draw_fn(trained)
        seen = update(state.watch, mask, at)
        history = jnp.asarray(state.history)  # of numpy where it was restored
        state = State(seen, history.at[at - 1].set(seen.distances[0]))
        if not seen.fired and ticket.until + epoch < steps:
            return state, resumed(ticket, trained, ticket.until + epoch)
        weights = trained.params, trained.model_state
        drawn = Ticket(1, ticket.until, steps, *weights, masks)
        report(state, drawn)
        return state, drawn

    def describe(state, ticket):
        if not ticket.level:
            return {}
        return {"early_bird": saved(state, ticket.masks, steps=steps, epoch=epoch)}

    return Search(init, step, describe=describe)


def _as_trained(params, model_state, masks):
    return dense(params, model_state, masks, 0)


def saved(state: State, masks: Masks, *, steps: int, epoch: int) -> dict[str, Any]:
    """Returns at which epoch a ticket was drawn, and what that saved of a search.

    Against training to the end, pruning and training again, which is 2 T steps; the
    early-bird ticket is done after T, of which the epochs after the draw are those of
    the smaller network.

    Args:
      state: The state at the draw.
      masks: The ticket's.
      steps: T.
      epoch: Steps of an epoch.

    Returns:
      A dict: whether the detector `fired`, the `epoch` of the draw, `dense_steps` until
      then and those saved, the share `kept`, and the newest `distance`, `None` where
      only one mask was seen.
    """
    fired = bool(state.watch.fired)
    at = int(state.watch.fired_at) if fired else int(state.watch.seen)
    distance = float(state.watch.distances[0])
    leaves = jax.tree.leaves(masks)
    kept = sum(int(mask.sum()) for mask in leaves) / sum(mask.size for mask in leaves)
    return {
        "fired": fired,
        "epoch": at,
        "dense_steps": at * epoch,
        "dense_steps_saved": steps - at * epoch,
        "share_of_pretraining_saved": 1 - at * epoch / steps,
        "kept": kept,
        "distance": distance if math.isfinite(distance) else None,
    }
