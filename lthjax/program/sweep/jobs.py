"""Runs of a sweep are started: here, or by submitit, on this machine or by SLURM."""

import contextlib
import functools
import logging
import operator
import os
import pathlib
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lthjax import registry
from lthjax.program import command_line, progress
from lthjax.program.config import files
from lthjax.program.sweep import grid

log = logging.getLogger(__name__)

JOBS = "jobs"  # the folder of submitit's files and logs
DAY = 24 * 60  # minutes
TIMEOUTS = 1000  # after so many a job is given up; a run goes on after each
SECONDS = 2.0  # between two looks at the jobs
OURS = ValueError, FloatingPointError  # what a run is refused or given up by
LEVEL = "SUBMITIT_LOG_LEVEL"
DEVICES = "CUDA_VISIBLE_DEVICES"


class Job(NamedTuple):
    """Runs that one job does in turn: what submitit calls, and sends again.

    Attributes:
      runs: (config as JSON, workdir) of each.
      devices: For a process of this machine, the GPUs that who started it may use, as
        the environment has them; `None` for all. submitit would hide them.
      cores: For a process of this machine, the processors that it computes on, its
        share of them; () for all. Two runs beside each other on a core each do more
        than each on both, where the operations of a step are small.
    """

    runs: tuple[tuple[str, str], ...]
    devices: str | None = None
    cores: tuple[int, ...] = ()

    def __call__(self) -> dict[str, str]:
        """Runs what is missing of each, and returns {workdir: error} of those failed.

        A signal of SLURM before the time limit or a preemption lets the run save and
        the job be queued again; SIGTERM alone lets it save, and go on until it is
        killed.
        """
        here = os.environ.get("SUBMITIT_EXECUTOR") == "local"
        if here and self.cores:
            os.sched_setaffinity(0, self.cores)  # before JAX counts them
        command_line.prepare()
        if here:
            os.environ.pop(DEVICES, None)
            os.environ |= {} if self.devices is None else {DEVICES: self.devices}
        with _preemption() as yield_:
            return finish(self.runs, yield_)

    def checkpoint(self):
        """Returns what is queued again: itself, since a run resumes."""
        return _submitit().helpers.DelayedSubmission(self)


def stopped(stop: Exception | None) -> None:
    """Raises what a run was stopped by."""
    if stop is not None:
        raise stop


def finish(
    runs: Sequence[tuple[str, str]], yield_: Callable[..., Any] = stopped
) -> dict[str, str]:
    """Runs what is missing of each run; one that fails does not stop the others.

    Args:
      runs: (config as JSON, workdir) of each.
      yield_: Called before each with `None`, and with what a run was stopped by; where
        it returns then, the run goes on.

    Returns:
      {workdir: error} of those that failed.
    """
    failed = {}
    for text, folder in runs:
        yield_(None)
        error = _finish(text, folder, yield_)
        failed |= {folder: error} if error else {}
    return failed


def _finish(text, folder, yield_):
    """Runs what is missing of a run, and returns its error, `None` if there is none."""
    while True:
        try:
            grid.finish(files.from_json(text), folder)
            return None
        except progress.Interrupted as stop:
            yield_(stop)
        except Exception as error:  # of a user's own code, too
            _say(folder, error)
            return f"{type(error).__name__}: {error}"


def _say(folder, error):
    """Logs what ended a run: a sentence of ours as it is, else with its traceback."""
    if not (isinstance(error, OURS) and registry.is_ours(error)):
        log.error("%s failed", folder, exc_info=error)
        return
    own = registry.own_traceback(error.__cause__)
    log.error("%s failed: %s%s", folder, f"{own}\n" * bool(own), error)


@contextlib.contextmanager
def _preemption() -> Iterator[Callable]:
    """Yields what `finish` calls: the job is queued again if its signal came.

    submitit's handler of that signal queues the job and ends the process at once; while
    a run trains it is called only when the run has saved.
    """
    number = getattr(signal, f"SIG{_submitit().JobEnvironment.USR_SIG}")
    handler, idle = signal.getsignal(number), signal.getsignal(signal.SIGTERM)
    if not callable(handler):  # not started by submitit
        yield stopped
        return
    asked = threading.Event()

    def ask(number, frame):
        if signal.getsignal(signal.SIGTERM) == idle:  # there is nothing to save
            handler(number, frame)
        asked.set()
        signal.raise_signal(signal.SIGTERM)

    def yield_(stop):
        if asked.is_set():
            handler(number, None)
        if os.environ["SUBMITIT_EXECUTOR"] != "slurm":
            stopped(stop)

    signal.signal(number, ask)
    try:
        yield yield_
    finally:
        signal.signal(number, handler)


