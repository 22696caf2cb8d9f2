"""Arrays whose place on a mesh is part of their type: those of explicit mesh axes.

`jax.make_mesh` makes such axes by default. Over others the compiler places everything,
and nothing here does anything.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P


def place(x: Any) -> NamedSharding | None:
    """Returns how an array lies on explicit axes of a mesh, `None` where on none."""
    if not isinstance(x, jax.Array):
        return None
    found = jax.typeof(x).sharding
    return found if AxisType.Explicit in found.mesh.axis_types else None


def beside(x: jax.Array, other: Any) -> jax.Array:
    """Returns an array in the place of another one of its shape.

    Args:
      x: What is placed, such as a mask.
      other: What it belongs to, such as its weights.
    """
    wanted = place(other)
    if wanted in (None, place(x)):
        return x
    if isinstance(x, jax.core.Tracer) or isinstance(other, jax.core.Tracer):
        return jax.sharding.reshard(x, wanted)
    return jax.device_put(x, other.sharding)


def zeros(like: jax.ShapeDtypeStruct, dtype: Any) -> jax.Array:
    """Returns zeros of a shape, where a mesh surrounds it in the place that it says."""
    if jax.sharding.get_abstract_mesh().empty:
        return jnp.zeros(like.shape, dtype)
    return jnp.zeros_like(like, dtype)


def anywhere(fn: Callable[..., Any], *args: Any, like: Any) -> Any:
    """Returns `fn(*args)`, within which the compiler places everything.

    Explicit axes ask of every reshape and of every sum along an axis where its outcome
    is to lie; what ranks all weights of a network has no answer to that.

    Args:
      fn: What is called.
      *args: Trees of arrays.
      like: A tree of the structure of the outcome: what each array of it lies like; 0
        for one of which every device has a copy.
    """
    given = (place(leaf) for leaf in jax.tree.leaves(args))
    mesh = next((one.mesh for one in given if one is not None), None)
    if mesh is None:
        return fn(*args)
    everywhere = NamedSharding(mesh, P())
    found = jax.tree.map(lambda x: place(x) or everywhere, like)
    return jax.sharding.auto_axes(fn, out_sharding=found)(*args)
