"""The parameters of a network as PyTorch lays them out and names them."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from lthjax.models import functions
from lthjax.models.mlp import MLP, ConvNet, LeNet5, TutorialLeNet
from lthjax.models.mobilenet import MobileNetV1, MobileNetV2
from lthjax.models.recognition import Recogniser
from lthjax.models.resnet import ResNet
from lthjax.models.transformer import GPT, ViT
from lthjax.models.vgg import VGG
from lthjax.pruning import views as views_lib
from lthjax.pruning.masks import path_name
from lthjax.pruning.views import Views

# What PyTorch calls the leaves of a layer, where it has another name for them.
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
KERNEL = "kernel"
# The kinds of `views.View` that have the like in PyTorch; "" is what a rule said.
USUAL = {KERNEL: "Dense", "embedding": "Embed"}  # of two axes, where nothing is said
AS_THEY_ARE = ("norm", views_lib.PLAIN, "Embed")
KINDS = ("", "Dense", "Conv", "ConvTranspose", "ConvTranspose with transpose_kernel")
KINDS += ("grouped Conv", "Einsum", "bias", *AS_THEY_ARE)
STATISTICS = ("mean", "var")
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
      views: Of which layer each leaf is and what its axes are, from `views.of`. `None`:
        every kernel is a dense one; kernels of more axes are refused.
    """

    flattened: Mapping[str, int]
    renames: tuple[tuple[str, str], ...] = ()
    views: Views | None = None


def layout(
    model: nn.Module, params: Any, channels: int, views: Views | None = None
) -> Layout:
    """Returns the layout of one of our networks.

    A residual network gets the names of torchvision's; all others keep the paths of
    their layers, with dots.

    Args:
      model: The network.
      params: Its parameters.
      channels: Of its images.
      views: Of its leaves, from `views.of`; `None` will do where all kernels are dense
        ones or convolutions, not for transformers.

    Raises:
      ValueError: The network is a user's own: nothing says which of its dense layers
        read a flattened feature map.
    """
    found = LAYOUTS.get(type(model))
    if found is None:
        raise ValueError(
            "PyTorch's layout must know which dense layers read a flattened feature "
            f"map, got a network of your own, model = {type(model).__name__}; say it: "
            "Layout({'Dense_0': channels of that map}), or Layout({}) for none; as a "
            "command, --flattened Dense_0:channels, or none"
        )
    if views is not None:
        return found(params, channels)._replace(views=views)
    names = views_lib.USUAL
    kinds = {2: names[2]._replace(kind="Dense"), 4: names[4]._replace(kind="Conv")}
    rows = [(f"{layer}/{name}", x.ndim) for (layer, name), x in _rows(params)]
    usual = {name: kinds[ndim] for name, ndim in rows if ndim in kinds}
    return found(params, channels)._replace(views=usual)


def matrices(params: Any) -> dict[str, views_lib.View]:
    """Returns the views of what has two axes, all that a name and a shape can say.

    Args:
      params: The parameters of a network whose layers are not known.
    """
    rows = [(layer, name) for (layer, name), x in _rows(params) if x.ndim == 2]
    return {
        f"{layer}/{name}".lstrip("/"): views_lib.USUAL[2]._replace(kind=USUAL[name])
        for layer, name in rows
        if name in USUAL
    }


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
    statistics = functions.statistics(model_state or {})
    norms = statistics.pop("batch_stats", {})
    if jax.tree.leaves(statistics):
        raise ValueError(
            "PyTorch's layout has batch statistics only, got model_state with "
            f"{', '.join(statistics)}"
        )
    _check_statistics(norms)
    _check_flattened(form, _rows(params))
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
    """Returns (name, array) of every leaf, as `_tensor` has it."""
    rows = []
    for (layer, name), x in _rows(tree):
        view = _view(form, f"{layer}/{name}".lstrip("/"), x.shape)
        tensor = _tensor(x, view, form.flattened.get(layer) if name == KERNEL else None)
        rows.append((_name(form, layer, name), tensor))
    return rows


