"""What gates are made from, and what they are handed beside."""

import jax
import jax.numpy as jnp

from lthjax import values
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


def check_weights(name: str, w: jax.Array, gates: jax.Array) -> None:
    """Refuses weights that gates cannot multiply one by one.

    Args:
      name: Of the leaf.
      w: Its weights.
      gates: Its gates, or what they multiply by.

    Raises:
      ValueError: The weights are whole numbers, or the gates have another shape.
    """
    values.check_floating(name, w.dtype)
    if jnp.shape(gates) != jnp.shape(w):
        raise ValueError(
            "gates must have the shape of their parameter, one for each weight, got "
            f"{name or 'a leaf'} = {jnp.shape(gates)} for {jnp.shape(w)}; make them by "
            "gates.init(masks.full(params), initial)"
        )
