"""The names of a config become one choice of weights: (key, network, level) -> masks.

A criterion is a score, how often it is taken while one level is pruned, from what, and
what is selected by it: single weights, channels, blocks, n of every m.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import losses, names, patterns, pruning, scores, sparsities
from lthjax import masks as masks_lib
from lthjax.data import augment, batches, sources
from lthjax.data import splits as splits_lib
from lthjax.masks import Masks, Params
from lthjax.views import Views

GRASP_TEMPERATURE = 200.0  # that the logits are divided by


class View(NamedTuple):
    """What a score may look at.

    Attributes:
      key: A PRNG key.
      params: The weights of the network that is pruned.
      masks: The masks so far.
      loss_fn: (params, temperature) -> the mean cross-entropy, in training mode, over
        the examples that are scored with, the logits divided by the temperature.
      logits_fn: (params, images) -> logits, in inference mode, norms that change
        nothing: mean 0, variance 1.
      image_shape: (height, width, channels).
    """

    key: jax.Array
    params: Params
    masks: Masks
    loss_fn: Callable
    logits_fn: Callable
    image_shape: tuple[int, ...]


class Criterion(NamedTuple):
    """A named score.

    Attributes:
      score_fn: View -> scores, higher = keep.
      rounds: How often it is taken while a level is pruned, each time on what is left.
      revive: Whether a round may take back what an earlier one of the level pruned.
      reads: Whether it reads examples.
    """

    score_fn: Callable[[View], Any]
    rounds: int = 1
    revive: bool = False
    reads: bool = False


def _snip(view):
    return scores.snip(lambda p: view.loss_fn(p, 1.0), view.params, view.masks)


def _grasp(view):
    def loss_fn(params):
        return view.loss_fn(params, GRASP_TEMPERATURE)

    return scores.grasp(loss_fn, view.params, view.masks)


def _taylor(view):
    return scores.taylor(lambda p: view.loss_fn(p, 1.0), view.params, view.masks)


def _synflow(view):
    given = view.logits_fn, view.params, view.masks, view.image_shape
    return scores.synflow(*given)


SCORES = {
    "magnitude": Criterion(lambda view: scores.magnitude(view.params, view.masks)),
    "random": Criterion(lambda view: scores.random(view.key, view.params, view.masks)),
    "snip": Criterion(_snip, reads=True),
    "iterative_snip": Criterion(_snip, rounds=100, reads=True),
    "force": Criterion(_snip, rounds=100, revive=True, reads=True),
    "grasp": Criterion(_grasp, reads=True),
    "taylor": Criterion(_taylor, reads=True),
    "synflow": Criterion(_synflow, rounds=100),
}


def resolve(config) -> Criterion:
    """Returns the criterion of a config.

    Raises:
      ValueError: The score, the pattern or the corruption is unknown, or they do not go
        together.
    """
    search = config.search
    found = names.resolve(search.score, SCORES, "score")
    if not isinstance(found, Criterion):  # a user's own: View -> scores
        found = Criterion(found, reads=True)
    found = found._replace(rounds=search.rounds or found.rounds)
    names.resolve(search.corrupt, CORRUPTIONS, "corruption")
    if search.corrupt != "none" and not found.reads:
        raise ValueError(
            "corrupted data goes with a score that reads data, got search.corrupt = "
            f"{search.corrupt!r} with search.score = {search.score!r}"
        )
    patterns.parse(search.pattern)
    if found.rounds > 1 and (search.pattern != "weights" or search.scope != "global"):
        raise ValueError(
            f"a score that is taken {found.rounds} times prunes single weights over "
            f"all layers, got search.pattern = {search.pattern!r}, search.scope = "
            f"{search.scope!r}; give 'weights' and 'global', or search.rounds = 1"
        )
    return found


def scorer(config, network: Callable, source: sources.Source) -> Callable:
    """Returns (key, trained, masks, examples) -> scores, one round of the config's.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set, for the shape of its images.
    """
    criterion, shape = resolve(config), splits_lib.image_shape(source.train)

    def scored(key, trained, masks, examples):
        def logits_fn(params, images):
            return network(params, _neutral(trained.model_state), images, False)[0]

        loss_fn = _loss(network, trained.model_state, examples)
        view = View(key, trained.params, masks, loss_fn, logits_fn, shape)
        found = criterion.score_fn(view)
        return scores.inverted(found) if config.search.invert else found

    return scored


def selector(
    config,
    network: Callable,
    source: sources.Source,
    *,
    views: Views | None = None,
) -> Callable:
    """Returns (key, trained, target) -> masks, which prunes to a level's target.

    A target is what is kept, in all or by layer.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set; scores that read data take training examples of it, as they
        are, without augmentation.
      views: Which axes of a leaf are what, for the patterns.

    Raises:
      ValueError: As `resolve`. In a call: scores that are not finite, or all zero.
    """
    criterion, search = resolve(config), config.search
    draw = drawing(config, source)
    scored = scorer(config, network, source)

    @jax.jit
    def select(key, trained, counts, examples):
        return pruning.in_rounds(
            lambda masks: scored(key, trained, masks, examples),
            trained.masks,
            counts,
            revive=criterion.revive,
        )

    first = jax.jit(scored)
    choose = jax.jit(patterns.chooser(search.pattern, search.minimum, views))

    def prune_fn(key, trained, target):
        trained = trained._replace(opt_state=None)
        examples = draw(key) if criterion.reads else None
        found = first(key, trained, trained.masks, examples)
        scores.check(found, trained.masks)
        if criterion.rounds == 1:
            target = patterns.target(search.pattern, trained.masks, target, views)
            return choose(trained.masks, found, jax.tree.map(jnp.int32, target))
        now = int(masks_lib.count(trained.masks)[0])
        counts = sparsities.exponential(now, target, criterion.rounds)
        return select(key, trained, jnp.asarray(counts, jnp.int32), examples)

    return prune_fn


def check(
    config,
    shapes: dict[str, tuple[int, ...]],
    targets: list,
    views: Views | None = None,
) -> None:
    """Checks that every level's target can be met, before anything is trained.

    Args:
      config: A validated config.
      shapes: {name: shape} of the prunable layers.
      targets: What each level keeps, in all or by layer.
      views: Which axes of a layer are what.

    Raises:
      ValueError: As `resolve`; a pattern does not divide a layer, or cannot have the
        sparsity asked for; nothing says what the axes are that it goes along; the
        minima of the layers exceed a target.
    """
    resolve(config)
    search = config.search
    kind, numbers = patterns.parse(search.pattern)
    select = patterns.chooser(search.pattern, search.minimum, views)
    leaves = {n: jax.ShapeDtypeStruct(s, bool) for n, s in shapes.items()}
    found = {n: jax.ShapeDtypeStruct(s, jnp.float32) for n, s in shapes.items()}
    total = sum(math.prod(shape) for shape in shapes.values())
    for target in targets:
        given = patterns.target(search.pattern, leaves, target, views)
        choose = functools.partial(select, target=given)
        jax.eval_shape(choose, leaves, found)
        kept = sum(target) if isinstance(target, list) else target
        if kind == "n_of_m" and kept * numbers[1] != total * numbers[0]:
            raise ValueError(
                f"the pattern {search.pattern!r} keeps {numbers[0]} of every "
                f"{numbers[1]} weights, {total * numbers[0] // numbers[1]:,} of "
                f"{total:,}, got a level that keeps {kept:,}; give search.sparsities = "
                f"({1 - numbers[0] / numbers[1]},)"
            )


def _loss(network, model_state, examples):
    """Returns (params, temperature) -> the mean loss over batches of examples."""

    def loss_fn(params, temperature):
        def one(params, batch):
            images, labels = batch
            logits, _ = network(params, model_state, images, True)
            return jnp.mean(losses.cross_entropy(logits / temperature, labels))

        return scores.over_batches(one, examples)(params)

    return loss_fn


def _neutral(model_state):
    """Returns batch statistics that change nothing: mean 0, variance 1."""
    fill = {"mean": jnp.zeros_like, "var": jnp.ones_like}

    def neutral(path, leaf):
        name = masks_lib.path_name(path).rpartition("/")[2]
        return fill.get(name, lambda same: same)(leaf)

    return jax.tree_util.tree_map_with_path(neutral, model_state)


def drawing(config, source):
    """Returns key -> (images [n, batch, ...], labels [n, batch]) to score with.

    Training examples, normalised, not augmented, corrupted where the config says so.

    Raises:
      ValueError: There are fewer than asked for.
    """
    count, batch = config.search.batches, config.train.batch_size
    size = splits_lib.size(source.train)
    if count * batch > size:
        raise ValueError(
            f"the examples that a score reads must be at most the {size} of the "
            f"training set, got search.batches = {count} of {batch}"
        )
    corrupt = CORRUPTIONS[config.search.corrupt]

    def draw(key):
        order = np.asarray(batches.permutation(key, 0, size))[: count * batch]
        images, labels = splits_lib.take(source.train, order)
        images = augment.normalise(jnp.asarray(images), source.mean, source.std)
        drawn = corrupt(key, images, jnp.asarray(labels), source.num_classes)
        left = len(drawn[1]) // count * count
        return jax.tree.map(lambda x: x[:left].reshape(count, -1, *x.shape[1:]), drawn)

    return draw


def _random_labels(key, images, labels, num_classes):
    return images, jax.random.randint(key, labels.shape, 0, num_classes)


def _shuffled_pixels(key, images, labels, num_classes):
    """Permutes the pixels of every image, each in its own way."""
    del num_classes
    pixels = images.reshape(len(images), -1, images.shape[-1])
    keys = jax.random.split(key, len(images))
    shuffled = jax.vmap(jax.random.permutation)(keys, pixels)
    return shuffled.reshape(images.shape), labels


def _half(key, images, labels, num_classes):
    del key, num_classes
    half = len(images) // 2
    return images[:half], labels[:half]


# What a score may be made to read in place of the data, arXiv:2009.11094.
CORRUPTIONS = {
    "none": lambda key, images, labels, num_classes: (images, labels),
    "labels": _random_labels,
    "pixels": _shuffled_pixels,
    "half": _half,
}