def _view(form, name, shape):
    """Returns the view of a leaf, or refuses one of a layer that PyTorch has not."""
    found = None if form.views is None else form.views.get(name)
    if found is None and len(shape) < 2:
        return views_lib.View(kind=views_lib.PLAIN)
    if found is None and form.views is None and len(shape) == 2:
        kind = USUAL.get(name.rpartition("/")[2])
        found = views_lib.USUAL[2]._replace(kind=kind) if kind else None
    summed = found is not None and found.kind == "Einsum" and found.space
    if found is None or found.kind not in KINDS or summed:
        known = found is not None and found.kind != views_lib.UNKNOWN
        layer = found.kind if known else "a layer of which no view is known"
        raise ValueError(
            "PyTorch's layout must know a layer's kind and have the like of it, got "
            f"{name} of shape {shape}, of {layer}; give the layout's views = "
            "views.of(model.init, key, images), as a command --trust, or say the axes "
            "of the leaf by a rule, as a command --views, such as "
            f"({name!r}, 'out in space space'), or 'plain' to write it as it is"
        )
    return found


def _rows(tree) -> list[tuple[tuple[str, str], np.ndarray]]:
    """Returns ((layer, name), array) of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [path_name(path).rpartition("/") for path, _ in leaves]
    arrays = [np.asarray(jax.device_get(leaf)) for _, leaf in leaves]
    return [((n[0], n[2]), leaf) for n, leaf in zip(names, arrays, strict=True)]


def _check_statistics(norms):
    for (layer, name), x in _rows(norms):
        if name not in STATISTICS or x.ndim != 1:
            raise ValueError(
                "PyTorch's layout has the mean and variance of batch norm only, got "
                f"{layer}/{name} of shape {x.shape} in batch_stats"
            )


def _check_flattened(form, rows):
    kernels = [(layer, n, x.shape) for (layer, n), x in rows if n == KERNEL]
    inputs = {
        layer: views_lib.sizes(shape, _view(form, f"{layer}/{n}".lstrip("/"), shape))[2]
        for layer, n, shape in kernels
    }
    for layer, channels in form.flattened.items():
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


def _tensor(x, view, channels):
    """Returns a leaf as PyTorch lays it out, copies first.

    inputs and outputs of a product -> [out, in, *space], of a transposed convolution
    -> [in, out, *space], turned about, which PyTorch does itself; an embedding
    -> [in, out]; a bias -> [out]. Several axes of inputs, or of outputs, become one.
    """
    copies = [x.shape[axis] for axis in view.copies]
    if view.kind in AS_THEY_ARE:
        order = [axis for axis in range(x.ndim) if axis not in view.copies]
        return np.ascontiguousarray(x.transpose(*view.copies, *order))
    if view.kind == "ConvTranspose":
        x = np.flip(x, view.space)
    space = [x.shape[axis] for axis in view.space]
    _, _, inputs, outputs = views_lib.sizes(x.shape, view)
    x = x.transpose(*view.copies, *view.outputs, *view.inputs, *view.space)
    if view.kind == "bias":
        return np.ascontiguousarray(x.reshape(*copies, outputs))
    x = x.reshape(*copies, outputs, inputs, *space)
    if channels:
        shape, x = x.shape, x.reshape(*copies, outputs, -1, channels)
        x = x.swapaxes(-1, -2).reshape(shape)
    if view.kind.startswith("ConvTranspose"):
        x = x.swapaxes(len(copies), len(copies) + 1)
    return np.ascontiguousarray(x)


def _first_dense(params):
    return "dense1" if "dense1" in params else "head"


def _images(params, channels):
    return Layout({_first_dense(params): channels})


def _maps(params, channels):
    """Returns the layout where the last convolution's map is flattened."""
    del channels
    last = max((n for n in params if n.startswith("conv")), key=lambda n: int(n[4:]))
    return Layout({_first_dense(params): params[last]["kernel"].shape[-1]})


LAYOUTS: dict[type, Callable[[Any, int], Layout]] = {
    MLP: _images,
    LeNet5: _maps,
    TutorialLeNet: _maps,
    ConvNet: _maps,
    VGG: lambda params, channels: Layout({}),
    ResNet: lambda params, channels: Layout({}, TORCHVISION),
    MobileNetV1: lambda params, channels: Layout({}),
    MobileNetV2: lambda params, channels: Layout({}),
    ViT: lambda params, channels: Layout({}),
    GPT: lambda params, channels: Layout({}),
    Recogniser: lambda params, channels: Layout({}),
}
