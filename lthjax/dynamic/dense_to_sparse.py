"""Masks that follow the largest weights to a sparsity that rises while it trains."""

import numbers
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from lthjax.dynamic import amounts, carrying
from lthjax.pruning import choose, kept_counts, scores
from lthjax.pruning import masks as masks_lib
from lthjax.training import zeros


def gradual(
    inner: optax.GradientTransformation,
    sparsity: Any,
    *,
    begin: int,
    end: int,
    every: int,
    initial: float = 0.0,
    scope: str = "global",
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
) -> optax.GradientTransformationExtraArgs:
    """Prunes while it trains: gradual magnitude pruning on a cubic schedule.

    At the steps t = begin, begin + every, ... before `end`, and at `end`, it takes the
    optimizer's step, and then keeps the `cubic(t, ...)` weights of the largest `|w|`
    among those still kept. The masks only lose, and end with round(N (1 - sparsity))
    weights. The training must last longer than `end` steps.

        tx = dynamic.gradual(optax.adam(1e-3), 0.9, begin=0, end=4000, every=100)
        state = tx.init(params)
        for batch in batches:
            updates, state = tx.update(jax.grad(loss)(params, batch), state, params)
            params = optax.apply_updates(params, updates)

    Args:
      inner: Any optax optimizer.
      sparsity: s_f, the fraction of the prunable weights removed in the end, in [0, 1);
        or one for each layer, a list in their order or a tree with their names.
      begin: t0, the step of the first change.
      end: t0 + n dt, the step of the last one.
      every: dt, in steps.
      initial: s_i, the sparsity of the first change.
      scope: "global" ranks all weights together, "layer" within each leaf; a sparsity
        for each layer implies it.
      exclude: Regular expressions of leaves never pruned, as in `masks.full`.
      include: One of the leaves that are, as there.

    Raises:
      ValueError: A number or the scope is out of its range; in `init`, nothing is
        prunable, or the sparsities are not of the layers.

    Example:
      >>> params = {"kernel": jnp.array([3.0, -1.0, 2.0, 4.0])}
      >>> tx = lth.dynamic.gradual(optax.sgd(0.1), 0.5, begin=0, end=1, every=1)
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update({"kernel": jnp.zeros(4)}, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params
      {'kernel': Array([3., 0., 0., 4.], dtype=float32)}

    References:
      Zhu and Gupta, 2017, arXiv:1710.01878, who rank within each layer. Departure:
      `end` is a step of change also where it is no multiple of `every` after `begin`.
      jaxpruner (Lee et al., 2023, arXiv:2304.14082) ranks the weights before the step,
      changes masks where t is a multiple of `every`, and counts the progress from
      t + 1: it prunes at `begin` already, reaches s_f at `end` - 1, and leaves every
      layer at least one weight.
    """
    amounts.check_steps(0, begin=begin)
    amounts.check_steps(begin + 1, end=end)
    amounts.check_steps(1, every=every)
    inner = zeros.single(inner, "gradual(inner)")
    init = _initialiser(inner, sparsity, initial, scope, (exclude, include))

    def change(state, at, params, grads, stepped):
        del grads
        weights = optax.apply_updates(params, stepped(state.masks)[0])
        kept = _scheduled(state, at, initial, begin, end)
        return _largest(state.masks, weights, kept)

    def due(at):
        return (at <= end) & _turn(at, begin, end, every)

    return carrying.carrying(inner, init, due, change)


def straight_through(
    inner: optax.GradientTransformation,
    sparsity: Any,
    *,
    every: int,
    begin: int = 0,
    end: int = 0,
    until: int | None = None,
    initial: float = 0.0,
    scope: str = "global",
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
) -> optax.GradientTransformationExtraArgs:
    """Trains dense weights by the gradient of the masked network: straight-through.

        masked = forward(w, state)
        w += inner.update(dloss / dmasked, ..., w)

    All weights move by that gradient, the pruned ones too, and may return: at the steps
    t = begin, begin + every, ... before `until`, and at `end`, the masks become the
    `cubic(t, ...)` weights of the largest `|w|` of all. Until `begin` they are full.

        tx = dynamic.straight_through(optax.sgd(0.1), 0.9, every=16, end=4000)
        state = tx.init(params)
        for batch in batches:
            grads = jax.grad(loss)(dynamic.forward(params, state), batch)
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        sparse = dynamic.forward(params, state)

    Args:
      inner: Any optax optimizer.
      sparsity: The fraction of the prunable weights removed in the end, in [0, 1); or
        one for each layer, a list in their order or a tree with their names.
      every: Steps between two changes.
      begin: The step of the first change.
      end: The step from which on the sparsity is the last one; `begin` for at once.
      until: The step from which on the masks stay; `None` for never.
      initial: The sparsity of the first change, where `end` is later.
      scope: "global" ranks all weights together, "layer" within each leaf; a sparsity
        for each layer implies it.
      exclude: Regular expressions of leaves never pruned, as in `masks.full`.
      include: One of the leaves that are, as there.

    Raises:
      ValueError: As `gradual`; `until` is not after `end`.

    Example:
      >>> params = {"kernel": jnp.array([3.0, -1.0])}
      >>> tx = lth.dynamic.straight_through(optax.sgd(0.1), 0.5, every=1)
      >>> _, state = tx.update({"kernel": jnp.zeros(2)}, tx.init(params), params)
      >>> lth.dynamic.forward(params, state)
      {'kernel': Array([3., 0.], dtype=float32)}

    References:
      Bengio et al., 2013, arXiv:1308.3432; by magnitude, with a cubic schedule, Lin et
      al., 2020, arXiv:2006.07253.
    """
    amounts.check_steps(0, begin=begin)
    amounts.check_steps(begin, end=end)
    amounts.check_steps(1, every=every)
    if until is not None:
        amounts.check_steps(end + 1, until=until)
    inner = zeros.single(inner, "straight_through(inner)")
    dense = _initialiser(inner, sparsity, initial, scope, (exclude, include))

    def init(params):
        return carrying.StraightThroughState(*dense(params))

    def due(at):
        ended = False if until is None else at >= until
        return _turn(at, begin, end, every) & ~jnp.asarray(ended)

    def update(updates, state, params=None, *, step=None, masks=None, **extra):
        del masks  # the training step hands them to any optimizer; ours has its own
        amounts.check_given(params)
        at = carrying.now(state, step)
        updates, slots = inner.update(updates, state.inner, params, **extra)

        def changed():
            kept = _scheduled(state, at, initial, begin, end)
            everything = jax.tree.map(jnp.ones_like, state.masks)
            return _largest(everything, optax.apply_updates(params, updates), kept)

        after = lax.cond(due(at), changed, lambda: state.masks)
        return updates, carrying.follow(state, at, after, slots)

    return optax.GradientTransformationExtraArgs(init, update)


