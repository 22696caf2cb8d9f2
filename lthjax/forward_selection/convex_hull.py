"""The convex hull of the neurons' answers: its width, and how far the labels are.

A subnetwork's answers are a point of the hull of all Phi_i. All lengths here are root
mean squares over the examples, `|v|^2 = mean_j v_j^2`, so that half a squared distance
is a loss.

References:
  Wolfe et al., 2021, arXiv:2108.00259, Section 3 and Appendix B.
"""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax.forward_selection.gram import check_rows, dictionary, floating, times

CERTAIN = 1e-9  # of the largest answer, a margin that is not of rounding


class Nearest(NamedTuple):
    """The point of the hull that is nearest to the target.

    Attributes:
      loss: Half its squared distance, the least loss of any convex combination.
      gap: What is certified: the least loss is at most so much below `loss`.
      weights: Of the neurons, [neurons].
      steps: How many steps were taken.
    """

    loss: jax.Array
    gap: jax.Array
    weights: jax.Array
    steps: jax.Array


def diameter(features: jax.Array) -> jax.Array:
    """Returns `D = max |Phi_i - Phi_j|`, from all inner products.

    Args:
      features: Phi, a row a neuron [neurons, examples].

    Raises:
      ValueError: They are of another shape, or of none.
    """
    (features,) = floating(features)
    check_rows(features)
    features = features - jnp.mean(features, axis=0)[None]  # so that no length cancels
    gram = times(features, features.T) / features.shape[1]
    norms = jnp.diagonal(gram)
    squares = norms[:, None] + norms[None] - 2 * gram
    return jnp.sqrt(jnp.maximum(jnp.max(squares), 0))


def radius(features: jax.Array) -> jax.Array:
    """Returns `R = max |Phi_i - mean of all|`, in one pass: R <= D <= 2 R.

    Args:
      features: Phi, a row a neuron [neurons, examples].

    Raises:
      ValueError: They are of another shape, or of none.
    """
    (features,) = floating(features)
    check_rows(features)
    apart = features - jnp.mean(features, axis=0)[None]
    return jnp.sqrt(jnp.max(jnp.mean(jnp.square(apart), axis=1)))


def nearest(
    features: jax.Array,
    target: jax.Array,
    *,
    tolerance: float = 1e-4,
    most: int = 10_000,
) -> Nearest:
    """Returns the point of the hull nearest to y, by pairwise Frank-Wolfe steps.

    A step moves weight from the worst neuron in use to the best of all, as far as the
    loss falls. It starts from the best neuron or from the mean of all, whichever is
    nearer, and so ends no farther away than the dense network. It stops where
    max_i <gradient, u - Phi_i>, which bounds what can still be gained, is at most
    `tolerance` times mean y^2 / 2.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      target: y [examples].
      tolerance: Of the loss, as a part of the loss of answering zero.
      most: The largest number of steps.

    Raises:
      ValueError: The shapes differ, or there is no neuron or example.

    References:
      Lacoste-Julien and Jaggi, 2015, arXiv:1511.05932.
    """
    features, target = dictionary(features, target)
    examples = features.shape[1]
    enough = tolerance * jnp.mean(jnp.square(target)) / 2

    def slopes(u):
        return times(features, u - target) / examples

    def gap(u, gradient):
        return jnp.mean(u * (u - target)) - jnp.min(gradient)

    def goes_on(carry):
        steps, u, _, gradient = carry
        return (steps < most) & (gap(u, gradient) > enough)

    def step(carry):
        steps, u, weights, gradient = carry
        to = jnp.argmin(gradient)
        away = jnp.argmax(jnp.where(weights > 0, gradient, -jnp.inf))
        direction = features[to] - features[away]
        length = jnp.mean(jnp.square(direction))
        best = (gradient[away] - gradient[to]) / jnp.where(length > 0, length, 1)
        g = jnp.clip(best, 0, weights[away])
        weights = weights.at[to].add(g).at[away].add(-g)
        u = u + g * direction
        return steps + 1, u, jnp.maximum(weights, 0), slopes(u)

    norms = jnp.mean(jnp.square(features), axis=1)
    first = jnp.argmin(norms / 2 - times(features, target) / examples)
    vertex = jnp.zeros_like(norms).at[first].set(1)
    options = jnp.stack([vertex, jnp.full_like(norms, 1 / norms.size)])
    points = jnp.stack([features[first], jnp.mean(features, axis=0)])
    nearer = jnp.argmin(jnp.mean(jnp.square(points - target[None]), axis=1))
    u, weights = points[nearer], options[nearer]
    start = jnp.int32(0), u, weights, slopes(u)
    steps, u, weights, gradient = lax.while_loop(goes_on, step, start)
    loss = jnp.mean(jnp.square(u - target)) / 2
    return Nearest(loss, gap(u, gradient), weights, steps)


def margin(features: np.ndarray, signs: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns (s, weights): how surely a convex combination can classify the examples.

        maximise s over the simplex, with  sign_j sum_i weights_i Phi_ij >= s

    The examples are classified by some point of the hull where s > 0, which rounding
    leaves open below `CERTAIN` times the largest answer. A strict inequality is no
    linear program; its margin is. Returned is what the weights reach, not what the
    solver says of itself.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      signs: +1 or -1 for each example [examples].

    Raises:
      ValueError: A sign is not +1 or -1, there is not one for each example, the
        features are not finite, or the solver found no optimum.

    References:
      Wolfe et al., 2021, arXiv:2108.00259, Appendix B, equation 29. Departure: it asks
      for strict inequalities, which a solver cannot, and for as many examples of either
      class.
    """
    from scipy import optimize  # here: it takes a third of a second

    features, signs = np.asarray(features, float), np.asarray(signs, float)
    if not np.all(np.abs(signs) == 1):
        raise ValueError(f"signs must be +1 or -1, got signs = {np.unique(signs)[:5]}")
    check_rows(features)
    neurons, examples = features.shape
    if signs.shape != (examples,):
        raise ValueError(
            f"there must be a sign for each of the {examples} examples, got "
            f"signs.shape = {signs.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, got one that is not")
    rows = np.concatenate([-(features * signs[None]).T, np.ones((examples, 1))], axis=1)
    cost = np.append(np.zeros(neurons), -1.0)
    total = np.append(np.ones(neurons), 0.0)[None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optimize.OptimizeWarning)
        found = optimize.linprog(
            cost,
            A_ub=rows,
            b_ub=np.zeros(examples),
            A_eq=total,
            b_eq=[1.0],
            bounds=[(0, None)] * neurons + [(None, None)],
            method="highs-ipm",
        )
    if found.status != 0:
        raise ValueError(
            "the linear program must have an optimum, got message = "
            f"{found.message!r}; scale the features to about 1"
        )
    weights = np.maximum(found.x[:-1], 0)
    weights = weights / weights.sum()
    return float(np.min(signs * (weights @ features))), weights
