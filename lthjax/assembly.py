"""A config becomes functions: the only place where names and numbers of it are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import cpu, models, names, optimizers, pruning, scores, sparsities, training
from lthjax import masks as masks_lib
from lthjax.data import augment, batches, sources
from lthjax.tickets import Search, Trained
from lthjax.tickets.controls import CONTROLS
from lthjax.tickets.iterative import SEARCHES

# One number a use, so that adding a use never changes what another one draws.
STREAMS = {"init": 0, "data": 1, "search": 2, "reinit": 3, "shuffle": 4, "random": 5}
SCORES = {
    "magnitude": lambda key, trained: scores.magnitude(trained.params, trained.masks),
    "random": lambda key, trained: scores.random(key, trained.params, trained.masks),
}


class Plan(NamedTuple):
    """The numbers of a run, known before any data is read.

    Attributes:
      train: Training examples.
      steps_per_epoch: Optimizer steps in a pass over them.
      steps: Optimizer steps of the dense training.
      eval_every: Steps between two validations.
      params: The number of all parameters.
      sizes: {name: number of weights} of the prunable layers.
      targets: What each level keeps, in all or by layer.
    """

    train: int
    steps_per_epoch: int
    steps: int
    eval_every: int
    params: int
    sizes: dict[str, int]
    targets: list


class Parts(NamedTuple):
    """The functions and arrays of a run.

    Attributes:
      plan: Its numbers.
      init_fn: key -> (params, model_state) of one network.
      masks_fn: params -> full masks.
      begin: ticket -> training.State.
      run: (states, (masks, keys), span, start, stop) -> states, of a population whose
        tickets train over the steps `span`; `states` are given away.
      search: The search, stepped member by member.
      control: (arm, key, ticket) -> ticket.
    """

    plan: Plan
    init_fn: Callable
    masks_fn: Callable
    begin: Callable
    run: Callable
    search: Search
    control: Callable


def key(seed: int, stream: str) -> jax.Array:
    """Returns the PRNG key of one use of a seed."""
    return jax.random.fold_in(jax.random.key(seed), STREAMS[stream])


def model(config, facts) -> Any:
    """Returns the flax module of a config, for a set's images and classes."""
    return models.build(
        config.model.name,
        facts.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        options=config.model.options.to_dict(),
    )


def initialiser(config, facts) -> Callable:
    """Returns key -> (params, model_state)."""
    network = model(config, facts)
    images = jnp.zeros((1, *facts.image_shape))
    return lambda key: models.initialise(network, key, images)


def plan(config, facts, train: int) -> Plan:
    """Returns the numbers of a run, and refuses what cannot work.

    Args:
      config: A validated config.
      facts: Of the data set: image_shape, num_classes.
      train: The number of training images.

    Raises:
      ValueError: The batch is larger than the set, a pattern matches no layer, a
        sparsity or rate is out of range, a name is unknown.
    """
    batch = config.train.batch_size
    if batch > train:
        raise ValueError(
            f"the batch must not be larger than the training set of {train} images, "
            f"got train.batch_size = {batch}"
        )
    epoch = batches.steps_per_epoch(train, batch)
    steps = config.train.steps or config.train.epochs * epoch
    shapes, _ = jax.eval_shape(initialiser(config, facts), jax.random.key(0))
    masks = jax.eval_shape(_masks_fn(config), shapes)
    leaves = jax.tree.leaves(masks)
    sizes = dict(zip(masks_lib.names(masks), (m.size for m in leaves), strict=True))
    params = sum(w.size for w in jax.tree.leaves(shapes))
    every = config.eval_every or epoch
    return Plan(train, epoch, steps, every, params, sizes, _targets(config, sizes))


def summary(config, numbers: Plan) -> str:
    """Returns a sentence on what is prunable, with the counts."""
    layers = ", ".join(f"{name} {size:,}" for name, size in numbers.sizes.items())
    return (
        f"{config.model.name}: {numbers.params:,} parameters, "
        f"{sum(numbers.sizes.values()):,} of them prunable in {len(numbers.sizes)} "
        f"layers: {layers}"
    )


def build(config, source) -> Parts:
    """Returns the functions of a run.

    Args:
      config: A validated config.
      source: The data set, `data.sources.Source`.

    Raises:
      ValueError: As `plan`, and where a search or a control is unknown.
    """
    _check_controls(config.controls)
    _check_held_out(source)
    numbers = plan(config, kind(source), len(source.train.labels))
    found = search(config, numbers)
    tx = _optimizer(config, numbers)
    init_fn = jax.jit(initialiser(config, kind(source)))
    shapes, _ = jax.eval_shape(init_fn, jax.random.key(0))
    room = numbers.steps // numbers.eval_every + 2
    begin = jax.jit(lambda ticket: training.begin(tx, ticket, points=room))
    run = _program(config, source, tx, numbers.eval_every, shapes)
    return Parts(
        numbers,
        init_fn,
        _masks_fn(config),
        begin,
        run,
        found,
        _controller(init_fn),
    )


def _check_controls(controls):
    for name in controls:
        if name not in CONTROLS:
            raise ValueError(
                f"controls must be among {', '.join(CONTROLS)}, got controls = "
                f"{tuple(controls)}{names.suggestion(str(name), CONTROLS)}"
            )


