"""A network cut open at one layer: what comes into it, and what follows from it.

Whatever lies before the layer is computed once; what follows can be computed for many
results that the layer might have had.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.linear import canonicalize_padding
from jax import lax

from lthjax import models
from lthjax.channels import layers_of
from lthjax.interceptors import intercepted
from lthjax.pruning import layer_axes
from lthjax.pruning.masks import Params

# Products in fewer bits, as accelerators take them, would rank channels otherwise.
PRECISION = lax.Precision.HIGHEST


class Entry(NamedTuple):
    """What goes into a layer.

    Attributes:
      block: The input of the outermost module around the layer (the layer's own, where
        it stands alone), from which all that follows can be computed.
      layer: The input of the layer itself [batch, ..., channels].
    """

    block: jax.Array
    layer: jax.Array


class Maps(NamedTuple):
    """What a reading layer sees of its channels, and its kernel.

    The result of the layer is linear in both: with K_i what it makes of channel i
    alone, and n picks of which n_i are of channel i,

        z = (C / n) sum_i n_i K_i + bias.

    Attributes:
      seen: [taps, batch, ..., channels].
      kernel: [taps, channels, results].
      bias: [results].
    """

    seen: jax.Array
    kernel: jax.Array
    bias: jax.Array


def before(model: nn.Module, layer: str) -> Callable[[Any, Any, Any], Entry]:
    """Returns (params, model_state, images) -> Entry of the named layer.

    Args:
      model: The network.
      layer: Its name, such as "stage1_block0/conv2".

    Raises:
      ValueError: When called: the network never calls a layer of that name.
    """
    path = tuple(layer.split("/"))

    def run(params, model_state, images):
        seen = {}

        def watch(call, args, options, context):
            if context.method_name == "__call__":
                seen[context.module.path] = args[0] if args else None
            return call(*args, **options)

        with intercepted(watch):
            models.apply(model, params, model_state, images, train=False)
        if path not in seen:
            raise ValueError(f"the network must have the layer, got layer = {layer!r}")
        return Entry(seen[path[:1]], seen[path])

    return run


def after(model: nn.Module, layer: str) -> Callable[..., jax.Array]:
    """Returns (params, model_state, images, entry, result) -> logits.

    `result` takes the place of what the layer gives; of what comes before its block
    nothing is computed (only the shape of `images` matters). `result` may be batched.

    Args:
      model: The network.
      layer: Its name.
    """
    path = tuple(layer.split("/"))

    def run(params, model_state, images, entry, result):
        def graft(call, args, options, context):
            own = context.module.path if context.method_name == "__call__" else None
            if own == path:
                return result
            if own == path[:1]:
                args = (entry.block, *args[1:])
            return call(*args, **options)

        with intercepted(graft):
            return models.apply(model, params, model_state, images, train=False)[0]

    return run


def geometry(model: nn.Module, params: Params, model_state: Any, shape: tuple) -> dict:
    """Returns {layer: (strides, padding)} of every convolution, for images of a shape.

    Convolutions whose window is dilated, in groups, not of two axes or padded by a name
    are left out, as `patches` cannot cut what they see; so are layers that compute with
    another kernel than their own leaf. `None` stands at dense layers.

    Args:
      model: The network.
      params: Its parameters.
      model_state: Its batch statistics.
      shape: (height, width, channels).
    """
    found, other = {}, []

    def watch(call, args, options, context):
        module = context.module
        called = context.method_name == "__call__"
        own = called and layers_of.plain(module)
        if own and isinstance(module, nn.Dense):
            found["/".join(module.path)] = None
        if own and isinstance(module, nn.Conv) and _plain(module):
            strides = module.strides
            pair = (
                (strides,) * 2 if isinstance(strides, int) else tuple(strides or (1, 1))
            )
            padding = canonicalize_padding(module.padding, 2)
            found["/".join(module.path)] = pair, padding
        result = call(*args, **options)
        if called and isinstance(module, layer_axes.WRAPPERS):
            other.append("/".join((*module.layer_instance.path, "")))
        return result

    def run(params, model_state):
        with intercepted(watch):
            images = jnp.zeros((1, *shape))
            return models.apply(model, params, model_state, images, train=False)[0]

    jax.eval_shape(run, params, model_state)
    within = tuple(other)
    return {name: at for name, at in found.items() if not f"{name}/".startswith(within)}


def place(found: dict, group: layers_of.Group) -> tuple | None:
    """Returns the place of the layer that reads a group, of what `geometry` found.

    Raises:
      ValueError: It is none whose input can be cut into what each weight sees, or it
        computes with another kernel than its own.
    """
    if group.consumer not in found:
        raise ValueError(
            "the layer that reads a group's channels must be a flax Dense, or a Conv "
            "of two axes without groups, a mask or dilation, its padding in pixels, "
            "without methods of one's own, WeightNorm or SpectralNorm around it, got "
            f"{group.consumer}; leave the group out"
        )
    return found[group.consumer]


def _plain(conv):
    """Returns whether `patches` cuts what a convolution's window sees."""
    dilations = conv.kernel_dilation, conv.input_dilation
    ones = all(np.all(np.asarray(d or 1) == 1) for d in dilations)
    pixels = not isinstance(conv.padding, str)
    whole = conv.feature_group_count == 1 and conv.mask is None
    return ones and pixels and whole and len(conv.kernel_size) == 2


