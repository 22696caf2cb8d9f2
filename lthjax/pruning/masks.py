"""The algebra of mask trees, and the only meeting of masks and parameters.

A mask tree has the shape of the parameters. A leaf is a boolean array, `True` where a
weight is kept, or `None` where the whole leaf is never pruned (biases, norms, what the
config excludes). `jax.tree.leaves(masks)` is therefore exactly the prunable weights.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import values
from lthjax.pruning import places
from lthjax.pruning.leaf_names import by_name, names, path_name

Params = Any
Masks = Any

KERNELS = r"(^|/)kernel$"


def full(
    params: Params,
    exclude: Sequence[str] = (),
    *,
    include: str | Callable[[str, Any], bool] = KERNELS,
) -> Masks:
    """Returns masks that keep every prunable weight, `None` at all other leaves.

    Args:
      params: A tree of arrays.
      exclude: Regular expressions, searched in the name ("a/b/kernel") of each leaf; a
        prunable leaf that one of them finds is never pruned.
      include: Which leaves are prunable: a regular expression that finds them by their
        names, or a function of name and leaf, such as `lambda name, w: w.ndim > 1`.

    Raises:
      ValueError: Nothing is prunable, or a pattern of `exclude` finds no prunable leaf.

    Example:
      >>> params = {"dense": {"kernel": jnp.ones((2, 1)), "bias": jnp.ones(1)}}
      >>> lth.masks.full(params)["dense"]["bias"] is None
      True
      >>> lth.masks.names(lth.masks.full(params))
      ['dense/kernel']
    """
    if not callable(include):
        values.check_expression("include", include)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [(path_name(path), w) for path, w in leaves]
    kernels = [name for name, w in rows if _included(include, name, w)]
    kept = without(kernels, exclude, "prunable leaf", "prunable leaves")
    if not kept:
        raise ValueError(
            f"at least one leaf must be prunable, got include = {include!r}, exclude = "
            f"{exclude!r}; the leaves are {', '.join(names(params))}"
        )

    def one(path, w):
        on = path_name(path) in kept
        return places.beside(jnp.ones(w.shape, bool), w) if on else None

    return jax.tree_util.tree_map_with_path(one, params)


def _included(include, name, leaf):
    found = include(name, leaf) if callable(include) else re.search(include, name)
    return bool(found)


def without(
    found: Sequence[str], exclude: Sequence[str], kind: str, kinds: str
) -> set[str]:
    """Returns the names in which no regular expression of `exclude` is found.

    Args:
      found: The names.
      exclude: The regular expressions; a text is one.
      kind: What a name is of, for the error.
      kinds: The plural of that.

    Raises:
      ValueError: A pattern is found in no name.
    """
    exclude = (exclude,) if isinstance(exclude, str) else exclude
    for pattern in exclude:
        values.check_expression("exclude", pattern)
        if not any(re.search(pattern, name) for name in found):
            raise ValueError(
                f"every pattern of exclude must match a {kind}, got exclude = "
                f"{pattern!r}; the {kinds} are {', '.join(found)}"
            )
    return {n for n in found if not any(re.search(p, n) for p in exclude)}


def apply(params: Params, masks: Masks) -> Params:
    """Returns the parameters with every pruned weight at zero: `where(mask, w, 0)`.

    A selection, not a product, so that a NaN at a pruned weight is zero too.

    Args:
      params: A tree of arrays.
      masks: Its masks; a leaf that is `None` leaves the parameter as it is.

    Raises:
      ValueError: The masks do not fit the parameters, as in `compatible`.

    Example:
      >>> params = {"kernel": jnp.array([1.0, jnp.nan]), "bias": jnp.ones(1)}
      >>> lth.masks.apply(params, {"kernel": jnp.array([True, False]), "bias": None})
      {'bias': Array([1.], dtype=float32), 'kernel': Array([1., 0.], dtype=float32)}
    """
    compatible(params, masks)

    def one(w, mask):
        if mask is None:
            return w
        mask, zeros = (places.beside(x, w) for x in (mask, jnp.zeros_like(w)))
        return jnp.where(mask, w, zeros)

    return jax.tree.map(one, params, masks)


def count(masks: Masks) -> tuple[jax.Array, int]:
    """Returns (kept, total): how many prunable weights are kept, and how many exist.

    Example:
      >>> lth.masks.count({"kernel": jnp.array([True, False, True]), "bias": None})
      (Array(2, dtype=int32), 3)
    """
    leaves = _bools(masks)
    kept: Any = sum(jnp.sum(mask, dtype=jnp.int32) for mask in leaves)
    return kept, sum(mask.size for mask in leaves)


def _bools(masks):
    """Returns the masks of a tree, which are bool."""
    for path, mask in jax.tree_util.tree_leaves_with_path(masks):
        check_bool(path_name(path), mask)
    return jax.tree.leaves(masks)


def sparsity(masks: Masks) -> jax.Array:
    """Returns the fraction of the prunable weights that is removed, float32 [].

    Example:
      >>> float(lth.masks.sparsity({"kernel": jnp.array([True, False])}))
      0.5
    """
    kept, total = count(masks)
    if not total:
        raise ValueError("a sparsity is of prunable weights, got masks of none")
    return (total - kept).astype(jnp.float32) / jnp.float32(total)


def layers(masks: Masks) -> dict[str, tuple[int, int]]:
    """Returns {name: (kept, total)} for every prunable leaf, as numbers of the host.

    Example:
      >>> lth.masks.layers({"kernel": jnp.array([True, False, True])})
      {'kernel': (2, 3)}
    """
    sizes = {name: mask.size for name, mask in by_name(masks).items()}
    sums = [jnp.sum(mask, dtype=jnp.int32) for mask in _bools(masks)]
    rows = zip(sizes.items(), jax.device_get(sums), strict=True)
    return {name: (int(kept), size) for (name, size), kept in rows}


def collapsed(masks: Masks, views: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the names of the prunable leaves that have no weight left of some.

    Args:
      masks: The masks.
      views: What the axes of the leaves are, `views.of`: of layers stacked in a leaf
        the third is "scan/kernel[2]".

    Example:
      >>> lth.masks.collapsed({"first": jnp.array([True]), "last": jnp.array([False])})
      ['last']
    """
    counts, found = layers(masks), []
    for name, mask in zip(names(masks), jax.tree.leaves(masks), strict=True):
        left, size = counts[name]
        if size and not left:
            found.append(name)
        elif axes := stacked(name, mask, views):
            others = tuple(axis for axis in range(mask.ndim) if axis not in axes)
            there = np.asarray(jnp.any(mask, others))
            found += [f"{name}{place.tolist()}" for place in np.argwhere(~there)]
    return found


