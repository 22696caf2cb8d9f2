"""Channels that go together: who makes them, and who reads them.

A channel is gone when every weight that makes it is (its kernels' column, bias, the
scale and shift of its norm: a zeroed kernel alone would still emit what the norm adds)
and every weight that reads it. The groups here are inside the blocks of a network: what
is added to a residual stream keeps all its channels.
"""

import re
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from lthjax.models import mlp, mobilenet, resnet, vgg
from lthjax.pruning import views as views_lib
from lthjax.pruning.masks import Params, path_name
from lthjax.pruning.views import Views


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
      model: One of `models.by_name.MODELS`, or what `compact` made of it.
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
    kind = next((i for i, kind in enumerate(kinds) if layer.startswith(kind)), None)
    if kind is None:
        raise ValueError(
            "the layers of the network must be those of lthjax.models, named "
            f"{', '.join(kinds)}, got the layer {layer!r}; hand your own "
            "channels.Group to what takes groups"
        )
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


def leaves(
    params: Params, group: Group, views: Views | None = None
) -> tuple[list[str], str]:
    """Returns (names of the leaves that make the channels, the kernel that reads).

    The channels are the last axis of all of the former, the last but one of the latter,
    which has them height x width times over after a feature map was flattened.

    Args:
      params: The parameters, or their masks.
      group: The channels.
      views: What the axes of the leaves are, `views.of`. Without them a kernel [height,
        width, out, in] of as many outputs as inputs is read as any other.

    Raises:
      ValueError: A kernel is none of two or four axes with the group's channels there,
        or by its view has other axes there.
    """
    names = named(params)
    _check_kernels(names, group)
    for layer in (*group.producers, group.consumer):
        check_axes(f"{layer}/kernel", views)
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
        if name not in leaves:
            known = (n.removesuffix("/kernel") for n in leaves if n.endswith("/kernel"))
            raise ValueError(
                "a group's layers must have kernels, got none of "
                f"{name.removesuffix('/kernel')!r} in {group}; the layers are "
                f"{', '.join(known)}"
            )
        if leaves[name] is None:
            continue
        shape = leaves[name].shape
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


def check_axes(name: str, views: Views | None) -> None:
    """Refuses a kernel whose last two axes are not all its inputs and its outputs.

    Args:
      name: Of the kernel.
      views: What the axes of the leaves are; one that has no view is taken to be usual.

    Raises:
      ValueError: They are others, as in `nn.ConvTranspose` with `transpose_kernel`.
    """
    view = (views or {}).get(name)
    axes = ["in", "out"] if view is None else views_lib.words(view)
    if axes[-2:] != ["in", "out"] or set(axes[:-2]) - {"space"}:
        raise ValueError(
            "channels must be the last axis of the kernels that make them and the last "
            f"but one of the kernel that reads them, got {name}, whose axes are "
            f"{' '.join(axes)}; leave the layer out, or prune by search.pattern = "
            "'channels', which goes by the axes"
        )


def plain(layer: nn.Module) -> bool:
    """Returns whether a layer computes as flax's own Dense or Conv.

    A class of one's own that changes what they do may read all channels for each, as
    one that standardises its kernel does.

    Args:
      layer: Any module.
    """
    kinds = type(layer).__mro__
    base = next((kinds.index(k) for k in (nn.Dense, nn.Conv) if k in kinds), None)
    methods = (
        vars(kind).get(name) for kind in kinds[:base] for name in ("__call__", "param")
    )
    modules = (getattr(method, "__module__", "flax.") for method in methods)
    return base is not None and all(name.startswith("flax.") for name in modules)


def repeats(params: Params, group: Group) -> int:
    """Returns how often the reading kernel has each channel."""
    return named(params)[f"{group.consumer}/kernel"].shape[-2] // group.size


RULES = (
    ((mlp.MLP, mlp.LeNet5, mlp.TutorialLeNet, mlp.ConvNet, vgg.VGG), _chain),
    ((resnet.ResNet,), _inner),
    ((mobilenet.MobileNetV2,), _expanded),
    ((mobilenet.MobileNetV1,), _separable),
)
