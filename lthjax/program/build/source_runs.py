"""The run that tickets are taken over from: where it lies, its levels, its seeds.

Each method that takes tickets over has a section of the config by its own name, with
`source`, `levels` and `seed`.
"""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from lthjax.program.build.parts import Ground, key
from lthjax.program.workdir import layout, origin, results
from lthjax.tickets import Search, Ticket
from lthjax.tickets.outside import outside


def root(ground: Ground, name: str) -> pathlib.Path:
    """Returns the workdir of the source, which must be a run's.

    Args:
      ground: What the method is built on.
      name: Of the method's section.

    Raises:
      ValueError: It is none, or its networks are of coefficients.
    """
    given = ground.options[name].source
    found = pathlib.Path(given)
    if not given or not (found / results.RESULTS).exists():
        raise ValueError(
            f"{name}.source must be the workdir of a run whose networks are taken "
            f"over, got {name}.source = {given!r}, which holds no {results.RESULTS}"
        )
    if origin.config(found).get("search", {}).get("basis"):
        raise ValueError(
            f"what is taken over must be of weights, got {name}.source = {given!r}, "
            "whose networks are of coefficients (search.basis)"
        )
    return found


def levels(ground: Ground, name: str) -> tuple[int, ...]:
    """Returns the level of the source that each level of this run is made of.

    Args:
      ground: What the method is built on.
      name: Of the method's section.
    """
    given = ground.options[name].levels
    return tuple(given) or tuple(range(1, ground.options.search.levels + 1))


def seed(ground: Ground, name: str, own: int) -> int:
    """Returns the seed of the source that a seed of this run takes.

    Args:
      ground: What the method is built on.
      name: Of the method's section.
      own: The seed of this run.
    """
    given = ground.options[name].seed
    return own if given < 0 else given


def seed_of(ground: Ground) -> Callable[[jax.Array], int]:
    """Returns the key of a search, or its data -> the seed of this run it is of.

    Args:
      ground: What the method is built on.
    """
    seeds = {_bytes(key(own, "search")): own for own in ground.options.seeds}
    return lambda found: seeds[_bytes(found)]


def _bytes(found):
    return np.asarray(jax.random.key_data(found)).tobytes()


def ticket(ground: Ground, name: str, own: int, level: int) -> Ticket:
    """Returns the source's ticket that a level is made of, before it was trained.

    Args:
      ground: What the method is built on.
      name: Of the method's section.
      own: The seed of this run.
      level: Of this run.

    Raises:
      ValueError: As `root`; or the source has no such ticket.
    """
    path = root(ground, name)
    given, there = seed(ground, name, own), levels(ground, name)[level - 1]
    if not layout.ticket_path(path, given, there).is_dir():
        raise ValueError(
            f"{name}.source must have the tickets that are asked for, got no level "
            f"{there} of seed {given} in {str(path)!r}; give {name}.levels, "
            f"{name}.seed or fewer search.levels"
        )
    return layout.load_ticket(path, given, there, again=False)


def search(
    ground: Ground, name: str, ticket_fn: Callable[[int, int], Ticket]
) -> Search:
    """Returns the search: the dense network, then what the source gives, by level.

    Records say of which level and seed of the source a ticket is.

    Args:
      ground: What the method is built on.
      name: Of the method's section.
      ticket_fn: (seed, level) of this run -> its ticket.
    """
    of = seed_of(ground)

    def describe(state, found):
        if not found.level:
            return {}
        there = levels(ground, name)[found.level - 1], seed(ground, name, of(state.key))
        return dict(zip(("source_level", "source_seed"), there, strict=True))

    plan = ground.plan
    found = outside(
        lambda own, level: ticket_fn(of(own), level),
        levels=len(plan.targets),
        steps=plan.steps,
    )
    return found._replace(describe=describe)


def taken(
    ground: Ground,
    name: str,
    place: Callable[[pathlib.Path, int, int], pathlib.Path] = layout.ticket_path,
    *,
    dense: bool = False,
) -> dict[str, pathlib.Path]:
    """Returns {"level 1 of seed 0": the folder of what it is made of}; 0 is dense.

    Args:
      ground: What the method is built on.
      name: Of the method's section.
      place: (workdir, seed, level) -> folder, all of the source.
      dense: Whether its dense network is taken too.
    """
    path = root(ground, name)
    chosen = dict(enumerate(levels(ground, name), start=1)) | ({0: 0} if dense else {})
    return {
        f"level {level} of seed {own}": place(path, seed(ground, name, own), there)
        for own in ground.options.seeds
        for level, there in chosen.items()
    }
