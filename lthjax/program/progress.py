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
    if _drawn() and processes.first():
        with _bars(title, start, stop, later) as report:
            yield report
        return
    yield _lines(title, start, stop, later=later, every=every)


def _drawn():
    """Returns whether bars can be drawn: on a terminal, or in a notebook."""
    if sys.stderr.isatty():
        return True
    shell = sys.modules.get("IPython")
    running = shell and shell.get_ipython()
    return bool(running) and "IPKernelApp" in running.config


def _clock():
    """Returns step -> steps a second since the first report, which had to compile.

    At the first report it is None: nobody knows how much of the time was compiling.
    """
    first = []

    def speed(step):
        now = time.monotonic()
        if not first:
            first.append((step, now))
            return None
        return (step - first[0][0]) / max(now - first[0][1], 1e-9)

    return speed


@contextlib.contextmanager
def _bars(title, start, stop, later):
    """Draws a bar of this training, one of all, and a line of what was measured."""
    from rich import live, text  # here: a command's --help needs none
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        "{task.completed}/{task.total}",
        rich_progress.BarColumn(bar_width=20),
        "{task.fields[speed]}",
        rich_progress.TimeRemainingColumn(),
    )
    console = rich_progress.Console(stderr=not _notebook())
    bars, clock = rich_progress.Progress(*columns), _clock()
    own = bars.add_task(title, total=stop, completed=start, speed="compiling")
    every = bars.add_task("all that is left", total=stop - start + later, speed="")
    said = text.Text()
    shown = rich_progress.Group(bars, said)
    with live.Live(shown, console=console, refresh_per_second=4) as drawn:

        def report(step, words=""):
            speed = clock(step)
            pace = "" if speed is None else f"{speed:.0f} steps/s"
            bars.update(own, completed=step, speed=pace)
            bars.update(every, completed=step - start)
            if words:
                said.plain = words
            drawn.refresh()

        yield report


def _notebook():
    return not sys.stderr.isatty()


def _lines(title, start, stop, *, later, every):
    began, clock = time.monotonic(), _clock()
    last = began

    def report(step, text=""):
        nonlocal last
        now, speed = time.monotonic(), clock(step)
        if now - last < every and step < stop:
            return
        last = now
        if speed is None:
            pace, left = f"{duration(now - began)} with compiling", ""
        else:
            pace = f"{speed:.4g} steps/s"
            seconds = (stop - step + later) / max(speed, 1e-9)
            left = f"{duration(seconds)} left in all"
        words = ", ".join(filter(None, (pace, text, left)))
        log.info("%s, step %d of %d, %s", title, step, stop, words)

    return report


def duration(seconds: float) -> str:
    """Returns a time such as "1:02:03" or "42 s"."""
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
