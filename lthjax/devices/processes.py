"""Several processes as one run: who starts, who writes, and what all must agree on.

Every process runs the same program on the same config. What they train lies over the
mesh; what a search decides on the host every process decides for itself, from the same
numbers. Files are written by the first process, checkpoints of what lies on the mesh by
all, and the workdir is one that all can read.
"""

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

log = logging.getLogger(__name__)

HEARTBEAT = 30  # seconds after which a silent process is taken for dead
GOODBYE = 15  # seconds that a process which ends waits for the others


def asked(environment: Any = os.environ) -> bool:
    """Says whether the environment has several processes for one run.

    It does in a SLURM step of several tasks and on a worker of a TPU pod slice.

    Args:
      environment: The environment variables.
    """
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    return tasks.isdigit() and int(tasks) > 1 or "," in hosts


def start(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    wanted: bool = False,
) -> None:
    """Joins the other processes of the run, if there are any.

    To be called before JAX is used. A process that dies, or whose machine does, stops
    the others within a minute; the same command on all of them goes on from the last
    checkpoint.

    Args:
      coordinator: "host:port" of the first process; `None` to find out from SLURM or
        from the TPU pod.
      count: The number of processes; likewise.
      index: The number of this one, from 0; likewise.
      wanted: Whether to join even where the environment is silent.

    Raises:
      ValueError: Of the three, some are given and some are not, or they are impossible.
    """
    given = [value for value in (coordinator, count, index) if value is not None]
    if given and len(given) < 3:
        raise ValueError(
            "coordinator, processes and process go together, got coordinator = "
            f"{coordinator!r}, processes = {count}, process = {index}; give all three, "
            "or none where SLURM or a TPU pod tells"
        )
    if given and not 0 <= index < count:
        raise ValueError(
            "process must be from 0 to processes - 1, got process = "
            f"{index}, processes = {count}"
        )
    if not (given or wanted or asked()):
        return
    if jax.config.jax_platforms == "cpu" or os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=GOODBYE,
        )
    except ValueError as error:
        raise ValueError(
            "the environment must tell who the other processes are, got "
            f"coordinator = {coordinator!r} ({error}); give coordinator, processes and "
            "process"
        ) from error
    log.info("process %d of %d", jax.process_index(), jax.process_count())


def print_utf8() -> None:
    """Has this process print UTF-8, in the C locale too, and paths as they are."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def alone() -> bool:
    """Says whether this is the only process of the run."""
    return jax.process_count() == 1


def first() -> bool:
    """Says whether this is the process that writes."""
    return jax.process_index() == 0


def meet(name: str) -> None:
    """Waits until all processes are here.

    Args:
      name: Of the place, the same in all; what an error will call it.
    """
    if not alone():
        multihost_utils.sync_global_devices(name)


def by_first(write: Callable[..., None]) -> Callable[..., None]:
    """Returns a function that the first process does, while the others wait for it.

    Args:
      write: What is done once, such as a file that is written.
    """

    @functools.wraps(write)
    def written(*args, **options):
        if first():
            write(*args, **options)
        meet(write.__qualname__)

    return written


def largest(*values: float) -> list[float]:
    """Returns the largest of each value over all processes: what all go by."""
    if alone():
        return list(values)
    rows = multihost_utils.process_allgather(np.asarray(values, np.float64))
    return [float(value) for value in np.asarray(rows).max(axis=0)]


def check_same(what: str, digest: str) -> None:
    """Checks that every process found the same thing.

    Args:
      what: What it is, for the error.
      digest: A hash of it in hexadecimal digits, of one length in all processes.

    Raises:
      ValueError: They did not.
    """
    if alone():
        return
    own = np.frombuffer(bytes.fromhex(digest), np.uint8)
    rows = np.asarray(multihost_utils.process_allgather(own))
    if (rows != rows[:1]).any():
        others = [int(i) for i in np.flatnonzero((rows != rows[:1]).any(axis=1))]
        raise ValueError(
            f"all processes must find the same {what}, got other bits in process "
            f"{others} than in process 0; they must run on machines of one kind with "
            "the same libraries"
        )
