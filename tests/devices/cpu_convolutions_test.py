"""Convolutions lowered for the CPU are JAX's own, only faster."""

import functools
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rest_slow
from jax import lax
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import mlir
from jax.sharding import PartitionSpec as P

from lthjax.devices import cpu_convolutions, meshes

NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")
CASES = {
    "plain": ((2, 5, 6, 3), (3, 3, 3, 4), {}),
    "pointwise": ((2, 5, 6, 3), (1, 1, 3, 4), dict(window_strides=(2, 2))),
    "strided": ((2, 6, 5, 3), (3, 3, 3, 4), dict(window_strides=(2, 2))),
    "uneven": ((2, 7, 5, 3), (4, 3, 3, 2), dict(window_strides=(2, 1))),
    "cropped": ((2, 7, 7, 3), (3, 3, 3, 4), dict(padding=((-1, 2), (0, -2)))),
    "transposed": (
        (2, 4, 3, 3),
        (3, 3, 3, 4),
        dict(padding=((2, 1), (0, 3)), lhs_dilation=(2, 3)),
    ),
    "dilated": ((2, 7, 7, 3), (3, 3, 3, 4), dict(rhs_dilation=(2, 3))),
    "channels first": ((2, 3, 6, 5), (4, 3, 3, 3), dict(dimension_numbers=NCHW)),
    "groups": ((2, 6, 5, 6), (3, 3, 2, 6), dict(feature_group_count=3)),
    "narrow": ((2, 5, 8, 6), (3, 3, 6, 7), dict(window_strides=(2, 1))),
    "wide": ((2, 3, 4, 17), (3, 3, 17, 17), {}),
    "many groups": ((1, 4, 3, 34), (2, 2, 2, 17), dict(feature_group_count=17)),
    "batch groups": ((4, 6, 5, 3), (3, 3, 3, 4), dict(batch_group_count=2)),
    "depthwise strided": (
        (2, 6, 7, 4),
        (3, 3, 1, 4),
        dict(feature_group_count=4, window_strides=(2, 2)),
    ),
    "depthwise multiplied": (
        (2, 7, 7, 3),
        (3, 2, 1, 6),
        dict(
            feature_group_count=3,
            rhs_dilation=(2, 1),
            lhs_dilation=(1, 2),
            padding=((1, 2), (0, 1)),
        ),
    ),
}


@pytest.fixture(autouse=True)
def rules():
    """The rules that JAX keeps for a CPU, restored after each test."""
    registry = mlir._platform_specific_lowerings["cpu"]
    before = registry[conv_general_dilated_p]
    yield registry
    registry[conv_general_dilated_p] = before
    jax.clear_caches()


def convolution(**options):
    options = dict(padding="SAME", window_strides=(1, 1)) | options
    options.setdefault("dimension_numbers", NHWC)
    return lambda x, w: lax.conv_general_dilated(x, w, **options)


def everything(convolve, x, w):
    """All that a research code may ask of a convolution."""

    def loss(x, w):
        return jnp.sum(jnp.sin(convolve(x, w)))

    def hessian_product(x, w, v):
        return jax.jvp(jax.grad(loss, argnums=(0, 1)), (x, w), v)[1]

    def per_kernel(w):
        return jax.grad(loss, argnums=1)(x[0], w)

    return dict(
        value=convolve(x[0], w[0]),
        gradient=jax.grad(loss, argnums=(0, 1))(x[0], w[0]),
        derivative=jax.jvp(convolve, (x[0], w[0]), (x[1], w[1]))[1],
        hessian=hessian_product(x[0], w[0], (x[1], w[1])),
        images=jax.vmap(jax.grad(loss, argnums=1), (0, None))(x, w[0]),
        kernels=jax.vmap(per_kernel)(w),
        both=jax.vmap(jax.grad(loss, argnums=(0, 1)))(x, w),
    )


def compiled(function, *args):
    """Runs `function` lowered by the rules of this moment."""
    jax.clear_caches()
    lowered = jax.jit(function).lower(*args)
    # The code need not be fast here, its compilation should be.
    return lowered.compile({"xla_backend_optimization_level": 0})(*args)


