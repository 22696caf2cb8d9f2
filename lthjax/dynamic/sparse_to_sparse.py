"""Masks that move while the network trains, sparse from the start: SET and RigL."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lthjax.dynamic import amounts, carrying
from lthjax.pruning import choose, scores, sparsities
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.views import Views
from lthjax.training import zeros


def set_(
    inner: optax.GradientTransformation,
    sparsity: Any,
    *,
    key: jax.Array,
    every: int,
    until: int,
    fraction: float = 0.3,
    distribution: str = "erk",
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
    views: Views | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Trains sparse from the start, connections growing at random: SET.

    The first masks are random. At the steps t = every, 2 every, ... before `until` it
    takes the optimizer's step, and then in every layer, of whose weights n are kept,

        k = floor(n drop_fraction(t, fraction, until))
        drop the k weights of the smallest |w| of those kept
        grow k of all that are now not kept, uniformly at random

    so that the counts of the layers never change. A weight that was off and is on
    starts at zero with zero momentum; one that is dropped and grown at once goes on as
    it was.

        tx = dynamic.set(optax.adam(1e-3), 0.9, key=key, every=100, until=3000)
        state = tx.init(params)
        params = masks.apply(params, dynamic.masks(state))
        for batch in batches:
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            params = optax.apply_updates(params, updates)

    Args:
      inner: Any optax optimizer.
      sparsity: The fraction of the prunable weights removed, in [0, 1); or one for each
        layer, a list in their order or a tree with their names, which `distribution`
        then has no say in.
      key: A PRNG key, for the first masks and for what grows.
      every: Steps between two changes.
      until: The step from which on the masks stay, after `every`.
      fraction: The share of a layer's weights that moves at first, in [0, 1].
      distribution: "erk", "er" or "uniform": what sparsity each layer has.
      exclude: Regular expressions of leaves never pruned, as in `masks.full`.
      include: One of the leaves that are, as there.
      views: Which axes of a leaf are what, from `views.of`, for "erk" and "er".

    Raises:
      ValueError: A number or the distribution is out of its range; in `init`, nothing
        is prunable, or the sparsities are not of the layers.

    Example:
      >>> params = {"kernel": jnp.ones((4, 5))}
      >>> key = jax.random.key(0)
      >>> tx = lth.dynamic.set(optax.sgd(0.1), 0.8, key=key, every=2, until=8)
      >>> lth.masks.layers(lth.dynamic.masks(tx.init(params)))
      {'kernel': (4, 20)}

    References:
      Mocanu et al., 2018, arXiv:1707.04780, in the form that RigL, arXiv:1911.11134,
      compares with. Departures: `|w|` where SET takes the smallest positive and the
      largest negative weights; grown weights at zero; a share that decays; no
      N(0, 1e-5) noise on the drop score. "uniform" prunes the first layer too, unless
      it is excluded.
    """

    def growth(state, at, grads):
        carried = jax.random.wrap_key_data(state.key, impl=jax.random.key_impl(key))
        return scores.random(jax.random.fold_in(carried, at), grads, state.masks)

    schedule = {"every": every, "until": until, "fraction": fraction}
    inner = zeros.single(inner, "set(inner)")
    init = _initialiser(
        inner, sparsity, key, distribution, (exclude, include), views=views
    )
    return _redistributing(inner, init, growth, **schedule, replaces=False)


