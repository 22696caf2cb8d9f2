"""Greedy forward selection of channels, layer by layer, from the input to the output.

A layer starts empty and grows by one channel at a time. With n channels chosen, each
stands for C / n of the C there were: the layer that reads them, linear in them, gives

    z = (C / n) sum_i n_i K_i + bias,    K_i what it makes of channel i alone

so that a candidate costs one K_i and what follows in the network, and all before is
computed once a batch.

References:
  Ye et al., 2020, arXiv:2003.01794 and its released code (random candidates,
  cross-entropy, a relative stop, no channel twice, the factor C / n kept); Ye, Wu and
  Liu, 2020, arXiv:2010.15969 (local and global imitation); Wolfe et al., 2021,
  arXiv:2108.00259, Algorithm 2. Departures: inner widths of blocks only (the code also
  prunes what MobileNet-V2 projects to, before the residual sum); the factor leaves the
  search folded into the reader's weights; the gradient shortlist is ours. Not built:
  the better of local and global imitation for each layer, and steps away from a channel
  that lower its weight.
"""

import functools
import logging
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lthjax import registry
from lthjax.channels import layers_of
from lthjax.forward_selection import cut_network, neurons
from lthjax.pruning.masks import Params
from lthjax.training import losses

log = logging.getLogger(__name__)

_CHUNK_BYTES = 2**27


class Network(NamedTuple):
    """A trained network: the module, its parameters and its batch statistics."""

    model: nn.Module
    params: Params
    model_state: Any


class Step(NamedTuple):
    """What one greedy step found.

    Attributes:
      pick: The channel, int32 [].
      loss: Of the network with it, on the batch [].
      accuracy: There too [].
      scored: How many candidates were forwarded, int32 [].
    """

    pick: jax.Array
    loss: jax.Array
    accuracy: jax.Array
    scored: jax.Array


def stepper(
    network: Network,
    group: layers_of.Group,
    shape: tuple[int, int, int],
    *,
    candidates: str = "random",
    number: int = 50,
    objective: str = "cross_entropy",
    replace: bool = False,
) -> Callable:
    """Returns (params, key, counts, (images, labels)) -> Step, compiled.

    Args:
      network: The network; `params` are given at every call, and may change.
      group: The channels to choose from.
      shape: Of an image.
      candidates: "random" ones, "all", or those with the best "gradient"; the last two
        need no key. Whoever is scored is scored exactly.
      number: How many are random, or pass the gradient.
      objective: "cross_entropy" on the labels; "imitation": half the mean squared
        difference to the logits of the network whose layer is whole (global imitation);
        "local": the same of what the next layer gets, before its norm.
      replace: Whether a channel may be chosen again, for a higher weight.

    Raises:
      ValueError: A name is unknown, or `number` is not positive.
    """
    choose = registry.resolve(candidates, CANDIDATES, "candidates")
    measure = registry.resolve(objective, OBJECTIVES, "objective")
    if number < 1:
        raise ValueError(f"at least one must be scored, got number = {number}")
    number = group.size if candidates == "all" else min(number, group.size)
    enter = cut_network.before(network.model, group.consumer)
    follow = cut_network.after(network.model, group.consumer)
    place = cut_network.place(cut_network.geometry(*network, shape), group)

    @jax.jit
    def step(params, key, counts, batch):
        images, labels = batch
        entry = enter(params, network.model_state, images)
        maps = cut_network.maps(params, group, entry.layer, place)

        def logits(result):
            return follow(params, network.model_state, images, entry, result)

        compared = (lambda result: result) if objective == "local" else logits
        wanted = labels, compared(cut_network.weighted(maps, jnp.ones(group.size)))

        def loss(result):
            return measure(compared(result), *wanted)

        def by_counts(counts):
            return loss(cut_network.weighted(maps, counts))

        open_ = jnp.ones(group.size, bool) if replace else counts == 0
        indices = choose(key, open_, number, by_counts, counts)
        found = _scores(maps, loss, counts, indices)
        found = jnp.where(open_[indices], found, jnp.inf)
        best = jnp.argmin(found)
        pick = indices[best]
        answered = logits(cut_network.weighted(maps, counts.at[pick].add(1)))
        right = jnp.mean(losses.correct(answered, labels))
        return Step(pick, found[best], right, jnp.sum(open_[indices]))

    return step


