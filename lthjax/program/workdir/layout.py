"""The folder of a run: the tickets and networks in it, and where a run goes on."""

import contextlib
import logging
import pathlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.devices import processes
from lthjax.program import progress
from lthjax.program.workdir import origin
from lthjax.program.workdir.member import Member, member
from lthjax.saving import checkpoints, tickets
from lthjax.tickets import Ticket, Trained

log = logging.getLogger(__name__)

CONFIG = origin.CONFIG
NUMBERS = ("level", "step", "until", "searching")


def ticket_path(root: pathlib.Path, seed: int | Member, level: int) -> pathlib.Path:
    """Returns where the ticket of a seed and level is: `tickets/seed_0/level_03`."""
    return root / "tickets" / member(seed).folder / f"level_{level:02d}"


def trained_path(
    root: pathlib.Path, arm: str, seed: int | Member, level: int
) -> pathlib.Path:
    """Returns where the network is that an arm trained to, as it is deployed.

    `deployed/ticket/seed_0/level_03`; what a study had kept of a ticket by the version
    before stays in `trained/seed_0/level_03`.
    """
    place = pathlib.Path(member(seed).folder) / f"level_{level:02d}"
    path, former = root / "deployed" / arm / place, root / "trained" / place
    kept_before = arm == "ticket" and former.exists() and not path.exists()
    return former if kept_before else path


def trained_members(root: pathlib.Path, arm: str) -> set[tuple[int, int]]:
    """Returns the (seed, level) of the networks that `trained_path` leads to."""
    places = {*root.glob(f"deployed/{arm}/*/*")}
    places |= {*root.glob("trained/*/*")} if arm == "ticket" else set()
    names = (f"{path.parent.name}/{path.name}" for path in places)
    found = (re.fullmatch(r"seed_(\d+)/level_(\d+)", name) for name in names)
    return {(int(one[1]), int(one[2])) for one in found if one}


def save_ticket(root: pathlib.Path, seed: int | Member, ticket: Ticket) -> Ticket:
    """Writes a ticket and returns it, or the undamaged one that is there already.

    A ticket that was written is the one that the records are of: it stays, even where
    a level trained again, in another population, would round to another one.

    Raises:
      ValueError: Several processes found different ones.
    """
    path = ticket_path(root, seed, ticket.level)
    if not processes.alone():
        own = checkpoints.checksum((ticket.params, ticket.masks), {})
        processes.check_same(f"ticket of level {ticket.level}", own)
    if path.exists():
        try:
            there = _own_ticket(root, seed, ticket.level)
            return there._replace(opt_state=ticket.opt_state)
        except checkpoints.DamagedError as error:
            log.warning("%s; it is written again", error)
    tickets.save(path, ticket, **member(seed).identity)
    return ticket


def _own_ticket(root, seed, level):
    """Returns the ticket that lies in a place, if it is that of the place."""
    path = ticket_path(root, seed, level)
    return tickets.load(path, level=level, **member(seed).identity)


def load_ticket(
    root: pathlib.Path, seed: int | Member, level: int, *, again: bool = True
) -> Ticket:
    """Returns a ticket as `save_ticket` wrote it.

    Args:
      root: The workdir.
      seed: Whose.
      level: Its level.
      again: Whether the workdir is that of the run itself, which can make it again.

    Raises:
      DamagedError: It is damaged, or another one, with what makes it again.
    """
    with _cured(root, seed, again=again):
        return _own_ticket(root, seed, level)


@contextlib.contextmanager
def _cured(root, seed, *, again):
    """Names what makes a ticket or a network of a run again where it is damaged."""
    try:
        yield
    except checkpoints.DamagedError as error:
        if not again:
            raise
        raise checkpoints.DamagedError(
            f"{error}; to have it made again, remove {_search_path(root, seed)} and "
            "give the same command: the levels of "
            f"{member(seed).text} are trained again"
        ) from error


def load_trained(
    root: pathlib.Path,
    arm: str,
    seed: int | Member,
    level: int,
    *,
    again: bool = True,
) -> Trained:
    """Returns the network at `trained_path`.

    Args:
      root: The workdir.
      arm: What it was trained as.
      seed: Whose.
      level: Its level.
      again: As for `load_ticket`.

    Raises:
      DamagedError: As `load_ticket`.
    """
    path = trained_path(root, arm, seed, level)
    own = {"level": level, "arm": arm, **member(seed).identity}
    with _cured(root, seed, again=again):
        return tickets.load_trained(path, **own)


def check_tickets(root: pathlib.Path, members: Iterable[Member], levels: int) -> None:
    """Checks that all tickets that searches had trained are there and undamaged.

    Args:
      root: The workdir.
      members: Whose.
      levels: The last level that is looked at.

    Raises:
      DamagedError: One is not, with what makes it again.
    """
    for one in members:
        own = {level for level, *_, searching in trainings(root, one) if not searching}
        for level in sorted(own & set(range(levels + 1))):
            load_ticket(root, one, level)


