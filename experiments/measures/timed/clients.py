"""What a client's step and a round of clients cost, beside PyTorch's."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from lthjax import models
from lthjax.data import augment
from lthjax.devices import cpu_convolutions, meshes
from lthjax.federated import local_training, policies, rounds, states, visits
from lthjax.pruning import masks as masks_lib
from lthjax.training import members, optimizers
from measures.timed import pytorch
from measures.timed.rows import Row, row

SAMPLES = (60, 150, 300)  # of a client: 3 shards of 20, 50, 100
BATCH, CLIENTS = 32, 100
STEP = 1.2  # at most: processor time of a step by PyTorch's, at one thread
ROUND = 1.5  # at least: a round on all cores, times as fast as PyTorch's
DEVICES = 2  # virtual ones, each with clients of its own
LOCAL_EPOCHS = 2  # the rest of a round, its sorting and averaging, is not hidden
Run = Callable[[], tuple[float, float]]  # -> seconds of the wall and of the processors


def _functions(epochs):
    model = models.build("lenet_tutorial", 10)
    shape = np.zeros((1, 32, 32, 3), np.uint8)
    params, _ = models.initialise(model, jax.random.key(0), shape)
    tx = optimizers.sgd(0.01, momentum=0.9, nesterov=False, weight_decay=0.0)

    def apply(params, state, images, train):
        return models.apply(model, params, state, images, train=train)

    def prepare(images):
        return augment.normalise(images, (0.5,) * 3, (0.25,) * 3)

    sizes = {"epochs": epochs, "batch_size": BATCH}
    train = local_training.trainer(apply, prepare, tx, **sizes)
    count = local_training.counter(apply, prepare, batch_size=BATCH)
    return params, train, count


def _examples(samples, *lead):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (*lead, samples, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, (*lead, samples), dtype=np.int32)
    return images, labels, np.full(lead, samples, np.int32)


def client(samples: int, epochs: int = 10) -> Run:
    """Returns what trains one client, and takes the time.

    Args:
      samples: How many examples it has.
      epochs: How often it sees them.
    """
    params, train, _ = _functions(epochs)
    options = cpu_convolutions.compiler_options(params)
    compiled = jax.jit(train, compiler_options=options)
    given = params, masks_lib.full(params), _examples(samples), jax.random.key(0)
    return functools.partial(_timed, compiled, *jax.device_put(given))


def round_of(samples: int, epochs: int) -> Run:
    """Returns what does a round of FedAvg by all clients, and takes the time.

    Args:
      samples: How many examples each has.
      epochs: How often it sees them.
    """
    params, *functions = _functions(epochs)
    full, policy = masks_lib.full(params), policies.fedavg()
    images, labels, size = _examples(samples, CLIENTS)
    held = images[:, :1], labels[:, :1], np.ones(CLIENTS, np.int32)
    examples = states.Examples(images, labels, size, *held)
    start = states.begin(params, full, CLIENTS, threshold=policy.threshold)
    mesh = meshes.mesh(min(DEVICES, jax.device_count()))
    visit = visits.visitor(policy, full, *functions)
    options = {"together": members.together(params), "mesh": mesh}
    one = rounds.round_of(policy, visit, CLIENTS, **options)
    compiled = jax.jit(one, compiler_options=cpu_convolutions.compiler_options(params))
    given = jax.device_put((jax.random.key(0), *start, examples))
    return functools.partial(_timed, compiled, *given)


def _timed(fn, *args):
    began = time.perf_counter(), time.process_time()
    jax.block_until_ready(fn(*args))
    return time.perf_counter() - began[0], time.process_time() - began[1]


@contextlib.contextmanager
def peer() -> Iterator[Callable[..., Run] | None]:
    """Yields (samples, clients, epochs, threads) -> what PyTorch takes, or None."""
    with pytorch.asked("clients.py") as ask:

        def run(question):
            found = ask(question)
            return found["seconds"], found["processor"]

        yield (lambda **given: functools.partial(run, given)) if ask else None


def turns(runs: dict[str, Run], number: int) -> dict[str, np.ndarray]:
    """Returns {name: [number, 2]} of runs in turns, each round begun by another one.

    Args:
      runs: What is compared; the first call of each, which compiles, is not counted.
      number: Of the rounds.
    """
    for run in runs.values():
        run()
    found, names = {name: [] for name in runs}, list(runs)
    for i in range(number):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(runs[name]())
    return {name: np.array(values) for name, values in found.items()}


def clients(options) -> list[Row]:
    """Measures a client's step and a round of all, by PyTorch client by client."""
    rows = []
    with peer() as other:
        for samples in SAMPLES[:1] if options.smoke else SAMPLES:
            rows += _step(other, samples, options) + _round(other, samples, options)
    return rows


def _step(other, samples, options):
    epochs = 1 if options.smoke else 10
    steps, what = epochs * -(-samples // BATCH), f"client of {samples} examples"
    runs = {"ours": client(samples, epochs)}
    if other:
        asked = {"clients": 1, "epochs": epochs, "threads": 1}
        runs["theirs"] = other(samples=samples, **asked)
    taken = {name: v[:, 1] for name, v in turns(runs, options.rounds).items()}
    unit = "processor ms"
    rows = [row(f"{what}, a step", unit, 1e3 * taken["ours"] / steps)]
    if other:
        rows.append(row(f"{what}, PyTorch's step", unit, 1e3 * taken["theirs"] / steps))
        ratio = taken["ours"] / taken["theirs"]
        rows.append(row(f"{what}, a step by PyTorch's", "times", ratio, most=STEP))
    return rows


def _round(other, samples, options):
    epochs = 1 if options.smoke else LOCAL_EPOCHS
    runs = {"ours": round_of(samples, epochs)}
    if other:
        asked = {"samples": samples, "clients": CLIENTS, "epochs": epochs}
        runs |= {str(n): other(**asked, threads=n) for n in (1, 2)}
    taken = {name: v[:, 0] for name, v in turns(runs, options.rounds).items()}
    what = f"round of {CLIENTS} clients of {samples} examples"
    rows = [row(what, "s", taken["ours"])]
    if other:
        best = min((taken["1"], taken["2"]), key=np.median)
        text = f"{what}, as fast as PyTorch one by one"
        rows.append(row(text, "times", best / taken["ours"], least=ROUND))
    return rows


PARTS = {"clients": clients}
