"""Training steps: masked, without masks, of a population, and PyTorch's."""

import contextlib
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

import lthjax
from lthjax.data import facts as facts_lib
from lthjax.data import in_memory
from lthjax.devices import measure, meshes
from lthjax.program.build import assemble
from lthjax.program.config import files
from lthjax.training import members as members_lib
from measures.timed import pytorch
from measures.timed.rows import Row, row

HERE = pathlib.Path(__file__).parents[2]
END = 10**8  # a step that no measurement comes to


class Network(NamedTuple):
    """A training whose step is timed, masked in `most` times the unmasked seconds."""

    pixels: str
    model: str
    batch_size: int
    optimizer: dict[str, Any]
    most: float
    options: dict[str, Any]  # of the model, for --smoke only


ADAM = {"name": "adam", "learning_rate": 1.2e-3}
SLOW = {"name": "adam", "learning_rate": 3e-4}
SGD = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
FLAT, NARROW = {"hidden": (30, 10)}, {"channels": (4,), "hidden": (8, 8)}
SHORT = {"channels": (4,), "blocks": ()}
NETWORKS = {
    "lenet": Network("mnist", "lenet_300_100", 60, ADAM, 1.1, FLAT),
    "conv4": Network("cifar10", "conv4", 60, SLOW, 1.03, NARROW),
    "resnet8": Network("cifar10", "resnet8", 128, SGD, 1.03, SHORT),
    "resnet20": Network("cifar10", "resnet20", 128, SGD, 1.03, SHORT),
}
# Timed by `scaling` only.
LARGE = {"resnet18": Network("cifar10", "resnet18", 128, SGD, 1.03, SHORT)}
POPULATIONS = {"lenet": (1, 4, 16), "resnet20": (1, 4)}
PEERS = {"PyTorch": {"fused": False}, "PyTorch, fused optimizer": {"fused": True}}
LEAST = {"lenet, population of 4 by PyTorch": 4.0}
LEAST |= {f"{name}, masked by PyTorch": 0.85 for name in ("resnet8", "resnet20")}


def trainer(
    name: str,
    options,
    *,
    members=1,
    masked=True,
    augment=False,
    mesh=(1, 1),
    dtype="float32",
    batch_size=None,
    basis=(),
) -> Callable:
    """Returns steps -> seconds of a network's training, as `running` gives them."""
    config, source = setting(network(name, options), options, augment)
    config.model.dtype = dtype
    config.train.batch_size = batch_size or config.train.batch_size
    config.mesh.ticket, config.mesh.data = mesh
    config.search.basis = basis
    return running(config, source, members=members, masked=masked)


def running(config, source, *, members=1, masked=True) -> Callable:
    """Returns steps -> seconds for a population, compiled as the program compiles it.

    Every call goes on from where the last one stopped, with the masks of another level.
    """
    parts = assemble.build(config, source)
    params, model_state = parts.init_fn(jax.random.key(0))
    full = parts.masks_fn(params)
    _, ticket = parts.search.init(jax.random.key(0), params, model_state, full)
    total = lthjax.masks.count(full)[1]
    levels = [pruned(params, full, round(total * 0.8**n)) for n in range(4)]
    if not masked:
        levels = [jax.tree.map(lambda _: None, params)]
    state = parts.begin(ticket._replace(masks=levels[0]))
    states = meshes.spread(parts.data.mesh, members_lib.stack([state] * members))
    keys = jax.random.split(jax.random.key(0), members)
    fixed = [(members_lib.stack([masks] * members), keys) for masks in levels]
    fixed = [meshes.spread(parts.data.mesh, trees) for trees in fixed]
    return going_on(parts, states, fixed)


def going_on(parts, states, fixed, at=0, until=END) -> Callable:
    """Returns steps -> seconds of a population that trains on with every call.

    Args:
      parts: The functions of the run.
      states: Of the members.
      fixed: (masks, keys), of the calls in turn.
      at: The step that it begins at.
      until: The step that its schedule ends at, which it does not come to.
    """
    turns = itertools.cycle(fixed)

    def run(steps):
        nonlocal states, at
        shared, at = (next(turns), (0, until), at, at + steps), at + steps
        seconds, states = measure.stopwatch(parts.run, states, *shared)
        return seconds

    return run


def moving(name: str, options) -> Callable:
    """Returns steps -> seconds of RigL's steps between two changes, 90 % sparse."""
    config, source = setting(network(name, options), options, False)
    config.search.update(method="rigl", sparsities=(0.9,), scope="erdos_renyi_kernel")
    config.dynamic.every = END // 2
    parts, key = assemble.build(config, source), jax.random.key(0)
    params, model_state = parts.init_fn(key)
    found = parts.search.init(key, params, model_state, parts.masks_fn(params))
    _, ticket = parts.search.step(key, *found, None)
    fixed = members_lib.stack([ticket.masks]), jax.random.split(key, 1)
    return going_on(parts, members_lib.stack([parts.begin(ticket)]), [fixed])


