"""What all commands share: their settings, and how an error ends them."""

import argparse
import contextlib
import functools
import itertools
import logging
import math
import pathlib
import re
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from lthjax import registry as names
from lthjax.devices import cpu_convolutions, processes
from lthjax.program import progress

STOPPED = 143  # the exit status of a run that was asked to stop: 128 + SIGTERM


def prepare(**joining) -> None:
    """Sets up logs in UTF-8, kept compiled programs, and fast convolutions on a CPU.

    And joins the other processes of the run, if it has any; those log warnings only.

    Args:
      **joining: As for `processes.start`.

    Raises:
      ValueError: The others cannot be joined so.
      SystemExit: JAX cannot use the platform that it is told to; in one sentence.
    """
    processes.print_utf8()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    for library in ("absl", "jax"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if not jax.config.jax_compilation_cache_dir:
        cache = str(pathlib.Path("~/.cache/lthjax").expanduser())
        jax.config.update("jax_compilation_cache_dir", cache)
    cpu_convolutions.lower_convolutions()
    processes.start(**joining)
    with plain_errors():
        check_devices()
    if not processes.first():
        logging.getLogger().setLevel(logging.WARNING)


def leave_accelerators() -> None:
    """Makes JAX stay on the CPU: a command that only reads and writes files needs it.

    So it takes no accelerator from a run, and goes where there is none.
    """
    jax.config.update("jax_platforms", "cpu")


def check_devices() -> None:
    """Checks that JAX finds devices of the platform that it is told to use.

    Raises:
      ValueError: It does not.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms or "those that it finds"
        told = " ".join(str(error).split())
        raise ValueError(
            "JAX must find devices of the platform that it is told to use, got "
            f"JAX_PLATFORMS = {asked!r}{f' ({told})' * bool(told)}; set "
            "JAX_PLATFORMS=cpu, or install what drives it, as pip install '.[cuda]' "
            "does for NVIDIA's GPUs and '.[tpu]' for TPUs"
        ) from error


@contextlib.contextmanager
def plain_errors():
    """Ends the process with one sentence where a run refuses, fails or is stopped.

    What the script that runs says by a `raise` of its own counts as a refusal, too. An
    error that others raise keeps its traceback; so do the lines of a user's own
    function in what it raised when it was first called, before the sentence.
    """
    try:
        yield
    except (ValueError, FloatingPointError) as error:
        if not (names.is_ours(error) or _is_refused(error)):
            raise
        if text := names.own_traceback(error.__cause__):
            print(text, file=sys.stderr)
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(
            f"error: {error}; mend that: the same command goes on from what is saved"
        )
    except progress.Interrupted as stop:
        logging.warning("%s", stop)
        sys.exit(STOPPED)
    except KeyboardInterrupt:  # while nothing trains, or for the second time
        logging.warning("stopped; the same command goes on from what is saved")
        sys.exit(STOPPED)


def _is_refused(error):
    """Returns whether the script that runs, or one beside it, raised an error."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    last = traceback.extract_tb(error.__traceback__)[-1]
    if not script or not (last.line or "").startswith("raise "):
        return False
    return pathlib.Path(last.filename).is_relative_to(pathlib.Path(script).parent)


def check_once(words: Sequence[str], several: Sequence[str] = ()) -> None:
    """Checks that no flag is given twice: one of its values would be lost, or joined.

    Args:
      words: Of the command, without its name.
      several: The flags that may be, without their dashes.

    Raises:
      ValueError: One is.
    """
    words = itertools.takewhile(lambda word: word != "--", words)
    flags = [re.match(r"--?(no)?([A-Za-z][^=]*)", word) for word in words]
    names = [flag[2] for flag in flags if flag]
    for name in dict.fromkeys(names):
        if names.count(name) > 1 and name not in several:
            raise ValueError(
                f"every flag must be given once, got --{name} {names.count(name)} "
                f"times; several values are one flag, --{name}=A,B, where it takes them"
            )


def folder(text: str) -> pathlib.Path:
    """Returns the path of a flag's value, which is not empty: that would be here."""
    if not text:
        raise argparse.ArgumentTypeError("it must name a folder, got ''")
    return pathlib.Path(text)


def check_target(flag: str, path: pathlib.Path) -> None:
    """Checks that a file can be written where a flag says.

    Args:
      flag: Its name.
      path: Its value.

    Raises:
      ValueError: It is a folder, or lies in none.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        state = ", a folder" * path.is_dir()
        raise ValueError(
            f"--{flag} must be a file in a folder that there is, got {path}{state}"
        )


def arguments(documentation: str) -> argparse.ArgumentParser:
    """Returns a parser with the three options that every experiment takes.

    Args:
      documentation: The experiment's docstring.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=documentation, formatter_class=form)
    parser.add_argument("--workdir", type=folder, required=True)
    parser.add_argument("--data_dir", default="", help="where prepared sets lie")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="the whole path on made-up data, in seconds",
    )
    return parser


