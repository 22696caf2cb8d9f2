"""How training scales: devices, members, ways to run small networks at once."""

import functools
import unittest.mock
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.analysis import costs
from lthjax.devices import measure
from lthjax.program.build import plan
from lthjax.training import steps as steps_lib
from measures.timed.rows import Row, row
from measures.timed.steps import network, peers, setting, trainer

DEVICES = (2, 4)
OVERHEAD = 1.1  # of a step over a mesh of virtual devices, by the plain one
MEMBERS = {"lenet": (4, 16, 64), "resnet20": (4, 16)}  # on a CPU; else all of them
AT_ONCE = 4.0  # times the throughput of one by one: 16 ResNet-20 on an accelerator
MATRIX = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
UTILISED = 0.35  # of the measured rate of matrix products, on an accelerator
CONV = lax.conv_general_dilated


def devices(options) -> list[Row]:
    """Measures a population, and a batch, over several devices by one device.

    The work is the same. Devices of a CPU are virtual: they share its cores, so that
    what is measured is what the mapping costs.
    """
    rows = []
    for name in ("lenet",) if options.smoke else ("lenet", "resnet20"):
        runs = {"4 members": trainer(name, options, members=4)}
        runs["a batch"] = trainer(name, options)
        for n in (n for n in DEVICES if n <= jax.device_count()):
            runs[f"4 members {n}"] = trainer(name, options, members=4, mesh=(n, 1))
            runs[f"a batch {n}"] = trainer(name, options, mesh=(1, n))
        taken = measure.in_turns(runs, options.rounds, options.seconds)
        for which in list(runs)[2:]:
            what, _, n = which.rpartition(" ")
            most = OVERHEAD if jax.default_backend() == "cpu" else None
            text = f"{name}, seconds of {what} over {n} devices by one"
            rows.append(row(text, "times", taken[which] / taken[what], most=most))
    return rows


def members(options) -> list[Row]:
    """Measures the throughput of populations of K by that of K runs of one."""
    rows = []
    sizes = {"lenet": (4,)} if options.smoke else MEMBERS
    for name, counts in sizes.items():
        more = () if jax.default_backend() == "cpu" else (64,)
        counts = sorted({*counts, *more})
        runs = {n: trainer(name, options, members=n) for n in (1, *counts)}
        # Long turns: every call finds the order of the examples anew for each member.
        taken = measure.in_turns(runs, options.rounds, 4 * options.seconds)
        for n in counts:
            goal = name == "resnet20" and n == 16 and jax.default_backend() != "cpu"
            text, ratio = f"{name}, {n} at once by {n} runs", n * taken[1] / taken[n]
            rows.append(row(text, "times", ratio, least=AT_ONCE if goal else None))
    return rows


def ways(options) -> list[Row]:
    """Measures ways to train small convolutional networks at once, by the program's."""
    count = 2 if options.smoke else 4
    found = {
        "lax.map": (1, CONV),
        "vmap": (None, CONV),
        "vmap of patches": (None, patches),
        "vmap of shifted products": (None, shifted),
    }
    runs = {way: _by(way, pair, count, options) for way, pair in found.items()}
    taken = measure.in_turns(runs, options.rounds, options.seconds)
    images = count * network("resnet20", options).batch_size
    text = f"resnet20, {count} at once by "
    return [row(text + way, "images/s", images / taken[way]) for way in found]


def _by(way, pair, count, options):
    """Returns steps -> seconds of a population that is trained in some way."""
    together, conv = pair
    patched = functools.partial(unittest.mock.patch.object, new=conv)
    chosen = unittest.mock.patch.object(steps_lib, "together", lambda _: together)
    with chosen:
        run = trainer("resnet20", options, members=count)

    def timed(steps):
        with patched(lax, "conv_general_dilated"):  # traced in the first call
            return run(steps)

    return timed


def patches(x, kernel, strides, padding, **options) -> jax.Array:
    """Returns a convolution of `x` [n, h, w, c] as one product with its patches."""
    found = list(_shifts(x, kernel, strides, padding))
    return jnp.concatenate(found, -1) @ kernel.reshape(-1, kernel.shape[-1])


def shifted(x, kernel, strides, padding, **options) -> jax.Array:
    """Returns a convolution of `x` [n, h, w, c] as a sum of a product a shift."""
    taps = kernel.reshape(-1, *kernel.shape[2:])
    shifts = _shifts(x, kernel, strides, padding)
    return sum(part @ tap for part, tap in zip(shifts, taps, strict=True))


def _shifts(x, kernel, strides, padding):
    """Yields what every pixel of a kernel sees, [n, h', w', c]."""
    height, width = kernel.shape[:2]
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    shape = [(x.shape[i] - kernel.shape[i - 1]) // strides[i - 1] + 1 for i in (1, 2)]
    for i in range(height):
        for j in range(width):
            rows = slice(i, i + (shape[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(j, j + (shape[1] - 1) * strides[1] + 1, strides[1])
            yield x[:, rows, columns]


def utilisation(options) -> list[Row]:
    """Measures ResNet-18: images/s, by PyTorch, and of the rate of matrix products."""
    name, backend = "resnet18", jax.default_backend()
    dtype = "float32" if backend == "cpu" else "bfloat16"
    ours = {"masked": trainer(name, options, dtype=dtype)}
    size = 64 if options.smoke else MATRIX[backend]
    ours["product"] = products(size, dtype)
    with peers(name, options) as theirs:
        taken = measure.in_turns(ours | theirs, options.rounds, options.seconds)
    images = network(name, options).batch_size
    rate = 2 * size**3 / taken["product"]
    used = 3 * forward(name, options) * images / taken["masked"] / rate
    least = None if backend == "cpu" else UTILISED
    rows = [row(f"{name}, {k}", "images/s", images / taken[k]) for k in ours | theirs]
    rows = [r for r in rows if "product" not in r.what]
    rows.append(row(f"products of {size} x {size}, {dtype}", "TFLOP/s", rate / 1e12))
    rows.append(row(f"{name}, share of that rate", "", used, least=least))
    ratios = {which: taken[which] / taken["masked"] for which in theirs}
    for which, ratio in ratios.items():
        goal = None if backend == "cpu" else 1.0
        rows.append(row(f"{name}, masked by {which}", "times", ratio, least=goal))
    return rows


def products(size, dtype) -> Callable:
    """Returns steps -> seconds of products of square matrices."""
    x = jnp.full((size, size), 1 / size, dtype)
    run = jax.jit(lambda x, n: lax.fori_loop(0, n, lambda _, y: x @ y, x))
    return lambda steps: measure.stopwatch(run, x, steps)[0]


def forward(name, options) -> float:
    """Returns the multiplications and additions of a forward pass over one image."""
    config, source = setting(network(name, options), options, augment=False)
    ground = plan.of(config, source)
    params, state = ground.init_fn(jax.random.key(0))
    shape = source.train.images.shape[1:]
    used = costs.uses(
        lambda w, x: ground.apply_fn(w, state, x, False)[0], params, shape
    )
    return costs.flops(params, None, used)


PARTS = {
    "devices": devices,
    "members": members,
    "ways": ways,
    "utilisation": utilisation,
}
