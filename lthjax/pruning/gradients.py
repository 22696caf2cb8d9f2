"""Scores by the gradient of a loss, compiled whole where nothing is traced."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.callables import LossFn
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import precision, programs
from lthjax.pruning.masks import Masks, Params


def graded(
    fn: Callable[..., tuple[Params, jax.Array]],
    loss_fn: LossFn,
    params: Params,
    masks: Masks,
) -> Params:
    """Returns scores, refused where the gradient is known to be zero throughout."""
    masks_lib.compatible(params, masks)
    found, none = programs.called(fn, (loss_fn,), params, masks)
    if not isinstance(none, jax.core.Tracer) and none:
        raise ValueError(
            "the loss must have a gradient by the prunable weights, got zero for all: "
            "take other examples or weights, or see whether the network is connected"
        )
    return found


def check_real(params: Params) -> None:
    """Refuses leaves by which a loss has no gradient.

    Raises:
      ValueError: Some are complex, or not floating, with their names.
    """
    check_inexact(params)
    rows = zip(masks_lib.names(params), jax.tree.leaves(params), strict=True)
    if found := [name for name, w in rows if jnp.iscomplexobj(w)]:
        raise ValueError(
            "a loss has a gradient by real weights, got complex ones in "
            f"{', '.join(found)}; hold real and imaginary parts apart"
        )


def check_inexact(params: Params) -> None:
    """Refuses leaves by which there is no derivative.

    Raises:
      ValueError: Some are not floating, with their names.
    """
    rows = zip(masks_lib.names(params), jax.tree.leaves(params), strict=True)
    types = {name: jnp.result_type(w) for name, w in rows}
    if found := [n for n, t in types.items() if not jnp.issubdtype(t, jnp.inexact)]:
        raise ValueError(
            "every leaf must be floating, to have a derivative, got "
            f"{', '.join(f'{name} = {types[name]}' for name in found)}; hand in the "
            "others alone, and a function that closes over these"
        )


def _gradient(loss_fn, params, masks):
    """Returns dL/dw, and whether it is zero at all prunable weights."""
    check_real(params)
    grads = jax.grad(loss_fn)(params)
    prunable = jax.tree.leaves(where_masked(lambda g: g, masks, grads))
    return grads, jnp.array([jnp.all(g == 0) for g in prunable]).all()


def snip(loss_fn: LossFn, params: Params, masks: Masks) -> tuple[Params, jax.Array]:
    """Returns the scores of `scores.snip`, and whether there is no gradient."""
    grads, none = _gradient(loss_fn, masks_lib.apply(params, masks), masks)
    return where_masked(lambda w, g: jnp.abs(w * g), masks, params, grads), none


def taylor(loss_fn: LossFn, params: Params, masks: Masks) -> tuple[Params, jax.Array]:
    """Returns the scores of `scores.taylor`, and whether there is no gradient."""
    return snip(loss_fn, masks_lib.apply(params, masks), masks)


def grasp(loss_fn: LossFn, params: Params, masks: Masks) -> tuple[Params, jax.Array]:
    """Returns the scores of `scores.grasp`, and whether there is no gradient."""
    params = masks_lib.apply(params, masks)
    grads, none = _gradient(loss_fn, params, masks)
    direction = jax.tree.map(
        lambda g, mask: jnp.zeros_like(g) if mask is None else jnp.where(mask, g, 0),
        grads,
        masks,
    )
    _, curvature = jax.jvp(jax.grad(loss_fn), (params,), (direction,))
    return where_masked(jnp.multiply, masks, params, curvature), none


def where_masked(
    fn: Callable[..., jax.Array], masks: Masks, tree: Any, *others: Any
) -> Any:
    """Returns fn of the leaves, in float32, where there is a mask; None elsewhere."""

    def score(w, mask, *rest):
        if mask is None:
            return None
        leaves = precision.widened(precision.floating((w, *rest)))
        return fn(*leaves).astype(jnp.float32)

    masks_lib.compatible(tree, masks)
    return jax.tree.map(score, tree, masks, *others)
