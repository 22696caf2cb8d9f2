"""What XLA's CPU backend needs to run convolutions fast, inside loops too.

XLA gives a convolution the one layout that its CPU kernels run well (NHWC image, HWIO
kernel, NHWC result) in the entry computation only. In the body of a loop, where
training runs, the gradients that autodiff writes keep their own layout and fall to a
kernel far slower, as the grouped convolutions of `vmap` do everywhere. The
lowering here writes that layout itself; `compiler_options` are the options to compile
with. Importing this module changes nothing in JAX.
"""

import functools

import jax
import jax.numpy as jnp
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import mlir
from jax.sharding import AxisType

from lthjax.devices import backend, onednn
from lthjax.devices import convolution_forms as forms

_FUSIONS = ("DOT", "ELTWISE", "REDUCE")


def lower_convolutions(*, library: bool = True) -> None:
    """Lowers two-dimensional convolutions for XLA's CPU backend, from now on.

    Serves every model under `jit`, `grad`, `jvp`, `vmap` and Hessian products. Others
    (1-D, 3-D, complex, integer, explicitly sharded) and other backends stay with JAX's
    own rule. A pixel that is not finite may be seen by neighbours of those that see it,
    as 0 times it. A second call changes nothing; what was compiled before the first
    stays.

    Args:
      library: Whether oneDNN, if installed, computes what it can on a single device.
    """
    default = mlir._platform_specific_lowerings["cpu"][conv_general_dilated_p].rule
    if getattr(default, "func", None) is _lower:
        return
    rule = functools.partial(_lower, default, library)
    mlir.register_lowering(conv_general_dilated_p, rule, platform="cpu")


def compiler_options(params) -> dict[str, str]:
    """Returns the options to compile a network with: `jax.jit(compiler_options=)`.

    Args:
      params: Weights of the network, or their shapes: of one network, not stacked.

    Returns:
      On a CPU the fusions that YNNPACK shall run, if this version of XLA knows the
      option and the network has convolutions, none of them depthwise (at most one
      kernel reads a single feature: of grey images), and no attention, whose kernels
      have three axes. Others run faster without: {}.
    """
    leaves = jax.tree.leaves(params)
    kernels = [leaf.shape for leaf in leaves if leaf.ndim == 4]
    depthwise = sum(shape[2] == 1 for shape in kernels) > 1
    attention = any(leaf.ndim == 3 for leaf in leaves)
    if not kernels or depthwise or attention or backend.platform() != "cpu":
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


def _lower(default, library, ctx, lhs, rhs, **params):
    """Lowers one convolution, by the `default` rule if that is fast or needed."""
    # XLA cannot part the call of a library over a mesh.
    alone = getattr(ctx.module_context.axis_context, "num_devices", 1) == 1
    avals = *ctx.avals_in, *ctx.avals_out
    fast = library and alone and _library_form(*avals, params)
    if not (fast := fast or _faster_form(*avals, params)):
        return default(ctx, lhs, rhs, **params)
    return mlir.lower_fun(fast, multiple_results=False)(ctx, lhs, rhs)


def _library_form(lhs, rhs, out, params):
    """Returns the function of two arrays that oneDNN computes, None if it does not."""
    known = {forms.LAYOUT: onednn.convolution, forms.GRADIENT: onednn.kernel_gradient}
    form = known.get(params["dimension_numbers"])
    fits = form and _groups(params) == 1 and _is_ours(lhs, rhs, out, params)
    return form(lhs, rhs, out, forms.Window.of(params)) if fits else None


def _faster_form(lhs, rhs, out, params):
    """Returns the function of two arrays that computes a convolution, None for JAX's.

    Args:
      lhs: Shape and dtype of the images.
      rhs: Shape and dtype of the kernels.
      out: Shape and dtype of the result.
      params: Parameters of `conv_general_dilated_p`.
    """
    if not _is_ours(lhs, rhs, out, params):
        return None
    window = forms.Window.of(params)
    layout = params["dimension_numbers"]
    pointwise = layout == forms.GRADIENT and out.shape[:2] == (1, 1)
    if _groups(params) > 1 or not (pointwise or layout == forms.LAYOUT):
        return functools.partial(forms.canonical, params, window)
    if pointwise:
        return functools.partial(forms.pointwise_gradient, window)
    pixels = forms.pixels_at_once(lhs.shape, rhs.shape, window)
    return functools.partial(forms.widened, pixels, window) if pixels > 1 else None


def _groups(params):
    return max(params["feature_group_count"], params["batch_group_count"])


def _is_ours(lhs, rhs, out, params) -> bool:
    """Returns whether a convolution is 2-D, real floating and of one known shape.

    Floats of 8 bits are left to JAX's own rule.
    """
    sides = (*lhs.shape, *rhs.shape, *out.shape)
    return (
        lhs.ndim == 4
        and _is_of_one_device(params["out_sharding"])
        and all(jnp.issubdtype(x.dtype, jnp.floating) for x in (lhs, rhs))
        and all(jnp.finfo(x.dtype).bits >= 16 for x in (lhs, rhs))
        and all(isinstance(n, int) and n > 0 for n in sides)
    )


def _is_of_one_device(sharding) -> bool:
    """Returns whether a result lies on one device: in `shard_map`, or without a mesh.

    In `shard_map` the gradients that autodiff writes have a sharding all the same.
    """
    return sharding is None or all(
        kind == AxisType.Manual for kind in sharding.mesh.axis_types
    )
