"""What the server makes of the weights that clients send."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.pruning.masks import Masks, Params

EXACT = jax.lax.Precision.HIGHEST  # an accelerator's default would round to bfloat16


def shares(sizes: jax.Array, present: jax.Array) -> jax.Array:
    """Returns what each client counts: `n_k / n` of those that are there, else 0.

    Args:
      sizes: Their examples n_k, int32 [m]; or what else they count, at least 0.
      present: Who is there, bool [m].

    Returns:
      float32 [m], the sum 1, or 0 where nobody is.
    """
    own = jnp.where(present, sizes, 0).astype(jnp.float32)
    total = jnp.sum(own)
    return own / jnp.where(total > 0, total, 1)


def zero_fill(old: Params, params: Params, masks: Masks, share: jax.Array) -> Params:
    """Returns the mean over clients, pruned weights counted as zeros.

        w = sum_k share_k where(m_k, w_k, 0);  w = old where nobody counts

    Means of whole numbers are rounded to the nearest.

    Args:
      old: The global weights before.
      params: The clients' [m, ...].
      masks: Theirs [m, ...].
      share: What each counts [m]; what counts 0 may be NaN.

    References:
      McMahan et al., 2017, arXiv:1602.05629; Seo et al., 2021, arXiv:2104.12501, III-D.
    """
    there = jnp.sum(share) > 0

    def one(before, w, mask):
        mean = _summed(share, _held(share, w, mask))
        return jnp.where(there, _cast(mean, before.dtype), before)

    return jax.tree.map(one, old, params, masks)


def mask_mean(old: Params, params: Params, masks: Masks, share: jax.Array) -> Params:
    """Returns the mean over those clients that keep a weight; the old one where none.

        w = sum_k share_k m_k w_k / sum_k share_k m_k

    Means of whole numbers are rounded to the nearest.

    Args:
      old: The global weights before.
      params: The clients' [m, ...].
      masks: Theirs [m, ...].
      share: What each counts [m]; what counts 0 may be NaN.

    References:
      Li et al., 2020, arXiv:2008.03371, whose code counts clients, not examples.
    """

    def one(before, w, mask):
        kept = jnp.ones_like(w) if mask is None else mask.astype(w.dtype)
        total = _summed(share, kept)
        mean = _summed(share, _held(share, w, mask)) / jnp.where(total > 0, total, 1)
        return jnp.where(total > 0, _cast(mean, before.dtype), before)

    return jax.tree.map(one, old, params, masks)


def none(old: Params, params: Params, masks: Masks, share: jax.Array) -> Params:
    """Returns the old weights: nothing is sent."""
    del params, masks, share
    return old


def _held(share, w, mask):
    """Returns the weights [m, ...] that count and are kept, zeros for the others."""
    there = (share > 0).reshape(-1, *[1] * (w.ndim - 1))
    return jnp.where(there if mask is None else there & mask, w, 0)


def _cast(mean, dtype):
    """Returns a mean in the type of its leaf, rounded where that is of integers."""
    whole = jnp.issubdtype(dtype, jnp.integer)
    return (jnp.round(mean) if whole else mean).astype(dtype)


def _summed(share, leaf):
    return jnp.tensordot(share, leaf, 1, precision=EXACT)


def by_name(name: str) -> Callable[..., Params]:
    """Returns the aggregation of a name in `AGGREGATIONS`, or a user's own."""
    return registry.resolve(name, AGGREGATIONS, "aggregation")


AGGREGATIONS = {"zero_fill": zero_fill, "mask_mean": mask_mean, "none": none}
