"""One chain of tickets of a run, and what it is called in folders, logs, records."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lthjax.program.workdir import results, spreads

TICKET = "ticket"  # the arm of the tickets themselves


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


def chain(record: dict) -> tuple:
    """Returns what tells the chains of a run apart: seed, and first logit if any."""
    return record["seed"], record.get(results.VARIANT)


def identity_of(record: dict) -> dict:
    """Returns the seed of a record, and its first logit where it has one."""
    return {key: record[key] for key in ("seed", results.VARIANT) if key in record}


def is_dense(record: dict) -> bool:
    """Says whether a record is the dense network's: that of the ticket of level 0.

    Arms that retrain it (a 0 in `retraining.levels`) are of level 0 too, and are not
    it.
    """
    return record["arm"] == TICKET and not record["level"]


def label(record: dict) -> str:
    """Returns the arm of a record: "ticket", or "ticket, first logit -0.1".

    The latter where a run has several first logits of gates: those are different
    tickets, not one ticket's seeds. The dense network has no gates.
    """
    logit = record.get(results.VARIANT) if record["level"] else None
    return record["arm"] if logit is None else f"{record['arm']}, first logit {logit:g}"


def by_logit(records: Iterable[dict]) -> list[tuple[str, list[dict]]]:
    """Returns [("", records)]; of several first logits [(", first logit -0.1", its)].

    Each has the dense network's own, which all of them share.
    """
    groups: dict[float | None, list[dict]] = {}
    for record in records:
        groups.setdefault(record.get(results.VARIANT), []).append(record)
    return [
        ("" if logit is None else f", first logit {logit:g}", own)
        for logit, own in groups.items()
    ]


def kept(records: Sequence[dict]) -> float:
    """Returns the share of the prunable weights that is kept, the mean of records."""
    return spreads.spread(1 - row["sparsity"] for row in records).mean


def once(records: Iterable[dict]) -> list[dict]:
    """Returns records, those of the dense network and of its arms once a seed.

    Where a run has several first logits of gates, each chain of a seed begins with the
    same dense network, which is no further sample of it.
    """
    first: dict[int, float | None] = {}
    return [
        record
        for record in records
        if record["level"]
        or first.setdefault(record["seed"], record.get(results.VARIANT))
        == record.get(results.VARIANT)
    ]
