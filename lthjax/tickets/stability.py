"""When a mask has stopped changing: the detector of early-bird tickets.

A state machine of arrays, which knows nothing of networks: it is shown a mask after
each epoch. It goes under `jit`, and under `vmap` over sparsities or seeds.

References:
  You et al., 2020, arXiv:1909.11957, by its released code, the README of that, and
  notes on the paper, whose text was not at hand.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.pruning import places

QUEUE = 5
THRESHOLD = 0.1
RULES = ("consecutive", "newest")


class Watch(NamedTuple):
    """What the detector remembers.

    Attributes:
      masks: The last masks, the newest first, bool [queue, bits].
      distances: Those that count, of the newest first; infinite where not yet known.
      seen: How many masks it was shown, int32 [].
      limit: The number of differing entries that the distances are held against,
        float32 [].
      strict: Whether they must stay below it, bool []: the rule "consecutive".
      fired: Whether it fired, bool [].
      fired_at: At which epoch, int32 [], -1 before.
      ticket: The mask it fired with, bool [bits].
    """

    masks: jax.Array
    distances: jax.Array
    seen: jax.Array
    limit: jax.Array
    strict: jax.Array
    fired: jax.Array
    fired_at: jax.Array
    ticket: jax.Array


def flatten(masks: Any) -> jax.Array:
    """Returns all entries of a mask tree as one vector, bool [bits].

    Of channels, {group: bool [size]}, or of single weights: any masks can be watched.
    """

    def joined(leaves):
        return jnp.concatenate([mask.ravel() for mask in leaves])

    return places.anywhere(joined, jax.tree.leaves(masks), like=0)


def distance(one: jax.Array, other: jax.Array) -> jax.Array:
    """Returns the fraction of the entries in which two masks differ, float32 [].

    Args:
      one: A mask, bool [bits].
      other: Another of the same shape.

    Raises:
      ValueError: They are of two shapes.
    """
    if one.shape != other.shape:
        raise ValueError(
            "masks to compare must be of one shape, got "
            f"{list(one.shape)} and {list(other.shape)}; see stability.flatten"
        )
    return jnp.sum(one != other).astype(jnp.float32) / one.size


def watch(
    bits: int,
    rule: str = "consecutive",
    queue: int = QUEUE,
    threshold: float = THRESHOLD,
) -> Watch:
    """Returns the detector before it has seen anything.

    What it holds says by which rule and threshold it goes.

    Args:
      bits: The length of a mask.
      rule: "consecutive": the last `queue` distances, each between two epochs that
        follow one another, must be below the threshold (the paper, by its README; it
        fires after 6 masks at the earliest). "newest": the distances from the newest
        mask to those before it in a queue of `queue` masks must be at most the
        threshold (the released code; after 5 masks).
      queue: How many.
      threshold: Of the distances, in (0, 1].

    Raises:
      ValueError: The rule is unknown, the queue too short, the threshold not in (0, 1],
        or there are no bits.
    """
    check(rule, queue, threshold)
    if bits < 1:
        raise ValueError(f"a mask to watch must not be empty, got bits = {bits}")
    length = int(queue) + (rule == "consecutive")
    return Watch(
        jnp.zeros((length, bits), bool),
        jnp.full(length - 1, jnp.inf),
        jnp.int32(0),
        # Compared as counts: a tenth is no float, and a distance may be exactly that.
        jnp.float32(threshold * bits),
        jnp.bool_(rule == "consecutive"),
        jnp.bool_(False),
        jnp.int32(-1),
        jnp.zeros(bits, bool),
    )


def check(rule: str, queue: int, threshold: float) -> None:
    """Refuses what no detector can go by.

    Raises:
      ValueError: The rule is unknown, the queue too short or no whole number, or the
        threshold not in (0, 1].
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got rule = {rule!r}")
    values.whole("queue", queue, 2)
    if not 0 < threshold <= 1:
        raise ValueError(
            "threshold must be in (0, 1], a distance being the share of a mask that "
            f"differs, got threshold = {threshold}"
        )


def update(state: Watch, mask: jax.Array, epoch: jax.typing.ArrayLike) -> Watch:
    """Returns the detector after one more mask; once it has fired it stays so.

    Args:
      state: The detector.
      mask: bool [bits].
      epoch: How many epochs the network behind it has completed, int32 [].

    Raises:
      ValueError: The mask is of another length, or not bool.

    References:
      You et al., 2020, arXiv:1909.11957: its README and its released code, which
      differ, see `watch`.
    """
    if mask.shape != state.ticket.shape or mask.dtype != jnp.bool_:
        raise ValueError(
            f"a mask must be bool {list(state.ticket.shape)}, got "
            f"{mask.dtype} {list(mask.shape)}; see stability.flatten"
        )
    masks = jnp.concatenate([mask[None], state.masks[:-1]])
    before = jnp.where(state.strict, masks[:-1], masks[:1])
    seen = state.seen + 1
    known = jnp.arange(1, len(masks)) < seen
    differing = jnp.sum(before != masks[1:], axis=1)
    shares = differing.astype(jnp.float32) / len(mask)
    distances = jnp.where(known, shares, jnp.inf)
    worst = jnp.max(differing).astype(state.limit.dtype)
    calm = jnp.where(state.strict, worst < state.limit, worst <= state.limit)
    below = calm & jnp.all(known)
    new = below & ~state.fired
    return Watch(
        masks,
        distances,
        seen,
        state.limit,
        state.strict,
        state.fired | below,
        jnp.where(new, jnp.int32(epoch), state.fired_at),
        jnp.where(new, mask, state.ticket),
    )