def _search_path(root, seed):
    return root / "search" / member(seed).folder


def save_search(
    root: pathlib.Path,
    seed: int | Member,
    state: Any,
    ticket: Ticket,
    trained: Trained,
) -> None:
    """Saves where a search stands: its state, and the last ticket with its training.

    The next ticket follows from them, also when more levels are asked for later.
    """
    tree = {"state": state, "ticket": ticket._replace(opt_state=None)}
    numbers = [int(getattr(ticket, name)) for name in NUMBERS]
    earlier = [list(row) for row in trainings(root, seed)]
    rows = earlier if numbers in earlier else [*earlier, numbers]
    metadata = {"searching": int(ticket.searching), "trainings": rows}
    metadata |= {"member": member(seed).identity}
    checkpoints.roll(_search_path(root, seed), {**tree, "trained": trained}, metadata)


def trainings(root: pathlib.Path, seed: int | Member) -> list[tuple[int, ...]]:
    """Returns (level, step, until, searching) of what a search had trained, in order.

    That is what the newest of its checkpoints says, [] without one. In those that an
    earlier version wrote there is no list: it begins where this version went on.
    """
    noted = checkpoints.noted(_search_path(root, seed)) or {}
    return [tuple(row) for row in noted.get("trainings", [])]


def stay(
    root: pathlib.Path, seconds: float, asked: threading.Event
) -> Callable[[Member, tuple, Any], tuple]:
    """Returns (member, (state, ticket, trained), states) -> the last three of a search.

    It goes through the states of what a search does between two trainings, and saves
    one after `seconds`, and where the run is asked to stop. All processes do the same.

    Args:
      root: The workdir.
      seconds: At most so long, and one piece of work, is lost.
      asked: The event that asks to stop; the function then raises `Interrupted`.
    """

    def through(one, stand, states):
        saved, (state, ticket, trained) = time.monotonic(), stand
        for state in states:
            since, wish = processes.largest(time.monotonic() - saved, asked.is_set())
            if since > seconds or wish:
                save_search(root, one, state, ticket, trained)
                saved = time.monotonic()
            if wish:
                raise progress.Interrupted(
                    f"stopped in the search after level {ticket.level} ({one.text}); "
                    "the same command goes on from there"
                )
        return state, ticket, trained

    return through


def load_search(root: pathlib.Path, seed: int | Member, like: Any) -> tuple | None:
    """Returns (state, ticket, trained) as last saved, or `None`.

    Args:
      root: The workdir.
      seed: The seed.
      like: metadata -> {"state", "ticket", "trained"}, the structures of the three.
    """
    path, own = _search_path(root, seed), member(seed).identity

    def like_own(metadata):
        if (other := metadata.get("member", own)) != own:
            raise checkpoints.DamagedError(
                f"what is in {path} must be of {member(seed).text}, got that of "
                f"{Member(**other).text}"
            )
        return like(metadata)

    saved = checkpoints.newest(path, like_own)
    if saved is None:
        return None
    tree = jax.tree.map(jnp.asarray, saved[0])
    numbers = {name: int(getattr(tree["ticket"], name)) for name in NUMBERS}
    return tree["state"], tree["ticket"]._replace(**numbers), tree["trained"]


def save_training(root: pathlib.Path, level: int, tree: Any, metadata: dict) -> None:
    """Saves a level's training on the way; the two newest are kept."""
    checkpoints.roll(_training_path(root, level), tree, metadata)


def load_training(root: pathlib.Path, level: int, like: Any) -> tuple | None:
    """Returns (tree, metadata) of a level's newest training on the way, or `None`.

    Where none can be read, that is said, and the level starts from its ticket again.
    """
    try:
        return checkpoints.newest(_training_path(root, level), like)
    except checkpoints.DamagedError as error:
        log.warning("%s; level %d starts again from its ticket", error, level)
        return None


def drop_training(root: pathlib.Path, level: int) -> None:
    """Removes the checkpoints of a training that is finished and recorded."""
    processes.meet("a level is recorded")
    _drop(root, [_training_path(root, level)])


def drop_stale(root: pathlib.Path, levels: Collection[int]) -> None:
    """Removes what a killed run left of trainings that are over.

    Args:
      root: The workdir.
      levels: Those of which something is still to be trained.
    """
    going = {_training_path(root, level) for level in levels}
    _drop(root, [path for path in (root / "training").glob("*") if path not in going])


@processes.by_first
def _drop(root, paths):
    """Removes folders, each whole or not at all for whoever looks."""
    for path in paths:
        aside = path.with_name(f".{path.name.lstrip('.')}")
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(OSError):  # another level's is still in there
        (root / "training").rmdir()


def _training_path(root, level):
    return root / "training" / f"level_{level:02d}"
