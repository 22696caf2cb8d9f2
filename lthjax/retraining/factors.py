"""Weights trained as products of two factors, so that their signs can change."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.training import zeros


class SignIn(NamedTuple):
    """How weights are trained as products.

    Attributes:
      beta: m^2 - w^2 after every re-balancing, positive.
      every: Steps from one re-balancing to the next.
    """

    beta: float = 1.0
    every: int = 100


class Factors(NamedTuple):
    """The factors of weights.

    Attributes:
      m: The first factor of each leaf that is a product, `None` at the others.
      w: The second factor of such a leaf, and the weights of the others.
    """

    m: Params
    w: Params


class SignInState(NamedTuple):
    """The state of an optimizer of factors.

    Attributes:
      factors: The factors as they are, `None` at leaves that are no products.
      clock: Its `count` is the step that comes next, int32 []. It is of optax's type,
        so that `training.at_step` moves it with all other schedules.
      inner: The state of the optimizer that moves the factors.
    """

    factors: Factors
    clock: optax.ScaleByScheduleState
    inner: Any

    # Of its own; the clock and the inner state have theirs.
    schedule_counts = ()  # type: ignore[misc]


def balanced(theta: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
    """Returns the factors (m, w) of weights whose squares differ by beta.

        m^2 = (beta + sqrt(beta^2 + 4 theta^2)) / 2,  w = theta / m

    so that m w = theta, m^2 - w^2 = beta and m^2 + w^2 = sqrt(beta^2 + 4 theta^2),
    which is the rate of theta under the gradient flow of m and w.

    Args:
      theta: Weights of any shape.
      beta: Positive.

    Example:
      >>> m, w = lth.retraining.factors.balanced(jnp.array([0.0, -2.0]), 3.0)
      >>> m**2, m * w
      (Array([3., 4.], dtype=float32), Array([ 0., -2.], dtype=float32))
    """
    m = jnp.sqrt((beta + jnp.hypot(2 * theta, jnp.asarray(beta, theta.dtype))) / 2)
    return m, theta / m


def rebalanced(m: jax.Array, w: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
    """Returns factors of the same product whose squares differ by beta.

    As `balanced`, but that m keeps its sign, and w with it.

    Args:
      m: The first factor.
      w: The second factor, of its shape.
      beta: Positive.
    """
    first, second = balanced(m * w, beta)
    sign = jnp.where(m < 0, -1, 1).astype(first.dtype)
    return sign * first, sign * second


def sign_in(
    inner: optax.GradientTransformationExtraArgs,
    beta: float = 1.0,
    *,
    every: int,
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
) -> optax.GradientTransformationExtraArgs:
    """Trains every prunable leaf as a product, re-balanced every so many steps.

        theta = m w;  dm = w dtheta;  dw = m dtheta
        m, w += inner.update((dm, dw), inner state, (m, w))
        every `every` steps:  m, w = rebalanced(m, w, beta)

    The parameters stay the weights theta: the factors are in the optimizer's state, and
    whatever reads, measures or saves parameters sees nothing of them. An update goes on
    from the factors, and who writes other weights needs a new state. By a re-balancing
    theta does not change; it moves at the rate m^2 + w^2 of `balanced`, which is beta
    where theta is 0, so that a weight goes through zero to its other sign. Weight decay
    and clipping, being `inner`'s, are of the factors. A pruned weight and both of its
    factors are exactly 0 after every update.

        tx = lth.retraining.sign_in(lth.keep(optax.sgd(0.1)), every=400)
        state = tx.init(params)
        updates, state = tx.update(grads, state, params, masks=masks)

    Args:
      inner: An optimizer that takes masks: `training.keep(...)`.
      beta: The difference of squares, positive.
      every: Steps from one re-balancing to the next; the factors begin balanced.
      exclude: Regular expressions of leaves that are no products, as in `masks.full`.
      include: One of the leaves that are, as there.

    Raises:
      ValueError: beta or `every` is not positive, or `inner` takes no masks; in `init`,
        no leaf is prunable.

    References:
      Gadhikar et al., 2025, arXiv:2504.12801 (its equations, derived anew from notes on
      it; neither its code nor its full text was at hand). Departures: a re-balancing
      leaves `inner`'s moments as they are, and m its sign; the factors begin balanced,
      whatever beta, so that the network begins as its ticket.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got beta = {beta}")
    if every < 1:
        raise ValueError(f"every must be a step at least, got every = {every}")

    if not zeros.is_kept(inner):
        raise ValueError(
            "sign_in(inner) needs an optimizer that holds pruned weights at zero, got "
            f"inner = {type(inner).__name__}; give training.keep(inner)"
        )

    def init(params):
        marks = masks_lib.full(params, exclude, include=include)
        pair = Factors(
            *(
                _products(lambda w, _, i=i: balanced(w, beta)[i], params, params, marks)
                for i in (0, 1)
            )
        )
        clock = optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))
        return SignInState(pair, clock, inner.init(_whole(params, pair)))

    def update(updates, state, params=None, *, masks=None, step=None, **extra):
        _check_given(params, masks)
        (m, w), at = state.factors, state.clock.count
        at = at if step is None else jnp.asarray(step, jnp.int32)
        extra |= {} if step is None else {"step": step}
        pair = (_products(jnp.multiply, params, updates, other) for other in (w, m))
        grads = _whole(updates, Factors(*pair))
        kept = Factors(_products(lambda mask, _: mask, params, masks, m), masks)
        before = masks_lib.apply(_whole(params, state.factors), kept)
        moved, own = inner.update(grads, state.inner, before, masks=kept, **extra)
        after = optax.apply_updates(before, moved)
        pair = Factors(after.m, _products(lambda w, _: w, params, after.w, m))
        change = jax.tree.map(_change, params, moved.w, *pair)
        due = (at + 1) % every == 0
        pair = lax.cond(due, lambda: _rebalanced(pair, kept.m, beta), lambda: pair)
        return change, SignInState(pair, optax.ScaleByScheduleState(at + 1), own)

    update.keeps = True  # type: ignore[attr-defined]
    return optax.GradientTransformationExtraArgs(init, update)


def _check_given(params, masks):
    if params is None or masks is None:
        what = "parameters" if params is None else "masks"
        raise ValueError(
            f"sign_in(inner).update needs parameters and masks, got no {what}; call "
            "update(grads, state, params, masks=masks)"
        )


def _products(function, params, *trees):
    """Maps trees where all have a leaf; `None` at the other leaves of `params`."""

    def one(_, *given):
        return None if any(x is None for x in given) else function(*given)

    return jax.tree.map(one, params, *trees)


def _whole(params, pair):
    """Returns factors with the leaves of `params` that are no products, in w."""
    w = jax.tree.map(lambda leaf, w: leaf if w is None else w, params, pair.w)
    return Factors(pair.m, w)


def _change(theta, update, m, w):
    """Returns what is added to a leaf, so that it is the product of its factors."""
    return update if m is None else m * w - theta


def _rebalanced(pair: Factors, masks: Masks, beta: float) -> Factors:
    """Returns balanced factors, both of them 0 where a weight is pruned."""
    found = [
        _products(lambda m, w, i=i: rebalanced(m, w, beta)[i], pair.m, *pair)
        for i in (0, 1)
    ]
    return Factors(*(masks_lib.apply(one, masks) for one in found))
