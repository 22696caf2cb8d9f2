"""Speed: what masks, pruning, starting and populations cost, beside plain PyTorch.

GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python experiments/speed.py --workdir=runs/speed

What is compared is timed in turns: a ratio is the median of the ratios within a round.
"no masks" is the same program handed a tree of `None`, in which nothing is masked. Ours
shuffles, gathers and normalises uint8 images, as the program does; PyTorch, where it is
installed (`peers/speed.py`), finds float batches ready. Pixels are random: speed does
not depend on them. A part that the workdir holds is not measured again.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure
from rich import console, markdown

import lthjax
from lthjax import assembly, commands, names, report, timing, training
from lthjax import config as config_lib
from lthjax.data import known, sources

HERE = pathlib.Path(__file__).parent
END = 10**8  # a step that no measurement comes to


class Network(NamedTuple):
    """A training whose step is timed, masked in `most` times the unmasked seconds."""

    pixels: str
    model: str
    batch_size: int
    optimizer: dict[str, Any]
    most: float
    options: dict[str, Any]  # of the model, for --smoke only


class Row(NamedTuple):
    """A measurement: median and quartiles of n, and the bound on the median, if any."""

    what: str
    unit: str
    median: float
    low: float
    high: float
    n: int
    most: float | None = None
    least: float | None = None


ADAM = {"name": "adam", "learning_rate": 1.2e-3}
SLOW = {"name": "adam", "learning_rate": 3e-4}
SGD = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
FLAT, NARROW = {"hidden": (30, 10)}, {"channels": (4,), "hidden": (8, 8)}
SHORT = {"channels": (4,), "blocks": (1,)}
NETWORKS = {
    "lenet": Network("mnist", "lenet_300_100", 60, ADAM, 1.1, FLAT),
    "conv4": Network("cifar10", "conv4", 60, SLOW, 1.03, NARROW),
    "resnet20": Network("cifar10", "resnet20", 128, SGD, 1.03, SHORT),
}
POPULATIONS = {"lenet": (1, 4, 16), "resnet20": (1, 4)}
PEERS = {"PyTorch": False, "PyTorch, fused optimizer": True}
LEAST = {"lenet, population of 4 by PyTorch": 4.0, "resnet20, masked by PyTorch": 0.6}


def trainer(name: str, options, *, members=1, masked=True, augment=False) -> Callable:
    """Returns steps -> seconds for a population, compiled as the program compiles it.

    Every call goes on from where the last one stopped, with the masks of another level.
    """
    parts = assembly.build(*_training(_network(name, options), options, augment))
    params, model_state = parts.init_fn(jax.random.key(0))
    full = parts.masks_fn(params)
    _, ticket = parts.search.init(jax.random.key(0), params, model_state, full)
    total = lthjax.masks.count(full)[1]
    levels = [_pruned(params, full, round(total * 0.8**n)) for n in range(4)]
    if not masked:
        levels = [jax.tree.map(lambda _: None, params)]
    state = parts.begin(ticket._replace(masks=levels[0]))
    states = training.stack([state] * members)
    keys = jax.random.split(jax.random.key(0), members)
    turns = itertools.cycle([training.stack([masks] * members) for masks in levels])
    at = 0

    def run(steps):
        nonlocal states, at
        shared, at = ((next(turns), keys), (0, END), at, at + steps), at + steps
        seconds, states = timing.stopwatch(parts.run, states, *shared)
        return seconds

    return run


def _training(network, options, augment):
    """Returns the config of a training, and random pixels for it."""
    config = config_lib.default()
    config.model.name = network.model
    config.model.options = network.options
    config.train.batch_size = network.batch_size
    config.train.steps = config.eval_every = END
    config.optimizer.update(network.optimizer)
    config.data.crop, config.data.flip = (4, True) if augment else (0, False)
    facts, rng = known.FACTS[network.pixels], np.random.default_rng(0)

    def draw(size):
        images = rng.integers(0, 256, (size, *facts.image_shape), np.uint8)
        return sources.Split(images, rng.integers(0, 10, size, np.int32))

    splits = draw(512 if options.smoke else facts.train), draw(1), draw(1)
    return config, sources.Source(*splits, facts.num_classes, facts.mean, facts.std)


def _network(name, options):
    found = NETWORKS[name]
    return found._replace(**({"batch_size": 8} if options.smoke else {"options": {}}))


@jax.jit
def _pruned(params, masks, kept):
    return lthjax.pruning.prune(
        masks, lthjax.scores.magnitude(params, masks), kept=kept
    )


@contextlib.contextmanager
def peers(name: str, options) -> Iterator[dict[str, Callable]]:
    """Yields {which: steps -> seconds} of PyTorch's trainers, or {} without it."""
    if importlib.util.find_spec("torch") is None:
        yield {}
        return
    asked = {"network": name, "cuda": jax.default_backend() == "gpu"}
    asked |= _network(name, options)._asdict()
    command = [sys.executable, str(HERE / "peers" / "speed.py")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:

        def run(fused, steps):
            line = json.dumps({**asked, "fused": fused, "steps": steps})
            print(line, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())["seconds"]

        yield {which: functools.partial(run, fused) for which, fused in PEERS.items()}


def row(what: str, unit: str, values, **bound) -> Row:
    """Returns the row of some values, with `most` or `least` as bound of the median."""
    low, median, high = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
    return Row(what, unit, median, low, high, len(values), **bound)


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
    with timing.compilations() as compiled, peers(name, options) as theirs:
        taken = timing.in_turns(ours | theirs, options.rounds, options.seconds)
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
            images = members.get(which, 1) * _network(name, options).batch_size
            rows.append(row(f"{name}, {which}", "images/s", images / seconds))
        rows += _ratios(name, members, taken)
    return rows


def prune(options) -> list[Row]:
    """Measures pruning ResNet-50's weights by magnitude, level by level."""
    name = "lenet5" if options.smoke else "resnet50_imagenet"
    network = lthjax.models.build(name, 1000)
    init = functools.partial(lthjax.models.initialise, network, jax.random.key(0))
    shapes, _ = jax.eval_shape(init, np.zeros((1, 64, 64, 3), np.float32))
    draw = np.random.default_rng(0).standard_normal
    params = jax.device_put(jax.tree.map(lambda w: draw(w.shape, np.float32), shapes))
    masks = lthjax.masks.full(params)
    total = lthjax.masks.count(masks)[1]
    jax.block_until_ready(_pruned(params, masks, total))
    taken = []
    for level in range(1, options.rounds + 1):
        kept = round(total * 0.8**level)
        seconds, masks = timing.stopwatch(_pruned, params, masks, kept)
        taken.append(seconds)
    return [row(f"pruning {total / 1e6:.1f} million weights", "s", taken, most=1.5)]


def start(options) -> list[Row]:
    """Measures the digits run: seconds to its first step, and to its end."""
    first, times = ", step 1 of ", range(1 if options.smoke else 5)
    with tempfile.TemporaryDirectory() as root:
        cold = [_digits(root, f"cold{i}", f"cache{i}", first) for i in times]
        rows = [row("digits, to the first step, nothing cached", "s", cold)]
        if not options.smoke:
            warm = [_digits(root, f"warm{i}", "cache0", first) for i in times]
            rows += [row("digits, to the first step, programs cached", "s", warm)]
            whole = [_digits(root, "whole", "cache", "curve.png")]
            rows += [row("digits, the whole run, nothing cached", "s", whole, most=90)]
    return rows


def _digits(root, name, cache, awaited):
    """Returns the seconds from the command until it prints what is awaited."""
    config = f"--config={HERE.parent / 'configs' / 'digits.py'}"
    flags = [config, f"--workdir={root}/{name}", "--config.logging.line_seconds=0.0"]
    caching = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    caching["JAX_COMPILATION_CACHE_DIR"] = f"{root}/{cache}"
    pipes = {"stderr": subprocess.STDOUT, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "lthjax.main", *flags]
    began = time.perf_counter()
    with subprocess.Popen(command, env=os.environ | caching, **pipes) as process:
        found = any(awaited in line for line in process.stdout)
        seconds = time.perf_counter() - began
        process.kill()
    if not found:
        raise RuntimeError(f"the digits run must print {awaited!r}, and it did not")
    return seconds


PARTS = {name: functools.partial(step, name) for name in NETWORKS}
PARTS |= {"population": population, "prune": prune, "start": start}


def setup(options) -> dict[str, str]:
    """Returns what the numbers depend on, which a workdir keeps."""
    pages = "hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
    wanted = ("jax", "flax", "optax", "torch")
    found = [name for name in wanted if importlib.util.find_spec(name)]
    device = jax.devices()[0].device_kind.replace("cpu", "CPU")
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {device}",
        "versions": ", ".join(f"{n} {importlib.metadata.version(n)}" for n in found),
        "huge pages": "on" if pages else "off, see the command",
        "rounds": f"{options.rounds}, turns of {options.seconds} s",
        "networks": "small (--smoke)" if options.smoke else "whole",
    }


