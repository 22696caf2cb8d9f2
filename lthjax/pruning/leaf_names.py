"""What the leaves of a tree are called: by their keys, with slashes between."""

from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import GetAttrKey


def path_name(path) -> str:
    """Returns the name "a/b/kernel" of a leaf from its JAX key path.

    Places in a list and integer keys are numbers, "layers/0/kernel". What a box in a
    dict or list holds has the name of the box: a variable of flax's nnx is no
    "kernel/value". JAX's paths do not tell it from a field `value` of a NamedTuple, so
    that this has the name of the tuple too.
    """
    *rest, last = path or ("",)
    boxed = isinstance(last, GetAttrKey) and last.name == "value"
    boxed = boxed and bool(rest) and not isinstance(rest[-1], GetAttrKey)
    return "/".join(map(_key_name, rest if boxed else path))


def _key_name(key):
    found = (getattr(key, name, None) for name in ("key", "name", "idx"))
    return str(next((x for x in found if x is not None), key))


def names(tree: Any) -> list[str]:
    """Returns the names of the leaves, in the order of `jax.tree.leaves`."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def by_name(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Returns {name: leaf} of a tree.

    Args:
      tree: The tree.
      is_leaf: As for `jax.tree.leaves`.

    Raises:
      ValueError: Two leaves have one name.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf):
        name = path_name(path)
        if name in found:
            raise ValueError(
                f"every leaf must have a name of its own, got two called {name!r}, "
                "where a slash in a key looks like a level; rename one"
            )
        found[name] = leaf
    return found
