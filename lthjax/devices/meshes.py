"""The mesh ("ticket", "data"): members on one axis, parts of a batch on the other.

And how trees get onto it and back.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from lthjax.devices import backend

TICKET, DATA = "ticket", "data"


def mesh(ticket: int = 1, data: int = 1, *, devices: Any = None) -> Mesh:
    """Returns the mesh of `ticket` times `data` devices; -1 means the rest of them.

    Devices that split a batch are neighbours: they talk at every step, members of a
    population never do.

    Args:
      ticket: How many groups of devices the members of a population are spread over.
      data: How many devices share a batch.
      devices: The devices, those of all processes by default.

    Raises:
      ValueError: There are fewer devices, both are -1, or there are several processes
        and one has no part in it.
    """
    devices = backend.devices() if devices is None else list(devices)
    sizes = {TICKET: ticket, DATA: data}
    if any(size < 1 and size != -1 for size in sizes.values()) or ticket == data == -1:
        raise ValueError(
            "an axis of the mesh must have at least 1 device, or one of them -1, the "
            f"rest, got mesh.ticket = {ticket}, mesh.data = {data}"
        )
    for name, other in ((TICKET, DATA), (DATA, TICKET)):
        if sizes[name] == -1:
            sizes[name] = max(1, len(devices) // sizes[other])
    total = sizes[TICKET] * sizes[DATA]
    if total > len(devices):
        raise ValueError(
            f"a mesh must not need more than the {len(devices)} devices there are, got "
            f"mesh.ticket = {ticket}, mesh.data = {data}"
        )
    found = devices[:total]
    idle = {d.process_index for d in devices} - {d.process_index for d in found}
    if idle:
        raise ValueError(
            f"every process must have devices in the mesh, got mesh.ticket = {ticket}, "
            f"mesh.data = {data}, which leaves out the processes {sorted(idle)}; set "
            "mesh.ticket or mesh.data to -1, the rest"
        )
    shape = sizes[TICKET], sizes[DATA]
    return jax.make_mesh(
        shape, (TICKET, DATA), axis_types=(AxisType.Auto,) * 2, devices=found
    )


def trivial(mesh: Mesh) -> bool:
    """Says whether a mesh is one device, for which nothing need be mapped or moved."""
    return mesh.size == 1 and jax.process_count() == 1


def idle(mesh: Mesh) -> str:
    """Returns a sentence on the devices that a mesh leaves out, "" if it has all."""
    total = jax.device_count()
    if mesh.size == total:
        return ""
    return (
        f"; {mesh.size} of {total} devices used: mesh.ticket = -1 spreads members over "
        "them, mesh.data = -1 batches"
    )


def spread(mesh: Mesh, tree: Any) -> Any:
    """Returns a tree [members, ...] over the mesh, padded with copies of the last one.

    Args:
      mesh: The mesh; its `ticket` axis divides the members, padded, among its devices.
      tree: Arrays with the members in front, the same ones in every process.
    """
    if trivial(mesh):
        return tree
    groups = mesh.shape[TICKET]

    def place(leaf):
        leaf = jnp.asarray(leaf)
        more = -len(leaf) % groups
        last = jnp.broadcast_to(leaf[-1:], (more, *leaf.shape[1:]))
        whole = jnp.concatenate([leaf, last]) if more else leaf
        return _placed(whole, NamedSharding(mesh, P(TICKET)))

    return jax.tree.map(place, tree)


def copied(mesh: Mesh, tree: Any) -> Any:
    """Returns a tree with a copy on every device of the mesh."""
    if trivial(mesh):
        return tree
    return jax.tree.map(lambda leaf: _placed(leaf, everywhere(mesh)), tree)


def everywhere(mesh: Mesh) -> NamedSharding:
    """Returns how what each device has a copy of lies on a mesh."""
    return NamedSharding(mesh, P())


def _placed(leaf, sharding):
    """Returns an array, which all processes have, on the devices of all."""
    if jax.process_count() == 1:
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, whole.__getitem__)


def collected(tree: Any, count: int | None = None) -> Any:
    """Returns a tree that lies on a mesh on this process's own device, whole.

    Args:
      tree: Arrays, on a mesh or not.
      count: Of what was padded, the members that there are; `None` for all.
    """

    def whole(leaf):
        own = leaf if not _spread(leaf) else _gathered(leaf)
        return own if count is None else own[:count]

    return jax.tree.map(whole, tree)


def _spread(leaf):
    return isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1


def _gathered(leaf):
    """Returns an array of a mesh as one of this process, free to go to any device."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _gathered(jax.random.key_data(leaf))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        place = everywhere(leaf.sharding.mesh)
        leaf = jax.jit(lambda x: x, out_shardings=place)(leaf)
    return jnp.asarray(np.asarray(leaf))


def share(tree: Any, axis_name: str | None) -> Any:
    """Returns this device's rows of a batch, on the mesh axis that splits the batch.

    Args:
      tree: Arrays [batch, ...], the same on every device of the axis.
      axis_name: The axis, which divides `batch`; `None` returns the whole batch.

    Raises:
      ValueError: It does not.
    """
    if axis_name is None:
        return tree
    devices, place = lax.axis_size(axis_name), lax.axis_index(axis_name)

    def rows(leaf):
        size = _divided(len(leaf), devices)
        return lax.dynamic_slice_in_dim(leaf, place * size, size)

    return jax.tree.map(rows, tree)


def _divided(size, devices):
    """Returns the rows of each device, which are all of a batch together."""
    if size % devices:
        raise ValueError(
            f"a batch must be divided evenly by the {devices} devices that share it, "
            f"got {size} rows"
        )
    return size // devices


def joined(tree: Any, axis_name: str | None) -> Any:
    """Returns a whole batch, of which each device of a mesh axis has its `share`.

    Args:
      tree: Arrays [rows, ...], this device's.
      axis_name: The axis; `None` returns them.
    """
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), tree)


def own_rows(mesh: Mesh, size: int) -> slice:
    """Returns the rows of a batch of some size that this process's devices share.

    Raises:
      ValueError: The axis `data` does not divide the size.
    """
    own = jax.process_index()
    places = [at[1] for at, x in np.ndenumerate(mesh.devices) if x.process_index == own]
    each = _divided(size, mesh.shape[DATA])
    return slice(min(places) * each, (max(places) + 1) * each)


def by_rows(mesh: Mesh) -> NamedSharding:
    """Returns how a batch [any, rows, ...] lies on a mesh: the rows over `data`."""
    return NamedSharding(mesh, P(None, DATA))


def over(mesh: Mesh, fn: Any, *, fed: bool = False) -> Any:
    """Maps `fn(states, fixed, *shared) -> states` over a mesh, members by `ticket`.

    Every device has its members, whole, and a copy of what is shared; what `fn` says to
    the axis `data` by collectives is its own affair.

    Args:
      mesh: The mesh.
      fn: What one device does. Trees have the members in front.
      fed: Whether the first of what is shared is a batch that lies `by_rows`, of which
        a device has its own only.
    """
    if trivial(mesh):
        return fn

    def mapped(states, fixed, *shared):
        specs = [P(TICKET), P(TICKET), *[P()] * len(shared)]
        if fed:
            specs[2] = P(None, DATA)
        each = jax.shard_map(
            fn, mesh=mesh, in_specs=tuple(specs), out_specs=P(TICKET), check_vma=False
        )
        return each(states, fixed, *shared)

    return mapped
