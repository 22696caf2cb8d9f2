"""Half precision, mixed, and the promotion rules of JAX: one table of what composes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lthjax as lth
from lthjax.dynamic import multipliers
from lthjax.retraining import rescaling
from lthjax.tickets import stability

KEY = jax.random.key(3)


def params(first, second=None):
    keys = jax.random.split(KEY)
    return {
        "a": {"kernel": jax.random.normal(keys[0], (3, 2), first)},
        "b": {"kernel": jax.random.normal(keys[1], (2, 2), second or first)},
    }


def loss(p, batch=1.0):
    x = jnp.tanh(jnp.float32(batch) * p["a"]["kernel"].astype(jnp.float32))
    return jnp.sum((x @ p["b"]["kernel"].astype(jnp.float32)) ** 2)


def admm(p):
    masks = lth.masks.full(p)
    tx = lth.dynamic.admm(optax.sgd(0.1), steps=2, updates=2)
    state = multipliers.begin(tx.init(p), p, masks, 5)
    updates, state = tx.update(p, state, p, masks=masks)
    return updates, state.copy, state.dual


def rescaled(p):
    options = lth.retraining.Options(iterations=2)
    run = lth.retraining.rescale
    found, report = run(loss, p, lth.masks.full(p), lambda i: (1.0, 2.0), options)
    return found, report.norms


def averaged(p):
    batches = jnp.array([1.0, 2.0])
    mean = lth.scores.over_batches(lambda w, x: loss(w, x).astype(jnp.float32), batches)
    each = lth.scores.average(lambda x: jax.grad(loss)(p, x), batches)
    return mean(p), each


OF_PARAMS = {
    "interpolate": lambda p: lth.analysis.interpolate(0.3, p, p),
    "top eigenvalue": lambda p: lth.analysis.curvature.top_eigenvalue(
        KEY, loss, p, lth.masks.full(p), iterations=9
    ),
    "trace": lambda p: lth.analysis.curvature.trace(KEY, loss, p, lth.masks.full(p)),
    "surface": lambda p: lth.analysis.curvature.surface(
        KEY, loss, p, lth.masks.full(p), points=3
    ),
    "scaled": lambda p: rescaling.scaled(p, jax.tree.map(lambda _: jnp.ones(()), p)),
    "rescale": rescaled,
    "admm": admm,
    "averages": averaged,
    "prune": lambda p: lth.prune(
        lth.masks.full(p), lth.scores.magnitude(p, lth.masks.full(p)), 0.5
    ),
}
TYPES = {
    "float32": (jnp.float32, None),
    "half": (jnp.bfloat16, None),
    "mixed": (jnp.bfloat16, jnp.float32),
    "float16": (jnp.float16, None),
}


def assert_like(found, expected, tolerance):
    for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        x, y = (np.asarray(v, np.float64) for v in (x, y))
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("name", OF_PARAMS)
def test_of_any_types_a_function_gives_what_it_gives_of_float32(name, types):
    own = params(*TYPES[types])
    wide = jax.tree.map(lambda w: w.astype(jnp.float32), own)
    found, expected = OF_PARAMS[name](own), OF_PARAMS[name](wide)
    assert_like(found, expected, 0.0 if types == "float32" else 0.05)


# What is drawn at random is another draw there.
@pytest.mark.parametrize(
    "name", [n for n in OF_PARAMS if n not in ("trace", "surface")]
)
def test_of_float32_nothing_changes_where_64_bits_are_enabled(name):
    own = params(jnp.float32)
    expected = OF_PARAMS[name](own)
    with jax.enable_x64(True):
        found = OF_PARAMS[name](own)
    assert_like(found, expected, 1e-4)
    kinds = [[x.dtype for x in jax.tree.leaves(t)] for t in (found, expected)]
    assert kinds[0] == kinds[1]


ONES = jnp.ones(2, jnp.float32)
STEPS = jnp.arange(3, dtype=jnp.int32)
GROUP = lth.channels.Group("first", ("first",), "last", 2)
KERNELS = {
    "first": {"kernel": jnp.ones((4, 2), jnp.bfloat16)},
    "last": {"kernel": jnp.ones((2, 1), jnp.bfloat16)},
}
OF_COUNTS = {
    "temperature": lambda t: lth.gates.temperature(t, final=9.0, steps=jnp.int32(3)),
    "undecided": lambda t: lth.gates.undecided({"kernel": jnp.zeros(4)}, 1.0),
    "drop fraction": lambda t: lth.dynamic.drop_fraction(t, 0.3, 8),
    "cubic": lambda t: lth.dynamic.cubic(t, 100, 10, begin=0, end=4),
    "warmed": lambda t: lth.training.optimizers.warmed(optax.constant_schedule(0.1), 3)(
        t
    ),
    "stability": lambda t: (
        stability.update(stability.watch(4), jnp.ones(4, bool), t[0]).distances
    ),
    "distance": lambda t: stability.distance(jnp.ones(4, bool), jnp.zeros(4, bool)),
    "adam": lambda t: rescaling.adam(0.1).update(
        ONES, rescaling.adam(0.1).init(ONES), lowered=True
    )[0],
    "fold": lambda t: lth.channels.fold(
        KERNELS, {"first": jnp.array([0.5, 2.0])}, (GROUP,)
    )["last"]["kernel"],
}


@pytest.mark.parametrize("name", OF_COUNTS)
def test_counts_of_int32_give_floats_of_32_bits_under_strict_promotion_too(name):
    with jax.numpy_dtype_promotion("standard"):
        expected = OF_COUNTS[name](STEPS)
    with jax.numpy_dtype_promotion("strict"):
        found = OF_COUNTS[name](STEPS)
    np.testing.assert_array_equal(found, expected)
    with jax.enable_x64(True):
        assert OF_COUNTS[name](STEPS).dtype == expected.dtype


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8"])
def test_whole_numbers_are_scored_in_float32(dtype):
    limits = jnp.iinfo(dtype)
    own = {"k": jnp.array([limits.min, limits.max, 16, 3], dtype)}
    full = {"k": jnp.ones(4, bool)}
    exact = np.asarray(own["k"], np.float32)
    found = lth.scores.magnitude(own, full)["k"]
    np.testing.assert_array_equal(found, np.abs(exact))
    np.testing.assert_array_equal(lth.scores.energy(own, full)["k"], exact**2)
    np.testing.assert_array_equal(lth.scores.inverted(own)["k"], -exact)
    assert lth.scores.inverted(own)["k"].dtype == found.dtype == jnp.float32
