"""What a tree must be to be written to a checkpoint, and read back as it was."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore


def check(tree: Any) -> None:
    """Refuses what cannot be written, before what stands at a path is replaced.

    Raises:
      ValueError: The tree is empty, or an array of it is; a leaf is no number, or a
        key, which orbax cannot write; or two leaves have one name where points and
        levels are the same.
    """
    if tree is None or (isinstance(tree, dict | list | tuple) and not tree):
        raise ValueError(
            f"a checkpoint must be of a tree that holds something, got {tree}"
        )
    known: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        other = known.setdefault(name.replace("/", "."), name)
        if other != name:
            raise ValueError(
                "the leaves of a checkpoint must have names that differ with points "
                f"for levels too, got {other} and {name}; rename one"
            )
        _check_leaf(name, leaf)


def native(tree: Any) -> Any:
    """Returns a tree whose arrays have their bytes in the order of this machine."""

    def ordered(leaf):
        dtype = getattr(leaf, "dtype", None)
        other = isinstance(dtype, np.dtype) and not dtype.isnative
        return leaf.astype(dtype.newbyteorder("=")) if other else leaf

    return jax.tree.map(ordered, tree)


def in_jax(array: Any) -> Any:
    """Returns an array of JAX; of 64 bits it stays numpy's where they are off there.

    A number of Python stays one.
    """
    if not isinstance(array, np.ndarray):
        return array
    kept = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
    return jnp.asarray(array) if kept else array


def _check_leaf(name, leaf):
    if not np.size(leaf):
        raise ValueError(
            "every array of a checkpoint must have an element, got "
            f"{name} of shape {list(np.shape(leaf))}; leave it out"
        )
    dtype = getattr(leaf, "dtype", None)
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(
            "a checkpoint must be of numbers, got keys in "
            f"{name}; save jax.random.key_data of them"
        )
    if not _is_number(leaf, dtype):
        what = type(leaf).__name__ if dtype is None else dtype
        raise ValueError(
            f"a checkpoint must be of numbers, got {what} in {name}; keep it in the "
            "metadata, or cast it"
        )


def _is_number(leaf, dtype):
    """Says whether a leaf is of a type that the files of a checkpoint hold."""
    try:
        tensorstore.dtype((dtype or np.asarray(leaf).dtype).name)
    except ValueError:
        return False
    return dtype is not None or not isinstance(leaf, complex)
