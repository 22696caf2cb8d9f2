"""Of each channel a truth or a number: masks and weights of the leaves it is in."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lthjax import registry, values
from lthjax.channels.layers_of import Group, last_of, leaves, named, repeats
from lthjax.pruning import places
from lthjax.pruning.masks import Masks, Params, path_name
from lthjax.pruning.views import Views


def full(
    params: Params, groups: tuple[Group, ...], *, views: Views | None = None
) -> Masks:
    """Returns masks that keep everything, `None` at what belongs to no channel group.

    Biases, scales and shifts of prunable channels are prunable here: they go with them.

    Args:
      params: The parameters.
      groups: The groups.
      views: What the axes of the leaves are, as for `layers_of.leaves`.

    Raises:
      ValueError: As `layers_of.leaves`.

    Example:
      >>> kernels = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 3),)
      >>> lth.masks.layers(lth.channels.full(params, groups))
      {'first/kernel': (12, 12), 'last/kernel': (6, 6)}
    """
    names = set()
    for group in groups:
        made, read = leaves(params, group, views)
        names |= {*made, read}

    def one(path, w):
        prunable = path_name(path) in names
        return places.beside(jnp.ones(w.shape, bool), w) if prunable else None

    return jax.tree_util.tree_map_with_path(one, params)


def spread(
    masks: Masks,
    kept: Mapping[str, jax.Array],
    groups: tuple[Group, ...],
    *,
    views: Views | None = None,
) -> Masks:
    """Returns the masks without the channels that are not kept.

    Args:
      masks: Of `full`, or inside it.
      kept: {name of a group: bool [size]}; groups that are absent stay whole.
      groups: The groups.
      views: What the axes of the leaves are, as for `layers_of.leaves`.

    Raises:
      ValueError: A name is no group's, or its mask is not bool [size]; or as
        `layers_of.leaves`.

    Example:
      >>> kernels = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 3),)
      >>> stay = {"first": jnp.array([True, False, False])}
      >>> masks = lth.channels.spread(lth.channels.full(params, groups), stay, groups)
      >>> lth.masks.layers(masks)
      {'first/kernel': (4, 12), 'last/kernel': (2, 6)}
    """
    byname = named(masks)
    _check_vectors("kept", kept, groups, bool)
    for group in groups:
        if group.name not in kept:
            continue
        mask = jnp.asarray(kept[group.name])
        made, read = leaves(masks, group, views)
        for name in made:
            byname[name] = byname[name] & _along(mask, byname[name].ndim, -1)
        wide = jnp.tile(mask, repeats(masks, group))
        byname[read] = byname[read] & _along(wide, byname[read].ndim, -2)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: byname[path_name(path)], masks
    )


def kept(
    masks: Masks, groups: tuple[Group, ...], *, views: Views | None = None
) -> dict[str, jax.Array]:
    """Returns {group: bool [size]}: kept is what something emits and something reads.

    Args:
      masks: A mask tree that has the leaves of `full`.
      groups: The groups.
      views: What the axes of the leaves are, as for `layers_of.leaves`.

    Raises:
      ValueError: As `layers_of.leaves`.

    Example:
      >>> kernels = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 3),)
      >>> lth.channels.kept(lth.channels.full(params, groups), groups)
      {'first': Array([ True,  True,  True], dtype=bool)}
    """

    def found(masks):
        byname, result = named(masks), {}
        for group in groups:
            made, read = leaves(masks, group, views)
            emits = [_any(byname[name], -1) for name in last_of(group, made)]
            reads = _any(byname[read], -2).reshape(-1, group.size).any(0)
            result[group.name] = jnp.stack(emits).any(0) & reads
        return result

    return places.anywhere(found, masks, like={group.name: 0 for group in groups})


def fold(
    params: Params,
    weights: Mapping[str, jax.Array],
    groups: tuple[Group, ...],
    *,
    views: Views | None = None,
) -> Params:
    """Returns parameters whose readers take every channel times its weight.

    A convolution is linear in its input, so that this is a weight on the channel
    itself, after all activations: the greedy counts leave a search this way.

    Args:
      params: The parameters.
      weights: {name of a group: float [size]}.
      groups: The groups.
      views: What the axes of the leaves are, as for `layers_of.leaves`.

    Raises:
      ValueError: A name is no group's, or its weights are not [size]; a reader is of
        whole numbers; or as `layers_of.leaves`.

    Example:
      >>> kernels = {"first": jnp.ones((4, 2)), "last": jnp.ones((2, 1))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 2),)
      >>> weights = {"first": jnp.array([0.5, 2.0])}
      >>> lth.channels.fold(params, weights, groups)["last"]["kernel"][:, 0]
      Array([0.5, 2. ], dtype=float32)
    """
    _check_vectors("weights", weights, groups)
    factors = {}
    for group in groups:
        if group.name in weights:
            _, read = leaves(params, group, views)
            wide = jnp.tile(jnp.asarray(weights[group.name]), repeats(params, group))
            factors[read] = wide

    def scaled(path, w):
        factor = factors.get(path_name(path))
        if factor is None:
            return w
        values.check_floating(path_name(path), w.dtype)
        wide = values.wide(w.dtype)
        many = _along(factor, w.ndim, -2).astype(wide)
        return (w.astype(wide) * many).astype(w.dtype)

    return jax.tree_util.tree_map_with_path(scaled, params)


def _check_vectors(what, given, groups, dtype=None):
    """Refuses what is not one value for each channel of a group that there is."""
    sizes = {group.name: group.size for group in groups}
    for name, vector in given.items():
        if name not in sizes:
            raise ValueError(
                f"{what} must be of a group, one of {', '.join(sizes)}, got {name!r}"
                f"{registry.suggestion(name, sizes)}"
            )
        vector = jnp.asarray(vector)
        kind = dtype is None or vector.dtype == dtype
        if vector.shape != (sizes[name],) or not kind:
            raise ValueError(
                f"{what} of {name} must be {'bool' if dtype else 'a number'} for each "
                f"of its {sizes[name]} channels, got {vector.dtype} "
                f"{list(vector.shape)}"
            )


def _along(vector, ndim, axis):
    """Returns a vector shaped to act along one axis of an array."""
    shape = [1] * ndim
    shape[axis] = vector.size
    return vector.reshape(shape)


def _any(mask, axis):
    others = [i for i in range(mask.ndim) if i != axis % mask.ndim]
    return mask.any(tuple(others))


def count(kept_channels: Mapping[str, jax.Array]) -> tuple[int, int]:
    """Returns (kept, total) channels of all groups.

    Example:
      >>> lth.channels.count({"first": jnp.array([True, False, False])})
      (1, 3)
    """
    total = sum(mask.size for mask in kept_channels.values())
    return int(sum(int(mask.sum()) for mask in kept_channels.values())), total
