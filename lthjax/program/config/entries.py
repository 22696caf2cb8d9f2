"""What `defaults.py` says of every key: its default, and the words beside it."""

import ast
import functools
import io
import pathlib
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from lthjax.program.config.choices import CHOICES

DEFAULTS = pathlib.Path(__file__).with_name("defaults.py")


class Entry(NamedTuple):
    """A key of a config.

    Attributes:
      key: Dotted.
      default: As it is written.
      said: The comment beside it, or in the lines above it.
    """

    key: str
    default: str
    said: str

    @property
    def kind(self) -> str:
        """The type of the default: "int", "float", "str", "bool", "tuple", "dict"."""
        return type(ast.literal_eval(self.default)).__name__

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of ours that it may have; none where it has no names."""
        return CHOICES.get(self.key, ())


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Returns every key, in the order of `defaults.py`."""
    text = DEFAULTS.read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    whole = next(node for node in calls if getattr(node.func, "id", "") == "ConfigDict")
    return tuple(_rows(whole.args[0], "", _comments(text)))


def matching(word: str) -> tuple[Entry, ...]:
    """Returns the keys that have a word in their name, default, description or choices.

    Args:
      word: Any text; case does not matter, and "" finds all.
    """
    low = word.lower()
    return tuple(e for e in entries() if low in " ".join((*e, *e.choices)).lower())


def _rows(node, prefix, comments) -> Iterator[Entry]:
    """Yields the entries below one literal dict; an empty one is a key itself."""
    for name, value in zip(node.keys, node.values, strict=True):
        key = prefix + name.value
        if isinstance(value, ast.Dict) and value.keys:
            yield from _rows(value, f"{key}.", comments)
            continue
        said = comments.get(value.end_lineno, "") or comments.get(-name.lineno, "")
        yield Entry(key, ast.unparse(value), said)


def _comments(text):
    """Returns {line: comment beside it}, {-line: comments in the lines above it}."""
    found, above = {}, []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            above.append(token.string.lstrip("# "))
        elif token.type == tokenize.COMMENT:
            found[line] = token.string.lstrip("# ")
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and above:
            found[-line], above = " ".join(above), []
    return found