def _check_held_out(source):
    """Checks that there is something to validate and to test on."""
    for name in ("validation", "test"):
        size = len(getattr(source, name).labels)
        if not size:
            raise ValueError(
                f"the {name} split must have at least one image, got {size} of them"
                + ("; give data.validation, the images cut from train for it")
                * (name == "validation")
            )


class Kind(NamedTuple):
    """What a network must know of a data set: (h, w, c), and its classes."""

    image_shape: tuple[int, int, int]
    num_classes: int


def kind(source: sources.Source) -> Kind:
    """Returns the image shape and the number of classes of a loaded set."""
    return Kind(source.train.images.shape[1:], source.num_classes)


def _masks_fn(config):
    return lambda params: masks_lib.full(params, tuple(config.search.exclude))


def _targets(config, sizes):
    search = config.search
    if search.sparsities and search.layer_rates:
        raise ValueError(
            "search.layer_rates are rates, and do not go with search.sparsities, got "
            f"layer_rates = {search.layer_rates}; set one of them to ()"
        )
    if search.sparsities:
        return sparsities.by_list(sizes, search.sparsities, scope=search.scope)
    return sparsities.by_rate(
        sizes,
        search.rate,
        search.levels,
        scope=search.scope,
        layer_rates=dict(search.layer_rates),
    )


def search(config, numbers):
    """Returns the search, which prunes by the config's score to the plan's targets."""
    factory = names.resolve(config.search.method, SEARCHES, "search method")
    score = names.resolve(config.search.score, SCORES, "score")
    select = jax.jit(
        lambda key, trained, kept: pruning.prune(
            trained.masks, score(key, trained), kept=kept
        )
    )

    def prune_fn(key, trained: Trained, level):
        kept = jax.tree.map(jnp.int32, numbers.targets[level - 1])
        return select(key, trained._replace(opt_state=None), kept)

    return factory(
        prune_fn,
        levels=len(numbers.targets),
        steps=numbers.steps,
        rewind_to=config.search.rewind_to,
        restart=config.search.restart,
    )


def schedule(config, numbers) -> Callable:
    """Returns the learning rate as a function of the step, epochs turned into steps."""
    factory = names.resolve(config.schedule.name, optimizers.SCHEDULES, "schedule")
    epoch = numbers.steps_per_epoch
    rate = factory(
        config.optimizer.learning_rate,
        steps=numbers.steps,
        drops=[round(drop * epoch) for drop in config.schedule.drops],
        factor=config.schedule.factor,
    )
    warm = optimizers.warmed(rate, round(config.schedule.warmup * epoch))
    return optimizers.held(warm, numbers.steps)


def _controller(init_fn):
    """Returns (arm, key, ticket) -> ticket, compiled; its numbers stay Python's."""
    compiled = {
        arm: jax.jit(lambda key, ticket, fn=fn: fn(key, ticket, init_fn))
        for arm, fn in CONTROLS.items()
    }

    def control(arm, key, ticket):
        drawn = compiled[arm](key, ticket._replace(opt_state=None))
        numbers = {n: getattr(ticket, n) for n in ("level", "step", "until")}
        return drawn._replace(**numbers)

    return control


def _optimizer(config, numbers):
    options = config.optimizer.to_dict()
    del options["learning_rate"]
    return optimizers.build(options.pop("name"), schedule(config, numbers), **options)


class Data(NamedTuple):
    """What a training reads: the steps it spans, and the splits on the device."""

    span: tuple[int, int]
    train: tuple
    validation: tuple
    test: tuple


def _program(config, source, tx, every, shapes):
    """Returns the compiled training of a population, the data on the device."""
    network = model(config, kind(source))

    def apply_fn(params, model_state, images, train):
        return models.apply(network, params, model_state, images, train=train)

    def prepare(images):
        return augment.normalise(images, source.mean, source.std)

    def fetch(key, data, indices):
        images, labels = batches.take(data.train, indices)
        images = augment.augment(
            key, images, padding=config.data.crop, flip=config.data.flip
        )
        return prepare(images), labels

    step = training.step(training.supervised(apply_fn), tx)
    measure = training.validation(training.evaluator(apply_fn, prepare), every=every)
    batch, size = config.train.batch_size, len(source.train.labels)
    sizes = {"size": size, "batch_size": batch, "every": every}
    return _compiled(
        training.runner(step, fetch, measure, **sizes),
        _on_device(source, config.eval_batch),
        shapes,
        deterministic=config.deterministic,
    )


def _on_device(source, chunk):
    """Returns the splits as device arrays, those held out in chunks of that size."""
    held_out = [
        batches.chunks(split, chunk) for split in (source.validation, source.test)
    ]
    return jax.device_put([tuple(source.train), *held_out])


def _compiled(run_member, splits, shapes, *, deterministic):
    """Maps a member's run over a population, and compiles it for this backend."""
    options = cpu.compiler_options(shapes)
    if deterministic and jax.default_backend() == "gpu":
        options = {**options, "xla_gpu_deterministic_ops": True}
    run_all = training.population(run_member, one_by_one=training.one_by_one(shapes))
    compiled = jax.jit(
        lambda states, fixed, *shared: run_all((states, *fixed), *shared),
        donate_argnums=0,
        compiler_options=options or None,
    )

    def run(states, fixed, span, start, stop):
        return compiled(states, fixed, Data(span, *splits), start, stop)

    return run
