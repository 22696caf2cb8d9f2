"""What a network is worth on a set: the means of its loss and accuracy."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from lthjax.devices import meshes
from lthjax.training import losses
from lthjax.training.members import member as member
from lthjax.training.members import population as population
from lthjax.training.members import stack as stack
from lthjax.training.members import together as together


def counter(apply_fn: Callable, prepare_fn: Callable) -> Callable:
    """Returns (params, model_state, chunk) -> sums over the images of a chunk.

    The sums [3] are of losses, in nats, of correct answers, and of weights; a chunk is
    (images [batch, ...], labels [batch], weights [batch]), as `evaluator` has them.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, state).
      prepare_fn: uint8 images -> normalised images.
    """

    def count(params, model_state, chunk):
        images, labels, weights = chunk
        logits, _ = apply_fn(params, model_state, prepare_fn(images), False)
        loss = jnp.sum(losses.cross_entropy(logits, labels) * weights)
        correct = jnp.sum(losses.correct(logits, labels) * weights)
        return jnp.stack([loss, correct, jnp.sum(weights)])

    return count


def evaluator(
    apply_fn: Callable, prepare_fn: Callable, *, axis_name: str | None = None
) -> Callable:
    """Returns (params, model_state, examples) -> (mean loss in nats, accuracy).

    `examples` are (images [n, batch, ...], labels [n, batch], weights [n, batch]), the
    weights 1, or 0 for what only fills the last batch: `batches.chunks`.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, state).
      prepare_fn: uint8 images -> normalised images.
      axis_name: The mesh axis whose devices share every batch and add up their sums.
    """

    count = counter(apply_fn, prepare_fn)

    def evaluate(params, model_state, examples):
        def add(sums, chunk):
            rows = meshes.share(chunk, axis_name)
            return sums + count(params, model_state, rows), None

        sums, _ = lax.scan(add, jnp.zeros(3), tuple(examples))
        loss, correct, total = sums if axis_name is None else lax.psum(sums, axis_name)
        return loss / total, correct / total

    return evaluate
