"""How important each weight is: a tree of scores, in which higher means keep."""

import jax
import jax.numpy as jnp

from lthjax.masks import Masks, Params


def magnitude(params: Params, masks: Masks) -> Params:
    """Scores a weight by its magnitude: `score = |w|`.

    Args:
      params: The parameters, usually at the end of a training.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is. (Ranking happens in float32:
      bfloat16 weights tie far more often.)

    References:
      Han et al., 2015, arXiv:1506.02626; Frankle and Carbin, 2019, arXiv:1803.03635.
    """
    return jax.tree.map(
        lambda w, mask: None if mask is None else jnp.abs(w).astype(jnp.float32),
        params,
        masks,
    )


def random(key: jax.Array, params: Params, masks: Masks) -> Params:
    """Scores weights at random: `score ~ U[0, 1)`, independent of the weights.

    One `key` gives the same scores at every level, so that pruning by them to ever
    fewer weights gives nested masks.

    Args:
      key: A JAX PRNG key.
      params: The parameters; only their shapes matter.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.
    """
    leaves, treedef = jax.tree.flatten(
        jax.tree.map(lambda w, mask: None if mask is None else w, params, masks)
    )
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.uniform(k, w.shape) for k, w in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)
