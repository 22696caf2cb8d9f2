"""How the classes of a set are spread over its splits: counts, and what is amiss."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lthjax.data.splits import PARTS, Source, are_classes, labels

SHOWN = 20  # classes whose counts are printed one by one
NAMED = 5  # classes that a warning names


def counts(source: Source) -> dict[str, np.ndarray] | None:
    """Returns {split: images of each class [num_classes]}, reading no image.

    `None` where the labels are in records that had to be read for it, of a prepared set
    that is streamed; and where they are no classes.
    """
    found = {part: labels(getattr(source, part)) for part in PARTS}
    if any(own is None or not are_classes(own) for own in found.values()):
        return None
    return {
        part: np.bincount(own, minlength=source.num_classes)
        for part, own in found.items()
    }


def majority(found: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns {split: share of its largest class}, what always saying it is worth.

    Args:
      found: What `counts` returns; empty splits are left out.
    """
    return {part: float(n.max() / n.sum()) for part, n in found.items() if n.sum()}


def share(labels: np.ndarray) -> float | None:
    """Returns the share of the largest class; `None` of none, and of other labels.

    Args:
      labels: Of the examples of a split [n, ...].
    """
    if not len(labels) or not are_classes(labels):
        return None
    return float(np.bincount(labels).max() / len(labels))


def text(found: dict[str, np.ndarray]) -> str:
    """Returns the counts as one sentence, of many classes their range.

    Args:
      found: What `counts` returns.
    """
    rows = "; ".join(f"{part} {_row(n)}" for part, n in found.items())
    shares = majority(found)
    held_out = (part for part in PARTS[1:] if part in shares)
    worth = ", ".join(f"{100 * shares[part]:.2f} % of {part}" for part in held_out)
    return f"images by class: {rows}; always saying the largest class: {worth}"


def warnings(found: dict[str, np.ndarray], names: Sequence[str] = ()) -> list[str]:
    """Returns a sentence for each split that lacks classes.

    Args:
      found: What `counts` returns.
      names: Of the classes; by default their numbers.
    """
    absent = {part: np.flatnonzero(n == 0) for part, n in found.items()}
    return [
        f"the {part} split has no image of {_classes(absent[part], names)} of "
        f"{len(n):,}: nothing is {'learnt' if part == 'train' else 'measured'} of it"
        for part, n in found.items()
        if n.sum() and len(absent[part])
    ]


def noted(found: dict[str, np.ndarray], names: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the counts, and the shares of the largest classes, as JSON can hold them.

    Args:
      found: What `counts` returns.
      names: Of the classes, where they have any.
    """
    rows = {part: n.tolist() for part, n in found.items()}
    named = {"classes": list(names)} if names else {}
    return {"images": rows, "majority": majority(found)} | named


def read(
    note: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the counts, and the names of the classes, of what `noted` returned.

    Both are empty where nothing was counted, or it is something else.
    """
    try:
        rows = {part: np.array(n, int) for part, n in note["images"].items()}
        return rows, tuple(map(str, note.get("classes", ())))
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, ()


def known(share: float | None) -> dict[str, Any]:
    """Returns the same of a set that was not counted; `None` where nothing is known."""
    if share is None:
        return {"majority": {}}
    return {"majority": {"test": share}}


def _row(n):
    if len(n) <= SHOWN:
        return ", ".join(f"{int(x):,}" for x in n)
    low, high = int(n.min()), int(n.max())
    same = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{int(n.sum()):,} in {len(n):,} classes of {same}"


def _classes(numbers, names):
    """Returns "class 2", or "classes 2, 3, 4, 5, 6 and 93 more"; or their names."""
    shown = (repr(names[int(x)]) if names else str(int(x)) for x in numbers[:NAMED])
    named = ", ".join(shown)
    more = f" and {len(numbers) - NAMED:,} more" if len(numbers) > NAMED else ""
    return f"class{'es' * (len(numbers) > 1)} {named}{more}"