def _submitit():
    """Returns the package, which only these functions need, its log left as ours is."""
    level = os.environ.setdefault(LEVEL, "NOCONFIG")
    try:
        import submitit  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            "submitit must be installed to give runs to jobs: pip install "
            f"'lthjax[sweep]', got {error}"
        ) from error
    finally:
        if level == "NOCONFIG":  # jobs keep a log of submitit's
            del os.environ[LEVEL]
    return submitit


def submit(
    cluster: str,
    root: str | pathlib.Path,
    runs: Sequence[tuple[str, str]],
    *,
    jobs: int = 0,
    options: Mapping[str, Any] | None = None,
) -> list[tuple[tuple, Any]]:
    """Returns (its runs, submitit's job) of every job that was submitted.

    Args:
      cluster: "local", processes on this machine, or "slurm".
      root: The folder of the sweep, which all machines see.
      runs: (config as JSON, workdir) of each.
      jobs: How many jobs share the runs; 0: a job each.
      options: submitit's parameters for SLURM: partition, time (minutes), ...

    Raises:
      ValueError: submitit is not installed, there is no such cluster here, or it
        refuses the options or the jobs.
    """
    executor = _executor(cluster, pathlib.Path(root).absolute() / JOBS, options or {})
    number = min(jobs or len(runs), len(runs))
    parts = [tuple(runs[i::number]) for i in range(number)]
    devices = os.environ.get(DEVICES)
    made = [Job(part, devices, share(i, number)) for i, part in enumerate(parts)]
    try:
        with executor.batch():
            found = [executor.submit(job) for job in made]
    except RuntimeError as error:  # what sbatch says
        raise ValueError(
            f"the scheduler must accept the jobs, got executor = {cluster}, options = "
            f"{dict(options or {})}: {error}"
        ) from error
    return list(zip(parts, found, strict=True))


def share(at: int, number: int) -> tuple[int, ...]:
    """Returns the processors of one of some processes that share a machine.

    Args:
      at: Which it is, from 0.
      number: How many they are.

    Returns:
      A share of those that this process may use, no two alike; () where there are not
      as many as processes, or the system does not tell.
    """
    if not hasattr(os, "sched_getaffinity"):
        return ()
    known = sorted(os.sched_getaffinity(0))
    if number > len(known):
        return ()
    return tuple(known[at * len(known) // number : (at + 1) * len(known) // number])


def _executor(cluster, folder, options):
    submitit = _submitit()
    _check_time(options)
    folder = _new(folder)
    given = {f"slurm_{key}": value for key, value in options.items()}
    minutes = DAY if cluster == "slurm" else 3650 * DAY  # the local one ends jobs, too
    try:
        executor = submitit.AutoExecutor(
            folder=folder, cluster=cluster, slurm_max_num_timeout=TIMEOUTS
        )
        executor.update_parameters(name="lthjax", timeout_min=minutes, **given)
    except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"submitit must accept what is asked for, got executor = {cluster}, "
            f"options = {dict(options)}: {error}"
        ) from error
    return executor


def _new(folder):
    """Returns a new folder, in which no file can be taken for one of these jobs.

    A job of this machine is named by its process: the result of an earlier one would be
    unpickled as its own.
    """
    if "%" in str(folder):
        raise ValueError(
            "a path that jobs write to must be without %, a pattern to SLURM, got "
            f"{str(folder)!r}; take another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(
        tempfile.mkdtemp(prefix=time.strftime("%F_%H%M%S_"), dir=folder)
    )


def _check_time(options):
    """Checks that a job does something before it is told that its time ends."""
    time, delay = options.get("time", DAY), options.get("signal_delay_s", 90)
    if isinstance(time, int) and 60 * time < delay + 120:
        raise ValueError(
            f"SLURM's signal comes {delay} s before the limit, or up to a minute "
            "earlier, and a job must have a minute before it, got slurm.time = "
            f"{time} minutes; give more, or a shorter slurm.signal_delay_s"
        )


def wait(started: Sequence[tuple[tuple, Any]]) -> dict[str, str]:
    """Waits until all jobs have ended and returns {workdir: error} of failed runs.

    Where SLURM keeps no accounts (`sacct`), a job that is killed for good and leaves no
    result is waited for in vain.

    Args:
      started: What `submit` returned.
    """
    submitit = _submitit()
    parts = {job.job_id: part for part, job in started}
    jobs, failed = [job for _, job in started], {}
    done = submitit.helpers.as_completed(jobs, poll_frequency=SECONDS)
    for left, job in zip(reversed(range(len(jobs))), done, strict=True):
        try:
            failed = functools.reduce(operator.or_, job.results(), failed)
        except submitit.core.utils.UncompletedJobError:
            text = f"job {job.job_id} ended without a result; see {job.paths.stderr}"
            failed |= {folder: text for _, folder in parts[job.job_id]}
        log.info("job %s has ended; %d to go", job.job_id, left)
    return failed
