"""What happens once: pruning a large network, starting the program."""

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

import lthjax
from lthjax.devices import measure
from measures.timed.rows import Row, row
from measures.timed.steps import pruned

DIGITS = pathlib.Path(__file__).parents[3] / "configs" / "digits.py"


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
    jax.block_until_ready(pruned(params, masks, total))
    taken = []
    for level in range(1, options.rounds + 1):
        kept = round(total * 0.8**level)
        seconds, masks = measure.stopwatch(pruned, params, masks, kept)
        taken.append(seconds)
    most = 1.5 if jax.default_backend() == "cpu" else 0.02
    return [row(f"pruning {total / 1e6:.1f} million weights", "s", taken, most=most)]


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
    flags = [f"--config={DIGITS}", f"--workdir={root}/{name}"]
    flags.append("--config.logging.line_seconds=0.0")
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


PARTS = {"prune": prune, "start": start}
