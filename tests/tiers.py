"""Which tests are left to later: what `slow.txt` and `thorough.txt` name, one a line.

A line is a file, "file::test", or "file::test[case]". A number behind it says how many
of a test's cases, the first ones, run with the rest of their file. All were chosen by
the processor time that they took from an empty compilation cache: a slow test is one of
several that hold a law, or a whole run; a thorough one is a whole run too, a process,
or takes seconds to compile.
"""

import pathlib
import re


def _read(name):
    """Returns {line: how many cases are left, 0: none}."""
    text = pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")
    rows = [re.fullmatch(r"(.+?)(?: (\d+))?", line) for line in text.splitlines()]
    return {row[1]: int(row[2] or 0) for row in rows}


SLOW, THOROUGH = _read("slow.txt"), _read("thorough.txt")


def named(listed, place, name, nth):
    """Returns whether a list names a test.

    Args:
      listed: `SLOW` or `THOROUGH`.
      place: Its file, below this folder.
      name: Its name with its case in brackets, as pytest has it.
      nth: Which of its test's cases it is, from 1.
    """
    test = f"{place}::{name.partition('[')[0]}"
    few = listed.get(test, nth)
    return place in listed or f"{place}::{name}" in listed or nth > few
