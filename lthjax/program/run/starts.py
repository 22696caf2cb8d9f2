"""The weights that controls start from which take those of another training."""

import pathlib
from typing import Any

from lthjax.program.workdir import layout
from lthjax.program.workdir.member import Member
from lthjax.retraining.arms import tweaks
from lthjax.tickets import Ticket, Trained

TAUGHT = "distillation"  # the tweak that learns from a network


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
    return layout.load_trained(root, "ticket", one, 0)


def check(this: Any) -> None:
    """Checks that the trained dense networks were kept that are built on.

    A control starts from them, and the arms of distillation learn from them.

    Args:
      this: An `experiment.Run` whose chains have begun.

    Raises:
      ValueError: One was not; nothing has been trained since.
    """
    asked = this.parts.options
    taught = sorted({arm for arm, _ in this.parts.arms if TAUGHT in tweaks(arm)})
    if "trained" in asked.controls:
        what = "the control 'trained' starts from the end of"
        got, remedy = f"controls = {asked.controls}", ", or leave it out"
    elif taught and not asked.teacher:
        what = "distillation without a teacher is from the end of"
        got = f"retraining.arms = {tuple(taught)}"
        remedy = " and name one there by retraining.distillation.teacher"
    else:
        return
    for one, (_, ticket) in this.chains.items():
        path = layout.trained_path(this.root, "ticket", one, 0)
        later = ticket is None or ticket.level or ticket.searching
        if later and not path.exists():
            raise ValueError(
                f"{what} the dense training, which a run keeps from where that is "
                f"asked for, got {got} with a dense training of {one.text} that ended "
                f"before; take another workdir{remedy}"
            )
