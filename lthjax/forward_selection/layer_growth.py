"""A layer grown channel by channel, until its accuracy is that of the whole one."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.callables import AccuracyFn, DrawFn
from lthjax.channels import by_channel, layers_of
from lthjax.pruning.masks import Params

log = logging.getLogger(__name__)


def grow(
    step: Callable[..., Any],
    params: Params,
    key: jax.Array,
    draw_fn: DrawFn,
    accuracy_fn: AccuracyFn,
    *,
    group: layers_of.Group,
    **options: Any,
) -> tuple[Params, jax.Array]:
    """Grows one layer from nothing until the network is as accurate as it was, or so.

    Args:
      step: As for `growth`, and so are the rest.
      params: The network so far.
      key: A JAX PRNG key.
      draw_fn: What draws a batch.
      accuracy_fn: params -> accuracy.
      group: The channels.
      **options: `tolerance`, `gate` and `most`.

    Returns:
      (the parameters with the weights folded in, the counts float32 [size]).

    Raises:
      ValueError, FloatingPointError: As `growth`.
    """
    given = step, params, key, draw_fn, accuracy_fn
    *_, (counts, _) = growth(*given, group=group, **options)
    return by_channel.fold(params, {group.name: weights(counts)}, (group,)), counts


def growth(
    step: Callable[..., Any],
    params: Params,
    key: jax.Array,
    draw_fn: DrawFn,
    accuracy_fn: AccuracyFn,
    *,
    group: layers_of.Group,
    tolerance: float = 0.02,
    gate: float = 0.05,
    most: int | None = None,
    counts: jax.Array | None = None,
) -> Iterator[tuple[jax.Array, bool]]:
    """Yields (counts float32 [size], whether the layer is done) after every pick.

    It is done where the accuracy is at least (1 - tolerance) of that with the layer
    whole, looked up once a batch reaches (1 - gate) of it; after `most` picks, which is
    logged if they did not reach that; or after as many picks as there are channels: if
    these did not either the layer is whole again, and that is logged.

    Args:
      step: Of `stepper`, for this group.
      params: The network so far: layers before are pruned, this one is whole.
      key: A JAX PRNG key.
      draw_fn: key -> (images, labels), the batch of a step.
      accuracy_fn: params -> accuracy on a fixed part of the training set.
      group: The channels.
      tolerance: The relative loss of accuracy allowed, of this layer.
      gate: The same of the batch.
      most: The largest number of picks, of as many channels where none may be picked
        again; as many as there are channels by default.
      counts: What was yielded last, to go on from there; nothing by default.

    Raises:
      ValueError: The tolerance or the gate is not in [0, 1), `most` not in [1, size]:
        a layer cannot be emptied, and takes no more picks than it has channels. Or,
        without `most`, the network answers nothing right with the layer whole.
      FloatingPointError: A loss is NaN or infinite.
    """
    _check_bounds(group, tolerance, gate, most)
    reference = _reference(accuracy_fn, params, most)
    counts = jnp.zeros(group.size) if counts is None else counts
    last = int(most or group.size)
    for n in range(int(jnp.sum(counts)), last):
        draw_key, step_key = jax.random.split(jax.random.fold_in(key, n))
        found = step(params, step_key, counts, draw_fn(draw_key))
        _check_finite(found.loss, group, n)
        counts = counts.at[found.pick].add(1)
        grown = by_channel.fold(params, {group.name: weights(counts)}, (group,))
        near = _holds(found.accuracy, (1 - gate) * reference)
        met = near and _holds(accuracy_fn(grown), (1 - tolerance) * reference)
        if not met and n + 1 == last:
            counts = _unmet(counts, most, group)
        yield counts, met or n + 1 == last
        if met:
            return


def _reference(accuracy_fn, params, most):
    """Returns the accuracy with the layer whole; of none, what cannot be reached."""
    reference = float(accuracy_fn(params))
    if not reference > 0 and most is None:
        raise ValueError(
            "a network must answer some images right for its accuracy to end a layer, "
            f"got accuracy = {reference}; train it for longer, or give most"
        )
    return reference or math.inf


def _holds(accuracy, least):
    """Returns whether an accuracy is at least so much, but for float32's rounding."""
    return float(accuracy) >= least * (1 - 1e-6)


def _check_finite(loss, group, picks):
    if not math.isfinite(loss):
        raise FloatingPointError(
            "the loss of a selection must stay finite, got loss = "
            f"{float(loss)} in {group.name} after {picks} picks"
        )


def _unmet(counts, most, group):
    """Returns the counts of a layer whose picks ran out before it was as accurate."""
    text = "%s: after %d picks the tolerance is not met; it "
    if most is not None:
        log.warning(text + "keeps these, the most allowed", group.name, most)
        return counts
    log.warning(text + "stays whole", group.name, group.size)
    return jnp.ones(group.size)


def weights(counts: jax.Array) -> jax.Array:
    """Returns what each channel counts in the network, C n_i / n; one each if whole."""
    return counts * (counts.size / jnp.sum(counts))


def _check_bounds(group, tolerance, gate, most):
    for name, value in (("tolerance", tolerance), ("gate", gate)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), got {name} = {value}")
    if most is not None and not 1 <= values.whole("most", most) <= group.size:
        raise ValueError(
            f"a layer of {group.size} channels must have from 1 to {group.size} picks, "
            f"got most = {most} for {group.name}"
        )