def stacked(
    name: str, mask: Any, views: Mapping[str, Any] | None = None
) -> tuple[int, ...]:
    """Returns the axes of a leaf along which layers are stacked, () where one lies.

    Args:
      name: Of the leaf.
      mask: Its mask.
      views: What the axes of the leaves are.
    """
    axes = getattr((views or {}).get(name), "layers", ())
    return axes if any(mask.shape[axis] > 1 for axis in axes) else ()


def compatible(params: Params, masks: Masks) -> None:
    """Checks that the masks fit the parameters, leaf by leaf.

    Raises:
      ValueError: The trees differ (a leaf that is never pruned is `None`, not missing),
        or a mask has another shape than its parameter, or is not bool.
    """
    for name, w, mask in _beside(params, masks):
        found = "no parameter" if w is None else jnp.shape(w)
        if found != jnp.shape(mask):
            raise ValueError(
                "a mask must have the shape of its parameter, got "
                f"{name} = {jnp.shape(mask)} for {found}"
            )
        check_bool(name, mask)
    alike(params, masks)


def _beside(params, masks):
    """Yields (name, parameter, mask): by their places, or of two forms by name."""
    forms = [jax.tree.structure(tree, is_leaf=_is_none) for tree in (params, masks)]
    leaves = [jax.tree.leaves(tree, is_leaf=_is_none) for tree in (params, masks)]
    if forms[0] == forms[1]:
        rows = list(zip(_all_names(params), *leaves, strict=True))
    else:
        known = dict(zip(_all_names(params), leaves[0], strict=True))
        pairs = zip(_all_names(masks), leaves[1], strict=True)
        rows = [(name, known.get(name), mask) for name, mask in pairs]
    yield from (row for row in rows if row[2] is not None)


def check_bool(name: str, mask: Any) -> None:
    """Refuses a mask of numbers.

    Args:
      name: Of its leaf.
      mask: An array.

    Raises:
      ValueError: It is not bool.
    """
    if not jnp.issubdtype(jnp.result_type(mask), jnp.bool_):
        raise ValueError(
            "a mask must be bool, True where a weight is kept, got "
            f"{name} = {jnp.result_type(mask)}; `leaf != 0` is one"
        )


def check_whole(name: str, counts: Any) -> None:
    """Refuses counts that are no whole numbers, traced ones too.

    Args:
      name: What they are, for the error.
      counts: A number or an array.

    Raises:
      ValueError: They are not: a density would be cut to none.
    """
    if not jnp.issubdtype(jnp.result_type(counts), jnp.integer):
        raise ValueError(
            f"{name} must be a whole number of weights, got {name} = {counts}; the "
            "share that goes is sparsity"
        )


def check_counts(name: str, counts: Any, masks: Masks) -> None:
    """Refuses counts of weights that there cannot be, where they are not traced.

    Args:
      name: What they are, for the error.
      counts: Of all weights, or a list by layer.
      masks: The masks, of any sparsity: their sizes count.

    Raises:
      ValueError: One is no whole number, or is not in [0, the weights there are].
    """
    check_whole(name, jnp.asarray(counts))
    if any(isinstance(count, jax.core.Tracer) for count in jax.tree.leaves(counts)):
        return
    sizes = [mask.size for mask in jax.tree.leaves(masks)]
    by_layer = np.shape(counts) == (len(sizes),)
    most = np.array(sizes) if by_layer else sum(sizes)
    if not np.all((np.asarray(counts) >= 0) & (np.asarray(counts) <= most)):
        raise ValueError(
            f"{name} must be from 0 to the {most} weights that there are, got {name} = "
            f"{counts}"
        )


def alike(params: Params, masks: Masks) -> None:
    """Checks that there is a mask, or `None`, for each parameter, and no other.

    Raises:
      ValueError: There is not, with the names of the leaves.
    """
    structures: list[Any] = [
        jax.tree.structure(t, is_leaf=_is_none) for t in (params, masks)
    ]
    if structures[0] == structures[1]:
        return
    wanted, found = _all_names(params), _all_names(masks)
    rows = values.apart(
        wanted, found, "masks without {}", "masks of {}, which is no parameter"
    )
    rows = rows or [f"masks = {structures[1]} for params = {structures[0]}"]
    raise ValueError(
        "masks must have the structure of the parameters, a bool array or None for "
        f"each, got {' and '.join(rows)}; masks.full(params) makes them"
    )


def _all_names(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_none)
    return [path_name(path) for path, _ in leaves]


def _is_none(leaf):
    return leaf is None
