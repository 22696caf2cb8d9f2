"""Inner products of a dictionary in full float32, and rows of its Gram matrix.

The rows are computed when they are asked for. A source of them is a pair (store, fetch)
with fetch(store, i, ranks) -> (store, row i), which `lax.scan` can carry.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Source = tuple[Any, Callable[[Any, Any, Any], tuple[Any, jax.Array]]]


def times(left: jax.Array, right: jax.Array) -> jax.Array:
    """Returns a product in full float32, also where the device would use less."""
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)


def floating(*values: jax.typing.ArrayLike) -> list[jax.Array]:
    """Returns arrays of one type, float32 or wider: squares of bytes overflow."""
    dtype = jnp.result_type(*values, jnp.float32)
    return [jnp.asarray(value, dtype) for value in values]


def dictionary(
    features: jax.typing.ArrayLike, target: jax.typing.ArrayLike
) -> list[jax.Array]:
    """Returns (features, target) as floats of one type.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      target: A number for each example [examples].

    Raises:
      ValueError: Their shapes are others.
    """
    features, target = floating(features, target)
    check_rows(features)
    if target.shape != features.shape[1:]:
        raise ValueError(
            f"target must have a number for each of the {features.shape[1]} examples, "
            f"got target.shape = {target.shape}"
        )
    return [features, target]


def check_rows(features: jax.Array) -> None:
    """Refuses what is no dictionary: a row a neuron [neurons, examples].

    Raises:
      ValueError: It has another number of axes, or no neuron or example.
    """
    if features.ndim != 2:
        raise ValueError(
            "features must be [neurons, examples], a row a neuron, got features.shape "
            f"= {features.shape}"
        )
    if not features.size:
        raise ValueError(
            "features must be of a neuron and an example at least, got features of none"
            f", features.shape = {features.shape}"
        )


def computed_rows(features: jax.Array) -> Source:
    """Returns a source that computes every row anew and keeps none.

    Args:
      features: Phi, a row a neuron [neurons, examples].
    """
    examples = features.shape[1]

    def fetch(store, i, ranks):
        del ranks
        return store, times(features, features[i]) / examples

    return (), fetch


def kept_rows(features: jax.Array, most: int, block: int) -> Source:
    """Returns a source that computes rows in blocks, each once, and keeps them.

    A row not yet known comes with the `block` unknown ones of the best ranks, or with
    all of them where fewer are left: at most ceil(neurons / block) blocks are computed,
    and there is room for these.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      most: How many rows will be asked for.
      block: How many are computed at once, at least 1.
    """
    neurons, examples = features.shape
    block = min(block, neurons)
    room = block * min(most, -(-neurons // block))
    rows = jnp.zeros((room, neurons), features.dtype)
    slots = jnp.full(neurons, -1, jnp.int32)

    def fill(store, ranks):
        rows, slots, used = store
        finite = jnp.minimum(ranks, jnp.finfo(ranks.dtype).max)
        _, wanted = lax.top_k(jnp.where(slots < 0, -finite, -jnp.inf), block)
        new = times(features[wanted], features.T) / examples
        rows = lax.dynamic_update_slice(rows, new, (used, jnp.int32(0)))
        numbers = used + jnp.arange(block, dtype=jnp.int32)
        return rows, slots.at[wanted].set(numbers), used + block

    def fetch(store, i, ranks):
        known = store[1][i] >= 0
        store = lax.cond(known, lambda s, _: s, fill, store, ranks)
        return store, store[0][store[1][i]]

    return (rows, slots, jnp.int32(0)), fetch
