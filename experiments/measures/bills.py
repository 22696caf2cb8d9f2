"""What a ticket costs, search and training, in dense trainings of its network."""

import pathlib
from typing import NamedTuple

from lthjax.program.workdir import results


class Cost(NamedTuple):
    """In dense trainings of the network that the ticket is of."""

    search: float
    training: float


def paid(run: pathlib.Path, late: float = 0.0, seed: int = 0) -> list[float]:
    """Returns what each level's training of a run costs, in operations a step.

    Of the forward pass, as the run's study "flops" counts it, times the share of the
    steps that a level trains; a backward pass is twice a forward one, everywhere.

    Args:
      run: The workdir.
      late: The share of the steps before the one that levels rewind to.
      seed: Whose tickets.
    """
    rows = results.read(run / "studies" / "flops.jsonl")
    rows = sorted((r for r in rows if r["seed"] == seed), key=lambda r: r["level"])
    return [row["flops"] * (1 - late * bool(row["level"])) for row in rows]


def found(levels: list[float], level: int, dense: float, last: float = 0.0) -> Cost:
    """Returns the cost of a ticket found by pruning, level by level.

    Args:
      levels: What each level's training costs, `paid`.
      level: The ticket's: those before it are its search.
      dense: What a dense training of the network costs that the ticket is trained in.
      last: The same of its own training, where that is another network's; 0: `levels`.
    """
    return Cost(sum(levels[:level]) / dense, (last or levels[level]) / dense)


def rigl(sparse: float, dense: float, every: int) -> Cost:
    """Returns the cost of a ticket by RigL, which has no search.

        ((3 f T + 2 f + d) / (T + 1)) / (3 d)

    a step, of the masked and the dense pass, f and d, and a change every T steps.

    References:
      Evci et al., 2020, arXiv:1911.11134, appendix.
    """
    return Cost(
        0.0, (3 * sparse * every + 2 * sparse + dense) / (every + 1) / 3 / dense
    )
