"""The parameters of a network as PyTorch lays them out and names them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from lthjax.masks import path_name
from lthjax.models import applying
from lthjax.models.mlp import MLP, ConvNet, LeNet5
from lthjax.models.mobilenet import MobileNetV1, MobileNetV2
from lthjax.models.resnet import ResNet
from lthjax.models.vgg import VGG

# What PyTorch calls the leaves of a layer, where it has another name for them.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
# (regular expression, what replaces it), in turn, on the path of a layer.
TORCHVISION = (
    (r"^stem$", "conv1"),
    (r"^stem_norm$", "bn1"),
    (r"^stage(\d+)_block(\d+)/", r"layer\1.\2."),
    (r"conv(\d)_norm$", r"bn\1"),
    (r"shortcut$", "downsample.0"),
    (r"shortcut_norm$", "downsample.1"),
    (r"^head$", "fc"),
)


class Layout(NamedTuple):
    """How a network's parameters become PyTorch's.

    Attributes:
      flattened: {layer: channels} of the dense layers that read a flattened feature
        map, with the channels of that map: here the channels vary fastest, in PyTorch
        slowest, so that their inputs are put in another order.
      renames: (regular expression, replacement) for the paths of layers.
    """

    flattened: Mapping[str, int]
    renames: tuple[tuple[str, str], ...] = ()


def layout(model: nn.Module, params: Any, channels: int) -> Layout:
    """Returns the layout of one of our networks.

    A residual network gets the names of torchvision's; all others keep the paths of
    their layers, with dots.

    Args:
      model: The network.
      params: Its parameters.
      channels: Of its images.

    Raises:
      ValueError: The network is a user's own: nothing says which of its dense layers
        read a flattened feature map.
    """
    found = LAYOUTS.get(type(model))
    if found is None:
        raise ValueError(
            "PyTorch's layout must know which dense layers read a flattened feature "
            f"map, got a network of your own, model = {type(model).__name__}; say it: "
            "Layout({'Dense_0': channels of that map}), or Layout({}) for none"
        )
    return found(params, channels)


def state_dict(
    form: Layout, params: Any, model_state: Any = None
) -> dict[str, np.ndarray]:
    """Returns {name: array} for `load_state_dict(..., strict=True)`.

    Beside the statistics of batch norm lies its counter `num_batches_tracked`, at 0:
    PyTorch asks for it and, with a fixed momentum, does not use it. Our running
    variance is the biased one, PyTorch's own training keeps the unbiased one; that does
    not change evaluation, which normalises by whichever it is given.

    Args:
      form: The layout, of `layout`.
      params: Nested dicts.
      model_state: The collections of variables; only `batch_stats` may be among them.

    Raises:
      ValueError: There are other variables than batch statistics, two parameters get
        one name, a layer of `form.flattened` does not exist, or its inputs are no
        multiple of the channels.
    """
    statistics = applying.statistics(model_state or {})
    norms = statistics.pop("batch_stats", {})
    if jax.tree.leaves(statistics):
        raise ValueError(
            "PyTorch's layout has batch statistics only, got model_state with "
            f"{', '.join(statistics)}"
        )
    _check_flattened(form.flattened, _rows(params))
    counters = [
        (_name(form, layer, "num_batches_tracked"), np.zeros((), np.int64))
        for (layer, name), _ in _rows(norms)
        if name == "mean"
    ]
    return _by_name([*_laid_out(form, params), *_laid_out(form, norms), *counters])


def masks_dict(form: Layout, masks: Any) -> dict[str, np.ndarray]:
    """Returns {name: bool array}, each named and laid out as its parameter.

    Args:
      form: The layout, of `layout`.
      masks: A mask tree; its `None` leaves are left out.
    """
    return _by_name(_laid_out(form, masks))


def _by_name(rows):
    names = [name for name, _ in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"every tensor must have its own name, got two of {twice}")
    return dict(rows)


def _laid_out(form, tree):
    """Returns (name, array) of every leaf.

    kernel [*size, in, out] -> weight [out, in, *size],  [in, out] -> weight [out, in];
    scale, bias, mean, var -> weight, bias, running_mean, running_var
    """
    return [
        (_name(form, layer, name), _tensor(x, name, form.flattened.get(layer)))
        for (layer, name), x in _rows(tree)
    ]


def _rows(tree) -> list[tuple[tuple[str, str], np.ndarray]]:
    """Returns ((layer, name), array) of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [path_name(path).rpartition("/") for path, _ in leaves]
    arrays = [np.asarray(jax.device_get(leaf)) for _, leaf in leaves]
    return [((n[0], n[2]), leaf) for n, leaf in zip(names, arrays, strict=True)]


def _check_flattened(flattened, rows):
    inputs = {layer: x.shape[0] for (layer, n), x in rows if n == "kernel"}
    for layer, channels in flattened.items():
        if layer not in inputs or inputs[layer] % channels:
            raise ValueError(
                "the inputs of a layer behind a flattened map must be a multiple of "
                f"its channels, got {layer} = {channels} channels for "
                f"{inputs.get(layer, 'no such layer')}"
            )


def _name(form, layer, leaf):
    for pattern, replacement in form.renames:
        layer = re.sub(pattern, replacement, layer)
    parts = [*layer.split("/"), LEAVES.get(leaf, leaf)]
    return ".".join(part for part in parts if part)


def _tensor(x, name, channels):
    if name != "kernel":
        return x
    if channels:
        x = x.reshape(-1, channels, x.shape[-1]).swapaxes(0, 1).reshape(x.shape)
    return np.ascontiguousarray(np.moveaxis(x, (-1, -2), (0, 1)))


def _first_dense(params):
    return "dense1" if "dense1" in params else "head"


def _images(params, channels):
    return Layout({_first_dense(params): channels})


def _maps(params, channels):
    """Returns the layout where the last convolution's map is flattened."""
    del channels
    last = max((n for n in params if n.startswith("conv")), key=lambda n: int(n[4:]))
    return Layout({_first_dense(params): params[last]["kernel"].shape[-1]})


LAYOUTS: dict[type, Callable] = {
    MLP: _images,
    LeNet5: _maps,
    ConvNet: _maps,
    VGG: lambda params, channels: Layout({}),
    ResNet: lambda params, channels: Layout({}, TORCHVISION),
    MobileNetV1: lambda params, channels: Layout({}),
    MobileNetV2: lambda params, channels: Layout({}),
}
