"""A ticket, and what it trained to, to disk and back: arrays and JSON, no pickle."""

import pathlib

import jax

from lthjax.pruning import masks as masks_lib
from lthjax.saving import checkpoints
from lthjax.tickets.ticket import Ticket, Trained


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
    numbers |= {"searching": ticket.searching} if ticket.searching else {}
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
    numbers["searching"] = metadata.get("searching", 0)
    return Ticket(**numbers, **jax.tree.map(jax.numpy.asarray, tree))


def save_trained(path: str | pathlib.Path, trained: Trained, **metadata) -> None:
    """Writes what a training gave to the folder `path`, whole or not at all.

    An optimizer state is not written. What stands at `path` is replaced.

    Args:
      path: The folder.
      trained: The weights and statistics at the end of a training, with their masks.
      **metadata: What JSON can hold, kept beside it.
    """
    tree = trained._replace(opt_state=None)._asdict()
    del tree["opt_state"]
    checkpoints.save(path, tree, metadata)


def load_trained(path: str | pathlib.Path) -> Trained:
    """Returns what `save_trained` wrote.

    Args:
      path: A folder such as `trained/seed_0/level_03` in a run's workdir.

    Raises:
      DamagedError: It is not there, or not what was saved.
    """
    tree, _ = checkpoints.restore(path)
    return Trained(**jax.tree.map(jax.numpy.asarray, tree))
