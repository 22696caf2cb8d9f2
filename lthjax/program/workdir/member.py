"""One chain of tickets of a run, and what it is called in folders, logs, records."""

from typing import NamedTuple

from lthjax.program.workdir import results


class Member(NamedTuple):
    """One chain of tickets of a run: its seed, and which first logit its gates have.

    Attributes:
      seed: The seed.
      initial: The logit, `None` where there is but one for all.
    """

    seed: int
    initial: float | None = None

    @property
    def folder(self) -> str:
        """The name of its folders: `seed_0`, `seed_0_initial_-0.1`."""
        last = "" if self.initial is None else f"_initial_{self.initial:g}"
        return f"seed_{self.seed}{last}"

    @property
    def text(self) -> str:
        """What it is called in a log: "seed 0", "seed 0, first logit -0.1"."""
        last = "" if self.initial is None else f", first logit {self.initial:g}"
        return f"seed {self.seed}{last}"

    @property
    def identity(self) -> dict:
        """What its records have: the seed, and the logit where there are several."""
        own = {} if self.initial is None else {results.VARIANT: self.initial}
        return {"seed": self.seed, **own}


def member(seed: int | Member) -> Member:
    """Returns the member of a seed, where there is but one."""
    return seed if isinstance(seed, Member) else Member(seed)
