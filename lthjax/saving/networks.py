"""The weights of a network, wherever they were saved: a file, or a folder of ours."""

import functools
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import traverse_util

from lthjax.pruning.masks import path_name
from lthjax.saving import safetensors as travel
from lthjax.saving import tickets
from lthjax.saving.checkpoints import DamagedError


def read(path: str | os.PathLike) -> tuple[Any, Any]:
    """Returns the (params, model_state) of a saved network, {} where it has no state.

    A safetensors file that another program wrote has tensors named and shaped as ours,
    `conv1/kernel`, or `conv1.kernel`; those that begin with `batch_stats` are of the
    model state.

    Args:
      path: A file of `saving.safetensors.write` or of another program, or a folder that
        holds a ticket or a trained network.

    Raises:
      DamagedError: It is not there, or not what was saved.
    """
    path = pathlib.Path(path)
    if path.is_dir() and not (path / "metadata").exists():
        raise DamagedError(f"{path} cannot be read: the folder holds no saved network")
    if path.is_dir():
        return _ours(path, tickets.load_trained(path))
    if not path.is_file():
        raise DamagedError(f"{path} cannot be read: there is no such file or folder")
    return _of_file(path)


def _ours(path, found):
    """Returns the (params, model_state) of a network as JAX holds them."""

    def narrow(place, leaf):
        kept = isinstance(leaf, jax.Array)
        return leaf if kept else _narrow(path, path_name(place), leaf)

    trees = found.params, found.model_state
    return tuple(jax.tree_util.tree_map_with_path(narrow, tree) for tree in trees)


def _narrow(path, name, tensor):
    """Returns a tensor as JAX holds it, if its numbers are still what they were."""
    with np.errstate(over="ignore"):
        found = jnp.asarray(tensor)
    whole = np.issubdtype(tensor.dtype, np.integer)
    kept = (
        np.array_equal(found, tensor)
        if whole
        else not np.any(np.isinf(found) & np.isfinite(tensor))
        and not np.any((found == 0) & (tensor != 0))
    )
    if not kept:
        raise DamagedError(
            f"the tensors of {path} must be of 32 bits, or of numbers that are, got "
            f"{name} of {tensor.dtype} with others; set jax_enable_x64"
        )
    return found


def _of_file(path):
    try:
        with safetensors.safe_open(path, framework="np") as file:
            ours = travel.KEY in (file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if ours:
        return _ours(path, travel.read(path)[0])
    tensors = travel.arrays(path)
    rows = {
        name.replace(".", "/").removeprefix("params/"): _narrow(path, name, x)
        for name, x in tensors.items()
    }
    parents = {
        "/".join(n.split("/")[:i]) for n in rows for i in range(1, n.count("/") + 1)
    }
    if len(rows) < len(tensors) or parents & set(rows):
        raise DamagedError(
            f"the tensors of {path} must have names of their own, where a point is a "
            f"level and a first params none, got {', '.join(sorted(tensors)[:8])}"
        )
    state = {n: x for n, x in rows.items() if n.startswith("batch_stats/")}
    params = {n: rows[n] for n in rows if n not in state}
    nested = functools.partial(traverse_util.unflatten_dict, sep="/")
    return nested(params), nested(state)
