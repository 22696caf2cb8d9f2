"""A config and its data become the functions and the first state of a federated run."""

import contextlib
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lthjax import models, registry
from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.data.splits import Source, Split
from lthjax.devices import cpu_convolutions, meshes
from lthjax.federated import (
    evaluation,
    local_training,
    partitions,
    policies,
    rounds,
    states,
    visits,
)
from lthjax.federated.policies import Policy
from lthjax.models import checks
from lthjax.program.build import parts as parts_lib
from lthjax.program.build.moved_images import preparation
from lthjax.program.federated import settings
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks
from lthjax.training import members, optimizers


class Parts(NamedTuple):
    """What a federated run is made of.

    Attributes:
      policy: What all follow.
      full: The full masks.
      start: (server, clients) before the first round.
      examples: What clients train and validate on.
      count: How many are asked in a round.
      round: (key, server, clients, examples) -> (server, clients, Record), compiled.
      everywhere: params -> accuracy on each client's classes [K], compiled.
      each: (params [m, ...], numbers [m]) -> accuracy of each client's own network on
        its classes [m], compiled.
      masked: (params, masks [m, ...], numbers [m]) -> the same of one network masked.
    """

    policy: Policy
    full: Masks
    start: tuple
    examples: states.Examples
    count: int
    round: Callable[..., tuple]
    everywhere: Callable[..., jax.Array]
    each: Callable[..., jax.Array]
    masked: Callable[..., jax.Array]


def assemble(config: ConfigDict, source: Source | None = None) -> Parts:
    """Returns the parts of a run; nothing is trained or written.

    Args:
      config: A config.
      source: Its data set, `load(config)`, where several runs share it.

    Raises:
      ValueError: A key is wrong, the data cannot be dealt so, the network keeps
        statistics, which rounds do not average, or cannot be trained: `checks.shapes`
        and `checks.values`.
    """
    settings.check(config)
    policy = settings.policy(config)
    count = rounds.asked(config.participation, config.clients.count)
    mesh = meshes.mesh(config.mesh.ticket)
    source = load(config) if source is None else source
    examples, owned = _dealt(config, source)
    key = jax.random.key(config.seed)
    model = _model(config, source)
    params = _params(config, model, jax.random.fold_in(key, 0), source)
    full = masks_lib.full(params)
    functions = _functions(config, model, source)
    threshold = policy.threshold
    start = states.begin(params, full, config.clients.count, threshold=threshold)
    visit = visits.visitor(policy, full, *functions)
    options = {"together": members.together(params), "mesh": mesh, "drop": config.drop}
    one = rounds.round_of(policy, visit, count, **options)
    examples = meshes.copied(mesh, examples)
    compiled = _compiled(one, mesh, cpu_convolutions.compiler_options(params))
    of_each = evaluation.of_each(functions[1], together=options["together"])
    measured = _measured(config, model, source, owned, of_each)
    return Parts(policy, full, start, examples, count, compiled, *measured)


def _compiled(one, mesh, options):
    """Returns a round as one program, whichever round's outcome goes into it."""
    if meshes.trivial(mesh):
        return jax.jit(one, compiler_options=options)
    everywhere = meshes.everywhere(mesh)
    program = jax.jit(one, compiler_options=options, out_shardings=everywhere)
    return lambda *given: program(*meshes.copied(mesh, given))


