"""What a client does with its own examples: it trains for some epochs, and counts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax import values
from lthjax.callables import ApplyFn, PrepareFn
from lthjax.training import zeros
from lthjax.training.objective import CLASSIFICATION, Objective

TrainFn = Callable[..., tuple[Any, jax.Array]]
AccuracyFn = Callable[..., jax.Array]


def trainer(
    apply_fn: ApplyFn,
    prepare_fn: PrepareFn,
    tx: optax.GradientTransformation,
    *,
    epochs: int,
    batch_size: int,
    objective: Objective = CLASSIFICATION,
) -> TrainFn:
    """Returns (params, masks, (images, labels, size), key) -> (params, mean loss).

    In each epoch all examples come once, in an order of the key's, the last batch as
    small as it is. The optimizer is a fresh one, its momentum zero.

    Args:
      apply_fn: (params, {}, inputs, train) -> (outputs, {}).
      prepare_fn: Inputs as they are stored -> as the network takes them.
      tx: The optimizer.
      epochs: How often a client sees each example in a round.
      batch_size: Examples a step.
      objective: Whose loss is minimised.

    Raises:
      ValueError: There is no epoch, or no example in a batch, or a part of one.
    """
    epochs = values.whole("epochs", epochs, 1)
    batch_size = values.whole("batch_size", batch_size, 1)
    tx = zeros.keep(tx)

    def losses(params, images, labels, weights):
        outputs, _ = apply_fn(params, {}, prepare_fn(images), True)
        found = objective.loss(outputs, labels)
        return jnp.sum(found * weights) / jnp.sum(weights)

    def train(params, masks, examples, key):
        images, labels, size = examples

        def step(rows, weights, carry):
            params, state, total = carry
            given = images[rows], labels[rows], weights
            loss, grads = jax.value_and_grad(losses)(params, *given)
            updates, state = tx.update(grads, state, params, masks=masks)
            params = optax.apply_updates(params, updates)
            return params, state, total + loss * jnp.sum(weights)

        def epoch(at, carry):
            order = orders(jax.random.fold_in(key, at), len(labels), size)
            return _in_batches(order, size, batch_size, step, carry)

        carry = params, tx.init(params), jnp.zeros(())
        params, _, total = lax.fori_loop(0, epochs, epoch, carry)
        return params, total / (epochs * size)

    return train


def orders(key: jax.Array, length: int, size: jax.Array) -> jax.Array:
    """Returns the numbers below `size` in a random order, then those of the padding.

    Args:
      key: A PRNG key.
      length: How many there are with the padding.
      size: How many examples there are, int32 [].

    Returns:
      int32 [length].
    """
    bits = jax.random.bits(key, (length,), jnp.uint32) >> 1
    padding = jnp.arange(length) >= size
    return jnp.argsort(jnp.where(padding, jnp.uint32(2**32 - 1), bits)).astype(int)


def _in_batches(order, size, batch_size, step, carry):
    """Returns `carry` after step(rows, weights, carry) of each batch of an order."""
    order = jnp.pad(order, (0, -len(order) % batch_size))
    places = jnp.arange(batch_size)

    def one(at, carry):
        first = at * batch_size
        rows = lax.dynamic_slice(order, (first,), (batch_size,))
        return step(rows, (first + places < size).astype(jnp.float32), carry)

    return lax.fori_loop(0, (size + batch_size - 1) // batch_size, one, carry)


def counter(
    apply_fn: ApplyFn,
    prepare_fn: PrepareFn,
    *,
    batch_size: int,
    objective: Objective = CLASSIFICATION,
) -> AccuracyFn:
    """Returns (params, (images, labels, size)) -> the mean of what is best by [].

    By default it is the accuracy.

    Args:
      apply_fn: As for `trainer`.
      prepare_fn: Likewise.
      batch_size: How many examples are evaluated at once.
      objective: Whose measure `best_by` it is.

    Raises:
      ValueError: What the objective is best by is no mean over examples, or one of
        which less is better: policies ask for more than a threshold. Or no example is
        evaluated at once.
    """
    batch_size = values.whole("batch_size", batch_size, 1)
    best = objective.best_by
    means = sorted(set(objective.measures) & set(objective.higher))
    if best not in means:
        raise ValueError(
            "clients must be measured by a mean over examples of which more is better "
            f"(of this objective: {', '.join(means) or 'none'}), got best_by = {best!r}"
        )
    measure = objective.measures[best]

    def accuracy(params, examples):
        images, labels, size = examples

        def step(rows, weights, total):
            outputs, _ = apply_fn(params, {}, prepare_fn(images[rows]), False)
            return total + jnp.sum(measure(outputs, labels[rows]) * weights)

        order, least = jnp.arange(len(labels)), min(batch_size, len(labels))
        return _in_batches(order, size, least, step, jnp.zeros(())) / size

    return accuracy
