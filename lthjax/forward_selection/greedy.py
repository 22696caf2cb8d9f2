"""The greedy loop: of a dictionary known by inner products, the best element a step.

In the terms of `forward_selection.neurons`: a step scores all candidates by arithmetic
on [neurons], and asks for one row of inner products, that of its pick.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import registry


class Selection(NamedTuple):
    """What was chosen, step by step.

    Attributes:
      picks: The neurons in the order of their choice, int32 [steps].
      losses: l(u) after each step, [steps]; of mini-batches, that of the step's batch.
      weights: The weight of every neuron in u, which sum to one [neurons].
    """

    picks: jax.Array
    losses: jax.Array
    weights: jax.Array


class Inner(NamedTuple):
    """Inner products of a dictionary, as means over the examples.

    Attributes:
      norms: <Phi_i, Phi_i> [neurons].
      matches: <Phi_i, y> [neurons].
      scale: <y, y> [].
    """

    norms: jax.Array
    matches: jax.Array
    scale: jax.Array


class _State(NamedTuple):
    products: jax.Array  # <Phi_i, u> [neurons]
    weights: jax.Array  # u = sum_i weights_i Phi_i
    taken: jax.Array  # bool [neurons]
    store: tuple  # what the source of rows keeps


def greedy(products, source, steps, drawing, *, weights, replace, linear=None):
    """Returns (Selection, the weight g of each pick [steps]).

    With `linear`, <y, Phi_i> [neurons], the pick is by the gradient: that of the first,
    where nothing is picked yet and u is 0, is known by nothing else.
    """
    share = registry.resolve(weights, WEIGHTS, "weights")
    store, fetch = source
    candidates, key = drawing

    def step(carry, numbers):
        state, (square, match) = carry
        k, key = numbers
        a = products.matches - state.products - (match - square)
        b = products.norms - 2 * state.products + square
        shares = jnp.broadcast_to(share(k, a, b), a.shape)
        if linear is None:
            change = shares * (shares * b / 2 - a)
        else:
            change = jnp.where(k == 1, -linear, -a)
        allowed = _allowed(state.taken, replace, candidates, key)
        ranks = jnp.where(allowed, change, jnp.inf)
        pick = jnp.argmin(ranks).astype(jnp.int32)
        g, product = shares[pick], state.products[pick]
        kept, row = fetch(state.store, pick, ranks)
        square = (1 - g) * ((1 - g) * square + 2 * g * product)
        square = square + g * g * products.norms[pick]
        match = (1 - g) * match + g * products.matches[pick]
        loss = (square - 2 * match + products.scale) / 2
        state = _State(
            (1 - g) * state.products + g * row,
            ((1 - g) * state.weights).at[pick].add(g),
            state.taken.at[pick].set(True),
            kept,
        )
        return (state, (square, match)), (pick, loss, g)

    zeros, nothing = jnp.zeros_like(products.norms), jnp.zeros_like(products.scale)
    state = _State(zeros, zeros, jnp.zeros(zeros.shape, bool), store)
    keys = jax.random.split(jax.random.key(0) if key is None else key, steps)
    numbers = jnp.arange(1, steps + 1, dtype=zeros.dtype), keys
    (state, _), (picks, losses, g) = lax.scan(
        step, (state, (nothing, nothing)), numbers
    )
    return Selection(picks, losses, state.weights), g


def _allowed(taken, replace, candidates, key):
    """Returns which neurons may be picked now, at random if only some are scored."""
    open_ = jnp.ones_like(taken) if replace else ~taken
    if candidates is None:
        return open_
    drawn = jnp.where(open_, jax.random.uniform(key, taken.shape), -1.0)
    _, chosen = lax.top_k(drawn, candidates)
    return open_ & jnp.zeros_like(taken).at[chosen].set(True)


def _line_search(k, a, b):
    best = jnp.clip(a / jnp.where(b > 0, b, 1), 0, 1)
    return jnp.where(k == 1, jnp.ones_like(a), best)


WEIGHTS = {
    "uniform": lambda k, a, b: 1 / k,
    "frank_wolfe": lambda k, a, b: 2 / (k + 1),
    "line_search": _line_search,
}
