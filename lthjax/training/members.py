"""Members of a population: stacked, mapped, taken out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.devices import backend
from lthjax.pruning.masks import Params

CACHE = 1_200_000  # weights that the caches of a CPU hold, with their momenta


def population(
    fn: Callable[..., Any], *, together: int | None = None
) -> Callable[..., Any]:
    """Maps `fn(member, *shared)` over members stacked on a leading axis.

    Args:
      fn: A pure function of one member and of what all members share.
      together: How many members are computed at once, by `vmap`, with the numbers of
        separate runs but for rounding, one such group after the other; `None` for all.
        With 1, `lax.map`, they have the bits of separate runs.

    Raises:
      ValueError: In the function that is returned: leading axes differ.
    """

    def mapped(members, *shared):
        def one(member):
            return fn(member, *shared)

        count = _count(members)
        if together is None and count == 1:
            only = one(jax.tree.map(lambda leaf: leaf[0], members))
            return jax.tree.map(lambda leaf: leaf[None], only)
        if together is None or 1 < count <= together:
            return jax.vmap(one)(members)
        return lax.map(one, members, batch_size=None if together == 1 else together)

    return mapped


def together(params: Params) -> int | None:
    """Returns how many members of a population train fastest at once.

    All of them, `None`, on a GPU, which a small network leaves idle, and dense networks
    on a TPU. There `vmap` turns convolutions into grouped ones: by the compiler's own
    cycles (v5e) a step of 16 ResNet-20 at once takes longer than 16 of one, so that
    they go one after the other, as they do on a CPU for the same reason. On a CPU
    members whose weights do not fit into its caches wait for the memory: a step of 64
    LeNet-300-100 took 1.3 times as long all at once as in groups of four.

    Args:
      params: The parameters of one network, or their shapes.

    Raises:
      ValueError: It has no weight.
    """
    leaves, platform = jax.tree.leaves(params), backend.platform()
    if not sum(w.size for w in leaves):
        raise ValueError(
            "params must hold a weight, got none; give those of one network"
        )
    if platform != "gpu" and any(len(w.shape) > 2 for w in leaves):
        return 1
    if platform != "cpu":
        return None
    return max(1, CACHE // sum(w.size for w in leaves))


def stack(trees: list) -> Any:
    """Stacks trees of equal structure on a new leading axis.

    Raises:
      ValueError: There is no tree.
    """
    if not trees:
        raise ValueError("trees must be one at least, got none; give a tree a member")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def member(tree: Any, index: int | jax.Array) -> Any:
    """Returns one member of a stacked tree.

    Args:
      tree: Members on a leading axis of all leaves.
      index: Of the member, below 0 from the end; a traced one is not looked at.

    Raises:
      ValueError: There is no such member, or leading axes differ.
    """
    if jax.tree.leaves(tree):
        _check_index(index, _count(tree))
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _check_index(index, count):
    if isinstance(index, jax.core.Tracer):
        return
    if jnp.ndim(index) or not -count <= index < count:
        raise ValueError(
            f"index must be of one of {count} members, at least {-count} and less than "
            f"{count}, got index = {index}"
        )


def _count(members):
    """Returns how many members are stacked."""
    counts = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(members)}
    if len(counts) != 1 or () in counts:
        found = sorted(str(*count) or "none" for count in counts)
        raise ValueError(
            "members must be stacked on a leading axis of all leaves, got axes of "
            f"{', '.join(found) or 'no leaf'}"
        )
    ((count,),) = counts
    return count
