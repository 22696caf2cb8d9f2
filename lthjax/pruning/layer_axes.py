"""The axes of the leaves that flax's layers make, a word for each.

A word is "in" (a product sums over the axis), "out", "space" (of a convolution's
window) or "copies" (of kernels that have nothing to do with one another).
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import meta
from jax.experimental import xla_metadata

from lthjax.interceptors import intercepted

UNKNOWN = "unknown"  # the kind of a leaf of a layer whose axes may be any
ADDED = "added"  # the word of an axis that flax put in: copies
_calls = itertools.count()  # of what is traced: no call finds another one's in a cache


class Leaf(NamedTuple):
    """What a leaf is.

    Attributes:
      shape: Its shape and dtype.
      words: Of its axes, `None` where no layer of flax made it.
      kind: The layer that did, `UNKNOWN` if the leaf's axes have been changed since.
      groups: How many groups of outputs have inputs of their own.
    """

    shape: jax.ShapeDtypeStruct
    words: tuple[str, ...] | None = None
    kind: str = ""
    groups: int = 1


def traced(init_fn: Callable[..., Any], *args) -> Any:
    """Returns the parameters of a flax network, each a `Leaf`; computes nothing.

    Args:
      init_fn: From `args` to the parameters, or to variables with "params".
      *args: A key and images, or their shapes.
    """
    # The metadata sets what is traced here apart in JAX's caches: `init_fn`, or a layer
    # in it, may be compiled, and must not give boxed leaves ever after.
    turned: set[tuple[str, ...]] = set()
    metadata = xla_metadata.set_xla_metadata(lthjax=f"axes {next(_calls)}")
    try:
        with intercepted(_boxed(turned)), metadata:
            found = jax.eval_shape(init_fn, *args)
    except Exception:  # what maps over variables may take no box for an array
        return _recorded(init_fn, *args)

    def leaf(path, x):
        if not _is_box(x):
            return Leaf(x)
        if _keys(path) in turned or not _straight(x.words, x.probe):
            return Leaf(x.value, (), UNKNOWN)
        words = tuple("copies" if word == ADDED else word for word in x.words)
        return Leaf(x.value, words, x.kind, x.groups)

    return jax.tree_util.tree_map_with_path(leaf, _params(found), is_leaf=_is_box)


def _recorded(init_fn, *args):
    """Returns what `traced` does, but for leaves that have axes put in.

    Without boxes nothing tells where those axes are.
    """
    known = {}

    def watch(call, args, options, context):
        result = call(*args, **options)
        layer, rule = context.module, _rule(context)
        for name, what in (rule(layer, *args, **options) if rule else {}).items():
            seen = _seen(layer, name)
            known[*layer.path, _leaf_name(name)] = jnp.shape(seen), *what
        if type(layer) in WRAPPERS and context.method_name == "__call__":
            inner, kind = layer.layer_instance.path, type(layer).__name__
            within = [path for path in known if path[: len(inner)] == inner]
            known.update({path: (*known[path][:2], kind) for path in within})
        return result

    metadata = xla_metadata.set_xla_metadata(lthjax=f"axes {next(_calls)}")
    with intercepted(watch), metadata:
        found = meta.unbox(jax.eval_shape(init_fn, *args))

    def leaf(path, x):
        shape, words, *what = known.get(_keys(path), (x.shape, None))
        if words is None:
            return Leaf(x)
        whole = shape == x.shape and len(words) == len(shape)
        return Leaf(x, tuple(words), *what) if whole else Leaf(x, (), UNKNOWN)

    return jax.tree_util.tree_map_with_path(leaf, _params(found))


def _keys(path):
    return tuple(str(getattr(key, "key", key)) for key in path)


def _leaf_name(init_name):
    return init_name.removesuffix("_init")


def _seen(layer, init_name):
    """Returns a leaf as its layer has it, boxed or not, `None` where there is none."""
    return layer.scope.get_variable("params", _leaf_name(init_name))


def _params(found):
    """Returns the parameters among variables, or what are parameters themselves."""
    return (
        found["params"] if isinstance(found, Mapping) and "params" in found else found
    )


class _Box(flax.struct.PyTreeNode, meta.AxisMetadata):
    """A leaf with what its axes are; flax tells it of every axis that it puts in."""

    value: Any
    probe: Any  # of as many axes, no two of them alike: turned as the leaf is
    words: tuple[str, ...] = flax.struct.field(pytree_node=False)
    kind: str = flax.struct.field(pytree_node=False)
    groups: int = flax.struct.field(pytree_node=False, default=1)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        del params
        words = list(self.words)
        words.insert(index % (len(words) + 1), ADDED)
        return self.replace(words=tuple(words))

    def remove_axis(self, index, params):
        del params
        words = list(self.words)
        del words[index]
        return self.replace(words=tuple(words))


def _is_box(x):
    return isinstance(x, _Box)


def _straight(words, probe):
    """Returns whether nothing but axes that flax put in has changed a leaf's axes."""
    if len(words) != len(probe.shape):
        return False
    pairs = zip(probe.shape, words, strict=True)
    own = [side for side, word in pairs if word != ADDED]
    return own == [*_sides(len(own))]


