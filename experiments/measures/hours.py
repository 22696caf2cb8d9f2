"""What fits into some hours, and the runs of it, one after the other."""

import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from measures import claims, tables

FITS, PART, NO, UNKNOWN = "yes", "in part", "no", "failed"
FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
GRACE = 300  # seconds in which a run that is asked to stop saves


class Cost(NamedTuple):
    """What an experiment says of itself.

    Attributes:
      name: Its file's.
      flops: Of all its trainings.
      seconds: That what is missing takes here.
      done: The share that there is.
      rows: {table: rows of which nothing is measured}.
      error: Why it said nothing of that.
    """

    name: str
    flops: float = 0.0
    seconds: float = 0.0
    done: float = 0.0
    rows: dict[str, list[claims.Row]] = {}  # noqa: RUF012
    error: str = ""


def asked(name: str, command: Sequence[str]) -> Cost:
    """Returns the cost of an experiment, which its command prints last.

    Args:
      name: The experiment's.
      command: Its command, with `--cost`.
    """
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        said = found.stderr.strip().splitlines() or ["nothing was said"]
        return Cost(name, error=said[-1])
    line = json.loads(found.stdout.splitlines()[-1])
    rows = {k: [claims.Row(**r) for r in v] for k, v in line.pop("rows").items()}
    return Cost(name, **line, rows=rows)


def fits(costs: Sequence[Cost], hours: float) -> list[str]:
    """Returns for each experiment whether it fits into what those before it leave.

    What is left in the end is the first's that does not: "in part".
    """
    left, found = 3600 * hours, []
    for cost in costs:
        word = FITS if cost.seconds <= left else NO
        word = UNKNOWN if cost.error else word
        left -= cost.seconds * (word == FITS)
        found.append(word)
    if NO in found and left > 0:
        found[found.index(NO)] = PART
    return found


def order(names: Sequence[str], words: Sequence[str]) -> list[str]:
    """Returns what to run: all that fit, then the one that does in part."""
    return [
        name
        for wanted in (FITS, PART)
        for name, word in zip(names, words, strict=True)
        if word == wanted
    ]


def through(
    names: Sequence[str],
    hours: float,
    launch: Callable[[str, float], str],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """Runs experiments until the hours are over; returns {name: what became of it}.

    Args:
      names: In their order.
      hours: For all of them.
      launch: (name, seconds that are left) -> "finished", "stopped" or "failed".
      clock: Seconds.
    """
    end, found = clock() + 3600 * hours, {}
    for name in names:
        left = end - clock()
        found[name] = launch(name, left) if left > 0 else STOPPED
    return found


def watched(command: Sequence[str], log: pathlib.Path, seconds: float) -> str:
    """Runs a command for so long at most, and says what became of it.

    Over its time it is asked to stop, which every experiment goes on from.

    Args:
      command: The command.
      log: The file that takes what it prints, after what is there.
      seconds: That it may take.
    """
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return STOPPED
    finally:
        end(process)
    return FAILED if status else FINISHED


def end(process: subprocess.Popen) -> None:
    """Asks a process to stop, if it runs, and waits until it has saved."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def table(costs: Sequence[Cost], words: Sequence[str], size: str) -> str:
    """Returns what each costs, what is done, and whether it fits, as Markdown."""
    rows = []
    for cost, word in zip(costs, words, strict=True):
        hours, done = f"{cost.seconds / 3600:.2f}", f"{100 * cost.done:.0f}"
        numbers = ("?",) * 3 if cost.error else (f"{cost.flops:.2e}", hours, done)
        word = f"failed: {cost.error}" if cost.error else word
        rows.append([cost.name, size, *numbers, word])
    titles = ["experiment", "size", "FLOPs", "hours here", "done, %", "fits"]
    return tables.markdown(titles, rows) + "\n"
