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
  search folded into the reader's weights; the gradient shortlist is ours.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lthjax import channels, forward, grafts, losses, names
from lthjax.masks import Params

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
    group: channels.Group,
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
      objective: "cross_entropy" on the labels, or "imitation": half the mean squared
        difference to the logits of the network whose layer is whole (global imitation).
      replace: Whether a channel may be chosen again, for a higher weight.

    Raises:
      ValueError: A name is unknown, or `number` is not positive.
    """
    choose = names.resolve(candidates, CANDIDATES, "candidates")
    measure = names.resolve(objective, OBJECTIVES, "objective")
    if number < 1:
        raise ValueError(f"at least one must be scored, got number = {number}")
    number = group.size if candidates == "all" else min(number, group.size)
    enter = grafts.before(network.model, group.consumer)
    follow = grafts.after(network.model, group.consumer)
    place = _place(network, group, shape)

    @jax.jit
    def step(params, key, counts, batch):
        images, labels = batch
        entry = enter(params, network.model_state, images)
        maps = _maps(params, group, entry.layer, place)

        def logits(result):
            return follow(params, network.model_state, images, entry, result)

        wanted = labels, logits(_weighted(maps, jnp.ones(group.size)))

        def loss(result):
            return measure(logits(result), *wanted)

        open_ = jnp.ones(group.size, bool) if replace else counts == 0
        indices = choose(key, open_, number, lambda c: loss(_weighted(maps, c)), counts)
        found = _scores(maps, loss, counts, indices)
        found = jnp.where(open_[indices], found, jnp.inf)
        best = jnp.argmin(found)
        pick = indices[best]
        answered = logits(_weighted(maps, counts.at[pick].add(1)))
        right = jnp.mean(losses.correct(answered, labels))
        return Step(pick, found[best], right, jnp.sum(open_[indices]))

    return step


class Maps(NamedTuple):
    """What a reading layer sees of its channels, and its kernel; z is linear in both.

    Attributes:
      seen: [taps, batch, ..., channels].
      kernel: [taps, channels, results].
      bias: [results].
    """

    seen: jax.Array
    kernel: jax.Array
    bias: jax.Array


def _maps(params, group, x, place):
    """Returns the Maps of a layer's input; pixels of a flattened map are taps too."""
    named = channels.named(params)
    kernel = named[f"{group.consumer}/kernel"]
    bias = named.get(f"{group.consumer}/bias", jnp.zeros(kernel.shape[-1]))
    times = channels.repeats(params, group)
    seen = grafts.patches(x, kernel, place)
    taps = grafts.taps(kernel)
    if times > 1:
        seen = jnp.moveaxis(seen[0].reshape(-1, times, group.size), 1, 0)
        taps = taps[0].reshape(times, group.size, -1)
    return Maps(seen, taps, bias)


def _total(maps, counts):
    """Returns the sum of the counted K_i."""
    kernel = maps.kernel * counts[None, :, None]
    seen = jnp.moveaxis(maps.seen, 0, -2)
    seen = seen.reshape(*seen.shape[:-2], -1)
    return jnp.tensordot(seen, kernel.reshape(-1, kernel.shape[-1]), 1)


def _one(maps, index):
    """Returns K_i of one channel."""
    seen = jnp.moveaxis(maps.seen[..., index], 0, -1)
    return jnp.tensordot(seen, maps.kernel[:, index], 1)


def _result(maps, total, number):
    """Returns z of a sum of n picks; of none, the bias."""
    scale = maps.kernel.shape[1] / jnp.maximum(number, 1)
    return scale * total + maps.bias.reshape([1] * (total.ndim - 1) + [-1])


def _weighted(maps, counts):
    return _result(maps, _total(maps, counts), jnp.sum(counts))


