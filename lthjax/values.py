"""What a value that comes from outside must be: of which type, and in which range."""

import math
import operator
import re
from typing import Any, NamedTuple

import numpy as np

LARGEST = 2**31  # what int32 does not hold any more


class Range(NamedTuple):
    """The numbers from `low` to `high`, none of them infinite, and none NaN.

    Attributes:
      low: The least.
      high: The largest.
      ends: Whether they are in it themselves, as intervals are written: "[)".
    """

    low: float
    high: float = math.inf
    ends: str = "[)"

    @property
    def text(self) -> str:
        """The interval: "[0, 1)", "(0, inf)"."""
        return f"{self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


def whole(name: str, value: Any, least: int | None = None) -> int:
    """Returns a number as an int, a float that is one too.

    Args:
      name: What it is, for the error.
      value: Whatever was given.
      least: The least that it may be, if any.

    Raises:
      ValueError: It is no whole number, or less.
    """
    try:
        found = operator.index(value)
    except TypeError:
        integral = isinstance(value, float) and value.is_integer()
        found = int(value) if integral else None
    if found is None or (least is not None and found < least):
        more = f" of at least {least}" * (least is not None)
        raise ValueError(f"{name} must be a whole number{more}, got {name} = {value!r}")
    return found


def check_expression(name: str, text: str) -> None:
    """Refuses a text that is no regular expression.

    Args:
      name: What it is, for the error.
      text: Whatever was given.

    Raises:
      ValueError: It is none.
    """
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(
            f"{name} must be a regular expression, got {text!r}: {error}; a backslash "
            "makes a character itself"
        ) from error


def wide(dtype: Any) -> np.dtype:
    """Returns float32, or the type itself where it holds more, or complex numbers.

    Sums of many numbers in less stop growing, and products vanish.

    Args:
      dtype: Of what is summed or multiplied.
    """
    given = np.dtype(dtype)
    holds = given == np.float64 or given.kind == "c"
    return given if holds else np.dtype(np.float32)


def check_floating(name: str, dtype: Any) -> None:
    """Refuses whole numbers, to which what is computed of them would be cut.

    Args:
      name: Of the leaf.
      dtype: Its type.

    Raises:
      ValueError: It is such a type.
    """
    if np.dtype(dtype).kind in "biu":
        raise ValueError(
            "weights that are multiplied, shrunk or turned must be floating, got "
            f"{name or 'a leaf'} = {np.dtype(dtype)}; cast them, or leave them out"
        )


def inside(value: float, limits: Range) -> bool:
    """Says whether a number is in a range, for a float in the float32 of the program.

    There 1e39 is infinite, 1e-39 is zero, and 0.99999999 is one.
    """
    number = value if isinstance(value, int) else in_float32(value)
    low = number >= limits.low if limits.ends[0] == "[" else number > limits.low
    high = number <= limits.high if limits.ends[1] == "]" else number < limits.high
    return low and high


def in_float32(value: float) -> float:
    """Returns a number as a device computes with it: float32 without subnormals."""
    with np.errstate(over="ignore", under="ignore"):
        number = float(np.float32(value))
    return number if abs(number) >= np.finfo(np.float32).tiny else 0.0 * number


def like(value: Any, example: Any) -> bool:
    """Says whether a value is of the type of an example.

    An int may stand for a float, never a bool for a number. A tuple or list is like a
    tuple of one if every element is like that one, like a longer one if it has the same
    length, each like its own; like an empty one it may hold anything.
    """
    if isinstance(example, tuple | list):
        if not isinstance(value, tuple | list):
            return False
        if len(example) > 1:
            pairs = zip(value, example, strict=False)
            return len(value) == len(example) and all(like(*pair) for pair in pairs)
        return not example or all(like(one, example[0]) for one in value)
    if isinstance(example, float):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is type(example)


def plain(value: Any) -> bool:
    """Says whether a value can be saved as JSON, and has no number that is not finite.

    That is: text, numbers, None, and tuples and dicts of them.
    """
    if isinstance(value, dict):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, tuple | list):
        return all(map(plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


def apart(wanted: list[str], found: list[str], lacking: str, unknown: str) -> list[str]:
    """Returns what to say of names that only one of two trees has, [] if of none.

    Args:
      wanted: The names that there should be.
      found: Those that there are.
      lacking: What to say of those that are not there, "{}" in their place.
      unknown: The same of those that there should not be.
    """
    absent = ", ".join(name for name in wanted if name not in found)
    beside = ", ".join(name for name in found if name not in wanted)
    rows = ((lacking, absent), (unknown, beside))
    return [text.format(names) for text, names in rows if names]
