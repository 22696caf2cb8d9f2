"""What a server and its clients keep from round to round, and what a round records."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Masks, Params


class Server(NamedTuple):
    """What the server keeps.

    Attributes:
      params: The global weights.
      initial: The first ones, which everybody has, and tickets are rewound to.
      round: How many rounds there were, int32 [].
    """

    params: Params
    initial: Params
    round: jax.Array


class Clients(NamedTuple):
    """What each client keeps; stacked, with the clients in front.

    Attributes:
      masks: Of what it trained last, and sent.
      stage: How many tickets it has drawn, each sparser than the one before, int32 [].
      threshold: What its validation accuracy must exceed to draw one, float32 [].
      params: What it trained last; the first weights before.
    """

    masks: Masks
    stage: jax.Array
    threshold: jax.Array
    params: Params


class Examples(NamedTuple):
    """What each client trains and validates on; stacked, padded to the longest.

    Attributes:
      images: To train on, as they are stored [n, ...].
      labels: Of them [n, ...].
      size: How many of them there are; the rest is padding, int32 [].
      held_images: To validate on [v, ...].
      held_labels: Of them [v, ...].
      held_size: How many of these there are, int32 [].
    """

    images: jax.Array
    labels: jax.Array
    size: jax.Array
    held_images: jax.Array
    held_labels: jax.Array
    held_size: jax.Array


class Record(NamedTuple):
    """What a round did, an entry for each client that was asked.

    Attributes:
      client: Its number, int32 [m].
      dropped: Whether it was lost in this round, before it trained, bool [m].
      finite: Whether what it trained is, bool [m].
      passed: Whether it drew a ticket, bool [m].
      accuracy: Of what it received, on what it validates on, float32 [m].
      loss: The mean loss of its training, float32 [m].
      stage: After the round, int32 [m].
      received: How many prunable weights it was sent, int32 [m].
      sent: How many it sent; 0 where it was lost, int32 [m].
    """

    client: jax.Array
    dropped: jax.Array
    finite: jax.Array
    passed: jax.Array
    accuracy: jax.Array
    loss: jax.Array
    stage: jax.Array
    received: jax.Array
    sent: jax.Array


def begin(
    params: Params, masks: Masks, count: int, *, threshold: float
) -> tuple[Server, Clients]:
    """Returns (server, clients) before the first round.

    Args:
      params: The first weights, of all.
      masks: The full masks, which say what is prunable.
      count: How many clients there are.
      threshold: What they have to exceed at first.

    Raises:
      ValueError: There is no client, or the threshold is not in [0, 1].
    """
    if count < 1:
        raise ValueError(f"there must be a client at least, got count = {count}")
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"a threshold must be an accuracy in [0, 1], got threshold = {threshold}"
        )

    def repeated(leaf):
        return jnp.broadcast_to(leaf, (count, *leaf.shape))

    stage = jnp.zeros(count, jnp.int32)
    own = jax.tree.map(repeated, (masks, params))
    clients = Clients(own[0], stage, jnp.full(count, threshold, jnp.float32), own[1])
    return Server(params, params, jnp.int32(0)), clients


def chosen(condition: jax.Array, yes: Any, no: Any) -> Any:
    """Returns one of two trees of equal structure by a traced condition [] or [m]."""

    def one(a, b):
        shape = condition.shape + (1,) * (jnp.ndim(a) - condition.ndim)
        return jnp.where(condition.reshape(shape), a, b)

    return jax.tree.map(one, yes, no)
