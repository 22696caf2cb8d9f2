"""How many weights a level keeps: in all, layer by layer, or as many as are learnt."""

from typing import NamedTuple


class Target(NamedTuple):
    """How many weights, or groups of them, a level keeps.

    Attributes:
      kept: In all; `None`: as many as the search learns to keep.
      layers: The same of each prunable layer, in their order; `None` where all layers
        share one number.
    """

    kept: int | None = None
    layers: tuple[int, ...] | None = None

    @property
    def amount(self) -> int | list[int] | None:
        """What `choose.prune` takes as `kept`: one number, or one for each layer."""
        return self.kept if self.layers is None else list(self.layers)

    @property
    def counts(self) -> tuple[int, ...]:
        """The numbers that it consists of; none of what is learnt."""
        if self.layers is not None:
            return self.layers
        return () if self.kept is None else (self.kept,)


LEARNT = Target()


def target(amount: int | list[int] | None) -> Target:
    """Returns the target of a number, of one for each layer, or of what is learnt."""
    if isinstance(amount, list | tuple):
        return Target(sum(amount), tuple(amount))
    return Target(amount)
