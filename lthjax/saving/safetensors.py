"""A ticket, or a trained network, as one safetensors file: readable without us."""

import importlib.metadata
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from lthjax.saving.checkpoints import DamagedError, checksum
from lthjax.tickets.ticket import Ticket, Trained

KEY = "lthjax"  # of the file's metadata; its value is JSON
TREES = ("params", "model_state", "masks")
NUMBERS = ("level", "step", "until", "searching")
PACKAGES = ("lthjax", "jax", "flax", "safetensors")


def write(path: str | os.PathLike, network: Ticket | Trained, **metadata) -> None:
    """Writes a ticket or a trained network to one file, whole or not at all.

    Every array is a tensor named by its path, such as `params/conv1/kernel` and
    `masks/conv1/kernel`; masks are BOOL. What the arrays do not say is JSON in the
    file's metadata, with a checksum of all: the format itself notices no flipped bit.
    An optimizer state is not written, as `tickets.save` writes none.

    Args:
      path: The file; what stands there is replaced.
      network: Its parameters, statistics and masks are nested dicts of arrays.
      **metadata: What JSON can hold: seed, arm, config.

    Raises:
      ValueError: A tree has other nodes than dicts, or a leaf is no array of numbers.
    """
    kind = "ticket" if isinstance(network, Ticket) else "trained"
    numbers = {name: int(getattr(network, name, 0)) for name in NUMBERS}
    tensors = {}
    tree = {name: _described(getattr(network, name), name, tensors) for name in TREES}
    head = {"kind": kind, "tree": tree, "metadata": metadata, "versions": versions()}
    head |= {"numbers": numbers} if kind == "ticket" else {}
    head["checksum"] = checksum(tensors, head)
    put(path, tensors, {KEY: json.dumps(head)})


def read(path: str | os.PathLike) -> tuple[Ticket | Trained, dict]:
    """Returns what `write` wrote, bit for bit, and its metadata.

    Args:
      path: The file.

    Returns:
      The ticket or the trained network, and the metadata, with `kind` ("ticket" or
      "trained") and `versions` (of the packages that wrote it) beside what was given.
      Arrays of 64 bits are numpy's where JAX has them switched off.

    Raises:
      DamagedError: It is not there, or not what was written.
      ValueError: It is another safetensors file.
    """
    tensors, head = _contents(pathlib.Path(path))
    try:
        expected = head.pop("checksum")
        arrays = _arrays(path, tensors, head["tree"])
        trees = {name: _rebuilt(head["tree"][name], name, arrays) for name in TREES}
        numbers, make = head.get("numbers", {}), KINDS[head["kind"]]
        network = make(**numbers, **trees)
        metadata = {**head["metadata"], "kind": head["kind"]}
        metadata["versions"] = head["versions"]
    except DamagedError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"the metadata of {path} must be those of a ticket or a trained network, "
            f"got {type(error).__name__}: {error}"
        ) from error
    found = checksum(arrays, head)
    if found != expected:
        raise DamagedError(
            f"the checksum of {path} must be {expected}, got checksum = {found}"
        )
    return network, metadata


def put(path: str | os.PathLike, tensors: dict, metadata: dict[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Args:
      path: The file; what stands there is replaced.
      tensors: {name: array}.
      metadata: Texts.
    """
    path = pathlib.Path(path)
    rows = {name: np.asarray(leaf, order="C") for name, leaf in tensors.items()}
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(safetensors.numpy.save(rows, metadata))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def versions() -> dict[str, str]:
    """Returns {package: version} of what writes a file."""
    return {name: _version(name) for name in PACKAGES}


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return "not installed"


def _described(tree, name, tensors):
    """Returns the structure of a tree as JSON has it, and puts its leaves in a dict."""
    if tree is None:
        return None
    if isinstance(tree, Mapping) and all(isinstance(key, str) for key in tree):
        return {k: _described(v, f"{name}/{k}", tensors) for k, v in tree.items()}
    if name in tensors or not isinstance(tree, jax.Array | np.ndarray | np.generic):
        raise ValueError(
            "a network that travels must be nested dicts of arrays, each of its own "
            f"name, got {name} = {type(tree).__name__}; "
            "flax.serialization.to_state_dict makes dicts of other nodes"
        )
    tensors[name] = np.asarray(jax.device_get(tree))
    return str(tensors[name].dtype)


def _contents(path) -> tuple[dict, dict]:
    """Returns {name: what the format knows of a tensor}, and our metadata."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        tensors = dict(safetensors.deserialize(path.read_bytes()))
    except (safetensors.SafetensorError, FileNotFoundError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if KEY not in metadata:
        raise ValueError(
            f"the metadata of a ticket's file must have {KEY!r}, got {path} with "
            f"{sorted(metadata) or 'none'}; safetensors.numpy.load_file reads its "
            "tensors"
        )
    try:
        return tensors, json.loads(metadata[KEY])
    except json.JSONDecodeError as error:
        raise DamagedError(f"the metadata of {path} must be JSON: {error}") from error


def _arrays(path, tensors, tree) -> dict[str, np.ndarray]:
    """Returns {name: array} of the tensors that a tree asks for, and of no others."""
    names = dict(_leaves(tree, ""))
    if names.keys() != tensors.keys():
        differing = ", ".join(sorted(names.keys() ^ tensors.keys()))
        raise DamagedError(
            f"the tensors of {path} must be those that its metadata name, got other "
            f"ones for {differing}"
        )
    return {
        name: np.frombuffer(row["data"], jnp.dtype(names[name])).reshape(row["shape"])
        for name, row in tensors.items()
    }


def _leaves(tree, prefix):
    """Yields (name, dtype) of the leaves of a tree as JSON has it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}/")
        elif value is not None:
            yield prefix + key, value


def _rebuilt(tree, name, arrays) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {k: _rebuilt(v, f"{name}/{k}", arrays) for k, v in tree.items()}
    array = arrays[name]
    kept = jax.dtypes.canonicalize_dtype(array.dtype) == array.dtype
    return jnp.asarray(array) if kept else array


KINDS = {"ticket": Ticket, "trained": Trained}
