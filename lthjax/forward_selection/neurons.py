"""Greedy forward selection of neurons: the subnetwork grows by the best one, k times.

Neuron i of a two-layer network answers Phi_i over the examples, the dense network is
the mean of all Phi_i, and a subnetwork is a convex combination u of some of them. A
step chooses the neuron i that makes the loss of (1 - g) u + g Phi_i least, with the
loss l(u) = mean_j (u_j - y_j)^2 / 2. In `a = <y - u, Phi_i - u>`, `b = |Phi_i - u|^2`,
all inner products means over the examples,

    l((1 - g) u + g Phi_i) = l(u) - g a + g^2 b / 2

so that with <Phi_i, u> at hand a step scores all candidates by arithmetic on [neurons],
and <Phi_i, u> follows a pick by one matrix-vector product: no candidate is forwarded.

References:
  Ye et al., 2020, arXiv:2003.01794; Wolfe et al., 2021, arXiv:2108.00259, Section 3.
"""

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import values
from lthjax.callables import DrawFn, ExampleFn
from lthjax.forward_selection.gram import (
    computed_rows,
    dictionary,
    floating,
    kept_rows,
    times,
)
from lthjax.forward_selection.greedy import Inner, Selection, greedy
from lthjax.training.losses import squared


def inner(features: jax.Array, target: jax.Array) -> Inner:
    """Returns the inner products that scoring needs, in one pass over the features.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      target: y [examples].

    Raises:
      ValueError: The shapes differ.
    """
    features, target = dictionary(features, target)
    examples = features.shape[1]
    return Inner(
        jnp.mean(jnp.square(features), axis=1),
        times(features, target) / examples,
        jnp.mean(jnp.square(target)),
    )


def select(
    features: jax.Array,
    target: jax.Array,
    steps: int,
    *,
    weights: str = "uniform",
    replace: bool = True,
    linear: bool = False,
    candidates: int | None = None,
    key: jax.Array | None = None,
    block: int = 0,
) -> Selection:
    """Selects neurons one by one, each the one that makes the loss least.

    A tie goes to the lowest index. With uniform weights the loss may rise from one step
    to the next, for a neuron must come in with weight 1 / k; with a line search it
    never does. A neuron with an answer that is NaN is not refused, under `jit` it
    cannot be: it is picked first, and every loss from there on is NaN.

    Args:
      features: Phi, a row a neuron [neurons, examples].
      target: y [examples].
      steps: k, how many picks.
      weights: The weight g of the k-th pick: "uniform" 1 / k (a multiset, in which each
        pick counts the same), "frank_wolfe" 2 / (k + 1), "line_search" the best in
        [0, 1].
      replace: Whether a neuron may be picked again.
      linear: Choose by the gradient, least <u - y, Phi_i>, not by the loss itself; u is
        0 before the first pick.
      candidates: Score only so many neurons a step, drawn at random from those that may
        be picked; all by default.
      key: A JAX PRNG key, for `candidates`.
      block: Keep the products of picked neurons with all others, so that a neuron
        picked again costs nothing, and compute those of so many of the best candidates
        at once; 0 computes one row a step and keeps none. The picks are the same but
        for rounding. Under `vmap` 0 is better: there both branches are computed.

    Returns:
      The picks, the loss after each, and the final weights.

    Raises:
      ValueError: More neurons are asked for than there are, without replacement; the
        shapes differ; `weights` is unknown; `candidates` without a key or out of range;
        `block` is no whole number, or negative.

    Example:
      >>> features = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> found = lth.forward_selection.select(features, jnp.array([0.5, 0.5]), 2)
      >>> found.picks, found.weights
      (Array([0, 1], dtype=int32), Array([0.5, 0.5, 0. ], dtype=float32))

    References:
      Wolfe et al., 2021, arXiv:2108.00259, Section 3 (uniform, with replacement); the
      code of Ye et al., 2020, arXiv:2003.01794 (without, 50 random candidates).
      Departures: the published algorithms forward every candidate.
    """
    features, target = dictionary(features, target)
    checked = _checked(len(features), steps, replace, candidates, key)
    steps, candidates = checked
    block = values.whole("block", block, 0)
    options = {"weights": weights, "replace": replace}
    if linear:
        options["linear"] = times(features, target) / features.shape[1]
    # Shares sum to one: u - y is a combination of Phi_i - y, which are small numbers.
    features, target = features - target[None], jnp.zeros_like(target)
    source = kept_rows(features, steps, block) if block else computed_rows(features)
    products = inner(features, target)
    found, shares = greedy(products, source, steps, (candidates, key), **options)
    losses = _losses(features, target, found.picks, shares)
    return found._replace(losses=losses)


