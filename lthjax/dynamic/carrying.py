"""An optimizer that carries its masks: its state, and the frame that changes them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax import moved
from lthjax.dynamic import amounts
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.training import schedules, zeros


class CarryingState(NamedTuple):
    """The state of an optimizer that carries its masks.

    Attributes:
      masks: The mask tree; `None` where nothing is pruned.
      kept: How many weights the schedule ends with, int32 [] or [layers]; `None` for
        SET and RigL, which keep as many as the masks hold.
      clock: Its `count` is the step that comes next, int32 []. It is of optax's type,
        so that `training.at_step` moves it with all other schedules.
      key: The raw data of a PRNG key, uint32; `None` where nothing is random.
      inner: The state of the inner optimizer.
    """

    masks: Masks
    kept: jax.Array | None
    clock: optax.ScaleByScheduleState
    key: jax.Array | None
    inner: Any

    # Of its own; the clock and the inner state have theirs.
    schedule_counts = ()  # type: ignore[misc]
    carries_masks = True  # type: ignore[misc]


class StraightThroughState(CarryingState):
    """The state of `straight_through`, whose parameters stay dense."""

    __slots__ = ()


def begin(
    masks: Masks, kept: Any, key: Any, inner: Any, kind: type = CarryingState
) -> CarryingState:
    """Returns the state of step 0.

    Args:
      masks: The masks.
      kept: A count, a list of them by layer, or `None`.
      key: A PRNG key or `None`.
      inner: The state of the inner optimizer.
      kind: `CarryingState` or `StraightThroughState`.
    """
    if kept is not None:
        masks_lib.check_counts("kept", kept, masks)
        kept = jnp.asarray(kept, jnp.int32)
    clock = optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))
    return kind(masks, kept, clock, None if key is None else _raw(key), inner)


def carrying(
    inner: optax.GradientTransformationExtraArgs,
    init: Callable[[Any], Any],
    due: Callable[[Any], Any],
    change: Callable[..., Any],
    *,
    grows: str = "",
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer as `training.keep` does, with masks that change when due.

        after   = change(...) if due(at) else masks
        stay    = after, without what just grew
        u, slot = inner.update(where(stay, g, 0), state.inner, w)
        updates = where(stay, u, -w);  slot = where(stay, slot, 0)

    A step between two changes is that of `keep`. A change clears the momentum of all
    that are off, so that what grows starts with none.

    Args:
      inner: Of `zeros.single`.
      init: params -> CarryingState.
      due: step [] -> whether the masks change, from the step alone.
      change: (state, step, params, grads, stepped) -> masks, with stepped(masks) the
        optimizer's (updates, inner state) under some masks.
      grows: Whether weights come back: "" for no, "step" where they do so in the step,
        "replace" where a change takes the place of the step: u = 0, and of the inner
        state only the schedules go on (but in a network that is wholly dense).
    """

    def update(updates, state, params=None, *, step=None, masks=None, **extra):
        del masks  # the training step hands them to any optimizer; ours has its own
        amounts.check_given(params)
        at, grads = now(state, step), updates

        def stepped(masks):
            return zeros.stepped(inner, grads, state.inner, params, masks, **extra)

        def still():
            u, slots = stepped(state.masks)
            return zeros.cancelled(u, params, state.masks), slots, state.masks

        def changed():
            masks = change(state, at, params, grads, stepped)
            moved = _sparse(state.masks)
            stay = _settled(state.masks, masks) if grows else masks
            u, slots = stepped(stay)
            if grows == "replace":
                u, slots = _paused(moved, state.inner, u, slots)
            slots = zeros.cleared(inner, slots, params, stay)
            return zeros.cancelled(u, params, stay), slots, masks

        u, slots, masks = lax.cond(due(at), changed, still)
        return u, follow(state, at, masks, slots)

    return optax.GradientTransformationExtraArgs(init, update)


def _settled(before, after):
    """Returns the masks without the weights that a change has just grown.

    What is dropped and grown at once was on all the while.
    """
    return jax.tree.map(jnp.logical_and, before, after)


def now(state: CarryingState, step: Any) -> jax.Array:
    """Returns the step that an update is of: the one handed in, or the state's own."""
    return state.clock.count if step is None else jnp.asarray(step, jnp.int32)


def follow(
    state: CarryingState, at: jax.Array, masks: Masks, inner: Any
) -> CarryingState:
    """Returns the state after the update of step `at`."""
    clock = optax.ScaleByScheduleState(at + 1)
    return state._replace(masks=masks, clock=clock, inner=inner)


def _sparse(masks):
    """Says whether any prunable weight is off."""
    return jnp.any(jnp.stack([jnp.any(~mask) for mask in jax.tree.leaves(masks)]))


def _paused(pause, before, updates, after):
    """Returns updates of zero and the inner state as before, but for its schedules."""

    def choose(mark, new, old):
        return new if mark else jnp.where(pause, old, new)

    updates = jax.tree.map(lambda u: jnp.where(pause, jnp.zeros_like(u), u), updates)
    marks = schedules.unambiguous(after, "rigl, whose changes are no steps of its own")
    return updates, jax.tree.map(choose, marks, after, before)


def forward(params: Params, opt_state: Any) -> Params:
    """Returns the weights of the forward pass: masked ones, or `params` as it is.

    In `straight_through` where(mask, w, 0), with the derivative of the identity, so
    that `jax.grad` may be taken at what this returns or through it. With any other
    optimizer pruned parameters are zero already.

    Args:
      params: The parameters.
      opt_state: The state of any optimizer.

    Example:
      >>> params = {"kernel": jnp.ones(2)}
      >>> lth.dynamic.forward(params, optax.sgd(0.1).init(params)) is params
      True
    """
    found = [s for s in _states(opt_state) if isinstance(s, StraightThroughState)]
    return _masked(params, _joined(found)) if found else params


