"""Zero is zero: what holds pruned weights, and all that mirrors them, at zero."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lthjax.pruning import masks as masks_lib
from lthjax.pruning import places
from lthjax.pruning.masks import Masks, Params
from lthjax.training.mirrors import mirrors

# Moments that masked gradients alone move, weight by weight: they are zero at what is
# off from the beginning (in Adamax and Yogi, an epsilon).
FED = ("TraceState", "ScaleByAdamState")


def keep(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer so that pruned weights stay exactly zero.

    `update(grads, state, params, masks=masks)` masks what goes into `inner` (the
    gradients), what comes out of it (the updates), and what it copies of the weights:

        u, state = inner.update(where(mask, grads, 0), state, params)
        updates  = where(mask, u, -params);  copy = where(mask, copy, 0)

    so that `params + updates == 0.0` at every pruned weight that is finite (apply the
    masks first), whatever momentum, weight decay or noise `inner` has, and so that the
    copies of the weights in its state (of `optax.contrib.schedule_free`, for one) are
    those of the pruned network; see `stepped`. The moments of SGD and Adam are left to
    the masked gradients: where masks change from call to call, what goes leaves moments
    behind that fade, that norms over a layer (`optax.lamb`) see, and that act if it
    comes back; `state = zeros.cleared(tx, state, params, masks)` clears them at a
    change. It goes outermost: inside another optimizer (`optax.partition`,
    `optax.masked`, `optax.lookahead`) nobody hands it the masks and it raises; in
    `optax.chain` it has them, but what stands before it (`optax.clip_by_global_norm`,
    for one) sees the gradients of pruned weights, and what stands after it may move
    them: `keep` the whole chain. flax's `TrainState.apply_gradients` does not pass
    `masks` on: ours does (`train_state.TrainState`), or call `tx.update` yourself.

    Args:
      inner: Any optax optimizer, but one of pairs of parameters (`optax.lookahead`).

    Returns:
      An optimizer whose `update` needs the extra argument `masks`, a mask tree that may
      be traced and may differ from call to call.

    Raises:
      ValueError: `inner` is no optimizer, or carries masks (`dynamic`); in `update`,
        `params` or `masks` is not given, they do not go together, or a leaf of the
        state may be a copy of some weights without a sign of which (`mirrors.mirrors`).

    Example:
      >>> params = {"kernel": jnp.array([1.0, 0.0])}
      >>> masks = {"kernel": jnp.array([True, False])}
      >>> tx = lth.keep(optax.sgd(0.5, momentum=0.9))
      >>> grads = {"kernel": jnp.array([1.0, 1.0])}
      >>> updates, state = tx.update(grads, tx.init(params), params, masks=masks)
      >>> optax.apply_updates(params, updates)
      {'kernel': Array([0.5, 0. ], dtype=float32)}
    """
    inner = single(inner, "keep(inner)")

    def update(updates, state, params=None, *, masks=_MISSING, **extra):
        if params is None:
            raise ValueError(
                "keep(inner).update needs the parameters, got params = None; call "
                "update(grads, state, params, masks=masks)"
            )
        if masks is _MISSING:
            raise ValueError(
                "keep(inner).update needs the masks, got none; call update(grads, "
                "state, params, masks=masks), with keep outermost: an optimizer around "
                "it (lookahead, partition, masked, MultiSteps) hands no masks on"
            )
        check_plain(params, "keep(inner).update")
        _check_single(state, "keep(inner).update")
        _check_fit(params, masks)
        updates, state = stepped(inner, updates, state, params, masks, **extra)
        return cancelled(updates, params, masks), state

    update.keeps = True  # type: ignore[attr-defined]
    return optax.GradientTransformationExtraArgs(inner.init, update)


def is_kept(tx: optax.GradientTransformation) -> bool:
    """Returns whether an optimizer is what `keep` returned, or takes masks likewise.

    Args:
      tx: An optax optimizer.
    """
    return getattr(tx.update, "keeps", False)


_MISSING = object()


