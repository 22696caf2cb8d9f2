"""A config becomes a search for channels: early-bird tickets, forward selection."""

import functools
import logging
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import channels, layerwise, losses, models, names, pruning, scores
from lthjax import masks as masks_lib
from lthjax.data import augment, batches
from lthjax.data import splits as splits_lib
from lthjax.tickets import Search
from lthjax.tickets.detection import flatten
from lthjax.tickets.early_bird import early_bird, saved
from lthjax.tickets.forward import forward

log = logging.getLogger(__name__)

METHODS = ("early_bird", "forward")
WATCHED = {"channels": True, "weights": False}


def masks_fn(config, network) -> Callable:
    """Returns params -> full masks, biases and norms of channels with their kernels.

    Raises:
      ValueError: In a call: the network has no known channel groups.
    """
    if not _by_channel(config):
        return lambda params: masks_lib.full(params, tuple(config.search.exclude))
    return lambda params: channels.full(params, channels.groups(network, params))


def _by_channel(config):
    watched = config.early_bird.watch
    by_channel = names.resolve(watched, WATCHED, "early_bird.watch")
    return by_channel or config.search.method == "forward"


def selector(config, network, source=None) -> Callable:
    """Returns what draws the ticket.

    Args:
      config: A validated config.
      network: The flax module.
      source: The data set, for "forward".

    Returns:
      For "early_bird" trained -> (mask to watch, masks), for "forward" (key, trained)
      -> (params, masks).
    """
    if config.search.method == "forward":
        return _selection(config, network, source)
    sparsity = (*config.search.sparsities, config.search.rate)[0]
    if not _by_channel(config):
        return jax.jit(functools.partial(_drawn_weights, sparsity))
    return jax.jit(functools.partial(_drawn_channels, network, sparsity))


def _drawn_channels(network, sparsity, trained):
    found = channels.groups(network, trained.params)
    kept = channels.slimmed(channels.norm_scales(trained.params, found), sparsity)
    return flatten(kept), channels.spread(trained.masks, kept, found)


def _drawn_weights(sparsity, trained):
    ranked = scores.magnitude(trained.params, trained.masks)
    masks = pruning.prune(trained.masks, ranked, sparsity)
    return flatten(masks), masks


def search(config, numbers, draw_fn: Callable) -> Search:
    """Returns the search.

    Args:
      config: A validated config.
      numbers: The plan: steps, steps_per_epoch.
      draw_fn: What `selector` returns.

    Raises:
      ValueError: There is more than one level, or the search refuses its numbers.
    """
    if len(numbers.targets) != 1:
        raise ValueError(
            f"search.method = {config.search.method!r} draws one ticket, got "
            f"{len(numbers.targets)} levels; give search.sparsities = (p,) or "
            "search.levels = 1"
        )
    if config.search.method == "forward":
        given = config.forward
        draw_at = given.draw_at or numbers.steps
        return forward(draw_fn, steps=numbers.steps, draw_at=draw_at, tune=given.tune)
    given, span = config.early_bird, (numbers.steps, numbers.steps_per_epoch)
    return early_bird(
        lambda trained: draw_fn(trained._replace(opt_state=None)),
        steps=span[0],
        epoch=span[1],
        rule=given.rule,
        threshold=given.threshold,
        queue=given.queue,
        report=functools.partial(_say, span),
    )


def _say(span, state, ticket):
    facts = saved(state, ticket.masks, steps=span[0], epoch=span[1])
    why = "the masks stayed" if facts["fired"] else "the schedule was at its end"
    log.info(
        "early-bird ticket drawn at epoch %d (%s): %d of %d dense steps saved, %.1f %%",
        facts["epoch"],
        why,
        facts["dense_steps_saved"],
        span[0],
        100 * facts["share_of_pretraining_saved"],
    )


def _selection(config, network, source):
    """Returns (key, trained) -> (params, masks), layer after layer on the host."""
    given = config.forward
    _check(given)

    def select(key, trained):
        draw, accuracy = _data(config, network, source, trained.model_state)
        params = trained.params
        shape = splits_lib.image_shape(source.train)
        found, counted = channels.groups(network, params), {}
        for i, group in enumerate(found):
            step = layerwise.stepper(
                layerwise.Network(network, params, trained.model_state),
                group,
                shape,
                candidates=given.candidates,
                number=given.number,
                objective=given.objective,
                replace=given.replace,
            )
            params, counts = layerwise.grow(
                step,
                params,
                jax.random.fold_in(key, i),
                draw,
                accuracy,
                group=group,
                tolerance=given.tolerance,
                gate=given.gate,
                most=min(given.most, group.size) or None,
            )
            counted[group.name] = counts > 0
            left = int(jnp.sum(counts > 0))
            log.info("%s: %d of %d channels", group.name, left, group.size)
        return params, channels.spread(trained.masks, counted, found)

    return select


def _check(given):
    """Refuses names that no layer would know, before anything is trained."""
    names.resolve(given.candidates, layerwise.CANDIDATES, "candidates")
    names.resolve(given.objective, layerwise.OBJECTIVES, "objective")
    for name in ("tolerance", "gate"):
        if not 0 <= given[name] < 1:
            raise ValueError(
                f"forward.{name} must be in [0, 1), got {name} = {given[name]}"
            )


def _data(config, network, source, model_state):
    """Returns (key -> batch, params -> accuracy), of training images as they are."""
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

    return draw, accuracy


def _fetcher(split):
    """Returns indices -> (images, labels), of arrays on the device or from the disk."""
    if isinstance(split, splits_lib.Stored):
        return lambda indices: jax.device_put(splits_lib.take(split, indices))
    images, labels = jax.device_put(tuple(split))
    return lambda indices: (images[indices], labels[indices])