def text(facts: dict[str, str], rows: list[Row]) -> str:
    """Returns the table as Markdown, with its command and what it depends on."""
    lines = ["# Speed", "", f"    {__doc__.splitlines()[2]}", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    lines += ["", "| what | | median | quartiles | n | target |", "|---" * 6 + "|"]
    for r in rows:
        bound = "" if r.most is None else f"at most {r.most:g}"
        bound = bound if r.least is None else f"at least {r.least:g}"
        bound += "" if met(r) else ", **missed**"
        numbers = f"{r.median:.4g} | {r.low:.4g} to {r.high:.4g} | {r.n}"
        lines.append(f"| {r.what} | {r.unit} | {numbers} | {bound} |")
    return "\n".join(lines) + "\n"


def met(row: Row) -> bool:
    """Returns whether the median is within its bound."""
    above = row.most is not None and row.median > row.most
    return not above and (row.least is None or row.median >= row.least)


def figure(rows: list[Row]) -> Figure:
    """Draws what has a target: the median as a share of it, and where it must lie."""
    shown = [r for r in rows if r.most or r.least]
    shape = Figure(figsize=(9, 1 + 0.4 * len(shown)), layout="constrained")
    axes = shape.subplots()
    shares = [r.median / (r.most or r.least) for r in shown]
    labels = [f"{r.what}\n(at {'most' if r.most else 'least'} 1)" for r in shown]
    axes.barh(labels, shares, color=["C0" if met(r) else "C3" for r in shown])
    axes.axvline(1, color="0.3", ls="--")
    axes.set_xlabel("measured / target")
    axes.invert_yaxis()
    return shape


def main() -> None:
    """Measures the parts asked for that the workdir does not hold, and shows them."""
    parser = commands.arguments(__doc__)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of a turn, about")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, by commas")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.smoke else 15)
    options.seconds = options.seconds or (0.01 if options.smoke else 1.0)
    lthjax.cpu.lower_convolutions()
    options.workdir.mkdir(parents=True, exist_ok=True)
    path, facts = options.workdir / "speed.json", setup(options)
    saved = json.loads(path.read_text()) if path.exists() else {"setup": facts}
    if saved["setup"] != facts:
        sys.exit(f"error: a workdir keeps its setup {saved['setup']}, got {facts}")
    asked = [part for part in options.only.split(",") if part not in saved]
    for part in asked:
        if len(asked) == 1 or options.smoke:
            saved[part] = names.resolve(part, PARTS, "part")(options)
            lthjax.results.write(path, json.dumps(saved, indent=1))
        else:  # a process each: in one that ran others, half the speed was seen
            subprocess.run([sys.executable, *sys.argv, f"--only={part}"], check=True)
            saved = json.loads(path.read_text())
    rows = [Row(*r) for part in PARTS for r in saved.get(part, [])]
    lthjax.results.write(options.workdir / "speed.md", text(facts, rows))
    report.save(figure(rows), options.workdir / "speed.png")
    console.Console().print(markdown.Markdown(text(facts, rows)))
    print(f"the figure is {options.workdir / 'speed.png'}")


if __name__ == "__main__":
    main()