def _sides(axes):
    return range(2, 2 + axes)


def _boxed(turned):
    """Returns what calls a flax layer so that its leaves have their axes around them.

    A flax module is frozen against assignment; it is as before after the call.

    Args:
      turned: Where the names of leaves are put that a layer reads otherwise than they
        are held, as `nn.map_variables` hands them to it.
    """

    def boxed(call, args, options, context):
        layer, rule = context.module, _rule(context)
        if type(layer) in WRAPPERS and context.method_name == "__call__":
            raise TypeError(f"{type(layer).__name__} takes no boxes")
        if rule is None:
            return call(*args, **options)
        leaves = rule(layer, *args, **options)
        before = {name: getattr(layer, name) for name in leaves}
        for name, (words, *what) in leaves.items():
            seen, sides = _seen(layer, name), tuple(_sides(len(words)))
            if _is_box(seen) and not _straight(seen.words, seen.probe):
                turned.add((*layer.path, _leaf_name(name)))
                sides = seen.probe.shape
            init = _boxing(before[name], sides, words, *what)
            object.__setattr__(layer, name, init)
        try:
            return call(*args, **options)
        finally:
            for name, init in before.items():
                object.__setattr__(layer, name, init)

    return boxed


def _rule(context):
    """Returns the rule of the method that is called, or `None`."""
    method = getattr(context.orig_method, "func", None)
    of_flax = getattr(method, "__module__", "").startswith("flax.linen.")
    return LAYERS.get(method.__qualname__) if of_flax else None


def _boxing(init_fn, sides, *what):
    """Returns an initialiser whose results come in a box, with a probe of sides."""

    def init(*args, **options):
        value = meta.unbox(init_fn(*args, **options))
        return _Box(value, jnp.zeros(sides, bool), *what)

    return init


def _leaves(kernel, bias, kind, groups=1):
    vector = tuple(bias), "bias"
    return {"kernel_init": (tuple(kernel), kind, groups), "bias_init": vector}


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
    groups = layer.feature_group_count
    how = "grouped " if groups > 1 else ""
    how += "masked " if layer.mask is not None else ""
    if layer.shared_weights:
        words = [*["space"] * size, "in", "out"]
        return _leaves(words, ["out"], f"{how}Conv", groups)
    copies = ["copies"] * size
    words = [*copies, "in", "out"]
    return _leaves(words, [*copies, "out"], f"{how}ConvLocal", groups)


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


def _tuple(value):
    return tuple(value) if isinstance(value, tuple | list) else (value,)


# Whose layer computes with another kernel than its leaf, which has their kind.
WRAPPERS = (nn.WeightNorm, nn.SpectralNorm)

# What makes leaves in flax: the method, and (layer, what it is called with) -> {the
# initialiser of a leaf: (a word an axis, kind, or also how many groups)}.
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
}
