"""A table as Markdown: the titles of its columns, and rows of cells."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown(
    titles: Sequence[str | None], rows: Iterable[Iterable[Any]], rule: str = "---"
) -> str:
    """Returns the lines of a table, the last without its end.

    Args:
      titles: Of the columns.
      rows: Cells, each written by `str`; `None` is an empty one, as in `titles`.
      rule: What stands below each title.
    """
    below = "|" + f"{rule}|" * len(titles)
    return "\n".join([_line(titles), below, *map(_line, rows)])


def _line(cells):
    return "|" + "".join(" |" if cell is None else f" {cell} |" for cell in cells)
