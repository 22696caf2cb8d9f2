"""Greedy forward selection of channels, layer after layer, on the host.

Every pick reads a fresh batch of `forward.batch_size` training images, not augmented,
and a layer ends by the accuracy on the first `forward.check` of them. (A batch that
stays the same would be less noise, and one more thing to fit to.) Departure: the
released code of arXiv:2003.01794 stops by augmented images.
"""

import logging
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax import models, registry
from lthjax.callables import AccuracyFn, DrawFn
from lthjax.channels import by_channel, layers_of
from lthjax.data import augment, batches
from lthjax.data import splits as splits_lib
from lthjax.forward_selection import channels as channels_lib
from lthjax.forward_selection import layer_growth
from lthjax.program.build.parts import Ground
from lthjax.pruning import masks as masks_lib
from lthjax.tickets.forward_selection import Selection, State
from lthjax.training import losses

log = logging.getLogger(__name__)

POSITIVE = ("number", "batch_size", "check", "tune_rate")


def groups(network, params, exclude: tuple[str, ...]) -> tuple:
    """Returns the channel groups, without those whose layers are never pruned.

    Args:
      network: The flax module.
      params: Its parameters, or their shapes.
      exclude: Regular expressions of layers never pruned.

    Raises:
      ValueError: All are excluded, or an expression matches none.
    """
    found = layers_of.groups(network, params)
    names_of_all = [group.name for group in found]
    kind = "layer whose channels go together"
    kept = masks_lib.without(names_of_all, exclude, kind, "layers")
    if not kept:
        raise ValueError(
            f"at least one layer must be prunable, got exclude = {exclude!r}; the "
            f"layers are {', '.join(names_of_all)}"
        )
    return tuple(group for group in found if group.name in kept)


def check(given) -> None:
    """Refuses names and numbers that no layer could be grown by, before training.

    Args:
      given: `config.forward`.

    Raises:
      ValueError: One of them is unknown, or out of its range.
    """
    registry.resolve(given.candidates, channels_lib.CANDIDATES, "candidates")
    registry.resolve(given.objective, channels_lib.OBJECTIVES, "objective")
    allowed = {name: (given[name] > 0, "positive") for name in POSITIVE}
    allowed["most"] = given.most >= 0, "at least 0 (as many as there are channels)"
    for name in ("tolerance", "gate"):
        allowed[name] = 0 <= given[name] < 1, "in [0, 1)"
    for name, (holds, words) in allowed.items():
        if not holds:
            raise ValueError(
                f"forward.{name} must be {words}, got {name} = {given[name]}"
            )


def selection(ground: Ground) -> Selection:
    """Returns what grows layer after layer, on the host.

    Args:
      ground: What the method is built on.
    """
    config, network, source = ground.options, ground.module, ground.source
    exclude = tuple(config.search.exclude)

    def begin(params):
        found = groups(network, params, exclude)
        return State(jnp.int32(0), tuple(jnp.zeros(group.size) for group in found))

    def grow(key, trained, state):
        found = groups(network, trained.params, exclude)
        _check_state(state, found)
        if int(state.layer) == len(found):
            return
        data = _data(config, network, source, trained.model_state)
        _tell(config, data, trained.params)
        for i in range(int(state.layer), len(found)):
            params = _folded(trained.params, found[:i], state.counts)
            here = trained._replace(params=params), found[i], state.counts[i]
            layer_key = jax.random.fold_in(key, i)
            for counts, done in _grown(config, network, data, layer_key, here):
                after = (*state.counts[:i], counts, *state.counts[i + 1 :])
                state = State(jnp.int32(i + done), after)
                yield state
            left = int(jnp.sum(state.counts[i] > 0))
            log.info("%s: %d of %d channels", found[i].name, left, found[i].size)

    def end(trained, state):
        found = groups(network, trained.params, exclude)
        rows = zip(found, state.counts, strict=True)
        kept = {group.name: counts > 0 for group, counts in rows}
        params = _folded(trained.params, found, state.counts)
        return params, by_channel.spread(trained.masks, kept, found)

    return Selection(begin, grow, end)


