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
  arXiv:2108.00259, Algorithm 2 (printed with squared error, run with the code of the
  first). Departures: inner widths of blocks only (that code also
  prunes what MobileNet-V2 projects to, before the residual sum; where Wolfe et al.
  prune ResNet-34 is not stated); the factor leaves the search folded into the reader's
  weights; the gradient shortlist is ours. Not built: the better of local and global
  imitation for each layer. Of arXiv:2010.15969 the abstract and a summary alone were at
  hand: its step sizes and its stop are unverified, and ours are not theirs.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from lthjax import moved, registry, values
from lthjax.channels import layers_of
from lthjax.forward_selection import cut_network, greedy, neurons
from lthjax.pruning.masks import Params
from lthjax.training import losses

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
) -> Callable[..., Step]:
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
      ValueError: A name is unknown, or `number` is no whole number of at least 1.
    """
    choose = registry.resolve(candidates, CANDIDATES, "candidates")
    measure = registry.resolve(objective, OBJECTIVES, "objective")
    number = values.whole("number", number, 1)
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
) -> greedy.Selection:
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


CANDIDATES = {"random": _random, "all": _all, "gradient": _by_gradient}
OBJECTIVES = {
    "cross_entropy": _cross_entropy,
    "imitation": _imitation,
    "local": _imitation,
}


moved.answers(__name__)