def patches(x: jax.Array, kernel: jax.Array, place: tuple | None) -> jax.Array:
    """Returns what each tap of a kernel sees [taps, batch, ..., channels].

    The layer's result is the sum over taps and channels of patches times kernel.

    Args:
      x: The layer's input [batch, height, width, channels], or [batch, inputs].
      kernel: Of the layer [h, w, channels, results], or [inputs, results].
      place: (strides, padding) of a convolution, `None` for a dense layer.
    """
    if place is None:
        return x[None]
    (down, right), padding = place
    h, w = kernel.shape[:2]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    height = (x.shape[1] - h) // down + 1
    width = (x.shape[2] - w) // right + 1

    def tap(i, j):
        last = i + (height - 1) * down + 1, j + (width - 1) * right + 1
        stop = (x.shape[0], *last, x.shape[3])
        return lax.slice(x, (0, i, j, 0), stop, (1, down, right, 1))

    return jnp.stack([tap(i, j) for i in range(h) for j in range(w)])


def taps(kernel: jax.Array) -> jax.Array:
    """Returns a kernel with its taps on one axis [taps, channels, results]."""
    return kernel.reshape(-1, *kernel.shape[-2:])


def maps(
    params: Params, group: layers_of.Group, x: jax.Array, place: tuple | None
) -> Maps:
    """Returns the Maps of a layer's input; pixels of a flattened map are taps too.

    Args:
      params: The parameters of the network.
      group: The channels, which the layer reads.
      x: The layer's input, as for `patches`.
      place: As for `patches`.
    """
    named = layers_of.named(params)
    kernel = named[f"{group.consumer}/kernel"]
    bias = named.get(f"{group.consumer}/bias", jnp.zeros(kernel.shape[-1]))
    times = layers_of.repeats(params, group)
    seen, own = patches(x, kernel, place), taps(kernel)
    if times > 1:
        seen = jnp.moveaxis(seen[0].reshape(-1, times, group.size), 1, 0)
        own = own[0].reshape(times, group.size, -1)
    return Maps(seen, own, bias)


def total(found: Maps, counts: jax.Array) -> jax.Array:
    """Returns sum_i n_i K_i [batch, ..., results].

    Args:
      found: The Maps.
      counts: n_i [channels].
    """
    kernel = found.kernel * counts[None, :, None]
    kernel = kernel.reshape(-1, kernel.shape[-1])
    seen = jnp.moveaxis(found.seen, 0, -2)
    seen = seen.reshape(*seen.shape[:-2], -1)
    return jnp.tensordot(seen, kernel, 1, precision=PRECISION)


def one(found: Maps, index: jax.Array) -> jax.Array:
    """Returns K_i of one channel [batch, ..., results]."""
    seen = jnp.moveaxis(found.seen[..., index], 0, -1)
    return jnp.tensordot(seen, found.kernel[:, index], 1, precision=PRECISION)


def result(found: Maps, summed: jax.Array, number: jax.Array) -> jax.Array:
    """Returns z of the sum of n picks; of none, the bias."""
    scale = found.kernel.shape[1] / jnp.maximum(number, 1)
    return scale * summed + found.bias.reshape([1] * (summed.ndim - 1) + [-1])


def weighted(found: Maps, counts: jax.Array) -> jax.Array:
    """Returns z of the counts [channels]."""
    return result(found, total(found, counts), jnp.sum(counts))