def _check_state(state, found):
    """Refuses a selection that was begun in another network."""
    sizes, known = [len(c) for c in state.counts], [group.size for group in found]
    if sizes != known or not 0 <= int(state.layer) <= len(known):
        raise ValueError(
            f"a selection must be of this network's layers, of {known} channels, got "
            f"layers of {sizes}, {int(state.layer)} of them done"
        )


def _folded(params, found, counts):
    """Returns parameters with the weights of the first of all layers folded in."""
    rows = zip(found, counts, strict=False)
    weights = {group.name: layer_growth.weights(chosen) for group, chosen in rows}
    return by_channel.fold(params, weights, found)


def _grown(config, network, data, key, here):
    """Returns `layer_growth.growth` of one layer, from where it is."""
    given, (trained, group, counts) = config.forward, here
    step = channels_lib.stepper(
        channels_lib.Network(network, trained.params, trained.model_state),
        group,
        data.shape,
        candidates=given.candidates,
        number=given.number,
        objective=given.objective,
        replace=given.replace,
    )
    return layer_growth.growth(
        step,
        trained.params,
        key,
        data.draw,
        data.accuracy,
        group=group,
        tolerance=given.tolerance,
        gate=given.gate,
        most=min(given.most, group.size) or None,
        counts=counts,
    )


def _tell(config, data, params):
    """Logs the accuracy that layers are grown to, and how far it can be trusted."""
    accuracy, tolerance = float(data.accuracy(params)), config.forward.tolerance
    error = math.sqrt(accuracy * (1 - accuracy) / data.checked)
    text = "accuracy on %d training images %.2f %%, standard error %.2f %%"
    log.info(text, data.checked, 100 * accuracy, 100 * error)
    if tolerance * accuracy <= 2 * error:
        log.warning(
            "the tolerance of a layer, %.2f %%, is at most two standard errors of the "
            "accuracy that it is held against; raise forward.check, or "
            "forward.tolerance = %g",
            100 * tolerance * accuracy,
            tolerance,
        )


class Data(NamedTuple):
    """What a selection reads.

    Attributes:
      shape: Of an image.
      draw: key -> (images, labels), normalised.
      accuracy: params -> accuracy on the first training images.
      checked: How many those are.
    """

    shape: tuple[int, ...]
    draw: DrawFn
    accuracy: AccuracyFn
    checked: int


def _data(config, network, source, model_state):
    """Returns the Data, of training images as they are."""
    size, fetch = splits_lib.size(source.train), _fetcher(source.train)
    batch = min(config.forward.batch_size, size)
    head = splits_lib.take(source.train, range(min(config.forward.check, size)))
    chunks = batches.chunks(head, min(config.eval_batch, len(head.labels)))

    def prepare(pixels):
        return augment.normalise(pixels, source.mean, source.std)

    def draw(key):
        indices = jax.random.choice(key, size, (batch,), replace=False)
        images, labels = fetch(indices)
        return prepare(images), labels

    @jax.jit
    def accuracy(params):
        def one(chunk):
            pixels, targets, weights = chunk
            logits, _ = models.apply(
                network, params, model_state, prepare(pixels), train=False
            )
            return jnp.sum(losses.correct(logits, targets) * weights)

        return jnp.sum(jax.lax.map(one, chunks)) / len(head.labels)

    shape = splits_lib.image_shape(source.train)
    return Data(shape, draw, accuracy, len(head.labels))


def _fetcher(split):
    """Returns indices -> (images, labels), of arrays on the device or from the disk."""
    if isinstance(split, splits_lib.Stored):
        return lambda indices: jax.device_put(splits_lib.take(split, indices))
    images, labels = jax.device_put(tuple(split))
    return lambda indices: (images[indices], labels[indices])
