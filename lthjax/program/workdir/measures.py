"""What the records of a run measure: their columns, and how these are shown."""

import os
from typing import Any, NamedTuple

from lthjax.program.workdir import origin
from lthjax.training import objective as objective_lib
from lthjax.training.objective import CLASSIFICATION, Objective


class Measures(NamedTuple):
    """What is measured, as a report can know it that imports no user's code.

    Attributes:
      columns: Of a point of a learning curve, beside its step.
      shown: "loss" or a measure: what tables and figures are of.
      best_by: "loss" or a measure: what chooses the best step.
      higher: The measures of which more is better.
      percent: The measures that are shown times 100.
    """

    columns: tuple[str, ...]
    shown: str
    best_by: str
    higher: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """The column that tables and figures are of, such as "test_accuracy"."""
        return f"test_{self.shown}"

    @property
    def validation(self) -> str:
        """The same on the validation split, by which runs are chosen among."""
        return f"validation_{self.shown}"

    @property
    def scale(self) -> int:
        """What that column is multiplied by where it is shown."""
        return 100 if self.shown in self.percent else 1

    @property
    def form(self) -> str:
        """How a number of that column is written."""
        return ".2f" if self.shown in self.percent else ".4g"

    @property
    def title(self) -> str:
        """What that column is called in a table: "test accuracy"."""
        return f"test {self.shown.replace('_', ' ')}"

    @property
    def label(self) -> str:
        """What it is called on an axis: "test accuracy, %"."""
        return self.title + ", %" * (self.shown in self.percent)


def of(objective: Objective, best_by: str = "") -> Measures:
    """Returns what the records of an objective measure.

    Args:
      objective: The objective.
      best_by: What chooses the best step, in place of the objective's own.
    """
    return Measures(
        columns=objective_lib.columns(objective),
        shown=objective.best_by,
        best_by=best_by or objective.best_by,
        higher=tuple(sorted(objective.higher)),
        percent=tuple(sorted(objective.percent)),
    )


def read(root: str | os.PathLike) -> Measures:
    """Returns what a workdir's records measure; of one that does not say, accuracy."""
    return from_json(origin.copy(root).get("measures"))


def from_json(found: dict[str, Any] | None) -> Measures:
    """Returns what `Measures._asdict` became in a file; of nothing, accuracy."""
    if not found:
        return ACCURACY
    return Measures(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    )


ACCURACY = of(CLASSIFICATION)