def rigl(
    inner: optax.GradientTransformation,
    sparsity: Any,
    *,
    key: jax.Array,
    every: int,
    until: int,
    fraction: float = 0.3,
    distribution: str = "erk",
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
    views: Views | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Trains sparse from the start, connections growing where the gradient is large.

    As `set_`, but for two things: it grows the k weights of the largest `|dloss / dw|`
    of all that are not kept, and a change takes the place of the optimizer's step. Then
    the inner state stands still, but for its schedules, which follow the step. A
    network that is wholly dense has nothing to change and takes every step.

        tx = dynamic.rigl(optax.sgd(0.1), 0.9, key=key, every=100, until=7500)
        state = tx.init(params)
        params = masks.apply(params, dynamic.masks(state))
        for batch in batches:
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            params = optax.apply_updates(params, updates)

    Args:
      inner: Any optax optimizer.
      sparsity: The fraction of the prunable weights removed, in [0, 1); or one for each
        layer, a list in their order or a tree with their names, which `distribution`
        then has no say in.
      key: A PRNG key, for the first masks.
      every: Steps between two changes.
      until: The step from which on the masks stay, after `every`.
      fraction: The share of a layer's weights that moves at first, in [0, 1].
      distribution: "erk", "er" or "uniform": what sparsity each layer has.
      exclude: Regular expressions of leaves never pruned, as in `masks.full`.
      include: One of the leaves that are, as there.
      views: Which axes of a leaf are what, from `views.of`, for "erk" and "er".

    Raises:
      ValueError: As `set_`.

    Example:
      >>> params = {"kernel": jnp.ones((4, 5))}
      >>> key = jax.random.key(0)
      >>> tx = lth.dynamic.rigl(optax.sgd(0.1), 0.8, key=key, every=2, until=8)
      >>> lth.masks.layers(lth.dynamic.masks(tx.init(params)))
      {'kernel': (4, 20)}

    References:
      Evci et al., 2020, arXiv:1911.11134, Algorithm 1. Departures: no N(0, 1e-5) noise
      on the drop score; the released code does not count a change as a step, ours does,
      as the paper has it, so that a schedule ends with the training.
    """

    def growth(state, at, grads):
        del at
        return scores.magnitude(grads, state.masks)

    schedule = {"every": every, "until": until, "fraction": fraction}
    inner = zeros.single(inner, "rigl(inner)")
    init = _initialiser(
        inner, sparsity, key, distribution, (exclude, include), views=views
    )
    return _redistributing(inner, init, growth, **schedule, replaces=True)


def drop_fraction(at: jax.Array, fraction: float, until: int) -> jax.Array:
    """Returns the share of a layer's weights that moves at a step, half a cosine:

        fraction / 2 (1 + cos(pi at / until))

    Args:
      at: The step, int32 [], not after `until`.
      fraction: The share at step 0.
      until: The step at which it is zero.

    Example:
      >>> [round(float(lth.dynamic.drop_fraction(t, 0.3, 8)), 2) for t in (0, 4, 8)]
      [0.3, 0.15, 0.0]
    """
    left = jnp.asarray(until - jnp.asarray(at, jnp.int32), jnp.float32) / until
    # (1 + cos(pi t)) / 2 = sin(pi (1 - t) / 2)^2, which near the end cancels nothing.
    return fraction * jnp.square(jnp.sin(jnp.pi / 2 * left))


def _floor(number):
    """Returns the whole part; of what rounding left below a whole number, that one."""
    slack = 1 + 8 * jnp.finfo(number.dtype).eps
    return jnp.floor(number * slack).astype(jnp.int32)


def _redistributing(inner, init, growth, *, every, until, fraction, replaces):
    """Wraps an optimizer so that kept weights move to where `growth` is largest."""
    amounts.check_steps(1, every=every)
    amounts.check_steps(every + 1, until=until)  # or the masks would never change
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got fraction = {fraction}")

    def due(at):
        return (at > 0) & (at < until) & (at % every == 0)

    def change(state, at, params, grads, stepped):
        weights = (
            params if replaces else optax.apply_updates(params, stepped(state.masks)[0])
        )
        alive = [jnp.sum(m, dtype=jnp.int32) for m in jax.tree.leaves(state.masks)]
        share = drop_fraction(at, fraction, until)
        moved = [_floor(n.astype(share.dtype) * share) for n in alive]
        stay = choose.prune(
            state.masks,
            scores.magnitude(weights, state.masks),
            kept=[n - k for n, k in zip(alive, moved, strict=True)],
        )
        free = jax.tree.map(jnp.logical_not, stay)
        grown = choose.prune(free, growth(state, at, grads), kept=moved)
        return jax.tree.map(jnp.logical_or, stay, grown)

    return carrying.carrying(
        inner, init, due, change, grows="replace" if replaces else "step"
    )


def _initialiser(inner, sparsity, key, distribution, prunable, *, views):
    """Returns params -> the state of step 0, its masks random."""
    amounts.check_sparsity(sparsity=sparsity)
    if distribution not in DISTRIBUTIONS:
        raise ValueError(
            f"distribution must be one of {', '.join(DISTRIBUTIONS)}, got "
            f"distribution = {distribution!r}"
        )
    drawing, growing = jax.random.split(key)
    exclude, include = prunable

    def init(params):
        full = masks_lib.full(params, exclude, include=include)
        kept = _counts(full, sparsity, distribution, views)
        masks = choose.prune(full, scores.random(drawing, params, full), kept=kept)
        params = masks_lib.apply(params, masks)
        return carrying.begin(masks, None, growing, inner.init(params))

    return init


def _counts(full, sparsity, distribution, views):
    """Returns the counts of the layers: of their own sparsities, or by distribution."""
    kept = amounts.counts(full, sparsity, "global")
    if isinstance(kept, list):
        return kept
    named = {name: mask.shape for name, mask in masks_lib.by_name(full).items()}
    return DISTRIBUTIONS[distribution](named, kept, views=views)


def _uniform(shapes, kept, *, views):
    del views
    return sparsities.uniform({n: math.prod(s) for n, s in shapes.items()}, kept)


DISTRIBUTIONS = {
    "erk": sparsities.erdos_renyi,
    "er": functools.partial(sparsities.erdos_renyi, kernel=False),
    "uniform": _uniform,
}
