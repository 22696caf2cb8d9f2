"""Sign-In: weights trained as a product of two factors, so that signs can flip."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Params
from lthjax.training import zeros


class Factored(NamedTuple):
    """Parameters, some of which are products of two factors.

    Attributes:
      plain: The others, `None` where there are factors.
      m: The first factor, positive when it is balanced; `None` elsewhere.
      w: The second factor, of the weight's sign then; `None` elsewhere.
    """

    plain: Params
    m: Params
    w: Params


class SignIn(NamedTuple):
    """The state of an optimizer of factors.

    Attributes:
      m: The first factors, as in `Factored`.
      w: The second ones.
      count: Updates so far, int32 [].
      inner: The state of the inner optimizer, of a `Factored`.
    """

    m: Params
    w: Params
    count: jax.Array
    inner: Any

    schedule_counts = ()  # type: ignore[misc]  # `count` is of no schedule


def balanced(weights: jax.Array, beta: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """Returns the factors (m, w) of weights with m^2 - w^2 = beta and m > 0.

        m^2 = (beta + sqrt(beta^2 + 4 theta^2)) / 2,   w = theta / m

    Under gradient flow theta = m w then moves m^2 + w^2 = sqrt(beta^2 + 4 theta^2)
    times as fast as on its own, which is not zero at theta = 0: its sign can flip.

    Args:
      weights: theta, of any shape.
      beta: Positive; the smaller, the slower near zero.

    Example:
      >>> m, w = lth.retraining.sign_in.balanced(jnp.array([0.0, -2.0]))
      >>> m * w, m**2 - w**2
      (Array([ 0., -2.], dtype=float32), Array([1., 1.], dtype=float32))

    References:
      Gadhikar et al., 2025, arXiv:2504.12801; the closed form is derived from the
      condition, as only notes on the paper were at hand.
    """
    m = jnp.sqrt((beta + jnp.sqrt(beta**2 + 4 * weights**2)) / 2)
    return m, weights / m


def kernels(name: str, leaf: Any) -> bool:
    """Returns whether a leaf is one of two axes or more: no bias and no norm."""
    del name
    return len(jnp.shape(leaf)) > 1


def keep(
    inner: optax.GradientTransformation,
    *,
    beta: float = 1.0,
    every: int,
    leaves: Callable[[str, Any], bool] = kernels,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer so that it trains factors, and pruned weights stay zero.

        theta = m w;   g_m = g w,  g_w = g m;   (m, w) moved by `inner`
        every `every` updates:  (m, w) = balanced(m w, beta)

    It is `zeros.keep` but for the leaves that have factors: it goes outermost, its
    `update` needs `masks`, and the parameters outside are weights as ever. Re-balancing
    leaves the weights as they are, to rounding.

    Args:
      inner: Any optax optimizer; its weight decay acts on both factors, and its moments
        are of factors and stay as they are when these are re-balanced (what the paper
        does there is not known).
      beta: Of `balanced`.
      every: Updates between two times; the paper counts in epochs.
      leaves: (name, leaf) -> whether it has factors.

    Raises:
      ValueError: beta or `every` is not positive; no leaf has factors.

    References:
      Gadhikar et al., 2025, arXiv:2504.12801 (beta = 1).
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got beta = {beta}")
    if every < 1:
        raise ValueError(f"every must be an update at least, got every = {every}")
    kept = zeros.keep(inner)

    def init(params):
        zeros.check_plain(params, "sign_in.keep(inner).init")
        own = _factored(params, beta, leaves)
        return SignIn(own.m, own.w, jnp.zeros([], jnp.int32), kept.init(own))

    def update(updates, state, params=None, *, masks, **extra):
        grads = masks_lib.apply(updates, masks)
        own, on = _own(params, state), _on(masks, params, state)
        given = _gradients(grads, params, state)
        moved, after = kept.update(given, state.inner, own, masks=on, **extra)
        new = optax.apply_updates(own, moved)
        weights = jax.tree.map(jnp.multiply, new.m, new.w)
        count = state.count + 1
        due = count % every == 0
        m, w = _balanced(weights, beta)
        m, w = (
            jax.tree.map(lambda a, b: jnp.where(due, a, b), *pair)
            for pair in ((m, new.m), (w, new.w))
        )
        found = _updates(moved.plain, weights, params, state)
        return zeros.cancelled(found, params, masks), SignIn(m, w, count, after)

    update.keeps = True  # type: ignore[attr-defined]
    return optax.GradientTransformationExtraArgs(init, update)


def _factored(params, beta, leaves) -> Factored:
    """Returns parameters with the balanced factors of those that have any."""
    rows, treedef = jax.tree.flatten(params)
    names = masks_lib.names(params)
    chosen = [leaves(name, leaf) for name, leaf in zip(names, rows, strict=True)]
    if not any(chosen):
        raise ValueError(
            "a leaf at least must have factors, got none among the leaves "
            f"{', '.join(names)}; give leaves(name, leaf), which says which"
        )
    weights = treedef.unflatten(
        [leaf if own else None for leaf, own in zip(rows, chosen, strict=True)]
    )
    plain = [None if own else leaf for leaf, own in zip(rows, chosen, strict=True)]
    return Factored(treedef.unflatten(plain), *_balanced(weights, beta))


def _balanced(weights, beta):
    """Returns the trees of balanced factors of a tree."""
    pairs = jax.tree.map(lambda leaf: balanced(leaf, beta), weights)
    return jax.tree.transpose(
        jax.tree.structure(weights), jax.tree.structure((0, 0)), pairs
    )


def _rows(params, state, *trees):
    """Returns how to build a tree of parameters, and rows of (m, w, leaf of each)."""
    treedef = jax.tree.structure(params)
    columns = (treedef.flatten_up_to(t) for t in (state.m, state.w, *trees))
    return treedef.unflatten, list(zip(*columns, strict=True))


def _own(params, state):
    tree, rows = _rows(params, state, params)
    plain = tree([leaf if m is None else None for m, _, leaf in rows])
    return Factored(plain, state.m, state.w)


def _on(masks, params, state):
    """Returns the masks of parameters with factors: what is off has w = 0."""
    tree, rows = _rows(params, state, masks)
    return Factored(
        tree([mask if m is None else None for m, _, mask in rows]),
        tree([None for _ in rows]),
        tree([None if m is None else mask for m, _, mask in rows]),
    )


def _gradients(grads, params, state):
    """Returns the gradients of parameters with factors: of m that of theta times w."""
    tree, rows = _rows(params, state, grads)
    return Factored(
        tree([grad if m is None else None for m, _, grad in rows]),
        tree([None if m is None else grad * w for m, w, grad in rows]),
        tree([None if m is None else grad * m for m, _, grad in rows]),
    )


def _updates(plain, weights, params, state):
    """Returns what is added to the parameters: theirs, or up to the new weights."""
    tree, rows = _rows(params, state, plain, weights, params)
    return tree([own if m is None else new - leaf for m, _, own, new, leaf in rows])
