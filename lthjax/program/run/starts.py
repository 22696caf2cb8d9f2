"""The weights that controls start from which take those of another training."""

import pathlib
from typing import Any

from lthjax.program.workdir import layout
from lthjax.program.workdir.member import Member
from lthjax.saving.tickets import load_trained
from lthjax.tickets import Ticket, Trained
from lthjax.tickets.controls import STARTS as STARTS


def of(root: pathlib.Path, arm: str, one: Member) -> Ticket | Trained:
    """Returns whose weights a control starts from.

    Args:
      root: The workdir.
      arm: The control, one of `STARTS`.
      one: The member.

    Raises:
      DamagedError: It is not there, or not what was saved.
    """
    if arm == "init":
        return layout.load_ticket(root, one, 0)
    return load_trained(layout.trained_path(root, "ticket", one, 0))


def check(this: Any) -> None:
    """Checks that the trained dense networks were kept that a control starts from.

    Args:
      this: An `experiment.Run` whose chains have begun.

    Raises:
      ValueError: One was not; nothing has been trained since.
    """
    if "trained" not in this.parts.options.controls:
        return
    for one, (_, ticket) in this.chains.items():
        path = layout.trained_path(this.root, "ticket", one, 0)
        later = ticket is None or ticket.level or ticket.searching
        if later and not path.exists():
            raise ValueError(
                "the control 'trained' starts from the end of the dense training, "
                "which a run keeps from where the control is asked for, got controls "
                f"= {this.parts.options.controls} with a dense training of {one.text} "
                "that ended before; take another workdir, or leave it out"
            )
