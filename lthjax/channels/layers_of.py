"""Channels that go together: who makes them, who reads them, and their masks.

A channel is gone when every weight that makes it is (its kernels' column, bias, the
scale and shift of its norm: a zeroed kernel alone would still emit what the norm adds)
and every weight that reads it. The groups here are inside the blocks of a network: what
is added to a residual stream keeps all its channels.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax import registry, values
from lthjax.models import mlp, mobilenet, resnet, vgg
from lthjax.pruning.masks import Masks, Params, path_name


class Group(NamedTuple):
    """Channels that can only be removed together.

    Attributes:
      name: Of the layer that makes them.
      producers: Layers whose results have these channels, the last one emits them.
      consumer: The layer that reads them, and nothing else.
      size: How many there are.
    """

    name: str
    producers: tuple[str, ...]
    consumer: str
    size: int


def groups(model: nn.Module, params: Params) -> tuple[Group, ...]:
    """Returns the channel groups of a network, from its input to its output.

    Chains (MLP, LeNet-5, the Conv and VGG families) have one for each hidden layer;
    residual blocks for each inner width; MobileNet-V2 for each expanded width; V1 for
    each pointwise result, with the depthwise convolution after it.

    Args:
      model: One of `models.MODELS`, or what `compact` made of it.
      params: Its parameters, or their shapes.

    Raises:
      ValueError: The network is none of these, or the parameters have no group of it.

    Example:
      >>> model = lth.models.build("mlp", 2, options={"hidden": (3,)})
      >>> kernels = {"dense1": jnp.ones((4, 3)), "head": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> lth.channels.groups(model, params)
      (Group(name='dense1', producers=('dense1',), consumer='head', size=3),)
    """
    model = getattr(model, "model", model)
    shapes = {name: leaf.shape for name, leaf in named(params).items()}
    layers = [n.removesuffix("/kernel") for n in shapes if n.endswith("/kernel")]
    rule = next((rule for kinds, rule in RULES if isinstance(model, kinds)), None)
    if rule is None:
        raise ValueError(
            "channel groups are known of the networks of lthjax.models, got model = "
            f"{type(model).__name__}; hand your own channels.Group to what takes groups"
        )
    found = rule(sorted(layers, key=_place))
    if not found:
        raise ValueError(
            "the parameters must be the network's own, with layers whose channels can "
            f"go, got none for model = {type(model).__name__} in {', '.join(layers)}"
        )
    return tuple(
        Group(makers[0], makers, reader, shapes[f"{makers[0]}/kernel"][-1])
        for makers, reader in found
    )


def named(tree: Any) -> dict[str, jax.Array]:
    """Returns {name: leaf} of a tree."""
    return {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(tree)}


def _place(layer):
    """Returns where a layer comes: by kind, then by the numbers in its name."""
    kinds = ("stem", "conv", "stage", "dense", "last", "head")
    kind = next(i for i, kind in enumerate(kinds) if layer.startswith(kind))
    return kind, [int(n) for n in re.findall(r"\d+", layer)], layer


def _chain(layers):
    return [((a,), b) for a, b in zip(layers, layers[1:], strict=False)]


def _blocks(layers):
    """Returns {block: its layers, by their last names}."""
    found = {}
    for layer in layers:
        block, _, last = layer.rpartition("/")
        found.setdefault(block, []).append(last)
    return {block: names for block, names in found.items() if block}


def _inner(layers):
    """Returns the pairs conv1 to conv2 (to conv3) of every residual block."""
    pairs = []
    for block, names in _blocks(layers).items():
        convs = [f"{block}/{n}" for n in sorted(names) if n.startswith("conv")]
        pairs += _chain(convs)
    return pairs


def _expanded(layers):
    blocks = [b for b, names in _blocks(layers).items() if "expand" in names]
    return [((f"{b}/expand", f"{b}/depthwise"), f"{b}/project") for b in blocks]


def _separable(layers):
    blocks = list(_blocks(layers))
    makers = ["stem", *(f"{b}/pointwise" for b in blocks)]
    pairs = [
        ((maker, f"{b}/depthwise"), f"{b}/pointwise")
        for maker, b in zip(makers, blocks, strict=False)
    ]
    return [*pairs, ((makers[-1],), "head")]


def leaves(params: Params, group: Group) -> tuple[list[str], str]:
    """Returns (names of the leaves that make the channels, the kernel that reads).

    The channels are the last axis of all of the former, the last but one of the latter,
    which has them height x width times over after a feature map was flattened.

    Raises:
      ValueError: A kernel is none of two or four axes with the group's channels there.
    """
    names = named(params)
    _check_kernels(names, group)
    wanted = [
        f"{layer}{leaf}"
        for layer in group.producers
        for leaf in ("/kernel", "/bias", "_norm/scale", "_norm/bias")
    ]
    return [name for name in wanted if name in names], f"{group.consumer}/kernel"


def last_of(group: Group, made: list[str]) -> list[str]:
    """Returns those of the names that are its last producer's or that one's norm's."""
    own = (f"{group.producers[-1]}/", f"{group.producers[-1]}_norm/")
    return [name for name in made if name.startswith(own)]


def _check_kernels(leaves, group):
    """Refuses kernels that have not the channels of a group where they must be."""
    rows = [(f"{layer}/kernel", -1) for layer in group.producers]
    for name, axis in [*rows, (f"{group.consumer}/kernel", -2)]:
        shape = leaves[name].shape if leaves.get(name) is not None else None
        if shape is None:
            continue
        known = len(shape) in (2, 4) and shape[axis]
        flattened = axis == -2 and len(shape) == 2  # height x width times over
        fits = known == group.size or (flattened and known and not known % group.size)
        if not fits:
            raise ValueError(
                "channels must be the last axis of the kernels that make them and the "
                "last but one of the kernel that reads them, [in, out] or [height, "
                f"width, in, out], got {group.size} channels for {name} of shape "
                f"{shape}; of attention, of stacked and grouped layers none can be cut"
            )


def repeats(params: Params, group: Group) -> int:
    """Returns how often the reading kernel has each channel."""
    return named(params)[f"{group.consumer}/kernel"].shape[-2] // group.size


def full(params: Params, found: tuple[Group, ...]) -> Masks:
    """Returns masks that keep everything, `None` at what belongs to no channel group.

    Biases, scales and shifts of prunable channels are prunable here: they go with them.

    Args:
      params: The parameters.
      found: The groups.

    Example:
      >>> kernels = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 3),)
      >>> lth.masks.layers(lth.channels.full(params, groups))
      {'first/kernel': (12, 12), 'last/kernel': (6, 6)}
    """
    names = set()
    for group in found:
        made, read = leaves(params, group)
        names |= {*made, read}
    return jax.tree_util.tree_map_with_path(
        lambda path, w: jnp.ones(w.shape, bool) if path_name(path) in names else None,
        params,
    )


def spread(
    masks: Masks, kept: Mapping[str, jax.Array], found: tuple[Group, ...]
) -> Masks:
    """Returns the masks without the channels that are not kept.

    Args:
      masks: Of `full`, or inside it.
      kept: {name of a group: bool [size]}; groups that are absent stay whole.
      found: The groups.

    Raises:
      ValueError: A name is no group's, or its mask is not bool [size].

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
    _check_vectors("kept", kept, found, bool)
    for group in found:
        if group.name not in kept:
            continue
        mask = kept[group.name]
        made, read = leaves(masks, group)
        for name in made:
            byname[name] = byname[name] & _along(mask, byname[name].ndim, -1)
        wide = jnp.tile(mask, repeats(masks, group))
        byname[read] = byname[read] & _along(wide, byname[read].ndim, -2)
    return jax.tree_util.tree_map_with_path(
        lambda path, _: byname[path_name(path)], masks
    )


def kept(masks: Masks, found: tuple[Group, ...]) -> dict[str, jax.Array]:
    """Returns {group: bool [size]}: kept is what something emits and something reads.

    Args:
      masks: A mask tree that has the leaves of `full`.
      found: The groups.

    Example:
      >>> kernels = {"first": jnp.ones((4, 3)), "last": jnp.ones((3, 2))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 3),)
      >>> lth.channels.kept(lth.channels.full(params, groups), groups)
      {'first': Array([ True,  True,  True], dtype=bool)}
    """
    byname = named(masks)
    result = {}
    for group in found:
        made, read = leaves(masks, group)
        emits = [_any(byname[name], -1) for name in last_of(group, made)]
        reads = _any(byname[read], -2).reshape(-1, group.size).any(0)
        result[group.name] = jnp.stack(emits).any(0) & reads
    return result


def fold(params: Params, weights: Mapping[str, jax.Array], found) -> Params:
    """Returns parameters whose readers take every channel times its weight.

    A convolution is linear in its input, so that this is a weight on the channel
    itself, after all activations: the greedy counts leave a search this way.

    Args:
      params: The parameters.
      weights: {name of a group: float [size]}.
      found: The groups.

    Raises:
      ValueError: A name is no group's, or its weights are not [size].

    Example:
      >>> kernels = {"first": jnp.ones((4, 2)), "last": jnp.ones((2, 1))}
      >>> params = {name: {"kernel": kernel} for name, kernel in kernels.items()}
      >>> groups = (lth.channels.Group("first", ("first",), "last", 2),)
      >>> weights = {"first": jnp.array([0.5, 2.0])}
      >>> lth.channels.fold(params, weights, groups)["last"]["kernel"][:, 0]
      Array([0.5, 2. ], dtype=float32)
    """
    _check_vectors("weights", weights, found)
    factors = {}
    for group in found:
        if group.name in weights:
            wide = jnp.tile(weights[group.name], repeats(params, group))
            factors[f"{group.consumer}/kernel"] = wide

    def scaled(path, w):
        factor = factors.get(path_name(path))
        if factor is None:
            return w
        wide = values.wide(w.dtype)
        many = _along(factor, w.ndim, -2).astype(wide)
        return (w.astype(wide) * many).astype(w.dtype)

    return jax.tree_util.tree_map_with_path(scaled, params)


def _check_vectors(what, given, found, dtype=None):
    """Refuses what is not one value for each channel of a group that there is."""
    sizes = {group.name: group.size for group in found}
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


RULES = (
    ((mlp.MLP, mlp.LeNet5, mlp.TutorialLeNet, mlp.ConvNet, vgg.VGG), _chain),
    ((resnet.ResNet,), _inner),
    ((mobilenet.MobileNetV2,), _expanded),
    ((mobilenet.MobileNetV1,), _separable),
)
