"""Progress on a terminal, plain lines in a log, and the wish to stop."""

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

from lthjax.devices import processes

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):  # noqa: N818  (it is no error: the run was asked to stop)
    """The run was asked to stop, and has saved where it stands."""


@contextlib.contextmanager
def interruption() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and SIGINT set; a second SIGINT stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number, frame):
        del frame
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def reporter(
    title: str, start: int, stop: int, *, later: int, every: float
) -> Iterator[Callable[[int, str], None]]:
    """Yields report(step, text), which shows speed and time left.

    A bar is drawn by the first process only.

    Args:
      title: What is being trained.
      start: The step that training is at.
      stop: The step it ends before.
      later: How many steps come after this training, for the time left in all.
      every: Seconds between two lines in a log.
    """
    if sys.stderr.isatty() and processes.first():
        with _bar(title, start, stop) as report:
            yield report
        return
    yield _lines(title, start, stop, later=later, every=every)


@contextlib.contextmanager
def _bar(title, start, stop):
    from rich import progress as rich_progress  # here: a command's --help needs none

    columns = (
        "{task.description}",
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        "{task.fields[speed]}",
        rich_progress.TimeRemainingColumn(),
        "{task.fields[text]}",
    )
    began = time.monotonic()
    console = rich_progress.Console(stderr=True)
    with rich_progress.Progress(*columns, console=console) as bars:
        task = bars.add_task(title, total=stop, completed=start, speed="", text="")

        def report(step, text=""):
            speed = (step - start) / max(time.monotonic() - began, 1e-9)
            bars.update(task, completed=step, speed=f"{speed:.0f} steps/s", text=text)

        yield report


def _lines(title, start, stop, *, later, every):
    began = last = time.monotonic()

    def report(step, text=""):
        nonlocal last
        now = time.monotonic()
        if now - last < every and step < stop:
            return
        last = now
        speed = (step - start) / max(now - began, 1e-9)
        left = duration((stop - step + later) / max(speed, 1e-9))
        log.info(
            "%s, step %d of %d, %.4g steps/s, %s%s left in all",
            title,
            step,
            stop,
            speed,
            f"{text}, " if text else "",
            left,
        )

    return report


def duration(seconds: float) -> str:
    """Returns a time such as "1:02:03" or "42 s"."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