def single(
    inner: optax.GradientTransformation, what: str
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer of the parameters of one network, with extra arguments.

    Args:
      inner: Any optax optimizer (`optax.MultiSteps` too), but one of pairs.
      what: What wraps it, for the errors.

    Raises:
      ValueError: It is no optimizer; in `init`, it is one of pairs of parameters, or
        carries masks of its own.
    """
    if not all(callable(getattr(inner, name, None)) for name in ("init", "update")):
        raise ValueError(
            f"{what} needs an optimizer with init and update, got inner = {inner!r}; "
            "call its factory first"
        )
    pair = optax.GradientTransformationExtraArgs(inner.init, inner.update)
    extra = isinstance(inner, optax.MultiSteps | optax.GradientTransformationExtraArgs)
    extended = pair if extra else optax.with_extra_args_support(inner)

    def init(params):
        check_plain(params, f"{what}.init")
        state = inner.init(params)
        _check_single(state, what)
        return state

    return optax.GradientTransformationExtraArgs(init, extended.update)


def check_plain(params: Params, what: str) -> None:
    """Refuses pairs of parameters, of which masks say nothing.

    Raises:
      ValueError: They are those of `optax.lookahead`.
    """
    if isinstance(params, optax.LookaheadParams):
        raise ValueError(
            f"{what} needs the parameters of one network, got the pair (fast, slow) of "
            "optax.lookahead, whose slow ones masks would not reach; prune without it"
        )


def _check_single(state, what):
    """Refuses the state of an optimizer of pairs of parameters, or that has masks."""

    def carries(node):
        return getattr(node, "carries_masks", False)

    def paired(node):
        return isinstance(node, optax.LookaheadState)

    nodes = jax.tree.leaves(state, is_leaf=lambda n: carries(n) or paired(n))
    if any(map(carries, nodes)):
        raise ValueError(
            f"{what} needs an optimizer that carries no masks, got one of lth.dynamic, "
            "which goes outermost; call its own update(grads, state, params), or give "
            "it to flax's own TrainState"
        )
    if any(map(paired, nodes)):
        raise ValueError(
            f"{what} needs an optimizer of the parameters of one network, got "
            "optax.lookahead, whose slow ones masks would not reach; prune without it"
        )


def _check_fit(params, masks):
    """Refuses masks of other parameters, also where `partition` has hidden some."""

    def fits(w, mask):
        return mask is None or jnp.shape(mask) == jnp.shape(w)

    try:
        fit = all(jax.tree.leaves(jax.tree.map(fits, params, masks)))
    except (ValueError, TypeError, KeyError, AttributeError):
        fit = False
    if not fit:
        raise ValueError(
            "keep(inner).update needs masks of its parameters, got masks of "
            f"{', '.join(masks_lib.names(masks)) or 'nothing'} for parameters "
            f"{', '.join(masks_lib.names(params)) or 'without leaves'}; keep goes "
            "outermost, around optax.partition and optax.masked"
        )


def stepped(
    inner: optax.GradientTransformationExtraArgs,
    grads: Params,
    state: Any,
    params: Params,
    masks: Masks,
    **extra: Any,
) -> tuple[Params, Any]:
    """Returns the (updates, state) of an optimizer that knows nothing of what is off.

    Its gradients are masked. Of every weight that is off its state has what `init` has
    of a zero, before the update and after it: zero of a moment, but not of a scale,
    with which a weight that comes back has to begin.
    The moments of SGD and Adam are left alone: they are zero there from the beginning
    (unless the optimizer itself adds noise, or a mean, to the gradients before them),
    and decay to zero where a weight is switched off later.

    Args:
      inner: The optimizer.
      grads: The gradients.
      state: Its state.
      params: The parameters.
      masks: Which are on.
      **extra: What else `inner.update` takes.
    """
    grads = masks_lib.apply(grads, masks)
    marks = mirrors(inner, state, params, apart=FED)
    if all(at is None for at in marks):
        return inner.update(grads, state, params, **extra)
    fresh = inner.init(jax.tree.map(jnp.zeros_like, params))
    structure: Any = jax.tree.structure(state)
    if structure == jax.tree.structure(fresh):
        state = _put(marks, params, masks, state, fresh)
    updates, after = inner.update(grads, state, params, **extra)
    if structure != jax.tree.structure(after):
        marks = mirrors(inner, after, params, apart=FED)
    alike = _are_alike(after, fresh)
    return updates, _put(marks, params, masks, after, fresh if alike else None)


def cancelled(updates: Params, params: Params, masks: Masks) -> Params:
    """Puts -param at every entry of the updates that is off."""

    def one(u, w, mask):
        return u if mask is None else jnp.where(places.beside(mask, w), u, -w)

    return jax.tree.map(one, updates, params, masks)


def cleared(inner: Any, state: Any, params: Params, masks: Masks) -> Any:
    """Sets what an optimizer's state holds of each weight that is off as at its start.

    That is what `init` has of a zero: zero of a moment.

    A statistic that rows or columns share (Adafactor's) has no place for one weight,
    and stays; one with leading axes of its own (the memory of L-BFGS) is cleared along
    them; moments in other coordinates (GaLore's) stay.

    Args:
      inner: The optimizer.
      state: Its state.
      params: The parameters.
      masks: Which are on.

    Example:
      >>> tx, params = optax.sgd(0.5, momentum=0.9), jnp.ones(2)
      >>> _, state = tx.update(jnp.ones(2), tx.init(params), params)
      >>> masks = jnp.array([True, False])
      >>> lth.training.zeros.cleared(tx, state, params, masks)[0].trace
      Array([1., 0.], dtype=float32)
    """
    fresh = inner.init(jax.tree.map(jnp.zeros_like, params))
    alike = _are_alike(state, fresh)
    marks = mirrors(inner, state, params)
    return _put(marks, params, masks, state, fresh if alike else None)


def _are_alike(one: Any, other: Any) -> bool:
    structures: list[Any] = [jax.tree.structure(tree) for tree in (one, other)]
    return structures[0] == structures[1]


def _put(marks, params, masks, state, other=None):
    """Puts another state's entries, or zeros, where a weight is off."""
    given = jax.tree.structure(params).flatten_up_to(masks)  # None is a mask, too
    leaves, treedef = jax.tree.flatten(state)
    others = jax.tree.leaves(other) if other is not None else [None] * len(leaves)
    found = [
        leaf if at is None else _where(at, given, params, leaf, instead)
        for at, leaf, instead in zip(marks, leaves, others, strict=True)
    ]
    return jax.tree.unflatten(treedef, found)


def _where(at, masks, params, leaf, instead):
    if at == -1:
        pairs = zip(masks, jax.tree.leaves(params), strict=True)
        full = [jnp.ones(w.shape, bool) if m is None else m for m, w in pairs]
        mask = jnp.concatenate([m.ravel() for m in full])
    else:
        mask = masks[at]
    if mask is None:
        return leaf
    instead = jnp.zeros_like(leaf) if instead is None else instead
    instead = jnp.asarray(instead, jnp.result_type(leaf))
    rows = jnp.broadcast_to(mask, jnp.shape(leaf)), instead
    mask, instead = (places.beside(row, leaf) for row in rows)
    return jnp.where(mask, leaf, instead)
