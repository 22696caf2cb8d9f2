"""Per-example losses and accuracy, from logits and integer labels."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `-log softmax(logits)[label]` of each example, in nats.

    Args:
      logits: float32 [batch, classes].
      labels: int32 [batch].
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns 1.0 for each example whose highest logit is its label's, else 0.0.

    Args:
      logits: float32 [batch, classes].
      labels: int32 [batch].
    """
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
