"""Families of gates: how each is trained, evaluated, priced and hardened."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.gates import hard_concrete as hard_concrete_lib
from lthjax.gates import sigmoid
from lthjax.gates import soft_threshold as soft_threshold_lib
from lthjax.pruning import precision


def _positive(effective, multipliers):
    return jax.tree.map(lambda m: m > 0, multipliers)


class Kind(NamedTuple):
    """A family of gates; `at` is the temperature, `scale` the constant c.

    Attributes:
      train: (key, gates, at, scale) -> multipliers of a training step.
      test: (gates, at, scale) -> multipliers of an evaluation.
      price: (gates, at, scale) -> the penalty before its weight, [].
      hard: (key, gates, scale) -> multipliers of the pruned network.
      reset: (gates, initial) -> the gates of the next round.
      init: (masks, initial) -> the gates of the first round.
      effect: (weights, multipliers) -> the effective weights.
      kept: (the effective weights, the hard multipliers) -> masks.
    """

    train: Callable[[Any, Any, Any, Any], Any]
    test: Callable[[Any, Any, Any], Any]
    price: Callable[[Any, Any, Any], jax.Array]
    hard: Callable[[Any, Any, Any], Any]
    reset: Callable[[Any, Any], Any]
    init: Callable[[Any, Any], Any] = sigmoid.init
    effect: Callable[[Any, Any], Any] = sigmoid.multiply
    kept: Callable[[Any, Any], Any] = _positive


def continuous(*, final: float = 200.0, reset: str = "paper") -> Kind:
    """Returns deterministic sigmoid gates: `m = c sigmoid(temperature s)`.

    Args:
      final: The temperature at the end of a round.
      reset: "paper" or "code", see `gates.reset`.

    References:
      Savarese et al., 2020, arXiv:1912.04427.
    """
    _check_choice("reset", reset, sigmoid.RESETS)
    return Kind(
        train=lambda key, s, at, scale: sigmoid.soft(s, at, scale),
        test=sigmoid.soft,
        price=sigmoid.penalty,
        hard=lambda key, s, scale: jax.tree.map(
            lambda open_: scale * open_.astype(jnp.float32), sigmoid.harden(s)
        ),
        reset=lambda s, initial: sigmoid.reset(s, initial, final, reset),
    )


def stochastic(*, gradient: str = "sigmoid", output: str = "threshold") -> Kind:
    """Returns Bernoulli gates with a straight-through gradient, the stochastic control.

        m ~ Bernoulli(sigmoid(s)),  dm/ds := sigmoid'(s) or 1

    A reconstruction, not verified: neither text nor code of the original was at hand.

    Args:
      gradient: "sigmoid" or "identity".
      output: What a round gives: "threshold", the gates with sigmoid(s) > 1/2, or
        "sample", one draw.

    Raises:
      ValueError: `gradient` or `output` is unknown.

    References:
      Savarese et al., 2020, arXiv:1912.04427, its iterative stochastic sparsification;
      Zhou et al., 2019, arXiv:1905.01067, stochastic masks.
    """
    _check_choice("gradient", gradient, ("sigmoid", "identity"))
    _check_choice("output", output, ("threshold", "sample"))

    def train(key, s, at, scale):
        del at, scale
        carrier = sigmoid.soft(s, 1.0) if gradient == "sigmoid" else s
        return jax.tree.map(_through, _bernoulli(key, s), carrier)

    def hard(key, s, scale):
        del scale
        drawn = sigmoid.harden(s) if output == "threshold" else _bernoulli(key, s)
        return jax.tree.map(lambda m: m.astype(jnp.float32), drawn)

    return Kind(
        train=train,
        test=lambda s, at, scale: sigmoid.soft(s, 1.0),
        price=lambda s, at, scale: sigmoid.penalty(s, 1.0),
        hard=hard,
        reset=sigmoid.reset_stochastic,
    )


def hard_concrete() -> Kind:
    """Returns the gates of l0 regularisation; see `gates.hard_concrete`."""

    def price(s, at, scale):
        del at, scale
        return sum(
            jnp.sum(p) for p in jax.tree.leaves(hard_concrete_lib.open_probability(s))
        )

    return Kind(
        train=lambda key, s, at, scale: hard_concrete_lib.sample(key, s),
        test=lambda s, at, scale: hard_concrete_lib.mean(s),
        price=price,
        hard=lambda key, s, scale: hard_concrete_lib.mean(s),
        reset=lambda s, initial: s,
    )


def soft_threshold() -> Kind:
    """Returns soft thresholds in the place of gates; their multipliers are thresholds.

    Nothing is reset: a round is the whole method, and another one goes on. See
    `gates.soft_threshold`.
    """

    def kept(effective, found):
        return jax.tree.map(
            lambda w, t: None if t is None else w != 0, effective, found
        )

    return Kind(
        train=lambda key, s, at, scale: soft_threshold_lib.thresholds(s),
        test=lambda s, at, scale: soft_threshold_lib.thresholds(s),
        price=lambda s, at, scale: soft_threshold_lib.price(s),
        hard=lambda key, s, scale: soft_threshold_lib.thresholds(s),
        reset=lambda s, initial: s,
        init=soft_threshold_lib.init,
        effect=soft_threshold_lib.shrink,
        kept=kept,
    )


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(choices)}, got {name} = {value!r}"
        )


def _bernoulli(key, s):
    leaves, treedef = jax.tree.flatten(s)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.uniform(k, leaf.shape, leaf.dtype) < jax.nn.sigmoid(leaf)
        for k, leaf in zip(keys, precision.widened(leaves), strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def _through(drawn, carrier):
    """Returns what was drawn, with the derivative of the carrier."""
    value = drawn.astype(carrier.dtype)
    return value + (carrier - jax.lax.stop_gradient(carrier))