def wirings(
    inner: optax.GradientTransformation,
    sparsity: Any,
    *,
    scope: str = "layer",
    exclude: Sequence[str] = (),
    include: str = masks_lib.KERNELS,
) -> optax.GradientTransformationExtraArgs:
    """Discovers wirings: the largest weights of every step, the gradient for all.

    `straight_through` at the last sparsity from the beginning, the masks drawn anew at
    every step.

    Args:
      inner: Any optax optimizer.
      sparsity: As for `straight_through`.
      scope: As there.
      exclude: As there.
      include: As there.

    Raises:
      ValueError: As `straight_through`.

    Example:
      >>> params = {"kernel": jnp.array([3.0, -1.0])}
      >>> tx = lth.dynamic.wirings(optax.sgd(0.1), 0.5)
      >>> _, state = tx.update({"kernel": jnp.zeros(2)}, tx.init(params), params)
      >>> lth.dynamic.masks(state)
      {'kernel': Array([ True, False], dtype=bool)}

    References:
      Wortsman et al., 2019, arXiv:1906.00586. Departure: the forward pass of the first
      step is that of the dense network.
    """
    given: dict[str, Any] = {"exclude": exclude, "include": include, "scope": scope}
    return straight_through(inner, sparsity, every=1, begin=0, end=0, **given)


def cubic(
    at: jax.Array, start: jax.Array, kept: jax.Array, *, begin: int, end: int
) -> jax.Array:
    """Returns what a cubic schedule keeps at a step: most weights go early.

        count = kept + round((start - kept) (1 - (at - begin) / (end - begin))^3)

    from `start` at `begin` to `kept` at `end`, both exactly. (In between, in float32,
    it may miss by one above 2^24 weights.)

    Args:
      at: The step, int32 [], not before `begin`.
      start: The first count, int32 [] or [layers]; where it is below `kept`, `kept`.
      kept: The last count, int32 of the same shape.
      begin: The step of the first count.
      end: The step of the last count, and of all later ones.

    Example:
      >>> steps = jnp.arange(5)
      >>> lth.dynamic.cubic(steps, 100, 10, begin=0, end=4).tolist()
      [100, 48, 21, 11, 10]
    """
    progress = jnp.where(at >= end, 1.0, (at - begin) / max(end - begin, 1))
    share, going = (1 - progress) ** 3, jnp.maximum(start - kept, 0)
    many = going.astype(share.dtype)
    few = jnp.round(many * share).astype(jnp.int32)
    most = going - jnp.round(many * (1 - share)).astype(jnp.int32)
    return kept + jnp.where(share < 0.5, few, most)


def _turn(at, begin, end, every):
    """Says whether a step is a turn of a schedule that takes one at its end too."""
    return (at >= begin) & (((at - begin) % every == 0) | (at == end))


def _scheduled(state, at, initial, begin, end):
    """Returns the count of a step, one in all or one by layer, as the state's is."""
    sizes = [mask.size for mask in jax.tree.leaves(state.masks)]
    by_layer = state.kept.ndim == 1
    totals = sizes if by_layer else sum(sizes)
    start = jax.tree.map(lambda n: kept_counts.kept_count(n, initial), totals)
    kept = cubic(at, jnp.array(start, jnp.int32), state.kept, begin=begin, end=end)
    return list(kept) if by_layer else kept


def _largest(masks, weights, kept):
    return choose.prune(masks, scores.magnitude(weights, masks), kept=kept)


def _initialiser(inner, sparsity, initial, scope, prunable):
    """Returns params -> the state of step 0, its masks full."""
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")
    amounts.check_sparsity(initial=initial, sparsity=sparsity)
    if isinstance(sparsity, numbers.Real | np.generic) and initial > sparsity:
        raise ValueError(
            "the first sparsity must be at most the last one, got initial = "
            f"{initial} with sparsity = {sparsity}"
        )
    exclude, include = prunable

    def init(params):
        masks = masks_lib.full(params, exclude, include=include)
        kept = amounts.counts(masks, sparsity, scope)
        return carrying.begin(masks, kept, None, inner.init(params))

    return init
