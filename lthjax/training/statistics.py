"""Batch statistics of a network taken anew, from examples."""

import jax

from lthjax import models
from lthjax.analysis import barriers, comparison
from lthjax.callables import ApplyFn, StatisticsFn


def recomputed(apply_fn: ApplyFn, images: jax.Array) -> StatisticsFn:
    """Returns `analysis.recomputed`, which leaves what the network draws from.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      images: Batches as the network reads them, [number, batch, ...].
    """

    def recompute(params, model_state):
        def passed(params, state, images, train):
            logits, after = apply_fn(params, {**model_state, **state}, images, train)
            return logits, models.statistics(after)

        moving = models.statistics(model_state)
        found = barriers.recomputed(passed, images)(params, moving)
        return comparison.like(model_state, {**model_state, **found})

    return recompute
