import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.forward_selection import rates, two_layer
from lthjax.training import losses


def test_a_step_of_gradient_descent_contracts_along_the_kernel_as_linearised():
    m, rate = 5, 0.7
    x = jax.random.normal(jax.random.key(1), (m, 4))
    y = jax.random.normal(jax.random.key(2), (m,))
    for activation in (jnp.tanh, jax.nn.sigmoid):
        params = two_layer.initialise(jax.random.key(0), 7, 4)

        def outputs(params, activation=activation):
            return two_layer.logits(params, x, activation)

        before, along = jax.linearize(outputs, params)
        grads = jax.grad(lambda p: jnp.mean(losses.squared(outputs(p), y)))(params)
        after = before + along(jax.tree.map(lambda g: -rate * g, grads))
        kernel = two_layer.tangent_kernel(params, x, activation)
        values, vectors = np.linalg.eigh(np.asarray(kernel, float))
        wanted = (1 - rate * values / m) * (vectors.T @ (before - y))
        np.testing.assert_allclose(
            vectors.T @ (after - y), wanted, rtol=1e-4, atol=1e-6
        )


def test_a_wide_network_contracts_about_as_its_kernel_says():
    m, inputs, width = 25, 20, 4000
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, inputs))
    x = jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), jnp.float32)
    # The mean of n neurons learns y / sqrt(n) as their sum by sqrt(n) learns y.
    y = jnp.asarray(rng.choice([-1.0, 1.0], m) / np.sqrt(width), jnp.float32)
    params = two_layer.initialise(jax.random.key(0), width, inputs)
    values = np.linalg.eigvalsh(two_layer.tangent_kernel(params, x, jnp.tanh))
    rate = 0.9 * m / values[-1]

    def loss(params):
        return jnp.mean(losses.squared(two_layer.logits(params, x, jnp.tanh), y))

    def step(params, _):
        value, grads = jax.value_and_grad(loss)(params)
        return jax.tree.map(lambda w, g: w - rate * g, params, grads), value

    found = np.asarray(jax.jit(lambda p: jax.lax.scan(step, p, length=150))(params)[1])
    last = rates.tail(found)
    rho = rates.fitted(np.arange(150)[last], found[last]).rho
    ratio = (1 - np.sqrt(rho)) / (rate * values[0] / m)
    assert 0.7 <= ratio <= 1.3  # the kernel moves while the network trains


def test_the_tangent_kernel_is_the_jacobian_times_itself():
    params = two_layer.initialise(jax.random.key(0), 7, 4)
    x = jax.random.normal(jax.random.key(1), (5, 4))
    for activation in (jnp.tanh, jax.nn.sigmoid):
        jacobian = jax.jacrev(lambda p, a=activation: two_layer.logits(p, x, a))(params)
        rows = [leaf.reshape(5, -1) for leaf in jacobian]
        wanted = sum(row @ row.T for row in rows)
        found = two_layer.tangent_kernel(params, x, activation)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_the_tangent_kernel_of_bytes_is_that_of_their_pixels():
    params = two_layer.initialise(jax.random.key(0), 7, 4)
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4)).astype(np.uint8)
    wanted = two_layer.tangent_kernel(params, jnp.float32(pixels) / 255, jnp.tanh)
    found = two_layer.tangent_kernel(params, jnp.asarray(pixels), jnp.tanh)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 1), (3,), ()])
def test_answers_are_compared_with_a_target_each(shape):
    words = r"one target each, .* got outputs \[4\] with targets"
    with pytest.raises(ValueError, match=words):
        two_layer.accuracy(jnp.ones(4), jnp.ones(shape))


def test_a_diverged_network_is_right_about_nothing():
    outputs, targets = jnp.array([jnp.nan, 1, jnp.nan, -1]), jnp.array([0, 1, 1, 0])
    assert two_layer.accuracy(outputs, targets) == 0.5


def test_the_network_is_the_mean_of_its_neurons_and_trains_on_the_first_examples():
    params = two_layer.initialise(jax.random.key(0), 30, 4)
    x = jax.random.normal(jax.random.key(1), (8, 4))
    y = (x[:, 0] > 0).astype(jnp.float32)
    answers = two_layer.answers(params, x)
    np.testing.assert_allclose(answers.mean(0), two_layer.logits(params, x), atol=1e-6)

    def train(span, size, state, labels=y):
        data, options = (x, labels, size), {"learning_rate": 0.02 * 30, "batch_size": 4}
        return two_layer.train(state, jax.random.key(2), data, span, **options)

    start = two_layer.begin(params)
    whole = train((0, 300), 8, start)
    assert two_layer.accuracy(two_layer.logits(whole.params, x), y) == 1
    parts = train((100, 300), 8, train((0, 100), 8, start))
    assert_same(whole, parts)
    other = train((0, 20), 4, start, y.at[4:].set(1 - y[4:]))
    assert_same(other, train((0, 20), 4, start))


@pytest.mark.parametrize(
    ("number", "targets", "size"),
    [
        (0, 0, 0),
        (8, 8, 9),
        (8, 8, 0),
        (8, 7, 7),
        (8, (8, 1), 8),
        (8, 8, jnp.array([3, 9])),
    ],
)
def test_examples_that_no_batch_can_be_drawn_from_are_refused(number, targets, size):
    state = two_layer.begin(two_layer.initialise(jax.random.key(0), 3, 4))
    data = jnp.zeros((number, 4)), jnp.zeros(targets), size
    with pytest.raises(ValueError, match=rf"m in \[1, n\].*got {number} examples"):
        two_layer.train(state, jax.random.key(1), data, (0, 1), learning_rate=0.1)
