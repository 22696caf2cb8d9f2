"""A ticket to disk and back: arrays and JSON, no pickle."""

import pathlib

import jax

from lthjax import checkpoints
from lthjax import masks as masks_lib
from lthjax.tickets.base import Ticket


def save(path: str | pathlib.Path, ticket: Ticket, **metadata) -> None:
    """Writes a ticket to the new folder `path`, whole or not at all.

    An optimizer state is not written: whoever loads a ticket starts a fresh optimizer.

    Args:
      path: The folder.
      ticket: The ticket.
      **metadata: What JSON can hold, kept beside it.
    """
    kept, prunable = masks_lib.count(ticket.masks)
    numbers = {"level": ticket.level, "step": ticket.step, "until": ticket.until}
    counts = {"kept": int(kept), "prunable": prunable}
    tree = {
        "params": ticket.params,
        "model_state": ticket.model_state,
        "masks": ticket.masks,
    }
    checkpoints.save(path, tree, {**metadata, **numbers, **counts})


def load(path: str | pathlib.Path) -> Ticket:
    """Returns the ticket that `save` wrote: `tickets.load("runs/.../level_03")`.

    Args:
      path: A folder such as `tickets/seed_0/level_03` in a run's workdir.

    Raises:
      DamagedError: It is not there, or not what was saved.
    """
    tree, metadata = checkpoints.restore(path)
    numbers = {name: metadata[name] for name in ("level", "step", "until")}
    return Ticket(**numbers, **jax.tree.map(jax.numpy.asarray, tree))
