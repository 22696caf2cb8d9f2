"""Which examples form step t: a permutation an epoch, in batches of one size."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax.data.splits import Split

Carry = TypeVar("Carry")


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Returns ceil(size / batch_size), the number of batches an epoch has.

    Raises:
      ValueError: There is no batch of that size.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(
            f"batch_size must be from 1 to the {size} train images there are, got "
            f"batch_size = {batch_size}"
        )
    return -(-size // batch_size)


def permutation(key: jax.Array, epoch: jax.typing.ArrayLike, size: int) -> jax.Array:
    """Returns the order in which an epoch visits the examples.

    argsort(bits),  bits = 32 random bits an example, of fold_in(key, epoch)

    One sort in place of the several of `jax.random.permutation`, whose repeats guard
    against equal bits; here those keep their order, once in 2^32 pairs.

    Args:
      key: A PRNG key.
      epoch: Number of passes over the data before this one [].
      size: Number of examples.

    Returns:
      The numbers below `size` [size], int32.
    """
    bits = jax.random.bits(jax.random.fold_in(key, epoch), (size,), jnp.uint32)
    return jnp.argsort(bits).astype(jnp.int32)


def over_steps(
    key: jax.Array,
    body: Callable[[jax.Array, jax.Array, Carry], Carry],
    carry: Carry,
    pause: Callable[[jax.Array, Carry], Carry] = lambda at, carry: carry,
    *,
    size: int,
    batch_size: int,
    start: jax.typing.ArrayLike,
    stop: jax.typing.ArrayLike,
    every: int | None = None,
) -> Carry:
    """Returns `carry` after `body(step, indices, carry)` for steps start to stop - 1.

    Step t of epoch e = t // S, with S = ceil(size / batch_size), takes the examples

      (P_e, P_{e+1})[(t - e S) batch_size :][: batch_size],  P_e = permutation(key, e)

    so that the last batch of an epoch is filled from the beginning of the next order,
    which the next epoch starts from all the same. (Released codes end an epoch with a
    smaller batch, or leave the rest out.) What a step sees depends on nothing but `key`
    and t: a run cut anywhere and continued is the same run.

    An epoch costs one sort, and a call one more. So call it once a dispatch; what is
    due now and then (a validation, say) belongs in `pause`, not into the inner loop.
    The order of the next epoch is found only where this one comes to its end.

    Args:
      key: A PRNG key that is used for nothing else; it may be batched by `vmap`.
      body: One step, given its number [] and the indices of its examples [batch_size],
        both int32.
      carry: A pytree; it may be batched by `vmap`.
      pause: (at, carry) -> carry, called before step `at` [] where that is a multiple
        of `every` or the end of an epoch, and at `stop`; never at `start`.
      size: Number of examples.
      batch_size: Number of examples a step.
      start: First step [], traced or not; not batched.
      stop: Step after the last [], traced or not; not batched.
      every: Steps between two pauses within an epoch; None for none.

    Raises:
      ValueError: `batch_size` is not from 1 to `size`.
    """
    steps = steps_per_epoch(size, batch_size)
    fill, every = steps * batch_size - size, every or steps
    start, stop = jnp.asarray(start, jnp.int32), jnp.asarray(stop, jnp.int32)

    def pass_over_data(epoch, loop):
        order, carry = loop
        following = lax.cond(
            (epoch + 1) * steps <= stop,
            lambda: permutation(key, epoch + 1, size),
            lambda: order,
        )
        joined = jnp.concatenate([order, following[:fill]])
        first = epoch * steps

        def one(step, carry):
            at = (step - first) * batch_size
            return body(step, lax.dynamic_slice(joined, (at,), (batch_size,)), carry)

        end = jnp.minimum(stop, first + steps)

        def stretch(loop):
            at, carry = loop
            until = jnp.minimum(end, (at // every + 1) * every)
            return until, pause(until, lax.fori_loop(at, until, one, carry))

        begun = jnp.maximum(start, first), carry
        return following, lax.while_loop(lambda loop: loop[0] < end, stretch, begun)[1]

    epochs = start // steps, (stop + steps - 1) // steps
    order = permutation(key, epochs[0], size)
    return lax.fori_loop(*epochs, pass_over_data, (order, carry))[1]


def take(split: Split, indices: jax.Array) -> Split:
    """Returns the examples at `indices` of a split that lies on the device.

    The indices are not checked (those of `over_steps` are right): JAX's own indexing
    fills in for the ones out of bounds, and took up to twice the time on a CPU.

    Args:
      split: Inputs [n, ...] and labels [n, ...], on the device.
      indices: Numbers below n [batch_size].

    Returns:
      Inputs [batch_size, ...] and labels [batch_size, ...].
    """
    return Split(*(x.at[indices].get(mode="promise_in_bounds") for x in split))


def chunks(split: Split, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a split cut into batches of one size for evaluation, the last one padded.

    Args:
      split: Inputs [n, ...], such as images [n, h, w, c], and labels [n, ...].
      batch_size: Number of examples a batch, B.

    Returns:
      Inputs [ceil(n / B), B, ...], labels [ceil(n / B), B, ...], and weights float32
      [ceil(n / B), B]: 1 for an example, 0 for padding, which is zeros.

    Raises:
      ValueError: `batch_size` is less than 1.
    """
    if batch_size < 1:
        raise ValueError(
            f"batch_size must be at least 1, got batch_size = {batch_size}"
        )
    size = len(split.labels)
    count = -(-size // batch_size)
    weights = np.ones(size, np.float32)

    def padded(array):
        widths = [(0, count * batch_size - size)] + [(0, 0)] * (array.ndim - 1)
        return np.pad(array, widths).reshape(count, batch_size, *array.shape[1:])

    return padded(split.images), padded(split.labels), padded(weights)
