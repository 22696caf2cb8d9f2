"""The settings of JAX that the numbers of a run depend on: with others, no going on."""

import pathlib
from typing import Any

import jax

KEY = "jax"  # of what is noted in a workdir
NAMES = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
)
PRECISION = "jax_default_matmul_precision"


def now() -> dict[str, Any]:
    """Returns {name: value} of this process, `None` of what its JAX has not."""
    found = {name: getattr(jax.config, name, None) for name in NAMES}
    return found | {PRECISION: getattr(jax.config, PRECISION, None) or "default"}


def noted(root: pathlib.Path, held: dict | None, *, begun: bool) -> dict[str, Any]:
    """Returns what is to be noted, where it goes with what was noted before.

    Args:
      root: The workdir.
      held: What it was begun with; `None` where nothing says so.
      begun: Whether something has been trained in it.

    Raises:
      ValueError: It was begun with others: numbers would be cut to 32 bits, multiplied
        as fewer, or drawn otherwise, from here on.
    """
    here = now()
    if not begun or not isinstance(held, dict):
        return here
    apart = [
        name
        for name, value in here.items()
        if None not in (value, held.get(name)) and held[name] != value
    ]
    if apart:
        rows = ", ".join(f"{name} = {here[name]!r}" for name in apart)
        sets = " ".join(f"{name.upper()}={held[name]}" for name in apart)
        raise ValueError(
            "a run must go on with the settings of JAX that it began with, got "
            f"{rows} in workdir = {root}; set {sets} in the environment, or take "
            "another workdir"
        )
    return here | {name: value for name, value in held.items() if value is not None}
