"""Scaled arithmetic: the function itself, at any size that its numbers grow to."""

import functools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lthjax.pruning import overflow_free

X = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 3, 2))
HUGE = 2.0**100


def convolve(x, **options):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, KERNEL, (1, 1), "SAME", dimension_numbers=layout, **options
    )


def padded_pool(x):
    """A max pool whose padding is -inf."""
    return nn.max_pool(x, (3, 3), (2, 2), padding=[(1, 1), (1, 1)])


# f(c x) = c f(x) for c > 0.
HOMOGENEOUS = {
    "relu": nn.relu,
    "maximum with zero on the left": lambda x: jnp.maximum(0, x),
    "maximum of two": lambda x: jnp.maximum(x, x[:, ::-1] * 0.5),
    "leaky relu": lambda x: nn.leaky_relu(x, 0.25),
    "absolute": lambda x: jnp.abs(-x),
    "sum": lambda x: x.sum((1, 2)) + x[:, 0, 0] - x.mean((1, 2)),
    "cumulative": lambda x: jnp.cumsum(x, axis=1),
    "extremes": lambda x: x.max(1) - x.min(2),
    "sort": lambda x: jnp.sort(x, axis=1),
    "select": lambda x: jnp.where(x > 0, x, 2 * x),
    "smallest where masked": lambda x: jnp.where(X > 0, x, jnp.inf).min((1, 2)),
    "shapes": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))).T.reshape(-1, 2),
    "pieces": lambda x: jnp.concatenate([*jnp.split(x, 2, 1), x[..., ::-1]], 1),
    "gather": lambda x: x[:, jnp.array([2, 0]), 1],
    "average pool": lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
    "max pool": padded_pool,
    "convolution": convolve,
    "product": lambda x: x.reshape(4, 12) @ jnp.ones((12, 2)),
    "norm": lambda x: jnp.sqrt(jnp.sum(jnp.square(x), axis=(1, 2))),
    "ratio": lambda x: x**3 / jnp.square(x),
    "normalised": lambda x: x[0] * lax.rsqrt(jnp.sum(x**2)) * jnp.sum(x),
    "checkpoint": jax.checkpoint(lambda x: 3 * x),
    "halves": lambda x: jnp.clip(x, 0, None).astype(jnp.bfloat16),
}
OTHERS = {
    "gelu": nn.gelu,
    "silu": nn.silu,
    "softmax": lambda x: jnp.sum(nn.softmax(x) * x, axis=-1),
    "bounded": nn.relu6,
    "integers": lambda x: (
        x * (x.astype(jnp.int32) + 1) + jnp.arange(3.0).reshape(1, 1, 1, 3)
    ),
    "scan": lambda x: lax.scan(lambda c, y: (c + y, c * y), x[0, 0], x[0, 1:])[1],
    "condition": lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x),
    "two": lambda x: {"a": x * x, "b": (x > 0, jnp.zeros(2), x.argmax(-1))},
}


def values(tree):
    """Returns the tree with plain numbers for what is scaled."""
    is_scaled = functools.partial(_is, overflow_free.Scaled)
    return jax.tree.map(
        lambda x: overflow_free.value(x) if is_scaled(x) else x, tree, is_leaf=is_scaled
    )


def _is(kind, x):
    return isinstance(x, kind)


def evaluated(fn):
    return lambda x: values(overflow_free.evaluate(fn, x))


def assert_close(found, expected):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        found,
        expected,
    )


def derivative(fn):
    """Returns the derivative of the sum of sines of all floats that fn returns."""

    def total(x):
        leaves = [y for y in jax.tree.leaves(fn(x)) if jnp.issubdtype(y, jnp.floating)]
        return sum(jnp.sum(jnp.sin(y.astype(jnp.float32))) for y in leaves)

    return jax.grad(total)(X)


@functools.cache
def plainly():
    """Returns {name: (scaled results, those of the function)}, with derivatives."""

    def both(fn):
        return fn(X), derivative(fn)

    functions = HOMOGENEOUS | OTHERS
    return jax.jit(
        lambda: {k: (both(evaluated(fn)), both(fn)) for k, fn in functions.items()}
    )()


@functools.cache
def hugely():
    """Returns {name: (scaled results for 2^200 x, those for x)}."""

    def both(fn):
        large = overflow_free.evaluate(lambda x: fn(x * HUGE * HUGE), X)
        shrunk = large._replace(exponent=large.exponent - 200)
        return overflow_free.value(shrunk), evaluated(fn)(X)

    return jax.jit(lambda: {name: both(fn) for name, fn in HOMOGENEOUS.items()})()


@pytest.mark.parametrize("name", HOMOGENEOUS | OTHERS)
def test_results_and_derivatives_are_those_of_the_function(name):
    assert_close(*plainly()[name])


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_beyond_the_range_of_floats_only_the_exponent_changes(name):
    np.testing.assert_array_equal(*hugely()[name])


def test_a_product_of_large_numbers_is_exact():
    factor = 1.5 * HUGE

    def power(x):
        return functools.reduce(jnp.multiply, [x] * 12)

    mantissa, exponent = jax.jit(lambda x: overflow_free.evaluate(power, x))(factor)
    found = Fraction(float(mantissa)) * Fraction(2) ** int(exponent)
    assert found == Fraction(factor) ** 12  # 3^12 < 2^24 has room in a float32


