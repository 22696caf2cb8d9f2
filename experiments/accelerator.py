"""One call on an accelerator: what it is fast at, and one result, in a few minutes.

python experiments/accelerator.py --workdir=W --data_dir=DIR --minutes=8

On one GPU, in this order: the digits run against its kept table; the rate of matrix
products; ResNet-18's and ResNet-20's step, beside PyTorch's where that is installed,
and its share of that rate; populations; pruning; selection; RigL and gates by masked
steps; then ResNet-18 on CIFAR-100 (`measures/pack.py` packs it), tickets at 95 and 97 %
retrained plainly and with all tweaks. Every row is in W/accelerator.jsonl once it is
measured, the table in W/accelerator.md. The call stops by itself when its minutes are
over, and the same command goes on; a part that fails is written down, is left behind,
and is tried again by the next call, after what was not tried yet. Pixels of what is
only timed are random.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from measures import cheap
from measures.timed import ledger
from rich import console, markdown

from lthjax.program import command_line
from lthjax.program.progress import Interrupted

# In their order; the functions are imported by the process that measures.
PARTS = ("digits", "products", "resnet18", "resnet20", "population")
PARTS += ("prune", "select", "rigl", "gates", "headline")
LAST = PARTS[-1]
# What --smoke takes: one part of every kind; ResNet-18 is ResNet-20 there.
SMOKED = ("digits", "products", "resnet20", "prune", "select", "headline")
BEFORE = 0.55  # of the minutes, the most that all parts before the last may take
LONGEST = 120  # seconds of one of them
POLL = 0.2  # seconds between two looks at what is measured
LOG, FAILED = "accelerator.log", "failed"
GRACE = 30  # seconds from SIGTERM to SIGKILL: a training saves within a dispatch


def pending(lines: list[dict], parts: Sequence[str] = PARTS) -> list[str]:
    """Returns the parts to try, in their order, those that failed before at the end."""
    states = ledger.states(lines)
    fresh = [part for part in parts if states.get(part) not in ("done", FAILED)]
    return fresh + [part for part in parts if states.get(part) == FAILED]


def setup(options) -> dict[str, str]:
    """Returns what the numbers depend on."""
    import jax  # here: the process that watches must hold no device

    wanted = ("jax", "flax", "optax", "torch")
    found = [name for name in wanted if importlib.util.find_spec(name)]
    return {
        "device": f"{jax.devices()[0].device_kind}, {jax.default_backend()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "versions": ", ".join(f"{n} {importlib.metadata.version(n)}" for n in found),
        "turns": f"{options.rounds} of {options.seconds} s",
        "networks": networks(options),
    }


def measured(part: str, options) -> None:
    """Measures a part, and writes down each row, and what became of it."""
    from measures.timed import accelerated, headline

    functions = accelerated.PARTS | headline.PARTS
    ledger.add(options.workdir, part=part, event="begun")
    began = time.monotonic()
    ended = {"event": "done"}
    try:
        for found in functions[part](options):
            kept = (
                {"note": found} if isinstance(found, str) else {"row": found._asdict()}
            )
            ledger.add(options.workdir, part=part, **kept)
    except Interrupted:
        ended = {"event": "stopped", "sentence": "it goes on with the next call"}
        raise
    except Exception as error:  # whatever it is, the other parts go on
        ended = {"event": "failed", "sentence": sentence(error)}
    finally:
        seconds = round(time.monotonic() - began, 1)
        ledger.add(options.workdir, part=part, seconds=seconds, **ended)


def sentence(error: Exception) -> str:
    """Returns an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}"


def work(options) -> None:
    """Measures the parts that are asked for, in this process."""
    command_line.prepare()
    ledger.add(options.workdir, event="call", setup=setup(options))
    for part in options.parts.split(","):
        try:
            measured(part, options)
        except Interrupted:
            sys.exit(command_line.STOPPED)


def watch(parts: list[str], reserved: float, options) -> list[str]:
    """Has a process measure parts, and returns those that it did not come to.

    Args:
      parts: Their names.
      reserved: The time from which on all but the last part must be over.
      options: Of the command.
    """
    before = len(ledger.read(options.workdir))
    left = options.deadline - time.monotonic()
    command = [sys.executable, *sys.argv, f"--parts={','.join(parts)}"]
    environment = surroundings(options) | os.environ
    with (options.workdir / LOG).open("a", encoding="utf-8") as log:
        pipes = {"stdout": log, "stderr": log, "env": environment}
        command.append(f"--left={left}")
        process = subprocess.Popen(command, start_new_session=True, **pipes)
    try:
        reason = _reason_to_end(process, parts[0], before, reserved, options)
    finally:
        _end(process)
    return _settled(parts, before, reason or _status(process), options.workdir)


