"""Tickets that another task's run has found: its backbone, or all but heads."""

import functools
import logging
import pathlib
import re

import jax
import jax.numpy as jnp

from lthjax import draws, models
from lthjax.program.build import source_runs, spans
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground, key
from lthjax.program.workdir import layout
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.targets import LEARNT
from lthjax.tickets import Search, Ticket, Trained, transplant
from lthjax.tickets.transplant import Rule

log = logging.getLogger(__name__)

NAME = "transplant"
WAYS = ("ticket", "mask", "task", "rewound")
INTO_BACKBONE = WAYS[:2]
BACKBONE = "^backbone/"
HEAD = "^head/"  # of a classifier: other classes, other outputs


def rules(way: str, heads: tuple[str, ...]) -> tuple[Rule, ...]:
    """Returns what is taken of the source.

    Args:
      way: "ticket" or "mask": the backbone, of a network that is no more than it and
        its head; "task", "rewound": all but the heads, by their own names; of the
        latter a classifier's head is one.
      heads: Expressions of what is kept as it is, for these two.
    """
    if way in ("task", "rewound"):
        kept = (*heads, HEAD) if way == "rewound" else heads
        return (*(Rule(head, "keep") for head in kept), Rule(""))
    return Rule(BACKBONE, "copy", ""), Rule("", "keep")


def targets(ground: Ground) -> list:
    """Returns a target without a number for each level: the source says how many.

    Args:
      ground: What the method is built on.
    """
    return [LEARNT] * len(source_runs.levels(ground, NAME))


def ticket(ground: Ground, seed: int, level: int) -> Ticket:
    """Returns the ticket of a level: what the source gives in the network of a seed.

        ticket, task   masks, trained weights, batch statistics of the source's ticket
        rewound        the masks, and the weights and batch statistics that the source's
                       ticket itself was rewound to: another set trains it
        mask           the trained weights of the source's dense network, and of them
                       the largest, as many as the source's ticket keeps; batch
                       statistics stay the network's own

    What dropout draws from is the seed's own.

    References:
      Girish et al., 2021, arXiv:2012.04643. Departure: the masks of "mask" keep the
      largest of what is taken over, never of a threshold over the whole network.
      Morcos et al., 2019, arXiv:1906.02773 ("rewound"), whose abstract alone was at
      hand; here the head is the seed's own, and keeps all of its weights.

    Args:
      ground: What the method is built on.
      seed: Of this run.
      level: Of this run.

    Raises:
      ValueError: The source has kept no such network, or it does not fit; or nothing
        that is in scope comes from it.
    """
    asked = ground.options.transplant
    if asked.way == "rewound":
        sparse = source_runs.ticket(ground, NAME, seed, level)
    else:
        there = source_runs.levels(ground, NAME)[level - 1]
        sparse = _trained(ground, seed, there)
    weights = _trained(ground, seed, 0) if asked.way == "mask" else sparse
    params, state = ground.init_fn(key(seed, "init"))
    full = ground.method.masks(ground)(params)
    found = rules(asked.way, tuple(asked.heads))
    params, report = transplant.transplant(weights.params, params, found)
    _check(ground, report)
    if asked.way != "mask":
        given = weights.model_state
        moved = {
            name: _statistics(ground, given.get(name, {}), own, found)
            for name, own in models.statistics(state).items()
        }
        state = draws.like(moved, state)
    masks, _ = transplant.transplant(_in_scope(sparse.masks, full, found), full, found)
    if asked.way == "mask":
        masks = _largest(params, masks, report.copied)
    log.info("level %d, seed %d: %s", level, seed, transplant.text(report))
    return Ticket(
        level=level,
        step=0,
        until=ground.plan.steps,
        params=masks_lib.apply(params, masks),
        model_state=state,
        masks=masks,
    )


