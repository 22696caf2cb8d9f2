"""Soft masks that are learnt: sigmoid gates whose rising temperature makes them binary.

Gates are a tree in the shape of the parameters. A leaf is the float32 logits s of a
layer's weights, or `None` where the layer is never pruned, as in a mask tree. What a
weight is multiplied by is

    m = c sigmoid(temperature s),  c = 1 or 1 / sigmoid(s0)

with s0 the logit that all gates begin with. The second form is the released code's,
and begins as the dense network; whether the paper has c could not be verified, and
descriptions of it have none.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import values
from lthjax.gates import checks
from lthjax.pruning import precision
from lthjax.pruning.masks import Masks, Params, path_name

Gates = Any

LOWEST = -1e4  # a reset multiplies logits; this one's gate is zero from temperature 1
RESETS = ("paper", "code")


def init(masks: Masks, initial: jax.typing.ArrayLike) -> Gates:
    """Returns gates with one logit: `s = s0` where a weight is kept, else closed.

    Args:
      masks: A mask tree.
      initial: s0, a scalar, which may be traced.

    Raises:
      ValueError: A leaf is not bool: these are no masks, but parameters perhaps; or s0
        is known, and so far from zero that its gate is 0 or 1 and learns nothing.

    Example:
      >>> lth.gates.init({"kernel": jnp.ones(2, bool), "bias": None}, 0.1)
      {'bias': None, 'kernel': Array([0.1, 0.1], dtype=float32)}
    """
    checks.check_masks(masks)
    if not isinstance(initial, jax.core.Tracer):
        check_initial(initial)
    initial = jnp.asarray(initial, jnp.float32)
    return jax.tree.map(lambda mask: jnp.where(mask, initial, LOWEST), masks)


def constant(initial: jax.typing.ArrayLike) -> jax.Array:
    """Returns c = 1 / sigmoid(s0), by which the released code scales its gates.

    Args:
      initial: s0, a scalar, which may be traced.

    Example:
      >>> float(lth.gates.constant(0.0))
      2.0
    """
    return 1 / jax.nn.sigmoid(precision.floating(initial))


def soft(
    gates: Gates,
    temperature: jax.typing.ArrayLike,
    scale: jax.typing.ArrayLike = 1.0,
) -> Gates:
    """Returns the multipliers `m = c sigmoid(temperature s)`, `None` where gates are.

    The derivative by s is `temperature m (1 - m / c)`; in float32 it is exactly zero
    from temperature s = 17 upwards, where the sigmoid rounds to one.

    Args:
      gates: Logits s.
      temperature: The inverse temperature, a scalar, which may be traced.
      scale: c: 1, or `constant(initial)`.

    Example:
      >>> lth.gates.soft({"kernel": jnp.array([0.0, 20.0])}, temperature=1.0)
      {'kernel': Array([0.5, 1. ], dtype=float32)}
    """

    def one(s):
        wide, by, c = precision.beside(s, temperature, scale)
        return c * jax.nn.sigmoid(by * wide)

    return jax.tree.map(one, gates)


def multiply(params: Params, multipliers: Gates) -> Params:
    """Returns the effective weights `theta = m w`, computed in float32 at least.

    Args:
      params: A tree of arrays.
      multipliers: A tree of its shape; a leaf that is `None` changes nothing.

    Raises:
      ValueError: A leaf with multipliers is of whole numbers, or of another shape.
    """

    def effective(path, w, m):
        if m is None:
            return w
        checks.check_weights(path_name(path), w, m)
        wide = np.promote_types(values.wide(w.dtype), m.dtype)
        return (m.astype(wide) * w.astype(wide)).astype(w.dtype)

    return jax.tree_util.tree_map_with_path(effective, params, multipliers)


def apply(
    params: Params,
    gates: Gates,
    temperature: jax.typing.ArrayLike,
    scale: jax.typing.ArrayLike = 1.0,
) -> Params:
    """Returns the effective weights `theta = c sigmoid(temperature s) w`.

    Args:
      params: A tree of arrays.
      gates: Logits s; a leaf that is `None` leaves the parameter as it is.
      temperature: The inverse temperature, a scalar, which may be traced.
      scale: c: 1, or `constant(initial)`.

    Raises:
      ValueError: As `multiply`.

    Example:
      >>> params = {"kernel": jnp.array([2.0, 4.0]), "bias": jnp.ones(1)}
      >>> gates = {"kernel": jnp.array([0.0, -1.0]), "bias": None}
      >>> lth.gates.apply(params, gates, temperature=200.0)
      {'bias': Array([1.], dtype=float32), 'kernel': Array([1., 0.], dtype=float32)}

    References:
      Savarese et al., 2020, arXiv:1912.04427; the form with c is that of its released
      code. With a norm after every gated layer c changes nothing but the weight of the
      penalty.
    """
    return multiply(params, soft(gates, temperature, scale))


def penalty(
    gates: Gates,
    temperature: jax.typing.ArrayLike,
    scale: jax.typing.ArrayLike = 1.0,
) -> jax.Array:
    """Returns `sum of c sigmoid(temperature s)` over all gates, float32 [].

    What a weight of it in the loss does to a gate is in proportion to the gates'
    learning rate: who raises that for a short run raises the push of the penalty too.

    Args:
      gates: Logits s.
      temperature: The inverse temperature.
      scale: c, which the released code has in its penalty too.

    Example:
      >>> float(lth.gates.penalty({"kernel": jnp.zeros(6)}, temperature=1.0))
      3.0
    """
    leaves = jax.tree.leaves(soft(gates, temperature, scale))
    total: Any = sum(jnp.sum(m) for m in leaves)
    return total


def harden(gates: Gates) -> Masks:
    """Returns the masks that the gates tend to, `s > 0`: a gate at zero is closed.

    Args:
      gates: Logits s.

    Returns:
      Masks; `None` where the gates are.

    Example:
      >>> lth.gates.harden({"kernel": jnp.array([0.1, 0.0, -0.1]), "bias": None})
      {'bias': None, 'kernel': Array([ True, False, False], dtype=bool)}
    """
    return jax.tree.map(lambda s: s > 0, gates)


def reset(
    gates: Gates,
    initial: jax.typing.ArrayLike,
    temperature: jax.typing.ArrayLike,
    form: str = "paper",
) -> Gates:
    """Returns the gates that the next round begins with, at temperature one.

        "paper"   s = min(temperature s, s0): a closed gate stays as closed as it was
        "code"    s = min(s, s0): a closed gate may open again

    Logits below -1e4 are set to that: over rounds the paper's form multiplies them.

    Args:
      gates: Logits s at the end of a round.
      initial: s0.
      temperature: The temperature of the end of the round.
      form: "paper" or "code".

    Raises:
      ValueError: The form is unknown.

    Example:
      >>> gates = {"kernel": jnp.array([0.5, -0.5])}
      >>> lth.gates.reset(gates, 0.0, temperature=200.0)
      {'kernel': Array([   0., -100.], dtype=float32)}
      >>> lth.gates.reset(gates, 0.0, temperature=200.0, form="code")
      {'kernel': Array([ 0. , -0.5], dtype=float32)}

    References:
      Savarese et al., 2020, arXiv:1912.04427. The "paper" form is as the paper is
      remembered, unverified: its text was not at hand. Its released code, which was,
      has the same line, but sets the temperature to one before it: the "code" form.
    """
    if form not in RESETS:
        raise ValueError(
            f"reset must be one of {', '.join(RESETS)}, got reset = {form!r}"
        )
    factor = temperature if form == "paper" else 1.0

    def one(s):
        wide, by, most = precision.beside(s, factor, initial)
        return jnp.maximum(jnp.minimum(by * wide, most), LOWEST).astype(s.dtype)

    return jax.tree.map(one, gates)


def reset_stochastic(gates: Gates, initial: jax.typing.ArrayLike) -> Gates:
    """Returns `s0` where `s >= s0`, and closes for ever what has fallen below it.

    Args:
      gates: Logits s at the end of a round of stochastic sparsification.
      initial: s0.

    Example:
      >>> lth.gates.reset_stochastic({"w": jnp.array([0.5, -0.5])}, 0.0)["w"].tolist()
      [0.0, -10000.0]

    References:
      Savarese et al., 2020, arXiv:1912.04427, reconstructed and not verified: see
      `families.stochastic`.
    """

    def one(s):
        wide, first = precision.beside(s, initial)
        closed = jnp.where(jnp.isnan(wide), wide, LOWEST)
        return jnp.where(wide >= first, first, closed).astype(s.dtype)

    return jax.tree.map(one, gates)


def temperature(
    step: jax.typing.ArrayLike,
    *,
    final: float | jax.Array,
    steps: int | jax.Array,
    every: int | jax.Array = 1,
) -> jax.Array:
    """Returns `final^(e / (E - 1))`, e = step // every, E = ceil(steps / every).

    It is 1 at the first step, `final` in the last period, and constant in each; where
    there is one period it is `final`. All arguments may be traced.

    Args:
      step: The step within the round, []; one outside it counts as its first or last.
      final: The temperature at the end.
      steps: The steps of a round.
      every: The steps of a period; an epoch in the released code.

    Raises:
      ValueError: `final` is not above 1, where it begins, or not finite; `steps` or
        `every` is below 1 (where they are not traced).

    Example:
      >>> steps = jnp.array([0, 1, 2])
      >>> lth.gates.temperature(steps, final=100.0, steps=3)
      Array([  1.,  10., 100.], dtype=float32)
    """
    if not isinstance(final, jax.core.Tracer) and not 1 < final < math.inf:
        raise ValueError(
            "the temperature must end above 1, where it begins, and be finite, got "
            f"final_temperature = {final}"
        )
    for name, value in {"steps": steps, "every": every}.items():
        if not isinstance(value, jax.core.Tracer) and value < 1:
            raise ValueError(f"{name} must be at least 1, got {name} = {value}")
    step, steps, every = map(precision.signed, (step, steps, every))
    last = (steps - 1) // every
    period = jnp.clip(jnp.asarray(step) // every, 0, last)
    share = period.astype(jnp.float32) / jnp.maximum(last, 1).astype(jnp.float32)
    return jnp.asarray(final, jnp.float32) ** jnp.where(last > 0, share, 1)


def undecided(gates: Gates, temperature: jax.typing.ArrayLike) -> jax.Array:
    """Returns the share of the gates with `0.01 < sigmoid(temperature s) < 0.99`, [].

    Args:
      gates: Logits s.
      temperature: The inverse temperature.

    Example:
      >>> float(lth.gates.undecided({"kernel": jnp.array([0.0, 9.0, -9.0, 8.0])}, 1.0))
      0.25
    """
    return between(soft(gates, temperature))


def between(multipliers: Gates) -> jax.Array:
    """Returns the share of the multipliers m with `0.01 < m < 0.99`, float32 [].

    It is 0 where there are none; NaN is not decided.
    """
    leaves = jax.tree.leaves(multipliers)
    number = sum(jnp.sum(~((m <= 0.01) | (m >= 0.99))) for m in leaves)
    most = jnp.float32(max(1, sum(m.size for m in leaves)))
    return jnp.asarray(number, jnp.float32) / most


def check_initial(initial: jax.typing.ArrayLike) -> None:
    """Checks that a gate with this logit is between 0 and 1 in float32.

    Raises:
      ValueError: It is several, or rounds to 0 or to 1, so that no gradient would ever
        move it.
    """
    if np.ndim(initial):
        raise ValueError(
            f"the initial logit must be one number, got shape {np.shape(initial)}"
        )
    with np.errstate(over="ignore"):  # in numpy: the program may be traced
        gate = float(1 / (1 + np.exp(-np.asarray(initial, np.float32))))
    if not 0 < gate < 1:
        raise ValueError(
            "the gate of the initial logit must lie between 0 and 1 in float32, got "
            f"initial = {initial}, whose gate is {gate:g}; take one in [-0.3, 0.3]"
        )
