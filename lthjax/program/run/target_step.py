"""One step of a config's training on a target: its program, and the shapes it takes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from lthjax.data import in_memory
from lthjax.data import splits as splits_lib
from lthjax.devices import meshes
from lthjax.program.build import assemble, moved_images
from lthjax.program.build import data as data_lib
from lthjax.program.build import objective as objective_lib
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.parts import Parts
from lthjax.tickets import rounds


class Step(NamedTuple):
    """One step of a population.

    Attributes:
      program: A function of `jax.jit`.
      shapes: Its arguments, on the devices of the target.
      members: How many networks it trains.
      images: How many images it takes, of all members.
      fed: How many of them the host has to bring; 0 where all lie on the devices.
      beside: Bytes that lie on a device and that a step does not read: held-out images.
    """

    program: Any
    shapes: tuple
    members: int
    images: int
    fed: int
    beside: int


def of(config, facts, held_out: int, plan: Any, *, searching: bool = False) -> Step:
    """Returns the step of a config, made for the target that is aimed at.

    Nothing is read: the images are blank. All members of the population, with their
    controls, train at once, padded to what the mesh divides; in a round of a search
    there are no controls.

    Args:
      config: A validated config.
      facts: Of the data set; `train` what is left for training.
      held_out: How many images validate and test.
      plan: The numbers of the run.
      searching: Whether it is the step of a round, of a search that has them, with what
        that trains beside weights; else of the networks alone.

    Raises:
      ValueError: The devices of the target are not what the mesh of the config asks
        for, or do not divide a batch.
    """
    source = _blank(config, facts, held_out)
    parts = assemble.functions(plan_lib.of(config, source)._replace(plan=plan))
    mesh, batch = data_lib.mesh(config), config.train.batch_size
    groups, seeds = mesh.shape[meshes.TICKET], len(set(config.seeds))
    members = math.ceil(population(parts, searching) / groups) * groups
    each, shared, rows = _placements(mesh)
    state, masks, key = jax.eval_shape(member(parts, searching), jax.random.key(0))
    which = jax.ShapeDtypeStruct(() if config.data.stream else (batch,), np.int32)
    stacked = [
        jax.tree.map(lambda leaf: _shape((members, *leaf.shape), leaf.dtype, each), x)
        for x in (state, masks, key, which)
    ]
    data, beside = parts.data.lying, 0
    if config.data.stream:
        batches = (seeds, batch, *facts.image_shape), (seeds, batch)
        data = [
            _shape((*shape, *more), dtype, rows)
            for shape, more, dtype in zip(
                batches, ((), facts.label_shape), _types(facts), strict=True
            )
        ]
    else:
        beside = sum(x.nbytes for x in jax.tree.leaves(data[2:]))
        data = jax.tree.map(
            lambda leaf: _shape(jnp.shape(leaf), jnp.result_type(leaf), shared), data
        )
    at = _shape((), np.int32, shared)
    shapes = stacked[0], tuple(stacked[1:]), data, at
    fed = seeds * batch if config.data.stream else 0
    return Step(parts.step, shapes, members, members * batch, fed, beside)


def _shape(shape, dtype, sharding):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _placements(mesh):
    """Returns how members, what is shared, and batches that are fed lie on a mesh."""
    if meshes.trivial(mesh):
        return (SingleDeviceSharding(mesh.devices.flat[0]),) * 3
    members, shared = (NamedSharding(mesh, spec) for spec in (P(meshes.TICKET), P()))
    return members, shared, meshes.by_rows(mesh)


def population(parts: Parts, searching: bool) -> int:
    """Returns how many networks train at once: with controls, but not in a round."""
    own = 0 if searching else len(parts.options.controls)
    return len(parts.options.members) * (1 + own)


def member(parts: Parts, searching: bool) -> Callable[[jax.Array], tuple]:
    """Returns key -> (state, masks, key) of what trains at first, or in a round."""

    def one(key):
        params, model_state = parts.init_fn(key)
        masks = parts.masks_fn(params)
        state, ticket = parts.search.init(key, params, model_state, masks)
        ticket = rounds.opened(state) if searching else ticket
        return parts.begin(ticket), ticket.masks, key

    return one


def _types(facts):
    return np.uint8 if facts.mean else facts.dtype, facts.label_dtype


def _blank(config, facts, held_out):
    """Returns a source of the right size, of blank images or of none at all."""
    sizes = facts.train, held_out - facts.test, facts.test
    make = _stored if config.data.stream else _zeros
    splits = [make(config, facts, size) for size in sizes]
    described = facts.num_classes, facts.mean, facts.std
    follow = moved_images.follower(config, facts)
    return in_memory.Source(*splits, *described, follow)


def _zeros(config, facts, size):
    del config
    image, label = _types(facts)
    images = np.zeros((size, *facts.image_shape), image)
    labels = _classes(facts, size)
    if labels is None:
        labels = np.zeros((size, *facts.label_shape), label)
    return splits_lib.Split(images, labels)


def _classes(facts, size):
    """Returns classes of examples, every one of them, where there are classes."""
    if not objective_lib.is_of_classes(facts):
        return None
    return (np.arange(size) % facts.num_classes).astype(facts.label_dtype)


def _stored(config, facts, size):
    image, label = _types(facts)
    photographs = config.data.name in splits_lib.FOLDERS
    return splits_lib.Stored(
        _nothing,
        _nothing,
        range(size),
        facts.image_shape,
        augmented=photographs,
        labels=_classes(facts, size),
        dtype=str(np.dtype(image)),
        label_shape=facts.label_shape,
        label_dtype=label,
    )


def _nothing(*given):
    raise ValueError(f"no image must be read for a plan, got {given!r}")
