"""A name from the command line becomes one of our functions, or a user's own."""

import difflib
import importlib
from collections.abc import Callable, Mapping


def suggestion(name: str, choices) -> str:
    """Returns ", did you mean ...?" if one of `choices` is close to `name`."""
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def resolve(name: str, choices: Mapping[str, Callable], kind: str) -> Callable:
    """Returns `choices[name]`, or the object that "package.module:attribute" names.

    Args:
      name: A key of `choices`, or an import path with a colon.
      choices: The registry of this `kind`.
      kind: What is looked up, for the error: "model", "data set", ...

    Raises:
      ValueError: The name is in neither, with the choices and the nearest one.
    """
    if name in choices:
        return choices[name]
    if ":" not in name:
        raise ValueError(
            f"the {kind} must be one of {', '.join(sorted(choices))}, or your own as "
            f"'package.module:Name', got {kind} = {name!r}{suggestion(name, choices)}"
        )
    module, attribute = name.split(":", 1)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"'package.module:Name' must be importable from here, got {kind} = "
            f"{name!r} ({error})"
        ) from error