def numbers(
    parser: argparse.ArgumentParser, defaults: Mapping[str, float], **more: Any
) -> None:
    """Adds numbers to a parser: above 0 each, or 0 where that is its default.

    Args:
      parser: Of a command.
      defaults: {name: default}; one that is an int takes whole numbers only.
      **more: For `parser.add_argument`, such as `help`.
    """
    for name, default in defaults.items():
        read = functools.partial(_number, default)
        parser.add_argument(f"--{name}", type=read, default=default, **more)


def _number(default, text):
    kind = type(default)
    try:
        found = kind(text)
    except ValueError:
        found = kind(-1)
    if not (0 < found < math.inf or found == default == 0):
        whole = " whole" * (kind is int)
        bound = "of at least 0" if default == 0 else "above 0"
        raise argparse.ArgumentTypeError(
            f"it must be a{whole} number {bound}, got {text!r}"
        )
    return found


def counts(name: str, text: str) -> list[int]:
    """Returns the whole numbers above 0 of a flag that takes several, "4000,1000".

    Args:
      name: The flag's, for the error.
      text: Its value.

    Raises:
      ValueError: They are no such numbers, or one is given twice.
    """
    parts = _parts(text)
    found = [int(part) for part in parts if part.isdecimal()]
    if len(found) < len(parts) or 0 in found or len(set(found)) < len(found):
        raise ValueError(
            f"{name} must be different whole numbers above 0 with commas between "
            f"them, got {name} = {text!r}"
        )
    return found


def reals(
    name: str, text: str, *, most: float = math.inf, zero: bool = False
) -> list[float]:
    """Returns the numbers above 0 of a flag that takes several, "0.1,0.01".

    Args:
      name: The flag's, for the error.
      text: Its value.
      most: What none may be above.
      zero: Whether one may be 0.

    Raises:
      ValueError: They are no such numbers, or one is given twice.
    """
    try:
        found = [float(part) for part in _parts(text)]
    except ValueError:
        found = []
    inside = all((x > 0 or (zero and x == 0)) and x <= most for x in found)
    if not found or not inside or math.inf in found or len(set(found)) < len(found):
        least = "of at least 0" if zero else "above 0"
        bound = f"{least} and at most {most:g}" if math.isfinite(most) else least
        raise ValueError(
            f"{name} must be different numbers {bound} with commas between them, got "
            f"{name} = {text!r}"
        )
    return found


def words(name: str, text: str, known: Iterable[str]) -> list[str]:
    """Returns the names of a flag that takes several, "snip,grasp".

    Args:
      name: The flag's, for the error.
      text: Its value.
      known: What there is.

    Raises:
      ValueError: One does not exist, or is given twice.
    """
    found, known = _parts(text), list(known)
    if set(found) - set(known) or len(set(found)) < len(found):
        raise ValueError(
            f"{name} must be different ones of {', '.join(known)}, with commas between "
            f"them, got {name} = {text!r}"
        )
    return found


def _parts(text):
    return [part.strip() for part in text.split(",")]


def typed() -> str:
    """Returns the command of this experiment, less where it reads and writes."""
    places = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--workdir", "--data_dir"):
        places.add_argument(name)
    script = f"experiments/{pathlib.Path(sys.argv[0]).name}"
    return shlex.join(["python", script, *places.parse_known_args()[1]])
