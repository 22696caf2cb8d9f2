"""The two-layer network of the theory: the mean of its neurons, and how it trains.

    f(x) = mean_i b_i activation(<a_i, x>),   a_i, b_i ~ N(0, 1), both trained, no bias

With n neurons in a mean every gradient has a factor 1 / n, so that a learning rate that
suits one width suits all when it is multiplied by n.

References:
  Wolfe et al., 2021, arXiv:2108.00259, Sections 2 and 6.1. Departures: the learning
  rates printed there would leave the mean that it defines nearly still, and perhaps
  belong to a sum (which, tried, does not give its numbers either); here they are a
  multiple of the width. A batch is drawn uniformly, not from a permutation of an epoch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax.callables import Activation, ExampleFn
from lthjax.forward_selection.gram import times
from lthjax.training.losses import binary_cross_entropy


class Params(NamedTuple):
    """The weights: `hidden` a [neurons, inputs] and `output` b [neurons]."""

    hidden: jax.Array
    output: jax.Array


class Training(NamedTuple):
    """What stochastic gradient descent carries: the weights and their momentum."""

    params: Params
    momentum: Params


def initialise(key: jax.Array, neurons: int, inputs: int) -> Params:
    """Returns weights drawn from the standard normal distribution.

    Args:
      key: A JAX PRNG key.
      neurons: The width.
      inputs: The dimension of an example.
    """
    keys = jax.random.split(key)
    hidden = jax.random.normal(keys[0], (neurons, inputs))
    return Params(hidden, jax.random.normal(keys[1], (neurons,)))


def answers(
    params: Params, examples: jax.Array, activation: Activation = jax.nn.relu
) -> jax.Array:
    """Returns the answer of every neuron to every example [neurons, examples].

    In full float32 on every device: selection compares losses that differ by little.

    Args:
      params: The weights.
      examples: x, float32 [examples, inputs]; bytes are scaled to [0, 1].
      activation: The non-linearity.
    """
    hidden = activation(times(params.hidden, _float(examples).T))
    return params.output[:, None] * hidden


def logits(
    params: Params, examples: jax.Array, activation: Activation = jax.nn.relu
) -> jax.Array:
    """Returns f(x), the mean answer of all neurons [examples].

    It is what trains, in products as exact as the device computes them by itself: in
    TF32 or bfloat16 on an accelerator, unless `jax.default_matmul_precision` says more.
    """
    hidden = activation(params.hidden @ _float(examples).T)
    return params.output @ hidden / len(params.output)


def begin(params: Params) -> Training:
    """Returns the state of a training at its first step, momentum zero."""
    return Training(params, jax.tree.map(jnp.zeros_like, params))


def train(
    state: Training,
    key: jax.Array,
    data: tuple,
    span: tuple,
    *,
    learning_rate: float,
    batch_size: int = 128,
    momentum: float = 0.9,
    loss: ExampleFn = binary_cross_entropy,
    activation: Activation = jax.nn.relu,
) -> Training:
    """Returns the state after the steps of `span`, one batch of the first m a step.

    g = d/dparams mean(loss(f(x), y));  v = momentum v + g;  params -= learning_rate v

    Args:
      state: The state before.
      key: A JAX PRNG key; the batch of step t is drawn with `fold_in(key, t)`.
      data: (x [n, inputs], y [n], m []): only the first m examples are used; m may be
        traced and batched, so that sub-data sets of all sizes train as one population.
      span: (start, stop), which may be traced.
      learning_rate: For the mean over the neurons: proportional to their number.
      batch_size: Examples a step.
      momentum: Of the heavy ball.
      loss: (outputs, targets) -> losses, element by element.
      activation: The non-linearity.

    Raises:
      ValueError: There is not one target an example, or m, where it is known, is not in
        [1, n].
    """
    examples, targets, size = data
    _check_examples(len(examples), jnp.shape(targets), size)

    def objective(params, indices):
        outputs = logits(params, _float(examples[indices]), activation)
        return jnp.mean(loss(outputs, targets[indices]))

    def step(t, state):
        indices = draw(jax.random.fold_in(key, t), batch_size, size)
        grads = jax.grad(objective)(state.params, indices)
        moving = jax.tree.map(lambda v, g: momentum * v + g, state.momentum, grads)
        return Training(
            jax.tree.map(lambda w, v: w - learning_rate * v, state.params, moving),
            moving,
        )

    return lax.fori_loop(*span, step, state)


def _check_examples(number, targets, size):
    """Refuses examples that no batch can be drawn from."""
    sizes = 1 if isinstance(size, jax.core.Tracer) else np.asarray(size)
    if targets != (number,) or not np.all((sizes >= 1) & (sizes <= number)):
        raise ValueError(
            "data must be n examples with targets [n], of which the first m in [1, n] "
            f"are used, got {number} examples, targets {list(targets)} and m = {size}"
        )


def draw(key: jax.Array, batch_size: int, size: jax.typing.ArrayLike) -> jax.Array:
    """Returns the indices of a batch, uniform below `size`, int32 [batch_size]."""
    return jax.random.randint(key, (batch_size,), 0, size)


def _float(pixels):
    """Returns pixels as they are, or of bytes those in [0, 1]."""
    if pixels.dtype == jnp.uint8:
        return pixels.astype(jnp.float32) / 255
    return pixels


def accuracy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the fraction of outputs with the sign of their target, 0 or 1 [].

    One that is NaN has no sign.

    Args:
      outputs: What the network answers [n].
      targets: 0 or 1, of the same shape.

    Raises:
      ValueError: They are of two shapes.
    """
    if jnp.shape(outputs) != jnp.shape(targets):
        raise ValueError(
            "outputs must have one target each, in the same shape, got outputs "
            f"{list(jnp.shape(outputs))} with targets {list(jnp.shape(targets))}; "
            "reshape the targets"
        )
    right = (outputs > 0) == (targets > 0)
    return jnp.mean(right & ~jnp.isnan(outputs))


def tangent_kernel(
    params: Params, examples: jax.Array, activation: Activation = jax.nn.relu
) -> jax.Array:
    """Returns K = J J^T, J the Jacobian of f by the parameters [examples, examples].

        K_jk = n^-2 sum_i h_i(x_j) h_i(x_k) + b_i^2 h_i'(x_j) h_i'(x_k) <x_j, x_k>

    Gradient descent with rate r on mean(residual^2) / 2 multiplies the residual along
    an eigenvector of K by 1 - r eigenvalue / examples a step, to first order.

    Args:
      params: The weights.
      examples: x, float32 [examples, inputs]; bytes are scaled to [0, 1].
      activation: The non-linearity.
    """
    examples = _float(examples)
    before = times(params.hidden, examples.T)
    slopes = jax.vmap(jax.vmap(jax.grad(activation)))(before)
    slopes = params.output[:, None] * slopes
    values = activation(before)
    angles = times(examples, examples.T)
    total = times(values.T, values) + times(slopes.T, slopes) * angles
    return total / len(params.output) ** 2