def points(*shapes, dtype="float32"):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        jax.random.normal(key, shape, dtype)
        for key, shape in zip(keys, shapes, strict=True)
    ]


def assert_close(ours, theirs, tolerance):
    """Asserts that trees agree to `tolerance` of each leaf's largest entry."""

    def check(path, a, b):
        assert a.dtype == b.dtype
        scale = float(jnp.max(jnp.abs(b)))
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * scale, err_msg=jax.tree_util.keystr(path)
        )

    jax.tree_util.tree_map_with_path(check, ours, theirs)


# Both of our rules, for narrow and for depthwise ones, and what they pass on to JAX.
USUAL = ("strided", "transposed", "depthwise multiplied")


@pytest.mark.parametrize("case", rest_slow(CASES, *USUAL))
def test_every_derivative_and_batch_equals_jax_s_own(case):
    x_shape, w_shape, options = CASES[case]
    x, w = points((2, *x_shape), (2, *w_shape))
    args = x, w / np.sqrt(w[0].size / max(w_shape))  # results of order one

    def function(x, w):
        return everything(convolution(**options), x, w)

    theirs = compiled(function, *args)
    cpu_convolutions.lower_convolutions()
    ours = compiled(function, *args)
    # Float32 sums of about a hundred terms, in another order.
    assert_close(ours, theirs, tolerance=1e-6)


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("shape", [(1, 3, 3, 4), (1, 6, 3, 4)])
def test_results_of_no_pixels_are_those_of_jax(shape, groups):
    args = points(shape, (5, 5, 4 // groups, 4))
    convolve = convolution(padding="VALID", feature_group_count=groups)
    cpu_convolutions.lower_convolutions()
    args = [x[None].repeat(2, 0) for x in args]
    function = functools.partial(everything, convolve)
    found, theirs = compiled(function, *args), jax.eval_shape(function, *args)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, theirs)
    assert 0 in found["value"].shape and not jnp.any(found["gradient"][1])


@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_dimensions_stay_with_jax(dimensions, rules):
    args = points((2, *[4] * dimensions, 3), (*[3] * dimensions, 3, 2))
    letters = "DHW"[-dimensions:]
    numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    convolve = convolution(window_strides=(1,) * dimensions, dimension_numbers=numbers)
    theirs = compiled(convolve, *args)
    cpu_convolutions.lower_convolutions()
    np.testing.assert_array_equal(compiled(convolve, *args), theirs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int32", "complex64"])
@pytest.mark.parametrize("groups", [1, 4])
def test_dtypes_are_those_of_jax(dtype, groups):
    args = [(3 * x).astype(dtype) for x in points((2, 5, 5, 4), (3, 3, 4 // groups, 4))]
    convolve = convolution(feature_group_count=groups)
    theirs = compiled(convolve, *args)
    cpu_convolutions.lower_convolutions()
    ours = compiled(convolve, *args)
    kind = "float32" if dtype == "int32" else dtype
    assert_close(ours, theirs, tolerance=4 * float(jnp.finfo(kind).eps))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn"])
@pytest.mark.parametrize("side, groups", [(1, 1), (3, 4)])
def test_narrow_floats_are_convolved_under_strict_promotion(dtype, side, groups):
    args = [
        (3 * x).astype(dtype)
        for x in points((2, 5, 5, 4), (side, side, 4 // groups, 4))
    ]
    convolve = convolution(feature_group_count=groups)

    def total(w, x):
        return jnp.sum(convolve(x, w).astype("float32"))

    def function(x, w):
        small = dtype.startswith("float8")  # of which JAX has no gradient
        found = convolve(x, w), *([] if small else [jax.grad(total)(w, x)])
        return [y.astype("float32") for y in found]

    with jax.numpy_dtype_promotion("strict"):
        theirs = compiled(function, *args)
        cpu_convolutions.lower_convolutions()
        ours = compiled(function, *args)
    kind = "bfloat16" if dtype.startswith("float8") else dtype
    assert_close(ours, theirs, tolerance=8 * float(jnp.finfo(kind).eps))


@pytest.mark.parametrize("devices", [1, 2])
def test_gradients_are_written_in_the_layout_that_xla_runs_well(devices):
    args = points((2, 6, 6, 3), (3, 3, 3, 4))
    gradient = jax.grad(lambda x, w: convolution()(x, w).sum(), argnums=(0, 1))
    if devices > 1:
        mesh, specs = meshes.mesh(devices), {"in_specs": P(), "out_specs": P()}
        gradient = jax.shard_map(gradient, mesh=mesh, check_vma=False, **specs)

    def layouts():
        jax.clear_caches()
        text = jax.jit(gradient).lower(*args).as_text()
        return [
            line.split("dim_numbers = ")[1].split(",  ")[0].split(", window")[0]
            for line in text.splitlines()
            if "stablehlo.convolution" in line
        ]

    wanted = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
    assert set(layouts()) != {wanted}
    cpu_convolutions.lower_convolutions()
    assert set(layouts()) == {wanted}


def test_installing_twice_is_installing_once(rules):
    cpu_convolutions.lower_convolutions()
    once = rules[conv_general_dilated_p]
    cpu_convolutions.lower_convolutions()
    assert rules[conv_general_dilated_p] is once


def test_importing_changes_nothing():
    program = """
from jax.extend.core.primitives import conv_general_dilated_p as conv
from jax.interpreters import mlir
rules = mlir._platform_specific_lowerings["cpu"]
before = rules[conv]
from lthjax.devices import cpu_convolutions
assert rules[conv] is before
cpu_convolutions.lower_convolutions()
assert rules[conv] is not before
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_options_compile_and_are_for_full_convolutions_only():
    grey, full, depthwise, dense = (
        jnp.zeros(shape)
        for shape in ((3, 3, 1, 8), (3, 3, 8, 8), (3, 3, 1, 16), (8, 8))
    )
    options = cpu_convolutions.compiler_options([grey, full, dense])
    assert jax.jit(jnp.sin, compiler_options=options)(0.0) == 0.0
    assert cpu_convolutions.compiler_options([dense]) == {}
    assert cpu_convolutions.compiler_options([grey, full, depthwise]) == {}
    attention = jnp.zeros((48, 3, 16))
    assert cpu_convolutions.compiler_options([full, attention]) == {}


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(cpu_convolutions, "_FUSIONS", ("UNHEARD_OF",))
    cpu_convolutions._accepted_options.cache_clear()
    assert cpu_convolutions.compiler_options([jnp.zeros((3, 3, 8, 8))]) == {}
    cpu_convolutions._accepted_options.cache_clear()


def seconds(*functions):
    """Returns the shortest time of each function, run in turns."""
    times = [[] for _ in functions]
    for _ in range(30):
        for function, record in zip(functions, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(function())
            record.append(time.perf_counter() - start)
    return map(min, times)


@pytest.mark.slow
def test_steps_in_a_loop_are_as_fast_as_outside():
    cpu_convolutions.lower_convolutions()
    kernels = points(*[(3, 3, 16, 16)] * 3, (3, 3, 1, 16))
    images = points((16, 16, 16, 16))[0]

    def loss(kernels):
        x = images
        for kernel, stride in zip(kernels[:3], (1, 2, 1), strict=True):
            x = jax.nn.relu(convolution(window_strides=(stride, stride))(x, kernel))
        x = convolution(feature_group_count=16)(x, kernels[3])
        return jnp.mean(x**2)

    @jax.jit
    def step(_, kernels):
        gradients = jax.grad(loss)(kernels)
        return jax.tree.map(lambda k, g: k - 0.01 * g, kernels, gradients)

    def outside():
        return functools.reduce(lambda k, i: step(i, k), range(2), kernels)

    inside = jax.jit(lambda: lax.fori_loop(0, 2, step, kernels))
    in_loop, one_by_one = seconds(inside, outside)
    # What a loop may cost; without the lowering it costs 20 times as much.
    assert in_loop <= 1.3 * one_by_one