@jax.custom_jvp
def _masked(params, masks):
    return masks_lib.apply(params, masks)


@_masked.defjvp
def _masked_jvp(primals, tangents):
    return _masked(*primals), tangents[0]


def masks(opt_state: Any) -> Masks | None:
    """Returns the masks in an optimizer state, `None` if it carries none.

    Where several optimizers carry masks, each of layers of its own (as in
    `optax.multi_transform`), those of all; `None` for a layer that none of them has.

    Raises:
      ValueError: They are masks of different networks.

    Example:
      >>> print(lth.dynamic.masks(optax.sgd(0.1).init(jnp.ones(2))))
      None
    """
    found = _states(opt_state)
    return _joined(found) if found else None


def start(opt_state: Any, masks: Masks, kept: Any = None, key: Any = None) -> Any:
    """Returns an optimizer state with other masks, targets and randomness put in.

    They are data: what is compiled for one serves all. A state that carries no masks is
    returned as it is.

    Args:
      opt_state: The state of any optimizer, as `init` made it.
      masks: The masks to start with; of several optimizers in one, each takes those of
        its own layers.
      kept: The count, or a list of counts by layer, that `gradual` or
        `straight_through` ends with; `None` leaves what it is. SET and RigL keep as
        many as the masks hold.
      key: A PRNG key for what SET grows; `None` leaves what it is.

    Raises:
      ValueError: The masks or the counts are not of the layers that are there, or the
        key is of another kind than the one that the optimizer was made with; or there
        are counts, and several optimizers that carry masks.

    Example:
      >>> params = {"kernel": jnp.ones(2)}
      >>> tx = lth.dynamic.gradual(optax.sgd(0.1), 0.5, begin=0, end=4, every=2)
      >>> masks = {"kernel": jnp.array([True, False])}
      >>> state = lth.dynamic.start(tx.init(params), masks, kept=1)
      >>> lth.dynamic.masks(state)
      {'kernel': Array([ True, False], dtype=bool)}
    """

    if kept is not None and len(_states(opt_state)) > 1:
        raise ValueError(
            "kept must be of one optimizer that carries masks, got kept = "
            f"{kept} for {len(_states(opt_state))} of them; make each with its own"
        )

    def put(node):
        if not _carries(node):
            return node
        own = _own(node.masks, masks)
        _check_masks(node.masks, own)
        return node._replace(
            masks=own,
            kept=_other(node.kept, kept, own),
            key=node.key if key is None else _same_kind(node.key, key),
        )

    return jax.tree.map(put, opt_state, is_leaf=_carries)


def _carries(node):
    return isinstance(node, CarryingState)


def _states(opt_state):
    return [n for n in jax.tree.leaves(opt_state, is_leaf=_carries) if _carries(n)]


def _absent(mask):
    """Says whether a leaf is of another optimizer, or of no layer that is pruned."""
    return mask is None or isinstance(mask, optax.MaskedNode)


def _joined(states):
    """Returns the masks of all layers, each by the optimizer that has it."""
    trees = [state.masks for state in states]
    kinds = {jax.tree.structure(tree, is_leaf=_absent) for tree in trees}
    if len(kinds) > 1:
        raise ValueError(
            "the masks of an optimizer state must be of one network, got those of "
            f"{len(kinds)}; ask each network's own state"
        )
    return jax.tree.map(
        lambda *own: next((mask for mask in own if not _absent(mask)), None),
        *trees,
        is_leaf=_absent,
    )


def _own(before, masks):
    """Returns masks without those that are of another optimizer's layers."""
    if not any(isinstance(m, optax.MaskedNode) for m in _leaves(before)):
        return masks
    given = jax.tree.structure(masks, is_leaf=_absent)
    if given != jax.tree.structure(before, is_leaf=_absent):
        return masks  # refused as of other layers
    return jax.tree.map(
        lambda own, mask: own if isinstance(own, optax.MaskedNode) else mask,
        before,
        masks,
        is_leaf=_absent,
    )


def _leaves(tree):
    return jax.tree.leaves(tree, is_leaf=_absent)


def _raw(key):
    return jax.random.key_data(key)


def _same_kind(own, key):
    """Returns the data of a key in place of those of another one, if there is one."""
    if own is None:
        return None
    data = _raw(key)
    if data.shape != own.shape:
        raise ValueError(
            "a key must be of the kind that the optimizer was made with, got one of "
            f"the shape {data.shape} in place of {own.shape}"
        )
    return data


def _other(before, kept, masks):
    """Returns counts in place of others of the same form."""
    if before is None or kept is None:
        return before
    masks_lib.check_counts("kept", kept, masks)
    kept = jnp.asarray(kept, jnp.int32)
    if kept.shape != before.shape:
        raise ValueError(
            "kept must be a count for all weights or a list by layer, as the optimizer "
            f"was made with: of the shape {before.shape}, got kept = {kept}"
        )
    return kept


def _check_masks(before, masks):
    if jax.tree.structure(before) != jax.tree.structure(masks):
        raise ValueError(
            "the masks must be of the layers that the optimizer prunes, got masks of "
            f"{', '.join(masks_lib.names(masks))} for "
            f"{', '.join(masks_lib.names(before))}"
        )
    masks_lib.compatible(before, masks)


moved.answers(__name__)
