"""Convolutions in the forms that XLA's CPU backend computes fast.

All take NHWC images and HWIO kernels; `canonical` brings any layout to that and back.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

# Batch, feature and spatial axes of images, kernels and result: NHWC, HWIO, NHWC; and
# of the gradient by the kernels that autodiff writes for them: NHWC, NHWC, HWIO.
LAYOUT = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
GRADIENT = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
_LARGEST_DEPTHWISE = 64  # pixels of a kernel, each a term of the program
_MOST_UNROLLED = 16  # groups
_NARROW = 16  # channels: half of what the kernels of XLA compute at once


class Window(NamedTuple):
    """How a convolution moves over its images, named as in `lax`."""

    window_strides: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    lhs_dilation: tuple[int, int] = (1, 1)
    rhs_dilation: tuple[int, int] = (1, 1)
    precision: Any = None
    preferred_element_type: Any = None

    @classmethod
    def of(cls, params):
        """Returns the window of the parameters of a convolution."""
        return cls(**{name: params[name] for name in cls._fields})


def canonical(params, window, lhs, rhs):
    """Convolves NHWC by HWIO, group by group, and returns the layout asked for."""
    lhs_spec, rhs_spec, out_spec = params["dimension_numbers"]
    x = lax.transpose(lhs, (lhs_spec[0], *lhs_spec[2:], lhs_spec[1]))
    w = lax.transpose(rhs, (*rhs_spec[2:], rhs_spec[1], rhs_spec[0]))
    if params["batch_group_count"] > 1:
        y = _batch_groups(x, w, params["batch_group_count"], window)
    else:
        y = _feature_groups(x, w, params["feature_group_count"], window)
    axes = (out_spec[0], *out_spec[2:], out_spec[1])
    return lax.transpose(y, sorted(range(4), key=axes.__getitem__))


def _convolve(x, w, window):
    """Convolves NHWC `x` by HWIO `w`."""
    return lax.conv_general_dilated(x, w, **window._asdict(), dimension_numbers=LAYOUT)


def _feature_groups(x, w, groups, window):
    """Convolves each group of the features of `x` by its part of the kernels.

    Args:
      x: Images [N, H, W, G * I].
      w: Kernels [h, w, I, G * O].
      groups: G.
      window: Strides, padding and dilations.

    Returns:
      [N, H', W', G * O].
    """
    if groups == 1:
        return _convolve(x, w, window)
    if w.shape[2] == 1 and math.prod(w.shape[:2]) <= _LARGEST_DEPTHWISE:
        return _depthwise(x, w, window)
    x = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 0)
    return _by_group(x, w, groups, window)


def _batch_groups(x, w, groups, window):
    """Convolves each group of the images `x` by its part of the kernels.

    Args:
      x: Images [G * N, H, W, I].
      w: Kernels [h, w, I, G * O].
      groups: G.
      window: Strides, padding and dilations.

    Returns:
      [N, H', W', G * O].
    """
    pixels = math.prod(_sides(x.shape, w.shape, window))
    if groups == x.shape[0] and pixels <= _LARGEST_DEPTHWISE:
        return _depthwise_gradient(x, w, window)
    return _by_group(x.reshape(groups, -1, *x.shape[1:]), w, groups, window)


def _by_group(x, w, groups, window):
    """Convolves x[g] by the g-th part of the kernels: [N, H', W', G * O]."""
    w = jnp.moveaxis(w.reshape(*w.shape[:3], groups, -1), 3, 0)
    if groups <= _MOST_UNROLLED:
        parts = [_convolve(x[g], w[g], window) for g in range(groups)]
        return jnp.concatenate(parts, axis=3)
    y = lax.map(lambda pair: _convolve(*pair, window), (x, w))
    return jnp.moveaxis(y, 0, 3).reshape(*y.shape[1:4], -1)


def _depthwise(x, w, window):
    """Convolves each feature by kernels of its own, as a sum of shifted products.

    Args:
      x: Images [N, H, W, C].
      w: Kernels [h, w, 1, C * M].
      window: Strides, padding and dilations.

    Returns:
      [N, H', W', C * M].
    """
    shape = _sides(x.shape, w.shape, window)
    dtype, sum_dtype = _dtypes(x, window)
    x = _padded(x, window).astype(sum_dtype)
    w = w.reshape(*w.shape[:2], 1, 1, 1, x.shape[3], -1).astype(sum_dtype)
    (down, right), strides = window.rhs_dilation, window.window_strides
    total = sum(
        _every(x, (i * down, j * right), strides, shape)[..., None] * w[i, j]
        for i, j in itertools.product(*map(range, w.shape[:2]))
    )
    return total.reshape(*total.shape[:3], -1).astype(dtype)


def _depthwise_gradient(x, w, window):
    """Convolves each image by kernels of its own: what `_depthwise` has as gradient.

    Args:
      x: Images [C, H, W, N], the features of the depthwise convolution.
      w: Kernels [h, w, N, C * M], the cotangent of its result.
      window: Strides, padding and dilations.

    Returns:
      [1, H', W', C * M].
    """
    shape = _sides(x.shape, w.shape, window)
    dtype, sum_dtype = _dtypes(x, window)
    x = _padded(jnp.swapaxes(x, 0, 3), window).astype(sum_dtype)
    w = jnp.moveaxis(w, 2, 0).reshape(w.shape[2], *w.shape[:2], x.shape[3], -1)
    w = w.astype(sum_dtype)
    (down, right), strides = window.window_strides, window.rhs_dilation

    def entry(i, j):
        seen = _every(x, (i * down, j * right), strides, w.shape[1:3])
        return jnp.sum(seen[..., None] * w, axis=(0, 1, 2))

    sums = [entry(i, j) for i, j in itertools.product(*map(range, shape))]
    return jnp.stack(sums).reshape(1, *shape, -1).astype(dtype)


def pixels_at_once(x_shape, w_shape, window) -> int:
    """Returns how many neighbouring pixels fill the kernels of XLA, 1 if one does."""
    narrow = w_shape[3] <= _NARROW and w_shape[1] > 1
    steps = (window.window_strides[1], window.lhs_dilation[1], window.rhs_dilation[1])
    if not narrow or max(steps) > 1:
        return 1
    pixels = 4 if min(w_shape[2:]) <= _NARROW // 4 else 2
    return math.gcd(_sides(x_shape, w_shape, window)[1], pixels)


def widened(pixels, window, x, w):
    """Convolves NHWC by HWIO, neighbouring pixels as one of so many times the features.

    y[n, i, p * m + s, o] = sum_j x[n, i, p * m + j] w[j - s, o], for each s < m =
    `pixels`: kernels with m - 1 zero columns, moved by m.
    """
    shifts = [((0, 0), (s, pixels - 1 - s), (0, 0), (0, 0)) for s in range(pixels)]
    wide = jnp.concatenate([jnp.pad(w, shift) for shift in shifts], axis=3)
    window = window._replace(window_strides=(window.window_strides[0], pixels))
    y = _convolve(x, wide, window)
    return y.reshape(*y.shape[:2], -1, w.shape[3])


def pointwise_gradient(window, x, g):
    """Returns sum_nhw x[n, h, w, i] g[n, h, w, o], the gradient by 1 x 1 kernels."""
    seen = _every(_padded(x, window), (0, 0), window.rhs_dilation, g.shape[1:3])
    dtype, sum_dtype = _dtypes(x, window)
    axes = ((0, 1, 2), (0, 1, 2))
    product = lax.dot_general(
        seen, g, (axes, ((), ())), window.precision, preferred_element_type=sum_dtype
    )
    return product[None, None].astype(dtype)


def _dtypes(x, window):
    """Returns the dtype of a result, and the one to sum it in."""
    dtype = jnp.dtype(window.preferred_element_type or x.dtype)
    return dtype, dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def _sides(x_shape, w_shape, window):
    """Returns (H', W') of NHWC images convolved by HWIO kernels."""
    sides = zip(
        x_shape[1:3],
        w_shape[:2],
        window.window_strides,
        window.padding,
        window.lhs_dilation,
        window.rhs_dilation,
        strict=True,
    )
    return tuple(
        ((n - 1) * dilation + 1 + sum(padding) - (k - 1) * spread - 1) // stride + 1
        for n, k, stride, padding, dilation, spread in sides
    )


def _padded(x, window):
    """Returns images with the padding and dilation of a convolution in them."""
    (top, bottom), (left, right) = window.padding
    rows, columns = window.lhs_dilation
    config = ((0, 0, 0), (top, bottom, rows - 1), (left, right, columns - 1), (0, 0, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _every(x, start, strides, shape):
    """Returns the `shape` pixels of `x` from `start` on that lie `strides` apart."""
    stop = [i + (n - 1) * s + 1 for i, s, n in zip(start, strides, shape, strict=True)]
    return x[:, start[0] : stop[0] : strides[0], start[1] : stop[1] : strides[1]]