def test_a_sum_keeps_what_the_larger_side_can_see():
    def sums(x):
        large = x * HUGE * HUGE
        return large + x, large * 0 + x, (large > x, x * 0 > x)

    kept, with_zero, comparisons = overflow_free.evaluate(sums, jnp.float32(3))
    assert (float(kept.mantissa), int(kept.exponent)) == (1.5, 201)
    assert float(overflow_free.value(with_zero)) == 3
    assert [bool(c) for c in comparisons] == [True, False]


def test_deep_products_have_derivatives_in_range():
    depth, width = 40, 4
    kernel = jnp.full((width, width), HUGE)

    def network(kernel, x):
        for _ in range(depth):
            x = nn.relu(x @ kernel)
        return x

    def logarithm(kernel):
        mantissa, _ = overflow_free.evaluate(network, kernel, jnp.ones((1, width)))
        return jnp.log(jnp.sum(mantissa))

    # d log(sum) = depth * d log|kernel|, shared by the equal entries.
    share = jax.jit(jax.grad(logarithm))(kernel) * kernel
    np.testing.assert_allclose(share, depth / width**2, rtol=1e-5)


def test_what_no_signal_reaches_has_derivative_zero_however_deep():
    kernel = jnp.ones((32, 32))  # 32^40 = 2^200 paths from an input to an output

    def network(x):
        for _ in range(40):
            x = nn.relu(x @ kernel)
        return x

    def flow(x):
        return jnp.sum(overflow_free.evaluate(network, x).mantissa)

    found = jax.jit(jax.value_and_grad(flow))(jnp.zeros((1, 32)))
    assert_close(found, (0.0, np.zeros((1, 32))))


def test_functions_without_a_rule_see_the_nearest_number_in_range():
    def bounded(x):
        return jnp.tanh(x * HUGE * HUGE), jnp.tanh(x / HUGE / HUGE)

    found = jax.jit(evaluated(bounded))(jnp.array([-1.0, 2.0]))
    np.testing.assert_array_equal(found[0], [-1, 1])
    assert_close(found[1], np.zeros(2))
    slope = jax.jit(jax.grad(lambda x: evaluated(bounded)(x)[0].sum()))(jnp.ones(2))
    np.testing.assert_array_equal(slope, [0, 0])


@pytest.mark.parametrize("damage", [jnp.nan, jnp.inf, -jnp.inf])
def test_damaged_numbers_stay_so_and_leave_the_others_alone(damage):
    x = jnp.array([1.0, damage, 3.0])
    found = evaluated(lambda x: x * HUGE / HUGE + x)(x)
    np.testing.assert_array_equal(found, [2, 2 * damage, 6])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_short_floats_have_as_much_room(dtype):
    def there_and_back(x):
        for _ in range(20):
            x = x * 1000
        for _ in range(20):
            x = x / 1000
        return x

    x = jnp.array([0.5, -3.0, 0.0], dtype)
    found = evaluated(there_and_back)(x)
    assert found.dtype == dtype
    rounding = 40 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found.astype("float32"), [0.5, -3, 0], rtol=rounding)


def test_each_member_of_a_batch_has_its_own_exponent():
    def power(x):
        return functools.reduce(jnp.multiply, [x] * 10).sum()

    rows = jnp.array([[1e-20, 2e-20], [1e20, 3e20], [0.0, 0.0]])
    mapped = jax.jit(jax.vmap(lambda row: overflow_free.evaluate(power, row)))(rows)
    for i, row in enumerate(rows):
        alone = jax.jit(lambda row: overflow_free.evaluate(power, row))(row)
        assert_close((mapped.mantissa[i], mapped.exponent[i]), tuple(alone))
    assert mapped.exponent[0] < -600 and mapped.exponent[1] > 600


def test_closed_over_traced_numbers_take_part():
    def through(x):
        return overflow_free.value(overflow_free.evaluate(lambda y: y * x, jnp.ones(2)))

    np.testing.assert_array_equal(jax.jit(through)(jnp.full(2, 3.0)), [3, 3])
    slopes = jax.jit(jax.vmap(jax.grad(lambda x: through(x).sum())))(jnp.ones((3, 2)))
    np.testing.assert_array_equal(slopes, np.ones((3, 2)))


@pytest.mark.parametrize("size", [1e-300, 1e-50, 1.0, 1e50, 1e300])
def test_double_floats_have_as_much_room(size):
    with jax.enable_x64(True):
        x = jnp.float64(size)
        found = overflow_free.evaluate(lambda x: x * x / 2, x)
        assert found.mantissa.dtype == jnp.float64 and 1 <= found.mantissa < 2
        power = Fraction(2) ** int(found.exponent)
        wanted = Fraction(size) ** 2 / 2 / power
        assert float(found.mantissa) == pytest.approx(float(wanted), rel=1e-15)
        assert overflow_free.value(overflow_free.evaluate(lambda x: x * 2, x)) == 2 * x
