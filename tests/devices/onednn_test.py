"""Convolutions by oneDNN are XLA's, where it is installed; else they stay XLA's."""

import ctypes
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import mlir
from jax.sharding import PartitionSpec as P

from lthjax.devices import cpu_convolutions, meshes, onednn, onednn_primitives

NHWC = ("NHWC", "HWIO", "NHWC")
CASES = {
    "plain": ((2, 5, 6, 3), (3, 3, 3, 4), {}),
    "strided": ((2, 6, 5, 3), (3, 3, 3, 4), {"window_strides": (2, 2)}),
    "uneven": ((2, 7, 5, 3), (4, 3, 3, 2), {"window_strides": (2, 1)}),
    "valid": (
        (2, 7, 9, 8),
        (5, 3, 8, 16),
        {"window_strides": (2, 3), "padding": "VALID"},
    ),
    "one side": (
        (2, 9, 9, 3),
        (3, 3, 3, 8),
        {"window_strides": (2, 2), "padding": ((2, 0), (0, 2))},
    ),
}
LEFT = {  # what stays XLA's
    "pointwise": ((2, 5, 6, 3), (1, 1, 3, 4), {}),
    "cropped": ((2, 7, 7, 3), (3, 3, 3, 4), {"padding": ((-1, 2), (0, 0))}),
    "dilated": ((2, 7, 7, 3), (3, 3, 3, 4), {"rhs_dilation": (2, 1)}),
    "transposed and strided": (
        (2, 4, 4, 3),
        (3, 3, 3, 4),
        {
            "lhs_dilation": (2, 2),
            "window_strides": (2, 2),
            "padding": ((1, 1), (1, 1)),
        },
    ),
}
PROBLEM = onednn_primitives.Problem(
    "forward", (2, 5, 6, 3), (3, 3, 3, 4), (2, 5, 6, 4), (1, 1), (1, 1), (1, 1)
)
installed = pytest.mark.skipif(not onednn.version(), reason="oneDNN is not installed")


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The rules that JAX keeps for a CPU, restored, and the smallest problems sent."""
    monkeypatch.setattr(onednn, "LEAST", 0)
    registry = mlir._platform_specific_lowerings["cpu"]
    before = registry[conv_general_dilated_p]
    yield
    registry[conv_general_dilated_p] = before
    jax.clear_caches()


@pytest.fixture
def fresh():
    """Has the library looked for anew, before and after."""
    for found in (onednn_primitives.library, onednn._registered):
        found.cache_clear()
    yield
    for found in (onednn_primitives.library, onednn._registered):
        found.cache_clear()


def convolution(**options):
    options = {"padding": "SAME", "window_strides": (1, 1)} | options
    options["dimension_numbers"] = NHWC
    return lambda x, w: lax.conv_general_dilated(x, w, **options)


def arrays(x_shape, w_shape):
    x = jax.random.normal(jax.random.key(0), x_shape)
    return x, jax.random.normal(jax.random.key(1), w_shape)


def everything(convolve, x, w):
    """A result, its gradients, a tangent and the gradient of a gradient."""

    def loss(x, w):
        return jnp.sum(jnp.sin(convolve(x, w)))

    def product(x, w):
        return jax.jvp(jax.grad(loss, argnums=1), (x, w), (x, w))[1]

    members = jax.vmap(jax.grad(loss, argnums=1), (None, 0))(x, jnp.stack([w, 2 * w]))
    return convolve(x, w), jax.grad(loss, (0, 1))(x, w), product(x, w), members


def text(convolve, *given):
    """What a convolution and its gradients are lowered to."""
    both = jax.jit(lambda x, w: jax.vjp(convolve, x, w)[1](convolve(x, w)))
    return both.lower(*given).as_text()


@installed
@pytest.mark.parametrize("case", CASES)
def test_it_computes_what_xla_does(case):
    x_shape, w_shape, options = CASES[case]
    convolve, given = convolution(**options), arrays(x_shape, w_shape)
    function = functools.partial(everything, convolve)
    expected = jax.jit(function)(*given)
    assert onednn.TARGET not in text(convolve, *given)
    cpu_convolutions.lower_convolutions()
    jax.clear_caches()
    assert text(convolve, *given).count(f"@{onednn.TARGET}") >= 3
    found = jax.jit(lambda *given: function(*given))(*given)
    # Sums of at most 5 x 3 x 8 products of float32, in another order.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        *(found, expected),
    )


@installed
@pytest.mark.parametrize("case", LEFT)
def test_what_it_cannot_compute_stays_with_xla(case):
    x_shape, w_shape, options = LEFT[case]
    cpu_convolutions.lower_convolutions()
    given = arrays(x_shape, w_shape)
    lowered = jax.jit(convolution(**options)).lower(*given).as_text()
    assert onednn.TARGET not in lowered


@installed
def test_doubles_and_half_precision_stay_with_xla():
    cpu_convolutions.lower_convolutions()
    given = [x.astype("bfloat16") for x in arrays((2, 5, 6, 3), (3, 3, 3, 4))]
    assert onednn.TARGET not in text(convolution(), *given)


@installed
def test_small_ones_stay_with_xla(monkeypatch):
    monkeypatch.setattr(onednn, "LEAST", 100_000)
    cpu_convolutions.lower_convolutions()
    given = arrays((2, 5, 6, 3), (3, 3, 3, 4))
    assert onednn.TARGET not in text(convolution(), *given)


@installed
def test_it_can_be_left_out():
    cpu_convolutions.lower_convolutions(library=False)
    given = arrays((2, 5, 6, 3), (3, 3, 3, 4))
    assert onednn.TARGET not in text(convolution(), *given)


@installed
def test_in_a_loop_it_has_the_same_bits_every_time():
    cpu_convolutions.lower_convolutions()
    x, w = arrays((4, 8, 8, 4), (3, 3, 4, 4))

    def step(_, w):
        return w - 0.01 * jax.grad(lambda w: jnp.sum(convolution()(x, w) ** 2))(w)

    train = jax.jit(lambda n, w: lax.fori_loop(0, n, step, w))
    whole = train(6, w)
    np.testing.assert_array_equal(whole, train(6, w))
    np.testing.assert_array_equal(whole, train(4, train(2, w)))


@installed
def test_programs_over_a_mesh_stay_with_xla_but_for_the_parts_of_each_device():
    cpu_convolutions.lower_convolutions()
    mesh, specs = meshes.mesh(2), {"in_specs": P(), "out_specs": P()}
    given = arrays((2, 5, 6, 3), (3, 3, 3, 4))
    held = jax.device_put(given, jax.NamedSharding(mesh, P()))
    assert onednn.TARGET not in jax.jit(convolution()).lower(*held).as_text()
    mapped = jax.jit(jax.shard_map(convolution(), mesh=mesh, check_vma=False, **specs))
    assert onednn.TARGET in mapped.lower(*given).as_text()
    expected = jax.jit(lambda *given: convolution()(*given))(*held)
    np.testing.assert_allclose(mapped(*given), expected, rtol=1e-4, atol=1e-5)


@installed
def test_what_fails_while_it_runs_is_not_a_number_and_is_said(monkeypatch, caplog):
    cpu_convolutions.lower_convolutions()
    x, w = arrays((3, 5, 6, 3), (3, 3, 3, 5))
    compiled = jax.jit(convolution()).lower(x, w).compile()

    def fails(problem):
        raise OSError("out of memory")

    monkeypatch.setattr(onednn_primitives, "primitive", fails)
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    assert bool(jnp.all(jnp.isnan(compiled(x, w))))
    assert "out of memory" in caplog.text


def test_without_its_library_nothing_is_sent(monkeypatch, fresh):
    monkeypatch.setattr(onednn_primitives, "_paths", lambda: iter(()))
    assert onednn.version() == ""
    cpu_convolutions.lower_convolutions()
    given = arrays((2, 5, 6, 3), (3, 3, 3, 4))
    assert onednn.TARGET not in text(convolution(), *given)


def test_what_is_no_library_is_said_and_left(monkeypatch, fresh, caplog, tmp_path):
    path = tmp_path / "libdnnl.so.3"
    path.write_text("nothing")
    monkeypatch.setattr(onednn_primitives, "_paths", lambda: iter([str(path)]))
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    assert onednn.version() == ""
    assert "oneDNN is not used, it could not be loaded" in caplog.text


def test_another_major_version_is_said_and_left(monkeypatch, fresh, caplog):
    class Newer:
        def __init__(self, path):
            found = onednn_primitives._Version(4, 1)
            self.dnnl_version = _Function(lambda: ctypes.pointer(found))

    monkeypatch.setattr(onednn_primitives, "_paths", lambda: iter(["libdnnl.so.4"]))
    monkeypatch.setattr(ctypes, "CDLL", Newer)
    monkeypatch.setattr(logging.getLogger("absl"), "propagate", True)
    assert onednn.version() == ""
    assert "its version must be 3, got 4.1" in caplog.text


class _Function:
    """A function that takes attributes, as those of a library do."""

    def __init__(self, function):
        self.function = function

    def __call__(self):
        return self.function()


def test_a_problem_is_read_as_it_was_written():
    written = onednn_primitives.written(PROBLEM)
    assert written == "forward 2 5 6 3 3 3 3 4 2 5 6 4 1 1 1 1 1 1"
    assert onednn_primitives.read(written.encode()) == PROBLEM


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("forward", (2, 5, 6, 4)), ("data", (2, 5, 6, 3)), ("weights", (3, 3, 3, 4))],
)
def test_what_is_computed_is_the_last_of_a_kinds_arrays(kind, shape):
    assert onednn_primitives.computed(PROBLEM._replace(kind=kind)) == shape
