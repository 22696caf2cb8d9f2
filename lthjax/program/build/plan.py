"""The numbers of a run, known before any data is read."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import models
from lthjax.data import batches, in_memory
from lthjax.data import splits as splits_lib
from lthjax.models import checks
from lthjax.program.build import by_channels, by_gates, spans
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import sparsities
from lthjax.pruning import views as views_lib

# The scopes in which layers share a total by their shapes: is it by whole kernels?
SHARED = {"erdos_renyi": False, "erdos_renyi_kernel": True}


class Plan(NamedTuple):
    """The numbers of a run, known before any data is read.

    Attributes:
      train: Training examples.
      steps_per_epoch: Optimizer steps in a pass over them.
      steps: Optimizer steps of the dense training.
      eval_every: Steps between two validations.
      params: The number of all parameters.
      sizes: {name: number of weights} of the prunable layers.
      shapes: {name: shape} of them.
      targets: What each level keeps, in all or by layer; `None`: as many as it learns.
      views: {name: which axes are what} of all leaves of which it is known.
    """

    train: int
    steps_per_epoch: int
    steps: int
    eval_every: int
    params: int
    sizes: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    targets: list
    views: dict[str, views_lib.View] = {}  # noqa: RUF012


class Kind(NamedTuple):
    """What a network must know of a data set: (h, w, c), and its classes."""

    image_shape: tuple[int, int, int]
    num_classes: int


def kind(source: in_memory.Source) -> Kind:
    """Returns the image shape and the number of classes of a loaded set."""
    return Kind(splits_lib.image_shape(source.train), source.num_classes)


def model(config, facts, *, axis_name: str | None = None) -> Any:
    """Returns the flax module of a config, for a set's images and classes.

    Args:
      config: A validated config.
      facts: Of the data set: num_classes.
      axis_name: The mesh axis over which batch norm averages in training.
    """
    return models.build(
        config.model.name,
        facts.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        axis_name=axis_name,
        remat=config.model.remat,
        options=config.model.options.to_dict(),
    )


def initialiser(config, facts) -> Callable:
    """Returns key -> (params, model_state)."""
    network = model(config, facts)
    images = jnp.zeros((1, *facts.image_shape))
    return lambda key: models.initialise(network, key, images)


def views(config, facts) -> tuple[Any, dict[str, views_lib.View]]:
    """Returns `views.traced` of a config's network, by its `model.views` too."""
    init_fn = initialiser(config, facts)
    key = jax.random.key(0)
    return views_lib.traced(lambda k: init_fn(k)[0], key, rules=config.model.views)


def plan(config, facts, train: int) -> Plan:
    """Returns the numbers of a run, and refuses what cannot work.

    Args:
      config: A validated config.
      facts: Of the data set: image_shape, num_classes.
      train: The number of training images.

    Raises:
      ValueError: The batch is larger than the set, a pattern matches no layer, a
        sparsity or rate is out of range, a name is unknown; a user's network cannot be
        trained (`checks.shapes`); nothing says what the axes of a layer are,
        and the config asks for something that depends on them.
    """
    batch = config.train.batch_size
    if batch > train:
        raise ValueError(
            f"the batch must not be larger than the training set of {train} images, "
            f"got train.batch_size = {batch}"
        )
    epoch = batches.steps_per_epoch(train, batch)
    steps = config.train.steps or config.train.epochs * epoch
    checks.shapes(model(config, facts), config.model.name, facts)
    params, found = views(config, facts)
    by_gates.check_network(config, params)
    masks = jax.eval_shape(masks_fn(config, facts), params)
    leaves = jax.tree.leaves(masks)
    sizes = dict(zip(masks_lib.names(masks), (m.size for m in leaves), strict=True))
    params = sum(w.size for w in jax.tree.leaves(params))
    every = config.eval_every or epoch
    shapes = dict(zip(sizes, (m.shape for m in leaves), strict=True))
    targets = _targets(config, sizes, shapes, found)
    return Plan(train, epoch, steps, every, params, sizes, shapes, targets, found)


def bytes_to_write(config, numbers: Plan, chains: int) -> int:
    """Returns a bound of what a run keeps on the disk: tickets and checkpoints.

    Args:
      config: A validated config.
      numbers: The plan.
      chains: How many chains of tickets there are.
    """
    kept, own = 2 if config.studies else 1, len(config.retraining.arms)
    per_member = (kept + own) * len(numbers.targets) + 12
    per_member += 6 * (len(config.controls) + own)
    return 4 * numbers.params * per_member * chains + 10**7


def steps_later(config, numbers: Plan, ticket: Any, share: float) -> int:
    """Returns the steps that come after a training, in those of its population.

    That is a bound where the data decide when a ticket is drawn.

    Args:
      config: A validated config.
      numbers: The plan.
      ticket: What is being trained.
      share: The chains of tickets for every member of the population.
    """
    rest, later = spans.after(config, numbers, ticket)
    return round(rest + later * share)


def summary(config, numbers: Plan) -> str:
    """Returns a sentence on what is prunable, with the counts."""
    layers = ", ".join(f"{name} {size:,}" for name, size in numbers.sizes.items())
    return (
        f"{config.model.name}: {numbers.params:,} parameters, "
        f"{sum(numbers.sizes.values()):,} of them prunable in {len(numbers.sizes)} "
        f"layers: {layers}"
    )


def lone_seed(config) -> str:
    """Returns a sentence where there is one seed that may be meant as a number of them.

    Args:
      config: A validated config.
    """
    seed, *more = config.seeds
    if more or seed < 2:
        return ""
    several = ",".join(map(str, range(min(seed, 9))))
    dots = ",..." * (seed > 9)
    return f"one seed, called {seed}; {seed} of them are --config.seeds={several}{dots}"


def masks_fn(config, facts) -> Callable:
    """Returns params -> full masks, of weights or of channels."""
    if config.search.method in by_channels.METHODS:
        return by_channels.masks_fn(config, model(config, facts))
    return lambda params: masks_lib.full(params, tuple(config.search.exclude))


def _targets(config, sizes, shapes, views):
    search = config.search
    if by_gates.learns_count(config):
        return [None] * (len(search.sparsities) or search.levels)
    if search.sparsities and search.layer_rates:
        raise ValueError(
            "search.layer_rates are rates, and do not go with search.sparsities, got "
            f"layer_rates = {search.layer_rates}; set one of them to ()"
        )
    scope = search.scope if search.scope in ("global", "layer") else "global"
    if search.sparsities:
        found = sparsities.by_list(sizes, search.sparsities, scope=scope)
    else:
        found = sparsities.by_rate(
            sizes,
            search.rate,
            search.levels,
            scope=scope,
            layer_rates=dict(search.layer_rates),
        )
    if search.scope in SHARED and search.layer_rates:
        raise ValueError(
            f"search.scope = {search.scope!r} gives every layer its own sparsity, got "
            f"layer_rates = {search.layer_rates}; set one of them to its default"
        )
    if search.scope in SHARED:
        kernel = SHARED[search.scope]
        share = functools.partial(sparsities.erdos_renyi, kernel=kernel, views=views)
        return [share(shapes, n) for n in found]
    return found
