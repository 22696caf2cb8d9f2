"""Soft thresholds: weights shrunk towards zero by as much as their layer has learnt.

A threshold is a logit s for each layer, `None` where the layer is never pruned. All
grow, by weight decay on s, from a value whose threshold is zero.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import moved, values
from lthjax.gates import checks
from lthjax.pruning import precision
from lthjax.pruning.masks import Masks, Params, path_name

Logits = Any


def init(masks: Masks, initial: jax.typing.ArrayLike) -> Logits:
    """Returns one logit for each prunable layer, float32 [].

    Args:
      masks: A mask tree, which says what is prunable.
      initial: The logit; at -3200 the threshold is zero, and the network dense.

    Raises:
      ValueError: A leaf is not bool: these are no masks, but parameters perhaps.

    Example:
      >>> masks = {"kernel": jnp.ones((2, 2), bool), "bias": None}
      >>> lth.gates.soft_threshold.init(masks, -5.0)
      {'bias': None, 'kernel': Array(-5., dtype=float32)}
    """
    checks.check_masks(masks)
    initial = jnp.asarray(initial, jnp.float32)
    return jax.tree.map(lambda mask: initial, masks)


def thresholds(logits: Logits) -> Logits:
    """Returns `sigmoid(s)` of every layer.

    Args:
      logits: s.

    Example:
      >>> lth.gates.soft_threshold.thresholds({"kernel": jnp.float32(0.0)})
      {'kernel': Array(0.5, dtype=float32)}
    """
    return jax.tree.map(jax.nn.sigmoid, logits)


def shrink(params: Params, thresholds: Logits) -> Params:
    """Returns `sign(w) max(|w| - t, 0)`, computed in float32 at least.

    The derivative by w is 1 where `|w| > t`, else 0; that by t is -sign(w) there.

    Args:
      params: A tree of weights w.
      thresholds: t of each layer; `None` leaves the leaf as it is.

    Raises:
      ValueError: A leaf with a threshold is of whole numbers.

    Example:
      >>> params = {"kernel": jnp.array([3.0, -2.0, 0.5])}
      >>> lth.gates.soft_threshold.shrink(params, {"kernel": jnp.float32(1.0)})
      {'kernel': Array([ 2., -1.,  0.], dtype=float32)}

    References:
      Kusupati et al., 2020, arXiv:2002.03231, soft threshold reparameterisation.
    """

    def shrunk(path, w, t):
        if t is None:
            return w
        values.check_floating(path_name(path), w.dtype)
        wide = w.astype(np.promote_types(values.wide(w.dtype), t.dtype))
        size = jnp.abs(wide)
        left = jax.nn.relu(size - t.astype(size.dtype))
        return (jnp.sign(wide) * left.astype(wide.dtype)).astype(w.dtype)

    return jax.tree_util.tree_map_with_path(shrunk, params, thresholds)


def price(logits: Logits) -> jax.Array:
    """Returns `sum of s^2 / 2`: by a factor of d, weight decay of d on the logits.

    It is computed in float32 at least.

    Args:
      logits: s.

    Example:
      >>> logits = {"first": jnp.float32(2.0), "second": jnp.float32(4.0)}
      >>> float(lth.gates.soft_threshold.price(logits))
      10.0
    """
    leaves = jax.tree.leaves(precision.widened(logits))
    total: Any = sum(jnp.square(s) for s in leaves)
    return total / 2


moved.answers(__name__)