def round_key(config: ConfigDict, at: int) -> jax.Array:
    """Returns the key of a round, a function of the seed and of its number from 0."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 1), at)


def load(config: ConfigDict) -> Source:
    """Returns the data set of a config.

    Raises:
      ValueError: It cannot be read, or its labels are no classes.
    """
    with _by_its_key():
        source = in_memory.load(
            config.data.name,
            data_dir=config.data.dir or None,
            limit=config.data.limit or None,
            options=config.data.options.to_dict(),
        )
    if not splits_lib.are_classes(source.train.labels):
        raise ValueError(
            "clients are dealt examples by their classes, got data.name = "
            f"{config.data.name!r}, whose labels are {source.train.labels.dtype} "
            f"{list(source.train.labels.shape)}"
        )
    return source


@contextlib.contextmanager
def _by_its_key():
    """Calls the folder of the data as a federated config does, in what is refused."""
    try:
        yield
    except ValueError as error:
        text = re.sub(r"\bdata_dir\b(?!=)", "data.dir", str(error))
        if text == str(error) or not registry.is_ours(error):
            raise
        raise ValueError(text) from error.__cause__


def _dealt(config, source):
    """Returns the examples of clients, and which classes each has."""
    own = config.clients.to_dict()
    count, name = own.pop("count"), own.pop("partition")
    if name == "dirichlet":
        own["least"] = _least(config.local.batch_size, config.validation)
    labels = np.asarray(source.train.labels)
    parts = partitions.PARTITIONS[name](labels, count, config.seed, **own)
    owned = partitions.own_labels(labels, parts, source.num_classes)
    partitions.check_tested(np.asarray(source.test.labels), owned)
    examples = partitions.examples(
        source.train,
        source.test,
        parts,
        validation=config.validation,
        batch_size=config.local.batch_size,
    )
    return examples, owned


def _least(batch, validation):
    """Returns how many examples leave a batch to train on."""
    return batch + (batch // 8 + 1) * (validation == "held_out")


def _model(config, source):
    options = config.model.options.to_dict()
    return models.build(
        config.model.name, source.num_classes, width=config.model.width, options=options
    )


def _params(config, model, key, source):
    name, facts = config.model.name, parts_lib.kind(source)

    def initialise(key):
        images = jnp.zeros((1, *facts.image_shape), facts.dtype)
        return models.initialise(model, key, images)

    with registry.calling("model", name):
        _, state = jax.eval_shape(initialise, key)
    if state:
        raise ValueError(
            "rounds average weights, and the network must have nothing else, got a "
            f"network with {', '.join(state)}; take one without batch norm or dropout"
        )
    checks.shapes(model, name, facts, checks.Wanted(own=False))
    checks.values(model, name, facts, initialise)
    return initialise(key)[0]


def _functions(config, model, source):
    """Returns what a client trains by, and what it validates by."""
    own = config.local
    tx = optimizers.sgd(
        own.learning_rate,
        momentum=own.momentum,
        nesterov=False,
        weight_decay=own.weight_decay,
    )
    apply_fn, prepare = _apply(model), preparation(source)
    sizes = {"epochs": own.epochs, "batch_size": own.batch_size}
    return (
        local_training.trainer(apply_fn, prepare, tx, **sizes),
        local_training.counter(apply_fn, prepare, batch_size=config.eval_batch),
    )


def _apply(model):
    def apply(params, state, images, train):
        return models.apply(model, params, state, images, train=train)

    return apply


def _measured(config, model, source, owned, of_each):
    """Returns what evaluates on the test set: `everywhere`, `each` and `masked`."""
    test = Split(*(jnp.asarray(array) for array in source.test))
    sizes = {"classes": source.num_classes, "batch_size": config.eval_batch}
    prepare = preparation(source)
    count = evaluation.by_class(_apply(model), prepare, **sizes)
    rows = partitions.of_labels(np.asarray(source.test.labels), owned)
    lengths = jnp.asarray([len(row) for row in rows], jnp.int32)
    table = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for own, row in zip(table, rows, strict=True):
        own[: len(row)] = row
    numbers = jnp.asarray(table)

    @jax.jit
    def everywhere(params, images, labels):
        return evaluation.on_own(count(params, images, labels), labels, owned)

    def each(params, who):
        return of_each(params, numbers[who], lengths[who], *test)

    def masked(params, masks, who):
        own = jax.vmap(masks_lib.apply, in_axes=(None, 0))(params, masks)
        return each(own, who)

    return (lambda params: everywhere(params, *test)), each, masked


def sparsities(masks: Masks) -> list[float]:
    """Returns the sparsity of what each client has, by the counts of its masks.

    Args:
      masks: Of all clients [K, ...].
    """
    kept = np.asarray(jax.vmap(lambda own: masks_lib.count(own)[0])(masks))
    total = sum(leaf[0].size for leaf in jax.tree.leaves(masks))
    return [(total - int(number)) / total for number in kept]


def names() -> tuple[str, ...]:
    """Returns the names of the methods."""
    return tuple(policies.POLICIES)
