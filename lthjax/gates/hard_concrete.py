"""Hard concrete gates: the stochastic l0 penalty, a comparator of learnt masks."""

import math

import jax
import jax.numpy as jnp
import optax

from lthjax.gates.sigmoid import Gates
from lthjax.pruning import precision
from lthjax.training import zeros

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 2 / 3
BOUND = math.log(100)  # of a logit's absolute value, in training
_EDGE = 1e-6  # uniform draws stay this far from 0 and 1, where their logit is infinite


def sample(key: jax.Array, gates: Gates) -> Gates:
    """Draws gates `z = clip(sigmoid((logit(u) + a) / T) (h - l) + l, 0, 1)`.

    u is uniform, T = 2/3, l = -0.1, h = 1.1; zero and one have positive probability.
    Of logits of half precision all is computed in float32.

    Args:
      key: A JAX PRNG key.
      gates: Logits a; `None` where nothing is gated.

    Example:
      >>> gates = {"w": jnp.array([9.0, -9.0])}
      >>> drawn = lth.gates.hard_concrete.sample(jax.random.key(0), gates)
      >>> drawn["w"]
      Array([1., 0.], dtype=float32)

    References:
      Louizos et al., 2018, arXiv:1712.01312. Departures from its released code: a gate
      for each weight (there for each input unit or feature map), all first logits alike
      (there with a deviation of 0.01), a penalty that is not divided by the number of
      examples, and a decay of weights that is their optimizer's (there part of the
      penalty, weighted by P(z > 0)).
    """
    leaves, treedef = jax.tree.flatten(precision.widened(gates))
    keys = jax.random.split(key, len(leaves))
    drawn = [_draw(k, a) for k, a in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def _draw(key, a):
    u = jax.random.uniform(key, a.shape, a.dtype, _EDGE, 1 - _EDGE)
    return _stretch(jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + a) / TEMPERATURE))


def _stretch(s):
    return jnp.clip(s * (HIGH - LOW) + LOW, 0, 1)


def mean(gates: Gates) -> Gates:
    """Returns the gates of a test, `z = clip(sigmoid(a) (h - l) + l, 0, 1)`.

    Args:
      gates: Logits a.

    Example:
      >>> lth.gates.hard_concrete.mean({"w": jnp.array([-9.0, 0.0, 9.0])})
      {'w': Array([0. , 0.5, 1. ], dtype=float32)}
    """
    return jax.tree.map(lambda a: _stretch(jax.nn.sigmoid(a)), precision.widened(gates))


def open_probability(gates: Gates) -> Gates:
    """Returns `P(z > 0) = sigmoid(a - T log(-l / h))` of every gate.

    Args:
      gates: Logits a.

    Example:
      >>> found = lth.gates.hard_concrete.open_probability({"w": jnp.zeros(1)})
      >>> round(float(found["w"][0]), 3)
      0.832
    """
    shift = TEMPERATURE * jnp.log(-LOW / HIGH)
    wide = precision.widened(gates)
    return jax.tree.map(lambda a: jax.nn.sigmoid(a - shift), wide)


def bounded(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns an optimizer whose steps leave logits between log 0.01 and log 100.

        a = clip(a + u, -log 100, log 100),  u the update of `inner`

    Args:
      inner: The optimizer of logits.

    Raises:
      ValueError: In an update: `params` is `None`.

    References:
      Louizos et al., 2018, arXiv:1712.01312, by its released code.
    """
    inner = zeros.single(inner, "bounded(inner)")

    def update(grads, state, params=None, **extra):
        if params is None:
            raise ValueError(
                "bounds are those of the logits themselves, got params = None; call "
                "update(grads, state, params)"
            )
        updates, state = inner.update(grads, state, params, **extra)
        moved = jax.tree.map(
            lambda u, a: jnp.clip(a + u, -BOUND, BOUND) - a, updates, params
        )
        return moved, state

    return optax.GradientTransformationExtraArgs(inner.init, update)
