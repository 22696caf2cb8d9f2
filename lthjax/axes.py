"""The axes of the leaves that flax's layers make, a word for each.

A word is "in" (a product sums over the axis), "out", "space" (of a convolution's
window) or "copies" (of kernels that have nothing to do with one another).
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
from flax import linen as nn
from flax.core import meta
from jax.experimental import xla_metadata


class Leaf(NamedTuple):
    """What a leaf is.

    Attributes:
      shape: Its shape and dtype.
      words: Of its axes, `None` where no layer of flax made it.
      kind: The layer that did.
    """

    shape: jax.ShapeDtypeStruct
    words: tuple[str, ...] | None = None
    kind: str = ""


def traced(init_fn: Callable, *args) -> Any:
    """Returns the tree of a flax network's variables, each a `Leaf`; computes nothing.

    Args:
      init_fn: From `args` to the variables.
      *args: A key and images, or their shapes.
    """
    # The metadata sets what is traced here apart in JAX's caches: `init_fn`, or a layer
    # in it, may be compiled, and must not give boxed leaves ever after.
    with nn.intercept_methods(_boxed), xla_metadata.set_xla_metadata(lthjax="axes"):
        found = jax.eval_shape(init_fn, *args)

    def leaf(x):
        return Leaf(x.value, x.words, x.kind) if _is_box(x) else Leaf(x)

    return jax.tree.map(leaf, found, is_leaf=_is_box)


class _Box(flax.struct.PyTreeNode, meta.AxisMetadata):
    """A leaf with what its axes are; flax tells it of every axis that it puts in."""

    value: Any
    words: tuple[str, ...] = flax.struct.field(pytree_node=False)
    kind: str = flax.struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        del params
        words = list(self.words)
        words.insert(index % (len(words) + 1), "copies")
        return self.replace(words=tuple(words))

    def remove_axis(self, index, params):
        del params
        words = list(self.words)
        del words[index]
        return self.replace(words=tuple(words))


def _is_box(x):
    return isinstance(x, _Box)


def _boxed(call, args, options, context):
    """Calls a flax layer so that it makes its leaves with their axes around them.

    A flax module is frozen against assignment; it is as before after the call.
    """
    layer = context.module
    method = getattr(context.orig_method, "func", None)
    ours = getattr(method, "__module__", "").startswith("flax.linen.")
    rule = LAYERS.get(method.__qualname__) if ours else None
    if rule is None:
        return call(*args, **options)
    leaves = rule(layer, *args, **options)
    before = {name: getattr(layer, name) for name in leaves}
    for name, (words, kind) in leaves.items():
        object.__setattr__(layer, name, _boxing(before[name], words, kind))
    try:
        return call(*args, **options)
    finally:
        for name, init in before.items():
            object.__setattr__(layer, name, init)


def _boxing(init_fn, words, kind):
    """Returns an initialiser whose results come in a box."""

    def init(*args, **options):
        return _Box(meta.unbox(init_fn(*args, **options)), words, kind)

    return init


def _leaves(kernel, bias, kind):
    vector = tuple(bias), "bias"
    return {"kernel_init": (tuple(kernel), kind), "bias_init": vector}


def _dense(layer, *args, **options):
    del layer, args, options
    return _leaves(["in", "out"], ["out"], "Dense")


def _dense_general(layer, *args, **options):
    del args, options
    copies = ["copies"] * len(_tuple(layer.batch_dims))
    outputs = ["out"] * len(_tuple(layer.features))
    inputs = ["in"] * len(_tuple(layer.axis))
    return _leaves([*copies, *inputs, *outputs], [*copies, *outputs], "Dense")


def _einsum(layer, *args, **options):
    text = options.get("einsum_str") or (args[1:] or (None,))[0] or layer.einsum_str
    given, kernel, result = re.split(r",|->", text.replace(" ", ""))
    words = [
        {(True, False): "in", (False, True): "out", (True, True): "copies"}.get(
            (axis in given, axis in result), "space"
        )
        for axis in kernel
    ]
    return {"kernel_init": (tuple(words), "Einsum")} if "." not in kernel else {}


def _conv(layer, *args, **options):
    del args, options
    size = len(_tuple(layer.kernel_size))
    masked = "masked " if layer.mask is not None else ""
    if layer.shared_weights:
        words = [*["space"] * size, "in", "out"]
        return _leaves(words, ["out"], f"{masked}Conv")
    copies = ["copies"] * size
    return _leaves([*copies, "in", "out"], [*copies, "out"], f"{masked}ConvLocal")


def _conv_transpose(layer, *args, **options):
    del args, options
    ends = ["out", "in"] if layer.transpose_kernel else ["in", "out"]
    masked = "masked " if layer.mask is not None else ""
    kind = "ConvTranspose with transpose_kernel"
    kind = masked + (kind if layer.transpose_kernel else "ConvTranspose")
    space = ["space"] * len(_tuple(layer.kernel_size))
    return _leaves([*space, *ends], ["out"], kind)


def _embed(layer, *args, **options):
    del layer, args, options
    return {"embedding_init": (("in", "out"), "Embed")}


def _norm(layer, *args, **options):
    del args, options
    axes = getattr(layer, "axis", getattr(layer, "feature_axes", -1))
    vector = ("out",) * len(_tuple(axes)), "norm"
    names = ("scale_init", "bias_init")
    return {name: vector for name in names if hasattr(layer, name)}


def _weight_norm(layer, *args, **options):
    del args, options
    axes = layer.feature_axes
    words = () if axes is None else ("out",) * len(_tuple(axes))
    return {"scale_init": (words, "WeightNorm")}


def _tuple(value):
    return tuple(value) if isinstance(value, tuple | list) else (value,)


# What makes leaves in flax: the method, and (layer, what it is called with) -> {the
# initialiser of a leaf: (a word an axis, kind)}.
LAYERS = {
    "Dense.__call__": _dense,
    "DenseParams.__call__": _dense,
    "DenseGeneral.__call__": _dense_general,
    "Einsum.__call__": _einsum,
    "_Conv.__call__": _conv,
    "ConvTranspose.__call__": _conv_transpose,
    "Embed.setup": _embed,
    "BatchNorm.__call__": _norm,
    "LayerNorm.__call__": _norm,
    "RMSNorm.__call__": _norm,
    "GroupNorm.__call__": _norm,
    "InstanceNorm.__call__": _norm,
    "WeightNorm.__call__": _weight_norm,
}
