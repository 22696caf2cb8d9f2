"""What the global network, and those of clients, are worth on each client's classes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import values
from lthjax.callables import ApplyFn, PrepareFn
from lthjax.training import losses, members


def by_class(
    apply_fn: ApplyFn, prepare_fn: PrepareFn, *, classes: int, batch_size: int
) -> Callable[..., jax.Array]:
    """Returns (params, images [n, ...], labels [n]) -> right answers [classes].

    Args:
      apply_fn: (params, {}, inputs, train) -> (outputs, {}).
      prepare_fn: Inputs as they are stored -> as the network takes them.
      classes: How many there are.
      batch_size: How many examples at once.

    Raises:
      ValueError: That is none. In a call: there is no example.
    """
    batch_size = values.whole("batch_size", batch_size, 1)

    def counts(params, images, labels):
        size, least = len(labels), min(batch_size, len(labels))
        if not size:
            raise ValueError("examples to evaluate must be some, got none")

        def one(at, total):
            places = at * least + jnp.arange(least)
            rows = jnp.minimum(places, size - 1)
            outputs, _ = apply_fn(params, {}, prepare_fn(images[rows]), False)
            right = losses.correct(outputs, labels[rows]) * (places < size)
            return total.at[labels[rows]].add(right)

        return lax.fori_loop(0, -(-size // least), one, jnp.zeros(classes))

    return counts


def on_own(right: jax.Array, labels: jax.Array, owned: jax.Array) -> jax.Array:
    """Returns the accuracy of a network on all test examples of each client's classes.

    Args:
      right: How many it has right, by class [classes].
      labels: Of the test split [n]; one below 0 is of no class, and counts nowhere.
      owned: Which classes each client has, bool [K, classes].

    Returns:
      float32 [K].
    """
    labels = jnp.asarray(labels)
    counted = (labels >= 0).astype(jnp.int32)  # bincount takes what is below 0 for 0
    totals = jnp.bincount(labels, counted, length=len(right))
    return jnp.where(owned, right, 0).sum(1) / jnp.where(owned, totals, 0).sum(1)


def of_each(
    accuracy_fn: Callable[..., jax.Array], *, together: int | None = None
) -> Callable[..., jax.Array]:
    """Returns (params [K, ...], rows [K, t], sizes [K], images, labels) -> [K].

    That is the accuracy of each client's network on rows of its own of one test split.

    Args:
      accuracy_fn: As of `local_training.counter`.
      together: As for `members.population`.
    """

    def one(member: Any, images, labels):
        params, rows, size = member
        return accuracy_fn(params, (images[rows], labels[rows], size))

    mapped = members.population(one, together=together)

    def each(params, rows, sizes, images, labels):
        return mapped((params, rows, sizes), images, labels)

    return jax.jit(each)
