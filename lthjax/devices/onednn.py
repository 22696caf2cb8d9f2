"""Convolutions by oneDNN on a CPU, where its library is installed, called by XLA.

oneDNN (the kernels of PyTorch's CPU builds) lays the few weights of a convolution out
anew for the vectors of the processor, and leaves images as they are. Its C interface is
called by `ctypes` from a custom call of XLA, so that there is nothing to compile:
`pip install lthjax[onednn]` is all, and without it, or with a library of another major
version, XLA's own kernels compute. `version` says which.

Sums are rounded in another order than XLA's: a run that is to end with the same bits
must go on with the same library, and the same number of threads (`OMP_NUM_THREADS`).
"""

import ctypes
import functools
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from jax import lax

from lthjax.devices import onednn_primitives
from lthjax.devices.onednn_primitives import Problem

TARGET = "lthjax_onednn"
LEAST = 50_000_000  # multiplications: below, calling costs what computing saves
_own = threading.local()


def version() -> str:
    """Returns oneDNN's version, such as "3.2", if it computes convolutions, or ""."""
    library = onednn_primitives.library()
    return onednn_primitives.version_of(library) if library else ""


def convolution(lhs, rhs, out, window: Any) -> Callable[..., Any] | None:
    """Returns what convolves NHWC images by HWIO kernels with oneDNN.

    Args:
      lhs: Shape and dtype of the images.
      rhs: Shape and dtype of the kernels.
      out: Shape and dtype of the result.
      window: Strides, padding and dilations, named as in `lax`.

    Returns:
      A function of the two arrays; None where oneDNN is not there, cannot compute it,
      or would not be worth calling.
    """
    low, high = zip(*window.padding, strict=True)
    if max(window.rhs_dilation) > 1 or min(*low, *high) < 0:
        return None
    if max(window.lhs_dilation) == 1:
        shapes = (lhs.shape, rhs.shape, out.shape)
        problem = Problem("forward", *shapes, window.window_strides, low, high)
        return _caller(problem, (lhs, rhs, out))
    if max(window.window_strides) > 1:
        return None
    # The gradient by the images of a strided convolution, its kernels turned around.
    low = tuple(k - 1 - n for k, n in zip(rhs.shape[:2], low, strict=True))
    kernel = (*rhs.shape[:2], rhs.shape[3], rhs.shape[2])
    shapes = (out.shape, kernel, lhs.shape)
    caller = _caller(
        _gradient("data", shapes, window.lhs_dilation, low), (lhs, rhs, out)
    )
    return caller and (lambda x, w: caller(x, lax.rev(w, (0, 1))))


def kernel_gradient(lhs, rhs, out, window: Any) -> Callable[..., Any] | None:
    """Returns what sums NHWC images times NHWC cotangents to the gradient of kernels.

    Args:
      lhs: Shape and dtype of the images.
      rhs: Shape and dtype of the cotangents of the result.
      out: Shape and dtype of the gradient, HWIO.
      window: As autodiff writes it: the convolution's strides are `rhs_dilation`.

    Returns:
      As `convolution`.
    """
    if max(window.window_strides + window.lhs_dilation) > 1:
        return None
    low = tuple(n for n, _ in window.padding)
    shapes = (lhs.shape, out.shape, rhs.shape)
    problem = _gradient("weights", shapes, window.rhs_dilation, low)
    return _caller(problem, (lhs, rhs, out))


def _gradient(kind, shapes, strides, low):
    """Returns a problem, padded behind such that its result has the right sides."""
    image, kernel, result = shapes
    axes = zip(image[1:3], kernel[:2], result[1:3], strides, low, strict=True)
    high = tuple(max((m - 1) * s + k - n - p, 0) for n, k, m, s, p in axes)
    return Problem(kind, *shapes, strides, low, high)


def _caller(problem, arrays):
    """Returns the function that has a problem computed, or None."""
    if not _worthwhile(problem, arrays) or not _registered():
        return None
    try:
        onednn_primitives.primitive(problem)
    except OSError as error:
        logging.debug("oneDNN: %s", error)
        return None
    out = jax.ShapeDtypeStruct(arrays[-1].shape, arrays[-1].dtype)
    text = onednn_primitives.written(problem)
    options = {"custom_call_api_version": 3, "legacy_backend_config": text}
    return jax.ffi.ffi_call(TARGET, out, **options)


def _worthwhile(problem, arrays) -> bool:
    """Returns whether a problem is of float32, of space, and large enough."""
    sides = zip(problem.image[1:3], problem.kernel, problem.result[1:3], strict=False)
    strides = zip(problem.strides, problem.low, problem.high, strict=True)
    consistent = all(
        (n + low + high - k) // stride + 1 == m
        for (n, k, m), (stride, low, high) in zip(sides, strides, strict=True)
    )
    return (
        consistent
        and min(problem.low) >= 0
        and max(problem.kernel[:2]) > 1
        and all(x.dtype == np.float32 for x in arrays)
        and math.prod(problem.result[:3]) * math.prod(problem.kernel) >= LEAST
    )


@functools.cache
def _registered() -> bool:
    """Registers the custom call, and returns whether oneDNN is there."""
    if onednn_primitives.library() is None:
        return False
    # Another thread of Python's must let a kernel begin soon: by default, after 5 ms.
    sys.setswitchinterval(min(sys.getswitchinterval(), 1e-4))
    capsule = jax.ffi.pycapsule(_called)
    jax.ffi.register_ffi_target(TARGET, capsule, platform="cpu", api_version=0)
    return True


@ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_char),
    ctypes.c_size_t,
    ctypes.c_void_p,
)
def _called(out, ins, text, length, status):
    """Computes what the text of a custom call says; not a number where it cannot."""
    del status
    text = text[:length]
    try:
        if not hasattr(_own, "called"):
            _own.called = {}
        if text not in _own.called:
            _own.called[text] = onednn_primitives.primitive(
                onednn_primitives.read(text)
            )
        _own.called[text](ins[0], ins[1], out)
    except Exception:  # nothing may pass through C: the result says it
        logging.exception("oneDNN could not compute %s", text)
        shape = onednn_primitives.computed(onednn_primitives.read(text))
        ctypes.memset(out, 0xFF, 4 * math.prod(shape))
