"""What gates are made from, and what they are handed beside."""

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Masks


def check_masks(masks: Masks) -> None:
    """Refuses what are no masks, but parameters perhaps.

    Raises:
      ValueError: A leaf is not bool.
    """
    for leaf in jax.tree.leaves(masks):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.bool_):
            raise ValueError(
                "gates are made from masks, whose leaves are bool, got a leaf of "
                f"dtype = {jnp.result_type(leaf)}; give masks.full(params)"
            )