def _largest(params, masks, copied):
    """Returns masks of the largest weights of the copied leaves, as many as theirs."""
    own = transplant.flat(masks)
    others = {name: None for name in own.keys() - copied.keys()}
    taken = transplant.replaced(masks, others)
    scores_of = scores.magnitude(params, taken)
    whole = jax.tree.map(jnp.ones_like, taken)
    chosen = choose.prune(whole, scores_of, kept=int(masks_lib.count(taken)[0]))
    return transplant.replaced(chosen, {name: own[name] for name in others})


def _statistics(ground, given, own, found):
    """Returns a collection of batch statistics, with what the rules take of another."""
    if not transplant.flat(own):
        return own
    moved, report = transplant.transplant(given, own, found)
    _check_lacking(ground, report.missing)
    return moved


def _in_scope(masks, full, found):
    """Returns the source's masks, `None` where the target has none."""
    _, report = transplant.transplant(masks, full, found)
    flat, own = (transplant.flat(tree) for tree in (masks, full))
    scoped = {
        taken: own[name]
        for name, taken in report.copied.items()
        if own[name] is None or flat[taken] is None
    }
    return transplant.replaced(masks, scoped)


def _trained(ground, seed, level) -> Trained:
    """Returns what the source's ticket of a level of its own trained to."""
    root, own = source_runs.root(ground, NAME), source_runs.seed(ground, NAME, seed)
    path = layout.trained_path(root, "ticket", own, level)
    if not path.is_dir():
        raise ValueError(
            "transplant.source must have kept its trained networks, got no level "
            f"{level} of seed {own} in {str(root)!r}; run it with --config.studies="
            "signs"
        )
    return layout.load_trained(root, "ticket", own, level, again=False)


def _check_way(ground):
    """Refuses a way into a backbone where the network has none."""
    way, names = ground.options.transplant.way, masks_lib.names(ground.shapes)
    if way in INTO_BACKBONE and not any(re.search(BACKBONE, n) for n in names):
        raise ValueError(
            f"transplant.way = {way!r} takes a classifier over into the backbone of a "
            f"recogniser, got model.name = {ground.options.model.name!r}, which has "
            "none; give transplant.way = 'rewound' or 'task', which take over a "
            "network of the same form"
        )


def _check(ground, report):
    _check_lacking(ground, report.missing or ("everything",) * (not report.copied))


def _check_lacking(ground, names):
    if names:
        raise ValueError(
            "the source must have all that is taken over, got transplant.source = "
            f"{ground.options.transplant.source!r}, which lacks {', '.join(names)}; "
            "give its backbone, or keep these by transplant.heads"
        )


def search(ground: Ground, optimizer, prune_fn) -> Search:
    """Returns the search: the dense network, then what the source gives, by level.

    Args:
      ground: What the method is built on.
      optimizer: Not used: every level begins with a fresh one.
      prune_fn: Not used: nothing is pruned here.
    """
    del optimizer, prune_fn
    return source_runs.search(ground, NAME, functools.partial(ticket, ground))


def check(ground: Ground) -> None:
    """Refuses a source that lacks a network, or whose networks do not fit.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `ticket`; or the way is into a backbone, and there is none.
    """
    source_runs.root(ground, NAME)
    _check_way(ground)
    for seed in ground.options.seeds:
        for level in range(1, len(ground.plan.targets) + 1):
            ticket(ground, seed, level)


def taken(ground: Ground) -> dict[str, pathlib.Path]:
    """Returns {"level 1 of seed 0": the folder of what it is made of}; 0 is dense.

    Args:
      ground: What the method is built on.
    """

    def trained(root, seed, level):
        return layout.trained_path(root, "ticket", seed, level)

    way = ground.options.transplant.way
    place = layout.ticket_path if way == "rewound" else trained
    return source_runs.taken(ground, NAME, place, dense=way == "mask")


METHODS = {
    NAME: Method(
        keys=("search.levels", "search.exclude", "search.include", "transplant"),
        targets=targets,
        search=search,
        spans=spans.whole,
        check=check,
        taken=taken,
    )
}
