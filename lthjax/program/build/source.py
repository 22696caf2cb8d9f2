"""The data set of a config, in memory or to be streamed, and what is said of it."""

import io
import logging
from typing import Any

import rich.console
import rich.table

from lthjax.data import balance, in_memory, on_disk, splits
from lthjax.data.facts import FACTS

log = logging.getLogger(__name__)


def load(config) -> in_memory.Source:
    """Returns the data set of a config, in memory or to be streamed."""
    data = config.data
    given = {
        "data_dir": config.data_dir or None,
        "validation": data.validation,
        "limit": data.limit or None,
        "how": data.cut,
        "options": options(config),
    }
    if data.stream:
        crop = data.size, data.flip
        found = on_disk.load(data.name, **given, crop=crop)
    else:
        found = in_memory.load(data.name, **given)
    return splits.normalised(found, mean=data.mean, std=data.std)


def options(config) -> dict[str, Any]:
    """Returns what the set of a config takes: its options, and the size of images."""
    given, size = config.data.options.to_dict(), config.data.size
    sized = size and config.data.name in in_memory.STORED
    return given | ({"size": size} if sized else {})


def counted(name: str, source: in_memory.Source) -> dict[str, Any]:
    """Returns the images of each class as JSON has it, having said what they are.

    In a table, where there are few classes.
    """
    found = balance.counts(source)
    if found is None:
        log.info("examples by class: not counted: all had to be read, or have no class")
        return balance.known(FACTS[name].majority if name in FACTS else None)
    few = source.num_classes <= balance.SHOWN
    log.info("%s", _drawn(found, source.classes) if few else balance.text(found))
    for sentence in balance.warnings(found, source.classes):
        log.warning("%s", sentence)
    return balance.noted(found, source.classes)


def _drawn(found, names):
    """Returns the counts as the text of a table, a row a class."""
    shown = rich.table.Table("class")
    for part in found:
        shown.add_column(part, justify="right")
    shares = balance.majority(found)
    for row in range(len(found["train"])):
        name = names[row] if names else str(row)
        shown.add_row(name, *(f"{n[row]:,}" for n in found.values()))
    shown.add_section()
    shown.add_row("all", *(f"{n.sum():,}" for n in found.values()))
    worth = [f"{100 * shares[part]:.2f} %" if part in shares else "" for part in found]
    shown.add_row("always the largest class", *worth)
    text = io.StringIO()
    rich.console.Console(file=text, width=100, markup=False, emoji=False).print(shown)
    return f"images by class and split\n{text.getvalue().rstrip()}"