def _scores(maps, loss, counts, indices):
    """Returns the loss with each of the candidates added, in chunks that fit."""
    total, number = _total(maps, counts), jnp.sum(counts) + 1
    chunk = max(1, min(len(indices), _CHUNK_BYTES // (4 * total.size)))

    def one(index):
        return loss(_result(maps, total + _one(maps, index), number))

    return lax.map(one, indices, batch_size=chunk)


def _place(network, group, shape):
    found = grafts.geometry(*network, shape)
    return found.get(group.consumer)


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
    group: channels.Group,
    images: jax.Array,
    steps: int,
    *,
    weights: str = "uniform",
    replace: bool = True,
) -> forward.Selection:
    """Selects channels whose weighted sum imitates what the next layer gets from all.

    The reader's result before its norm is linear in the channels: this is the two-layer
    selection with Phi_i = C K_i and the target sum_i K_i, its Gram matrix computed from
    the taps alone, no K_i among them.

    Args:
      network: The network.
      group: The channels.
      images: A batch, normalised.
      steps: How many picks.
      weights: As for `forward.select`.
      replace: Whether a channel may be picked again.

    Raises:
      ValueError: As `forward.select`.
    """
    params, state = network.params, network.model_state
    entry = grafts.before(network.model, group.consumer)(params, state, images)
    place = _place(network, group, images.shape[1:])
    maps = _maps(params, group, entry.layer, place)
    shape = jax.eval_shape(_total, maps, jnp.ones(group.size))
    seen = maps.seen.reshape(len(maps.seen), -1, group.size)
    inputs = jnp.einsum("tni,snj->tisj", seen, seen)
    kernels = jnp.einsum("tio,sjo->tisj", maps.kernel, maps.kernel)
    gram = group.size**2 / shape.size * jnp.einsum("tisj,tisj->ij", inputs, kernels)
    matches = jnp.mean(gram, axis=1)
    options = {"weights": weights, "replace": replace}
    return forward.select_gram(gram, matches, jnp.mean(gram), steps, **options)


def grow(
    step: Callable,
    params: Params,
    key: jax.Array,
    draw_fn: Callable,
    accuracy_fn: Callable,
    *,
    group: channels.Group,
    tolerance: float = 0.02,
    gate: float = 0.05,
    most: int | None = None,
) -> tuple[Params, jax.Array]:
    """Grows one layer from nothing until the network is as accurate as it was, or so.

    It ends where the accuracy is at least (1 - tolerance) of that with the layer whole,
    looked up once a batch reaches (1 - gate) of it; where all channels are chosen, the
    layer is whole again; or after `most` picks.

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

    Returns:
      (the parameters with the weights folded in, the counts float32 [size]).

    Raises:
      ValueError: The tolerance or the gate is not in [0, 1), `most` not in [1, size]:
        a layer cannot be emptied, and has no more channels than it has.
    """
    for name, value in (("tolerance", tolerance), ("gate", gate)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), got {name} = {value}")
    if most is not None and not 1 <= most <= group.size:
        raise ValueError(
            f"a layer of {group.size} channels must keep from 1 to all of them, got "
            f"most = {most} for {group.name}"
        )
    reference = float(accuracy_fn(params))
    counts = jnp.zeros(group.size)
    for n in range(most or group.size):
        draw_key, step_key = jax.random.split(jax.random.fold_in(key, n))
        found = step(params, step_key, counts, draw_fn(draw_key))
        counts = counts.at[found.pick].add(1)
        grown = channels.fold(params, {group.name: weights(counts)}, (group,))
        if found.accuracy < (1 - gate) * reference:
            continue
        if float(accuracy_fn(grown)) >= (1 - tolerance) * reference:
            return grown, counts
    if most is None and bool(jnp.all(counts > 0)):
        return params, jnp.ones(group.size)
    return grown, counts


def weights(counts: jax.Array) -> jax.Array:
    """Returns what each channel counts in the network, C n_i / n; one each if whole."""
    return counts * (counts.size / jnp.sum(counts))


CANDIDATES = {"random": _random, "all": _all, "gradient": _by_gradient}
OBJECTIVES = {"cross_entropy": _cross_entropy, "imitation": _imitation}
