"""What an experiment leaves: its page, a figure, its rows beside the published."""

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from lthjax.program.report import axes
from lthjax.program.workdir import text_files
from measures import claims, sizes


def write(
    options: Any,
    name: str,
    text: str,
    drawn: Figure | None,
    found: Sequence[tuple[claims.Claim, Iterable[float]]] | None = None,
) -> None:
    """Writes `<name>.md`, `.png` and `.json` into the workdir, and prints the page.

    Args:
      options: Of the experiment: its workdir and size.
      name: Of the files.
      text: The page, as Markdown.
      drawn: The figure, `None` where there is nothing to draw.
      found: Each claim, and ours by seed; `None` where nothing is published.
    """
    text_files.write(options.workdir / f"{name}.md", sizes.titled(options, text))
    if found is not None:
        claims.write(options, name, found)
    print(text)
    if drawn:
        axes.save(drawn, options.workdir / f"{name}.png")
        print(f"figure: {options.workdir / f'{name}.png'}")
