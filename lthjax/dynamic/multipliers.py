"""The alternating direction method of multipliers: weights pulled to a sparse copy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax import values
from lthjax.dynamic import amounts
from lthjax.pruning import choose, precision
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.training import zeros


class AdmmState(NamedTuple):
    """The state of an optimizer whose weights are pulled to a sparse copy of theirs.

    Attributes:
      copy: Z, with as many non-zeros as are kept; `None` where nothing is pruned.
      dual: U, the scaled multipliers of W = Z.
      kept: How many weights Z has, int32 [] in all or [layers].
      clock: Its `count` is the step that comes next, int32 [].
      inner: The state of the inner optimizer, in `zeros.keep`.
    """

    copy: Any
    dual: Any
    kept: jax.Array
    clock: optax.ScaleByScheduleState
    inner: Any

    # Of its own; the clock and the inner state have theirs.
    schedule_counts = ()  # type: ignore[misc]


def admm(
    inner: optax.GradientTransformation,
    *,
    steps: int,
    updates: int = 9,
    rho: float = 1e-4,
    last: float = 1e-2,
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer for ADMM; with any state but an `AdmmState` it is `keep`.

    The inner optimizer minimises

        L(W) + (rho / 2) ||W - Z + U||^2

    by W, in `updates` parts of `steps` / `updates` steps, each of which ends with

        Z = project(W + U);  U = U + W - Z

    where project keeps the entries that are largest in magnitude, exactly as many as
    the state says, and sets all others to zero. rho rises from part to part, in equal
    ratios from `rho` to `last`, and U with its inverse, so that the multipliers rho U
    stay. `begin` puts the state of step 0 in place of what `init` returns.

    Args:
      inner: Any optax optimizer that `keep` takes.
      steps: Of the training; a last part takes what they leave over.
      updates: How often Z and U are updated.
      rho: The weight of the pull in the first part.
      last: The same in the last part.

    Raises:
      ValueError: A number is not positive, or not whole, there are fewer steps than
        updates, or rho would fall.

    References:
      Zhang et al., 2018, arXiv:1804.03294; one of the mask generators of Liu et al.,
      2021, arXiv:2102.11068, whose rho and number of updates we have not found: ours
      are of the usual size. Departures: rho rises in equal ratios; U is rescaled with
      it (Boyd et al., 2011, Section 3.4.1).
    """
    amounts.check_steps(1, steps=steps, updates=updates)
    _check(rho=rho, last=last)
    if last < rho:
        raise ValueError(
            f"rho must not fall from part to part, got rho = {rho}, last = {last}"
        )
    if updates > steps:
        raise ValueError(
            f"there must be a step for each update, got updates = {updates} in steps = "
            f"{steps}; give fewer"
        )
    kept = zeros.keep(inner)
    every, ratio = steps // updates, (last / rho) ** (1 / max(updates - 1, 1))

    def part(at):
        return jnp.minimum(at // every, updates - 1)

    def update(grads, state, params=None, *, step=None, masks=None, **extra):
        if not isinstance(state, AdmmState):
            return kept.update(grads, state, params, masks=masks, step=step, **extra)
        amounts.check_given(params)
        at = state.clock.count if step is None else jnp.asarray(step, jnp.int32)
        pull = rho * ratio ** part(at).astype(jnp.float32)
        grads = jax.tree.map(
            lambda g, *wide: g if wide[1] is None else _pulled(g, *wide, pull),
            *(grads, params, state.copy, state.dual),
        )
        more = {"masks": masks, "step": step, **extra}
        updates_, slots = kept.update(grads, state.inner, params, **more)
        moved = optax.apply_updates(params, updates_)
        ends = (part(at + 1) != part(at)) | (at + 1 == steps)
        grown = ratio ** (part(at + 1) - part(at)).astype(jnp.float32)
        copy, dual = lax.cond(  # all as operands, so that it traces outside of jit too
            ends,
            _updated,
            lambda _, state, __: (state.copy, state.dual),
            *(moved, state, grown),
        )
        clock = optax.ScaleByScheduleState(at + 1)
        after = state._replace(copy=copy, dual=dual, clock=clock, inner=slots)
        return updates_, after

    update.keeps = True  # type: ignore[attr-defined]
    return optax.GradientTransformationExtraArgs(kept.init, update)


def begin(inner: Any, params: Params, masks: Masks, kept: Any) -> AdmmState:
    """Returns the state of step 0: Z = project(W), U = 0.

    Args:
      inner: What `init` of the wrapped optimizer returned.
      params: The weights, W.
      masks: Full masks: they say what is pruned.
      kept: A count, or a list of them by layer.

    Raises:
      ValueError: A count is not whole, or more or less than there is.
    """
    own = jax.tree.map(lambda w, m: None if m is None else w, params, masks)
    dual = jax.tree.map(jnp.zeros_like, own)
    clock = optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))
    masks_lib.check_counts("kept", kept, masks)
    count = jnp.asarray(kept, jnp.int32)
    state = AdmmState(own, dual, count, clock, inner)  # type: ignore[call-arg]
    return state._replace(copy=masks_lib.apply(own, support(state)))


def support(state: AdmmState) -> Masks:
    """Returns the masks of the entries that Z keeps, exactly as many as it is to have.

    They are those where Z + U is largest in magnitude: where Z is not zero it is W + U
    of its update and U is zero, elsewhere U is W + U.

    Args:
      state: Of `begin`, or after an update of Z.
    """
    return _largest(jax.tree.map(jnp.add, state.copy, state.dual), state.kept)


def residual(params: Params, state: AdmmState) -> jax.Array:
    """Returns how far weights are from their sparse copy, float32 [].

        ||W - Z|| / ||W||,  over what may be pruned

    Args:
      params: The weights.
      state: With the copy.
    """
    treedef: Any = jax.tree.structure(params)
    weights, copies = jax.tree.leaves(params), treedef.flatten_up_to(state.copy)
    rows = [(w, z) for w, z in zip(weights, copies, strict=True) if z is not None]
    pairs = precision.widened(rows)
    apart = sum(jnp.sum((w - z) ** 2) for w, z in pairs)
    return jnp.sqrt(apart) / jnp.sqrt(sum(jnp.sum(w**2) for w, _ in pairs))


def _pulled(g, w, z, u, pull):
    """Returns a gradient and its pull towards the copy, of the gradient's type."""
    wide = values.wide(g.dtype)
    w, z, u = (x.astype(wide) for x in (w, z, u))
    return (g.astype(wide) + pull.astype(wide) * (w - z + u)).astype(g.dtype)


def _updated(params, state, grown):
    """Returns Z and U after an update, U for a rho that has `grown`."""
    total = jax.tree.map(lambda w, u: None if u is None else w + u, params, state.dual)
    chosen = _largest(total, state.kept)
    copy = masks_lib.apply(total, chosen)

    def scaled(v, z):
        wide = values.wide(v.dtype)
        return ((v - z).astype(wide) / grown.astype(wide)).astype(v.dtype)

    return copy, jax.tree.map(scaled, total, copy)


def _largest(tree, kept):
    """Returns masks of the entries that are largest in magnitude, exactly so many."""
    full = jax.tree.map(lambda w: jnp.ones(w.shape, bool), tree)
    counts = [kept[i] for i in range(len(kept))] if kept.ndim else kept
    return choose.prune(full, jax.tree.map(jnp.abs, tree), kept=counts)


def _check(**numbers):
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be above 0, got {name} = {number}")