def surroundings(options) -> dict[str, str]:
    """Returns the environment of a process that measures, where nobody says another.

    PyTorch's process needs memory too, and what is compiled is kept for later calls.
    """
    found = {
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(options.workdir / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return found | ({"XLA_FLAGS": cheap.flags()} if options.smoke else {})


def _status(process):
    return FAILED, f"its process ended with status {process.returncode}; see {LOG}"


def _reason_to_end(process, part, before, reserved, options):
    """Waits for a process, and returns (event, why it must be ended), if it must."""
    since, longest = time.monotonic(), LONGEST * (6 if options.smoke else 1)
    while process.poll() is None:
        time.sleep(POLL)
        now = time.monotonic()
        lines = ledger.read(options.workdir)[before:]
        begun = [line["part"] for line in lines if line.get("event") == "begun"]
        if begun and begun[-1] != part:
            part, since = begun[-1], now
        if now >= options.deadline:
            return "stopped", "the minutes were over"
        if part != LAST and now >= reserved:
            return "stopped", "the rest of the minutes is the headline's"
        if part != LAST and now >= since + longest:
            return FAILED, f"it took longer than {longest} s"
    return None


def _end(process):
    """Ends a process and its own, those that are left: asked first, then at once."""
    try:
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:  # this process too may be told to end while it waits
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _settled(parts, before, reason, workdir):
    """Writes down what became of a part that could not, and returns what is left."""
    lines = ledger.read(workdir)[before:]
    states = ledger.states(lines)
    later = [part for part in parts if part not in states]
    open_ones = [part for part in parts if states.get(part) == "begun"]
    if not states:  # it did not come to the first
        open_ones, later = parts[:1], parts[1:]
    for part in open_ones:
        event, why = reason
        ledger.add(workdir, part=part, event=event, sentence=why)
    return later


def check(lines: list[dict], options) -> None:
    """Checks that the calls before were of `--smoke` too, or none of them.

    Raises:
      ValueError: Their parts are of other networks, and would not be measured again.
    """
    known = {line["setup"]["networks"] for line in lines if line.get("event") == "call"}
    if known - {networks(options)}:
        raise ValueError(
            "the calls of a workdir must all be of --smoke, or none of them, got "
            f"{options.workdir} with networks that are {', '.join(sorted(known))}; "
            "take another --workdir"
        )


def networks(options) -> str:
    """Returns of what size the networks are that are measured."""
    return "small (--smoke: no result)" if options.smoke else "whole"


def call(options) -> None:
    """Measures what is missing, until all is tried or the minutes are over."""
    began = time.monotonic()
    options.deadline = began + 60 * options.minutes
    lines = ledger.read(options.workdir)
    check(lines, options)
    parts = pending(lines, SMOKED if options.smoke else PARTS)
    if not parts:
        print(f"finished: {options.workdir} has every part; nothing to do")
    while parts and time.monotonic() < options.deadline:
        share = BEFORE if LAST in parts else 1
        reserved = began + 60 * options.minutes * share
        if time.monotonic() >= reserved:
            parts = [LAST]
        parts = watch(parts, reserved, options)
    print(f"the table is {options.workdir / ledger.TABLE}")


def main() -> None:
    """Measures for so many minutes, and shows the table."""
    parser = command_line.arguments(__doc__)
    command_line.numbers(parser, {"minutes": 0.0}, help="of this call: 8")
    command_line.numbers(parser, {"rounds": 0}, help="of turns")
    command_line.numbers(parser, {"seconds": 0.0}, help="of a turn, about")
    for name in ("--parts", "--left"):  # of the process that measures
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # Of --smoke the path is asked, however slow the machine is.
    options.minutes = options.minutes or (60.0 if options.smoke else 8.0)
    options.rounds = options.rounds or (1 if options.smoke else 5)
    options.seconds = options.seconds or (0.001 if options.smoke else 0.3)
    options.workdir = options.workdir.absolute()
    options.workdir.mkdir(parents=True, exist_ok=True)
    if options.parts:
        options.deadline = time.monotonic() + float(options.left)
        work(options)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(command_line.STOPPED))
    with command_line.plain_errors():
        call(options)
    text = (options.workdir / ledger.TABLE).read_text(encoding="utf-8")
    console.Console(width=160).print(markdown.Markdown(text))
    states = ledger.states(ledger.read(options.workdir))
    failed = [part for part, state in states.items() if state == FAILED]
    late = pending([], SMOKED) if options.smoke else []
    failed += [part for part in late if states.get(part) not in ("done", FAILED)]
    if failed:
        sys.exit(
            f"error: these parts must be measured, got none of {failed}; see {LOG}"
        )


if __name__ == "__main__":
    main()
