"""The chains of a run: where the search of each member stands, and how it goes on."""

import functools
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax

from lthjax.program.build.parts import Parts, key
from lthjax.program.workdir import layout, results
from lthjax.program.workdir.member import Member
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Ticket, Trained

log = logging.getLogger(__name__)

Chain = tuple[Any, Ticket | None]


class CollapsedError(ValueError):
    """The rounds of all chains of a run have pruned every weight."""


def saved(root: pathlib.Path, parts: Parts, one: Member) -> tuple | None:
    """Returns (search state, last ticket, what its training gave) as last saved."""
    return layout.load_search(root, one, functools.partial(_like, parts))


def begin(
    root: pathlib.Path,
    parts: Parts,
    one: Member,
    stand: tuple | None,
    stay: Callable[[Member, tuple, Any], tuple],
) -> Chain:
    """Returns (search state, next ticket) of a member: where its search stands.

    Args:
      root: The workdir.
      parts: The functions of the run.
      one: The member.
      stand: What `saved` returned; `None` for the start of the search.
      stay: What goes through the work between trainings, of `layout.stay`.
    """
    if stand is not None:
        _save_again(root, parts, one, stand[1])
        log.info("%s goes on from the end of level %d", one.text, stand[1].level)
        return following(root, parts, one, stand, stay)
    state, ticket = _first(parts, one)
    return state, layout.save_ticket(root, one, ticket)


def _first(parts, one):
    params, model_state = parts.init_fn(key(one.seed, "init"))
    masks, own = parts.masks_fn(params), key(one.seed, "search")
    state, ticket = parts.search.init(own, params, model_state, masks)
    return parts.variants[one.initial](state), ticket


def _save_again(root, parts, one, last):
    """Saves the first and the last ticket where they are gone, and says so."""
    known = {0: lambda: _first(parts, one)[1]}
    if last.level and not last.searching:
        known[last.level] = lambda: last
    for level, ticket_fn in known.items():
        path = layout.ticket_path(root, one, level)
        if not path.exists():
            log.warning("%s is gone; it is made again", path)
            layout.save_ticket(root, one, ticket_fn())


def following(
    root: pathlib.Path,
    parts: Parts,
    one: Member,
    stand: tuple,
    stay: Callable[[Member, tuple, Any], tuple],
) -> Chain:
    """Asks the search for its next ticket, and saves that.

    Args:
      root: The workdir.
      parts: The functions of the run.
      one: The member.
      stand: (search state, last ticket, what its training gave).
      stay: As for `begin`.

    Returns:
      (search state, ticket or `None`).
    """
    own = key(one.seed, "search")
    state, before, trained = stay(one, stand, parts.search.between(own, *stand))
    state, ticket = parts.search.step(own, state, before, trained)
    if ticket is None and before.searching:
        for text in _collapses(results.read(root / results.RESULTS), [one]):
            log.error("%s; its chain ends, the others go on", text)
    if ticket is None or ticket.searching:
        return state, ticket
    if ticket.level > before.level or before.searching:
        ticket = layout.save_ticket(root, one, ticket)
        for name in masks_lib.collapsed(ticket.masks, parts.plan.views):
            log.warning(
                "layer collapse: no weight of %s is left at level %d (%s)",
                name,
                ticket.level,
                one.text,
            )
    return state, ticket


def _like(parts: Parts, metadata: dict) -> dict:
    """Returns the structures of what a search saves, without computing anything."""

    def begun(key):
        params, model_state = parts.init_fn(key)
        masks = parts.masks_fn(params)
        state, ticket = parts.search.init(key, params, model_state, masks)
        carried = parts.begin(ticket)
        trained = Trained(params, model_state, masks, carried.opt_state)
        ticket = ticket._replace(opt_state=None)
        if metadata.get("searching"):
            trained = state.round
            ticket = Ticket(0, 0, 0, *trained[:3], searching=1)
        return {"state": state, "ticket": ticket, "trained": trained}

    return jax.eval_shape(begun, jax.random.key(0))


def last(records: list[dict], one: Member, levels: int) -> int:
    """Returns the last level of a chain that can have a ticket.

    That is the last one asked for, or the one before the round that pruned everything.

    Args:
      records: Of the run.
      one: The member.
      levels: The last level asked for.
    """
    return min([levels, *(row["level"] - 1 for row in _emptied(records, one))])


def check_left(records: list[dict], members: Iterable[Member], levels: int) -> None:
    """Checks that some chain of a finished run got to the last level.

    Args:
      records: Of the run.
      members: All its chains.
      levels: The last level asked for.

    Raises:
      CollapsedError: None did: a round of each has pruned everything.
    """
    members = list(members)
    if all(last(records, one, levels) < levels for one in members):
        raise CollapsedError(
            "a search must leave weights in one chain at least, got "
            f"{'; '.join(_collapses(records, members))}; what was finished is saved; "
            "raise the first logit (search.gates.initial), or lower the penalty or the "
            "number of levels"
        )


def _emptied(records, one):
    """Returns the records of the rounds of a chain that pruned every weight."""
    rounds = [row for row in records if row["arm"] == "search" and not row["kept"]]
    return [row for row in rounds if one.identity.items() <= row.items()]


def _collapses(records, members):
    return [
        f"{one.text}: none of {row['prunable']} weights left by the round of level "
        f"{row['level']}, {row['collapsed_first']} the furthest closed"
        for one in members
        for row in _emptied(records, one)
    ]
