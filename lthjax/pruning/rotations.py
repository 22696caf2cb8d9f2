"""Rotations of one axis of a leaf, and the orthonormal matrices that are known."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import values

EXACT = jax.lax.Precision.HIGHEST  # an accelerator's default would round to bfloat16


class Rotation(NamedTuple):
    """What is done to an axis.

    Attributes:
      sizes: Of the leaf, its axes split as far as is needed.
      at: Which of them.
      matrix: float64 [n, n], its rows the vectors; `None` where it is among the arrays
        of the basis.
      name: By which it is found there.
    """

    sizes: tuple[int, ...]
    at: int
    matrix: np.ndarray | None
    name: str = ""


def rotated(
    x: jax.Array, turn: Rotation, arrays: Mapping[str, Any], *, transposed: bool
) -> jax.Array:
    """Returns an array with one of its axes rotated, in its own shape.

        z_a = sum_b M_ab x_b;  transposed: x_b = sum_a conj(M_ab) z_a

    Args:
      x: Of `turn.sizes` elements, in that order.
      turn: What is done.
      arrays: Of the basis.
      transposed: Whether to turn back.

    Returns:
      Of the type of `x`, turned in float32 at least: rows of less are not orthonormal.
    """
    matrix = arrays[turn.name] if turn.matrix is None else turn.matrix
    given, exact = x.dtype, values.wide(x.dtype)
    matrix, x = jnp.asarray(matrix, exact), x.astype(exact)
    matrix = matrix.conj().T if transposed else matrix
    n = turn.sizes[turn.at]
    after = math.prod(turn.sizes[turn.at + 1 :])
    rows = x.reshape(-1, n, after)
    if after == 1:
        found = jnp.matmul(rows[..., 0], matrix.T, precision=EXACT)
    elif len(rows) == 1:
        found = jnp.matmul(matrix, rows[0], precision=EXACT)
    else:
        found = jnp.einsum("ab,xbc->xac", matrix, rows, precision=EXACT)
    return found.reshape(x.shape).astype(given)


def operations(turn: Rotation) -> int:
    """Returns the multiplications and additions of a rotation."""
    return 2 * turn.sizes[turn.at] * math.prod(turn.sizes)


@functools.lru_cache(maxsize=64)
def dct(n: int) -> np.ndarray:
    """Returns the orthonormal DCT-II, float64 [n, n].

    D_0j = sqrt(1 / n),  D_aj = sqrt(2 / n) cos(pi (2 j + 1) a / (2 n))
    """
    frequency, place = np.mgrid[:n, :n]
    found = np.sqrt(2 / n) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * n))
    found[0] /= np.sqrt(2)
    return np.where(np.abs(found) < 1e-14, 0, found)  # cos(pi / 2) is zero


@functools.lru_cache(maxsize=64)
def hadamard(n: int) -> np.ndarray:
    """Returns Sylvester's orthonormal matrix, float64 [n, n], n a power of two."""
    found = np.ones((1, 1))
    while len(found) < n:
        found = np.block([[found, found], [found, -found]])
    return found / np.sqrt(n)


def product(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the Kronecker product, which turns several axes, flattened, at once."""
    return functools.reduce(np.kron, matrices)
