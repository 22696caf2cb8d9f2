"""A ticket, and what it trained to, to disk and back: arrays and JSON, no pickle."""

import pathlib

import jax

from lthjax.pruning import masks as masks_lib
from lthjax.saving import checkpoints, plain_metadata, savable
from lthjax.tickets.ticket import Ticket, Trained

TREES = ("params", "model_state", "masks")
NUMBERS = ("level", "step", "until")


def save(path: str | pathlib.Path, ticket: Ticket, **metadata) -> None:
    """Writes a ticket to the new folder `path`, whole or not at all.

    An optimizer state is not written: whoever loads a ticket starts a fresh optimizer.

    Args:
      path: The folder.
      ticket: The ticket.
      **metadata: What JSON can hold, kept beside it. Its `level`, `step`, `until`,
        `kept` and `prunable` are the ticket's, whatever is given.

    Raises:
      ValueError: As `checkpoints.save`.
    """
    kept, prunable = masks_lib.count(ticket.masks)
    numbers = {name: int(getattr(ticket, name)) for name in NUMBERS}
    numbers |= {"searching": int(ticket.searching)} if ticket.searching else {}
    counts = {"kept": int(kept), "prunable": prunable}
    tree = {
        "params": ticket.params,
        "model_state": ticket.model_state,
        "masks": ticket.masks,
    }
    checkpoints.save(path, tree, {**metadata, **numbers, **counts})


def load(path: str | pathlib.Path, like: Ticket | None = None, **metadata) -> Ticket:
    """Returns the ticket that `save` wrote: `tickets.load("runs/.../level_03")`.

    Arrays of 64 bits are numpy's where JAX has them switched off.

    Args:
      path: A folder such as `tickets/seed_0/level_03` in a run's workdir.
      like: A ticket with the structure of its trees. Without it tuples come back as
        lists, nodes of other types as dicts, and whole numbers for keys as texts.
      **metadata: Of what is kept beside it, what it must be, where it is there.

    Raises:
      DamagedError: It is not there, not what was saved, or another one.
    """
    tree, found = checkpoints.restore(path, _trees(like, TREES))
    _check_holds(path, tree, TREES, found, NUMBERS)
    _check_own(path, found, metadata)
    numbers = {name: found[name] for name in NUMBERS}
    numbers["searching"] = found.get("searching", 0)
    return Ticket(**numbers, **jax.tree.map(savable.in_jax, tree))


def save_trained(path: str | pathlib.Path, trained: Trained, **metadata) -> None:
    """Writes what a training gave to the folder `path`, whole or not at all.

    An optimizer state is not written. What stands at `path` is replaced.

    Args:
      path: The folder.
      trained: The weights and statistics at the end of a training, with their masks.
      **metadata: What JSON can hold, kept beside it.

    Raises:
      ValueError: As `checkpoints.save`.
    """
    tree = trained._replace(opt_state=None)._asdict()
    del tree["opt_state"]
    checkpoints.save(path, tree, metadata)


def load_trained(
    path: str | pathlib.Path, like: Trained | None = None, **metadata
) -> Trained:
    """Returns what `save_trained` wrote, or the trees of a ticket.

    Args:
      path: A folder such as `trained/seed_0/level_03` in a run's workdir.
      like: As for `load`.
      **metadata: Likewise.

    Raises:
      DamagedError: As `load`.
    """
    tree, found = checkpoints.restore(path, _trees(like, TREES))
    _check_holds(path, tree, TREES)
    _check_own(path, found, metadata)
    return Trained(**jax.tree.map(savable.in_jax, tree))


def _trees(like, names):
    return None if like is None else {name: getattr(like, name) for name in names}


def _check_own(path, found, expected):
    """Refuses what lies in the place of another one."""
    expected = plain_metadata.plain(expected)
    other = {name: found[name] for name in expected if name in found}
    own = {name: expected[name] for name in other}
    if not plain_metadata.same(other, own):
        shown = (", ".join(f"{k} {v}" for k, v in x.items()) for x in (own, other))
        raise checkpoints.DamagedError(
            "{} must be of {}, got one of {}".format(path, *shown)
        )


def _check_holds(path, tree, names, metadata=(), numbers=()):
    """Refuses what another function saved."""
    known = isinstance(tree, dict) and set(tree) == set(names)
    if not known or set(numbers) - set(metadata):
        held = ", ".join(sorted(map(str, tree))) if isinstance(tree, dict) else "a tree"
        what = "a ticket" if numbers else "a network"
        raise checkpoints.DamagedError(
            f"{path} cannot be read: {what} must hold {', '.join((*names, *numbers))}, "
            f"got {held}"
        )
