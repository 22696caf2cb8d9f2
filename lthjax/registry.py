"""A name from the command line becomes one of our functions, or a user's own.

A name that is read in a folder of somebody's becomes one of ours only.
"""

import contextlib
import contextvars
import difflib
import importlib
import logging
import os
import pathlib
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lthjax import packages

log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """Where names are read, and whether the code that they name may be run."""

    folder: str
    trusted: bool


_ORIGIN = contextvars.ContextVar("origin", default=None)  # None: what the user typed
OURS = pathlib.Path(__file__).parent
WORKS = "run on the arrays of this experiment, under jax.jit"
STANDARD = pathlib.Path(contextlib.__file__).parent


def suggestion(name: str, choices) -> str:
    """Returns ", did you mean ...?" if one of `choices` is close to `name`."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


@contextlib.contextmanager
def read_in(folder: str | os.PathLike, *, trust: bool = False) -> Iterator[None]:
    """Lets `resolve`, while it lasts, import nothing: its names are a folder's.

    Whatever reads a run's config and looks names of it up does so in here: a folder
    from elsewhere would otherwise run what it likes.

    Args:
      folder: Where the names are from, for the error.
      trust: Whether they are imported all the same; each is logged before it is.
    """
    token = _ORIGIN.set(Origin(os.fspath(folder), trust))
    try:
        yield
    finally:
        _ORIGIN.reset(token)


def resolve(name: str, choices: Mapping[str, Any], kind: str) -> Any:
    """Returns `choices[name]`, or the object that "package.module:attribute" names.

    Args:
      name: A key of `choices`, or an import path with a colon.
      choices: The registry of this `kind`.
      kind: What is looked up, for the error: "model", "data set", ...

    Raises:
      ValueError: The name is in neither, with the choices and the nearest one; or it is
        an import path that was read in a folder which is not trusted (`read_in`).
    """
    if name in choices:
        return choices[name]
    if ":" not in name:
        raise ValueError(
            f"the {kind} must be one of {', '.join(sorted(choices))}, or your own as "
            f"'package.module:Name', got {kind} = {name!r}{suggestion(name, choices)}"
        )
    _check_origin(name, kind)
    module, attribute = name.split(":", 1)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"'package.module:Name' must be importable from here, got {kind} = "
            f"{name!r} ({error})"
        ) from error


def _check_origin(name, kind):
    """Decides whether code that a name leads to may be imported: the only place."""
    origin = _ORIGIN.get()
    if origin is None:
        return
    if not origin.trusted:
        raise ValueError(
            "a folder that is read must name built-in parts only: others are code that "
            f"would be run, got {kind} = {name!r} in {origin.folder}; if you trust it, "
            "give --trust"
        )
    log.warning("importing %s, the %s of %s", name, kind, origin.folder)


@contextlib.contextmanager
def calling(kind: str, name: str, must: str = WORKS) -> Iterator[None]:
    """Turns what a user's own function raises into one sentence.

    What it raised is the cause of that, with its own traceback (`own_traceback`). What
    we have raised, a sentence already, stays as it is.

    Args:
      kind: What the function is, for the sentence: "model", "score", ...
      name: What the config calls it.
      must: What it must do, for the sentence.

    Raises:
      ValueError: Something was raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and is_ours(error):
            raise
        raise ValueError(
            f"the {kind} must {must}, got {kind} = {name!r}, which raised "
            f"{_first_line(error)}"
        ) from error


def is_ours(error: BaseException) -> bool:
    """Returns whether code of this package raised an error itself."""
    *_, (last, _) = traceback.walk_tb(error.__traceback__)
    return pathlib.Path(last.f_code.co_filename).is_relative_to(OURS)


def own_traceback(error: BaseException | None) -> str:
    """Returns the traceback of what a user's function raised, "" if there is none.

    Only of their own lines: those of this package, and of what it is installed with
    (jax, optax, filelock, ...), are left out.

    Args:
      error: The cause of an error that `calling` or `resolve` raised.
    """
    frames = traceback.extract_tb(error.__traceback__) if error else []
    own = [frame for frame in frames if _is_theirs(frame.filename)]
    if not own:
        return ""
    head = "Traceback (most recent call last):\n"
    return head + "".join(traceback.format_list(own)) + _first_line(error)


def _first_line(error):
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}"


def _is_theirs(file):
    path = pathlib.Path(file)
    if file.startswith("<") or path.is_relative_to(OURS):
        return False
    if "site-packages" not in path.parts:
        return not path.is_relative_to(STANDARD)
    module = path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    return module not in packages.modules_with("lthjax")
