"""A ticket, or a trained network, as one safetensors file: readable without us."""

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

from lthjax import packages, whole_files
from lthjax.saving import plain_metadata, savable
from lthjax.saving.checkpoints import DamagedError, checksum
from lthjax.tickets.ticket import Ticket, Trained

KEY = "lthjax"  # of the file's metadata; its value is JSON
TREES = ("params", "model_state", "masks")
NUMBERS = ("level", "step", "until", "searching")
BOX = object()  # the key of what a box holds, a variable of flax's nnx for one
PACKAGES = ("lthjax", "jax", "flax", "safetensors")
# What the format holds, and what JAX calls it.
DTYPES = {"BOOL": "bool", "F16": "float16", "BF16": "bfloat16", "C64": "complex64"}
DTYPES |= {"F32": "float32", "F64": "float64"}
DTYPES |= {f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}
DTYPES |= {f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)}
DTYPES |= {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
DTYPES |= {"F8_E8M0": "float8_e8m0fnu"}


def write(path: str | os.PathLike, network: Ticket | Trained, **metadata) -> None:
    """Writes a ticket or a trained network to one file, whole or not at all.

    Every array is a tensor named by its path, such as `params/conv1/kernel` and
    `masks/conv1/kernel`; masks are BOOL. What the arrays do not say is JSON in the
    file's metadata, with a checksum of all: the format itself notices no flipped bit.
    An optimizer state is not written, as `tickets.save` writes none.

    Args:
      path: The file; what stands there is replaced.
      network: Its parameters, statistics and masks are trees of arrays. Lists, flax's
        nnx states, equinox's modules and other nodes become dicts, whose keys are the
        names and the places (whole numbers) of what they hold.
      **metadata: What JSON can hold: seed, arm, config. What `read` adds to it, `kind`
        and `versions`, is of the file, whatever is given.

    Raises:
      ValueError: A leaf is no array, or of a type that the format does not hold, or two
        of a tree have one name; or as `plain_metadata.plain`.
    """
    metadata = plain_metadata.plain(metadata)
    kind = "ticket" if isinstance(network, Ticket) else "trained"
    numbers = {name: int(getattr(network, name, 0)) for name in NUMBERS}
    tensors = {}
    tree = {name: _described(getattr(network, name), name, tensors) for name in TREES}
    head = {"kind": kind, "tree": tree, "metadata": metadata, "versions": versions()}
    head |= {"numbers": numbers} if kind == "ticket" else {}
    head["checksum"] = checksum(tensors, head)
    put(path, tensors, {KEY: json.dumps(head)})


def read(
    path: str | os.PathLike, like: Ticket | Trained | None = None
) -> tuple[Ticket | Trained, dict]:
    """Returns what `write` wrote, bit for bit, and its metadata.

    Args:
      path: The file.
      like: What has the nodes that the trees are to have, of the same names and shapes;
        `None`: they are nested dicts.

    Returns:
      The ticket or the trained network, and the metadata, with `kind` ("ticket" or
      "trained") and `versions` (of the packages that wrote it) beside what was given.
      Arrays of 64 bits are numpy's where JAX has them switched off.

    Raises:
      DamagedError: It is not there, or not what was written.
      ValueError: It is another safetensors file, or has other leaves than `like`.
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
    if like is not None:
        nodes = {name: _filled(like, network, name, path) for name in TREES}
        network = network._replace(**nodes)
    return network, metadata


def arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns {name: array} of a safetensors file, whoever wrote it.

    Raises:
      DamagedError: It is none, or holds a type that JAX has no name for.
    """
    try:
        rows = dict(safetensors.deserialize(path.read_bytes()))
    except (safetensors.SafetensorError, OSError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    others = {n: x["dtype"] for n, x in rows.items() if x["dtype"] not in DTYPES}
    if others:
        told = ", ".join(f"{name} of {dtype}" for name, dtype in others.items())
        raise DamagedError(
            f"the tensors of {path} must be of {', '.join(DTYPES)}, got {told}"
        )
    return {
        name: np.frombuffer(x["data"], jnp.dtype(DTYPES[x["dtype"]])).reshape(
            x["shape"]
        )
        for name, x in rows.items()
    }


def put(path: str | os.PathLike, tensors: dict, metadata: dict[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Args:
      path: The file; what stands there is replaced.
      tensors: {name: array}.
      metadata: Texts.
    """
    path = pathlib.Path(path)
    rows = {name: np.asarray(leaf, order="C") for name, leaf in tensors.items()}
    with whole_files.writing(path) as partial:
        partial.write_bytes(safetensors.numpy.save(rows, metadata))


def versions() -> dict[str, str]:
    """Returns {package: version} of what writes a file."""
    return {name: packages.version(name) for name in PACKAGES}


def _described(tree, name, tensors):
    """Returns the structure of a tree as JSON has it, and puts its leaves in a dict."""
    if tree is None:
        return None
    if name not in tensors and isinstance(tree, jax.Array | np.ndarray | np.generic):
        if tree.dtype.name not in DTYPES.values():
            raise ValueError(
                f"a tensor must be of {', '.join(DTYPES.values())}, got {name} of "
                f"{tree.dtype}; cast it (of keys, save jax.random.key_data)"
            )
        found = np.asarray(jax.device_get(tree))
        native = found.astype(found.dtype.newbyteorder("="), copy=False)
        tensors[name] = native
        return str(tensors[name].dtype)
    found = dict(tree) if isinstance(tree, Mapping) else _children(tree)
    if found is not None and BOX in found:
        return _described(found[BOX], name, tensors)
    if found is None or not all(isinstance(key, str | int) for key in found):
        raise ValueError(
            "a network that travels must be a tree of arrays, each of its own name, "
            f"got {name} = {type(tree).__name__}; leave out what is no array "
            "(equinox.filter), or put it into dicts"
        )
    rows = [(k, _described(v, f"{name}/{k}", tensors)) for k, v in found.items()]
    return dict(rows) if all(isinstance(k, str) for k in found) else rows


def _children(tree) -> dict[Any, Any] | None:
    """Returns {name or place: child} of a node that is no dict, `None` of a leaf."""
    below = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is not tree)
    if any(not path for path, _ in below):
        return None
    box = [path[0] for path, _ in below] == [jax.tree_util.GetAttrKey("value")]
    return {BOX: below[0][1]} if box else {_key(path[0]): x for path, x in below}


def _key(entry):
    """Returns the key of a dict, the name of a field or the place in a list."""
    found = (getattr(entry, name, None) for name in ("key", "name", "idx"))
    return next(x for x in found if x is not None)


def _filled(like, network, name, path):
    """Returns one of the trees with the nodes of another one."""
    trees = [getattr(one, name) for one in (like, network)]
    wanted, found = (_by_name(tree, name) for tree in trees)
    shapes = [{n: np.shape(x) for n, x in leaves.items()} for leaves in (wanted, found)]
    if shapes[0] != shapes[1]:
        odd = sorted(n for n, _ in shapes[0].items() ^ shapes[1].items())
        raise ValueError(
            f"the {name} of {path} must have the leaves and shapes of like, got others "
            f"at {', '.join(dict.fromkeys(odd))}"
        )
    structure = jax.tree.structure(trees[0])
    return jax.tree.unflatten(structure, [found[n] for n in wanted])


def _by_name(tree, name):
    """Returns {name in a file: leaf} of a tree, in the order of `jax.tree.leaves`."""
    leaves, structure = jax.tree.flatten(tree)
    places: dict[str, np.ndarray] = {}
    numbered = jax.tree.unflatten(
        structure, [np.asarray(i) for i in range(len(leaves))]
    )
    _described(numbered, name, places)
    rows = sorted((int(i), n) for n, i in places.items())
    return {n.removeprefix(f"{name}/"): leaves[i] for i, n in rows}


def _contents(path) -> tuple[dict, dict]:
    """Returns {name: what the format knows of a tensor}, and our metadata."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
        tensors = dict(safetensors.deserialize(path.read_bytes()))
    except (safetensors.SafetensorError, OSError) as error:
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
    for key, value in _items(tree):
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{prefix}{key}/")
        elif value is not None:
            yield f"{prefix}{key}", value


def _items(tree):
    """Returns the (key, value) of a node as JSON has it: whole keys are in pairs."""
    return tree.items() if isinstance(tree, dict) else [tuple(pair) for pair in tree]


def _rebuilt(tree, name, arrays) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict | list):
        return {k: _rebuilt(v, f"{name}/{k}", arrays) for k, v in _items(tree)}
    return savable.in_jax(arrays[name])


KINDS = {"ticket": Ticket, "trained": Trained}