def setting(network, options, augment):
    """Returns the config of a training, and random pixels for it."""
    config = files.default()
    config.model.name = network.model
    config.model.options = network.options
    config.train.batch_size = network.batch_size
    config.train.steps = config.eval_every = END
    config.eval_batch = 512
    config.optimizer.update(network.optimizer)
    config.data.crop, config.data.flip = (4, True) if augment else (0, False)
    return config, noise(network.pixels, 512 if options.smoke else 0)


def noise(name: str, train: int = 0) -> in_memory.Source:
    """Returns random pixels and labels like those of a data set.

    Args:
      name: Of the data set.
      train: Images to train on; 0: as many as that has.
    """
    facts, rng = facts_lib.FACTS[name], np.random.default_rng(0)

    def draw(size):
        images = rng.integers(0, 256, (size, *facts.image_shape), np.uint8)
        labels = rng.integers(0, facts.num_classes, size, np.int32)
        return in_memory.Split(images, labels)

    splits = draw(train or facts.train), draw(1), draw(1)
    return in_memory.Source(*splits, facts.num_classes, facts.mean, facts.std)


def network(name: str, options) -> Network:
    """Returns a network to be timed, a small one for --smoke."""
    found = (NETWORKS | LARGE)[name]
    if name in LARGE and jax.default_backend() != "cpu":
        found = found._replace(batch_size=512)
    return found._replace(**({"batch_size": 8} if options.smoke else {"options": {}}))


@jax.jit
def pruned(params, masks, kept):
    """Returns the masks that keep so many weights of the largest magnitude."""
    return lthjax.pruning.prune(
        masks, lthjax.scores.magnitude(params, masks), kept=kept
    )


@contextlib.contextmanager
def peers(name: str, options, ways=PEERS) -> Iterator[dict[str, Callable]]:
    """Yields {which: steps -> seconds} of PyTorch's trainers, or {} without it.

    A trainer that fails raises a `RuntimeError` with PyTorch's sentence.
    """
    given = {"network": name, "cuda": jax.default_backend() == "gpu"}
    given |= network(name, options)._asdict()
    with pytorch.asked("speed.py") as ask:

        def run(way, steps):
            found = ask({**given, **way, "steps": steps})
            if "failed" in found:
                raise RuntimeError(f"PyTorch must train {name}, got {found['failed']}")
            return found["seconds"]

        every = ways if ask else {}
        yield {which: functools.partial(run, way) for which, way in every.items()}


def step(name: str, options) -> list[Row]:
    """Measures a network's step: masked, without masks, augmented, in PyTorch."""
    ours = {"masked": trainer(name, options)}
    ours["no masks"] = trainer(name, options, masked=False)
    if name == "resnet20" and not options.smoke:
        ours["masked, crop and flip"] = trainer(name, options, augment=True)
    taken, compiled = _compared(name, ours, options)
    rows = [row(f"{name}, {k}", "steps/s", 1 / taken[k]) for k in taken]
    overhead = taken["masked"] / taken["no masks"]
    most = NETWORKS[name].most
    rows += [row(f"{name}, seconds masked by no masks", "times", overhead, most=most)]
    rows += [row(f"{name}, compilations after the first level", "", compiled, most=0)]
    return rows + _ratios(name, {"masked": 1}, taken)


def _compared(name, ours, options):
    """Returns ({which: seconds of each step}, [compilations after the first turns])."""
    for run in ours.values():
        run(1)
    with measure.compilations() as compiled, peers(name, options) as theirs:
        taken = measure.in_turns(ours | theirs, options.rounds, options.seconds)
    return taken, [len(compiled)]


def _ratios(name, members, taken):
    """Returns the throughput of each of ours by each of PyTorch's."""
    rows = []
    for which, other in itertools.product(members, PEERS):
        if other in taken:
            what = f"{name}, {which} by {other}"
            least = LEAST.get(what) if jax.default_backend() == "cpu" else None
            ratio = members[which] * taken[other] / taken[which]
            rows.append(row(what, "times", ratio, least=least))
    return rows


def population(options) -> list[Row]:
    """Measures the images a second, in all, of populations of several sizes."""
    rows = []
    sizes = {"lenet": (4,)} if options.smoke else POPULATIONS
    for name in sizes:
        members = {f"population of {n}": n for n in sizes[name]}
        ours = {k: trainer(name, options, members=n) for k, n in members.items()}
        taken, _ = _compared(name, ours, options)
        for which, seconds in taken.items():
            images = members.get(which, 1) * network(name, options).batch_size
            rows.append(row(f"{name}, {which}", "images/s", images / seconds))
        rows += _ratios(name, members, taken)
    return rows


PARTS = {name: functools.partial(step, name) for name in NETWORKS}
PARTS |= {"population": population}