def _scores(maps, loss, counts, indices):
    """Returns the loss with each of the candidates added, in chunks that fit."""
    total, number = cut_network.total(maps, counts), jnp.sum(counts) + 1
    chunk = max(1, min(len(indices), _CHUNK_BYTES // (4 * total.size)))

    def one(index):
        return loss(
            cut_network.result(maps, total + cut_network.one(maps, index), number)
        )

    return lax.map(one, indices, batch_size=chunk)


def _random(key, open_, number, loss, counts):
    drawn = jnp.where(open_, jax.random.uniform(key, open_.shape), -1.0)
    return lax.top_k(drawn, number)[1]


def _all(key, open_, number, loss, counts):
    return jnp.arange(number)


def _by_gradient(key, open_, number, loss, counts):
    slopes = jax.grad(loss)(counts)
    return lax.top_k(jnp.where(open_, -slopes, -jnp.inf), number)[1]


def _cross_entropy(logits, labels, whole):
    return jnp.mean(losses.cross_entropy(logits, labels))


def _imitation(logits, labels, whole):
    return jnp.mean(losses.squared(logits, whole))


def local(
    network: Network,
    group: layers_of.Group,
    images: jax.Array,
    steps: int,
    *,
    weights: str = "uniform",
    replace: bool = True,
) -> neurons.Selection:
    """Selects channels whose weighted sum imitates what the next layer gets from all.

    The reader's result before its norm is linear in the channels: this is the two-layer
    selection with Phi_i = C K_i and the target sum_i K_i, its Gram matrix computed from
    the taps alone, no K_i among them. All picks are made on one batch; `grow` with the
    objective "local" draws a batch for each, and ends by the accuracy.

    Args:
      network: The network.
      group: The channels.
      images: A batch, normalised.
      steps: How many picks.
      weights: As for `neurons.select`.
      replace: Whether a channel may be picked again.

    Returns:
      The selection. Its weights sum to one: `channels.fold` takes C times them.

    Raises:
      ValueError: As `neurons.select`.
    """
    params, state = network.params, network.model_state
    entry = cut_network.before(network.model, group.consumer)(params, state, images)
    place = cut_network.place(cut_network.geometry(*network, images.shape[1:]), group)
    maps = cut_network.maps(params, group, entry.layer, place)
    shape = jax.eval_shape(cut_network.total, maps, jnp.ones(group.size))
    seen = maps.seen.reshape(len(maps.seen), -1, group.size)
    precise = functools.partial(jnp.einsum, precision=cut_network.PRECISION)
    inputs = precise("tni,snj->tisj", seen, seen)
    kernels = precise("tio,sjo->tisj", maps.kernel, maps.kernel)
    gram = group.size**2 / shape.size * precise("tisj,tisj->ij", inputs, kernels)
    matches = jnp.mean(gram, axis=1)
    options = {"weights": weights, "replace": replace}
    return neurons.select_gram(gram, matches, jnp.mean(gram), steps, **options)


def grow(
    step: Callable,
    params: Params,
    key: jax.Array,
    draw_fn: Callable,
    accuracy_fn: Callable,
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
    return layers_of.fold(params, {group.name: weights(counts)}, (group,)), counts


def growth(
    step: Callable,
    params: Params,
    key: jax.Array,
    draw_fn: Callable,
    accuracy_fn: Callable,
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
      most: The largest number of picks; all channels by default.
      counts: What was yielded last, to go on from there; nothing by default.

    Raises:
      ValueError: The tolerance or the gate is not in [0, 1), `most` not in [1, size]:
        a layer cannot be emptied, and has no more channels than it has. Or, without
        `most`, the network answers nothing right with the layer whole.
      FloatingPointError: A loss is NaN or infinite.
    """
    _check_bounds(group, tolerance, gate, most)
    reference = _reference(accuracy_fn, params, most)
    counts = jnp.zeros(group.size) if counts is None else counts
    last = most or group.size
    for n in range(int(jnp.sum(counts)), last):
        draw_key, step_key = jax.random.split(jax.random.fold_in(key, n))
        found = step(params, step_key, counts, draw_fn(draw_key))
        _check_finite(found.loss, group, n)
        counts = counts.at[found.pick].add(1)
        grown = layers_of.fold(params, {group.name: weights(counts)}, (group,))
        near = found.accuracy >= (1 - gate) * reference
        met = near and float(accuracy_fn(grown)) >= (1 - tolerance) * reference
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
    if most is not None and not 1 <= most <= group.size:
        raise ValueError(
            f"a layer of {group.size} channels must keep from 1 to all of them, got "
            f"most = {most} for {group.name}"
        )


CANDIDATES = {"random": _random, "all": _all, "gradient": _by_gradient}
OBJECTIVES = {
    "cross_entropy": _cross_entropy,
    "imitation": _imitation,
    "local": _imitation,
}
