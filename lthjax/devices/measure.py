"""Programs timed in turns, so that what slows the machine down slows all of them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np


def in_turns(
    contenders: Mapping[str, Callable[[int], float]], rounds: int, seconds: float
) -> dict[str, np.ndarray]:
    """Returns the seconds of a step of each contender, one number a round.

    Every contender has a turn in every round, each round begins with another one, so
    that the ratio of two contenders within a round says more than either of them. A
    turn opens with half as many steps that are not timed: for a second after another
    process has worked, a convolutional step takes longer.

    Args:
      contenders: {name: steps -> seconds taken}; the first calls, which compile, and
        those that find the number of steps are left out.
      rounds: The number of values returned for each contender.
      seconds: The length of a turn, roughly.
    """
    steps = {name: _calibrated(run, seconds) for name, run in contenders.items()}
    taken = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            contenders[name](-(-steps[name] // 2))
            taken[name].append(contenders[name](steps[name]) / steps[name])
    return {name: np.array(values) for name, values in taken.items()}


def _calibrated(run, seconds):
    """Returns how many steps take so many seconds, or up to twice as many."""
    run(1)
    steps = 1
    while run(steps) < seconds:
        steps *= 2
    return steps


def stopwatch(fn: Callable[..., Any], *args) -> tuple[float, object]:
    """Returns `(seconds, fn(*args))`, the result computed, not only dispatched."""
    began = time.perf_counter()
    result = jax.block_until_ready(fn(*args))
    return time.perf_counter() - began, result


def repeated(fn: Callable[..., Any], *args: Any) -> Callable[[int], float]:
    """Returns steps -> the seconds of so many calls `fn(*args)`, for `in_turns`."""
    return lambda steps: stopwatch(lambda: [fn(*args) for _ in range(steps)])[0]


@contextlib.contextmanager
def compilations() -> Iterator[list[float]]:
    """Yields a list that grows by the seconds of each program that XLA compiles."""
    seen = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