def select_gram(
    gram: jax.Array,
    matches: jax.Array,
    scale: jax.Array,
    steps: int,
    *,
    weights: str = "uniform",
    replace: bool = True,
) -> Selection:
    """Selects as `select`, of a dictionary known by its inner products alone.

    Args:
      gram: <Phi_i, Phi_j> [neurons, neurons].
      matches: <Phi_i, y> [neurons].
      scale: <y, y> [].
      steps: How many picks.
      weights: As for `select`.
      replace: Whether a neuron may be picked again.

    Raises:
      ValueError: As `select`.

    Example:
      >>> matches = jnp.array([0.1, 0.4])
      >>> found = lth.forward_selection.select_gram(jnp.eye(2), matches, 1.0, 1)
      >>> int(found.picks[0])
      1
    """
    gram, matches, scale = floating(gram, matches, scale)
    if matches.ndim != 1 or gram.shape != 2 * matches.shape or scale.ndim:
        raise ValueError(
            "gram must be [neurons, neurons], matches [neurons] and scale one number, "
            f"got gram.shape = {gram.shape}, matches.shape = {matches.shape}, "
            f"scale.shape = {scale.shape}"
        )
    steps, _ = _checked(len(gram), steps, replace, None, None)
    gram = gram - matches[:, None] - matches[None] + scale  # <Phi_i - y, Phi_j - y>
    source = (), lambda store, i, ranks: (store, gram[i])
    products = Inner(jnp.diagonal(gram), 0 * matches, 0 * scale)
    options = {"weights": weights, "replace": replace}
    return greedy(products, source, steps, (None, None), **options)[0]


def select_batches(
    key: jax.Array,
    draw: DrawFn,
    steps: int,
    *,
    neurons: int,
    loss: ExampleFn,
    replace: bool = True,
) -> Selection:
    """Selects neurons by a fresh batch a step: every candidate, uniform weights.

    i = argmin_i mean(loss((z + Phi_i) / k, y)),  z the sum of what is picked

    Args:
      key: A JAX PRNG key.
      draw: key -> (Phi [neurons, batch], y [batch]), a batch of the training set.
      steps: k, how many picks.
      neurons: How many there are.
      loss: (outputs, targets) -> losses, element by element:
        `losses.squared`, `losses.binary_cross_entropy`.
      replace: Whether a neuron may be picked again.

    Raises:
      ValueError: More neurons are asked for than there are, without replacement; or a
        batch has another number of them, or not one target an example.

    References:
      Wolfe et al., 2021, arXiv:2108.00259, Algorithm 1. Its loss is printed as squared
      error, while its networks train by cross-entropy, and its batch is not given.
    """
    steps, _ = _checked(neurons, steps, replace, None, None)

    def step(counts, numbers):
        k, key = numbers
        answers, targets = draw(key)
        if len(answers) != neurons:
            raise ValueError(
                f"a batch must have a row for each of the {neurons} neurons, got "
                f"answers.shape = {answers.shape}"
            )
        if targets.shape != answers.shape[1:]:
            raise ValueError(
                "a batch must have a target for each of its examples, got answers.shape"
                f" = {answers.shape}, targets.shape = {targets.shape}"
            )
        total = times(counts, answers)
        outputs = (total[None] + answers) / k
        losses = jnp.mean(loss(outputs, targets[None]), axis=1)
        allowed = jnp.ones_like(counts, bool) if replace else counts == 0
        pick = jnp.argmin(jnp.where(allowed, losses, jnp.inf)).astype(jnp.int32)
        return counts.at[pick].add(1), (pick, losses[pick])

    numbers = jnp.arange(1, steps + 1, dtype=jnp.float32), jax.random.split(key, steps)
    counts, (picks, losses) = lax.scan(step, jnp.zeros(neurons), numbers)
    return Selection(picks, losses, counts / steps)


def _checked(neurons, steps, replace, candidates, key):
    """Returns (steps, candidates) as whole numbers that go together."""
    if not neurons:
        raise ValueError("there must be a neuron to pick, got neurons = 0")
    steps = values.whole("steps", steps, 1)
    if not replace and steps > neurons:
        raise ValueError(
            f"without replacement at most all {neurons} neurons can be picked, got "
            f"steps = {steps}; ask for fewer, or allow replace=True"
        )
    if candidates is None:
        return steps, None
    candidates = values.whole("candidates", candidates, 1)
    if candidates > neurons:
        raise ValueError(
            f"candidates must be in [1, {neurons}], got candidates = {candidates}"
        )
    if key is None:
        raise ValueError("random candidates must have a key, got key = None")
    return steps, candidates


def _losses(features, target, picks, shares):
    """Returns l(u) after each pick, from u itself."""

    def step(u, pick):
        index, g = pick
        u = (1 - g) * u + g * features[index]
        return u, jnp.mean(squared(u, target))

    return lax.scan(step, jnp.zeros_like(target), (picks, shares))[1]
