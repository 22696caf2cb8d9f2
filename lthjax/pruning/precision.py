"""What is computed in float32 although parameters are held in less."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.pruning.masks import Params


def widened(tree: Any) -> Any:
    """Returns a tree whose floats are float32 at least; what is no float stays."""
    return jax.tree.map(_wide, tree)


def _wide(x):
    dtype = jnp.result_type(x)
    floating = jnp.issubdtype(dtype, jnp.floating)
    return jnp.asarray(x, values.wide(dtype) if floating else dtype)


def beside(x: jax.Array, *scalars: Any) -> tuple[jax.Array, ...]:
    """Returns an array, and scalars beside it, in float32, or in its type if wider.

    Args:
      x: Floats.
      *scalars: Numbers, which may be traced; whatever their type, it widens nothing.
    """
    dtype = values.wide(x.dtype)
    return x.astype(dtype), *(jnp.asarray(number, dtype) for number in scalars)


def floating(tree: Any) -> Any:
    """Returns a tree whose whole numbers are float32, in which none comes round."""

    def one(x):
        whole = jnp.issubdtype(jnp.result_type(x), jnp.integer)
        return jnp.asarray(x, jnp.float32) if whole else x

    return jax.tree.map(one, tree)


def as_of(tree: Any, model: Any) -> Any:
    """Returns a tree in the types of the leaves of a model of the same structure."""
    return jax.tree.map(lambda x, y: x.astype(jnp.result_type(y)), tree, model)


def in_float32(
    loss_fn: Callable[..., jax.Array], params: Params
) -> tuple[Callable[..., jax.Array], Params]:
    """Returns a loss, and parameters, whose derivatives are added up in float32.

    The network computes in the types that it has: the loss hands it its own.

    Args:
      loss_fn: (params, ...) -> loss [].
      params: The parameters, of one type or of several.
    """

    def loss(wide, *rest):
        return loss_fn(as_of(wide, params), *rest)

    return loss, widened(params)


def signed(number: Any) -> Any:
    """Returns whole numbers in int32 where their type has no sign, or fewer bits.

    A difference of those without a sign would wrap round.

    Args:
      number: A number, or an array; it may be traced. Other types stay as they are.
    """
    dtype = jnp.result_type(number)
    if not jnp.issubdtype(dtype, jnp.integer) or dtype in (jnp.int32, jnp.int64):
        return number
    most = min(jnp.iinfo(dtype).max, values.LARGEST - 1)
    return jnp.minimum(number, most).astype(jnp.int32)
