"""The k highest of many ranks, the first of equal ones, by counting alone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BITS = 32
_SMALL = 2**16  # numbers


@jax.jit
def of(ranks: Sequence[jax.Array], k: int | jax.Array) -> list[jax.Array]:
    """Returns which are the k highest ranks over all leaves, the first ones on a tie.

    The k-th highest rank t is the largest number with at least k ranks at or above it,
    and of those that equal it the first ones end before the largest place that leaves
    no more than are wanted: both are built bit by bit, each pass only counting. No
    sort, no running sum, no copy but of small leaves.

    What is above t and what equals it are told where t is found, inside the loop: a
    compiler may compute ranks anew wherever they are read, with other roundings.

    Args:
      ranks: uint32 [n] of each leaf; those of 0 are never chosen.
      k: How many; it may be traced. Of fewer that are above 0, all are.

    Returns:
      bool [n] of each leaf.
    """
    leaves = _joined(ranks)
    rows = [jnp.concatenate(row) for row in leaves]
    k = jnp.minimum(jnp.asarray(k, jnp.int32), _count(row > 0 for row in rows))
    above, equal = _threshold(rows, k)
    room = k - _count(above)
    starts = np.cumsum([0, *(row.size for row in rows)], dtype=np.uint32)

    def first(end):
        for row, start in zip(equal, starts[:-1], strict=True):
            yield row & (start + lax.iota(jnp.uint32, row.size) < end)

    end = _largest(int(starts[-1]).bit_length(), lambda end: _count(first(end)) <= room)
    chosen = []
    for high, tied, parts in zip(above, first(end), leaves, strict=True):
        ends = np.cumsum([part.size for part in parts])[:-1]
        chosen += jnp.split(high | tied, ends)
    return chosen


def _threshold(rows, k):
    """Returns which ranks are above the k-th highest, and which are equal to it."""

    def told(t):
        return [row > t for row in rows], [(row == t) & (t > 0) for row in rows]

    def bit(i, carry):
        t = _with_bit(
            carry[0], BITS - 1 - i, lambda t: _count(r >= t for r in rows) >= k
        )
        return t, *lax.cond(i == BITS - 1, told, lambda _: carry[1:], t)

    nothing = [jnp.zeros_like(row, bool) for row in rows]
    return lax.fori_loop(0, BITS, bit, (jnp.uint32(0), nothing, nothing))[1:]


def _joined(ranks):
    """Returns the leaves in rows, small neighbours in one, which compiles faster."""
    rows: list[list] = []
    for leaf in ranks:
        if rows and max(leaf.size, rows[-1][0].size) <= _SMALL:
            rows[-1].append(leaf)
        else:
            rows.append([leaf])
    return rows


def _count(rows):
    return sum(jnp.sum(row, dtype=jnp.int32) for row in rows)


def _largest(bits, holds):
    """Returns the largest uint32 of so many bits of which something holds.

    Args:
      bits: How many.
      holds: Number -> bool; of 0, and of all numbers below one of which it holds.
    """

    def bit(i, number):
        return _with_bit(number, bits - 1 - i, holds)

    return lax.fori_loop(0, bits, bit, jnp.uint32(0))


def _with_bit(number, place, holds):
    """Returns the number with one more bit if something holds of that, else without."""
    candidate = number | (jnp.uint32(1) << place.astype(jnp.uint32))
    return jnp.where(holds(candidate), candidate, number)
