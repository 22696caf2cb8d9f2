"""What XLA's CPU backend needs to run convolutions fast, inside loops too.

XLA gives a convolution the one layout that its CPU kernels run well (NHWC image, HWIO
kernel, NHWC result) in the entry computation only. In the body of a loop, where
training runs, the gradients that autodiff writes keep their own layout and fall to a
kernel twenty times slower, as the grouped convolutions of `vmap` do everywhere. The
lowering here writes that layout itself; `compiler_options` are the options to compile
with. Importing this module changes nothing in JAX.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import mlir

# Batch, feature and spatial axes of NHWC, HWIO and NHWC.
_LAYOUT = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
_LARGEST_WINDOW = 64
_MOST_GROUPS = 16
_FUSIONS = ("DOT", "ELTWISE", "REDUCE")


def lower_convolutions() -> None:
    """Lowers two-dimensional convolutions for XLA's CPU backend, from now on.

    Serves every model under `jit`, `grad`, `jvp`, `vmap` and Hessian products. Other
    convolutions (one- and three-dimensional, complex, integer, with explicit
    shardings) and other backends stay with JAX's own rule. Calling it again changes
    nothing; functions that were compiled before the first call stay as they are.
    """
    default = mlir._platform_specific_lowerings["cpu"][conv_general_dilated_p].rule
    if getattr(default, "func", None) is _lower:
        return
    rule = functools.partial(_lower, default)
    mlir.register_lowering(conv_general_dilated_p, rule, platform="cpu")


def compiler_options(*, convolutional: bool) -> dict[str, str]:
    """Returns the options to compile a network with, for `jax.jit(compiler_options=)`.

    Args:
      convolutional: Whether the network has convolutions; others gain nothing.

    Returns:
      The fusions that YNNPACK runs on a CPU, if this version of XLA knows the option;
      otherwise, and on other backends, nothing.
    """
    if not convolutional or jax.default_backend() != "cpu":
        return {}
    return dict(_accepted_options())


@functools.cache
def _accepted_options() -> tuple[tuple[str, str], ...]:
    """Returns the CPU options if XLA accepts them in a trivial program, or nothing."""
    kinds = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in _FUSIONS)
    options = {"xla_cpu_experimental_ynn_fusion_type": kinds}
    program = jax.jit(lambda x: x + 1, compiler_options=options)
    try:
        program.lower(jax.ShapeDtypeStruct((), "float32")).compile()
    except (RuntimeError, ValueError):
        return ()
    return tuple(options.items())


def _lower(default, ctx, lhs, rhs, **params):
    """Lowers one convolution, by the `default` rule if that is fast or needed."""
    fast = _faster_form(*ctx.avals_in, params)
    if fast is None:
        return default(ctx, lhs, rhs, **params)
    return mlir.lower_fun(fast, multiple_results=False)(ctx, lhs, rhs)


def _faster_form(lhs, rhs, params):
    """Returns the function of two arrays that computes a convolution, None for JAX's.

    Args:
      lhs: Shape and dtype of the images.
      rhs: Shape and dtype of the kernels.
      params: Parameters of `conv_general_dilated_p`.
    """
    if not _is_ours(lhs, rhs, params):
        return None
    if _is_plain(params):
        return None
    return functools.partial(_canonical, params)


def _is_ours(lhs, rhs, params) -> bool:
    """Returns whether a convolution is 2-D, real floating and of one known shape."""
    return (
        lhs.ndim == 4
        and params["out_sharding"] is None
        and all(jnp.issubdtype(x.dtype, jnp.floating) for x in (lhs, rhs))
        and all(isinstance(n, int) and n > 0 for n in (*lhs.shape, *rhs.shape))
    )


def _is_plain(params) -> bool:
    """Returns whether a convolution has no groups and lies as XLA likes it."""
    groups = params["feature_group_count"] * params["batch_group_count"]
    return groups == 1 and params["dimension_numbers"] == _LAYOUT


def _canonical(params, lhs, rhs):
    """Convolves NHWC by HWIO, group by group, and returns the layout asked for."""
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    x = lax.transpose(lhs, (lhs_spec[0], *lhs_spec[2:], lhs_spec[1]))
    w = lax.transpose(rhs, (*rhs_spec[2:], rhs_spec[1], rhs_spec[0]))
    window = dict(
        window_strides=params["window_strides"],
        padding=params["padding"],
        lhs_dilation=params["lhs_dilation"],
        rhs_dilation=params["rhs_dilation"],
    )
    types = dict(
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )
    if params["batch_group_count"] > 1:
        y = _batch_groups(x, w, params["batch_group_count"], window, types)
    else:
        y = _feature_groups(x, w, params["feature_group_count"], window, types)
    axes = (out_spec[0], *out_spec[2:], out_spec[1])
    return lax.transpose(y, sorted(range(4), key=axes.__getitem__))


def _plain(window, types, x, w):
    """Convolves NHWC `x` by HWIO `w`."""
    return lax.conv_general_dilated(x, w, **window, dimension_numbers=_LAYOUT, **types)


def _feature_groups(x, w, groups, window, types):
    """Convolves each group of the features of `x` by its part of the kernels.

    Args:
      x: Images [N, H, W, G * I].
      w: Kernels [h, w, I, G * O].
      groups: G.
      window: Strides, padding and dilations.
      types: Precision and dtype of the result.

    Returns:
      [N, H', W', G * O].
    """
    if groups == 1:
        return _plain(window, types, x, w)
    if w.shape[2] == 1 and math.prod(w.shape[:2]) <= _LARGEST_WINDOW:
        return _depthwise(x, w, window, types)
    x = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 0)
    return _by_group(x, w, groups, window, types)


def _batch_groups(x, w, groups, window, types):
    """Convolves each group of the images `x` by its part of the kernels.

    Args:
      x: Images [G * N, H, W, I].
      w: Kernels [h, w, I, G * O].
      groups: G.
      window: Strides, padding and dilations.
      types: Precision and dtype of the result.

    Returns:
      [N, H', W', G * O].
    """
    if groups == x.shape[0] and math.prod(_sides(x, w, window)) <= _LARGEST_WINDOW:
        return _depthwise_gradient(x, w, window, types)
    return _by_group(x.reshape(groups, -1, *x.shape[1:]), w, groups, window, types)


def _by_group(x, w, groups, window, types):
    """Convolves x[g] by the g-th part of the kernels: [N, H', W', G * O]."""
    w = jnp.moveaxis(w.reshape(*w.shape[:3], groups, -1), 3, 0)
    convolve = functools.partial(_plain, window, types)
    if groups <= _MOST_GROUPS:
        return jnp.concatenate([convolve(x[g], w[g]) for g in range(groups)], axis=3)
    y = lax.map(lambda pair: convolve(*pair), (x, w))
    return jnp.moveaxis(y, 0, 3).reshape(*y.shape[1:4], -1)


def _depthwise(x, w, window, types):
    """Convolves each feature by kernels of its own, as a sum of shifted products.

    Args:
      x: Images [N, H, W, C].
      w: Kernels [h, w, 1, C * M].
      window: Strides, padding and dilations.
      types: Precision and dtype of the result.

    Returns:
      [N, H', W', C * M].
    """
    dtype = types["preferred_element_type"] or x.dtype
    shape = _sides(x, w, window)
    x = _padded(x, window)
    w = w.reshape(*w.shape[:2], 1, 1, 1, x.shape[3], -1)
    steps, strides = window["rhs_dilation"], window["window_strides"]
    total = sum(
        _every(x, (i * steps[0], j * steps[1]), strides, shape)[..., None] * w[i, j]
        for i, j in itertools.product(*map(range, w.shape[:2]))
    )
    return total.reshape(*total.shape[:3], -1).astype(dtype)


def _depthwise_gradient(x, w, window, types):
    """Convolves each image by kernels of its own: what `_depthwise` has as gradient.

    Args:
      x: Images [C, H, W, N], the features of the depthwise convolution.
      w: Kernels [h, w, N, C * M], the cotangent of its result.
      window: Strides, padding and dilations.
      types: Precision and dtype of the result.

    Returns:
      [1, H', W', C * M].
    """
    dtype = types["preferred_element_type"] or x.dtype
    shape = _sides(x, w, window)
    x = _padded(jnp.swapaxes(x, 0, 3), window)
    w = jnp.moveaxis(w, 2, 0).reshape(w.shape[2], *w.shape[:2], x.shape[3], -1)
    steps, strides = window["window_strides"], window["rhs_dilation"]
    sums = [
        jnp.sum(
            _every(x, (i * steps[0], j * steps[1]), strides, w.shape[1:3])[..., None]
            * w,
            axis=(0, 1, 2),
        )
        for i, j in itertools.product(*map(range, shape))
    ]
    return jnp.stack(sums).reshape(1, *shape, -1).astype(dtype)


def _sides(x, w, window):
    """Returns (H', W') of NHWC `x` convolved by HWIO `w`."""
    sides = zip(
        x.shape[1:3],
        w.shape[:2],
        window["window_strides"],
        window["padding"],
        window["lhs_dilation"],
        window["rhs_dilation"],
        strict=True,
    )
    return tuple(
        ((n - 1) * dilation + 1 + sum(padding) - (k - 1) * spread - 1) // stride + 1
        for n, k, stride, padding, dilation, spread in sides
    )


def _padded(x, window):
    """Returns images with the padding and dilation of a convolution in them."""
    (top, bottom), (left, right) = window["padding"]
    rows, columns = window["lhs_dilation"]
    config = ((0, 0, 0), (top, bottom, rows - 1), (left, right, columns - 1), (0, 0, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _every(x, start, strides, shape):
    """Returns the `shape` pixels of `x` from `start` on that lie `strides` apart."""
    stop = [i + (n - 1) * s + 1 for i, s, n in zip(start, strides, shape, strict=True)]
    return x[:, start[0] : stop[0] : strides[0], start[1] : stop[1] : strides[1]]
