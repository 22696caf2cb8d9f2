"""Methods whose tickets another run has found: elastic ones, of another depth."""

import json
import logging
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax import draws, models, registry
from lthjax.data import fingerprints
from lthjax.models import stages
from lthjax.program.build import network, source_runs
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground, Training, key
from lthjax.program.build.spans import chain
from lthjax.program.config import files
from lthjax.program.workdir import layout, origin
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import scores
from lthjax.pruning.targets import LEARNT
from lthjax.tickets import Search, Ticket, block_maps, elastic
from lthjax.tickets.block_maps import BlockMap, Stages

log = logging.getLogger(__name__)

NAME = "elastic"


class Way(NamedTuple):
    """From where to where tickets are carried."""

    source: Stages
    target: Stages
    block_map: BlockMap


def targets(ground: Ground) -> list:
    """Returns a target without a number for each level: the tickets say how many.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: There is no level.
    """
    found = source_runs.levels(ground, NAME)
    if not found:
        raise ValueError(
            "an elastic search must take a ticket, got search.levels = 0 and "
            "elastic.levels = (); give one of them"
        )
    return [LEARNT] * len(found)


def way(ground: Ground) -> Way:
    """Returns the stages of both networks, and the map between them.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: The source is no run, or of another family; the map or the order does
        not lead from its depth to this one's.
    """
    asked, root = ground.options.elastic, source_runs.root(ground, NAME)
    names = masks_lib.names(ground.shapes)
    if asked.unit:
        own = masks_lib.names(_first(ground).params)
        source, target = (stages.named(asked.unit, n) for n in (own, names))
    else:
        other = _module(root, ground.facts)
        families = stages.family(other), stages.family(ground.module)
        if families[0] != families[1]:
            raise ValueError(
                "an elastic ticket goes to another depth of its own family, got a "
                f"{families[0]} in elastic.source = {str(root)!r} for a {families[1]}"
            )
        source, target = stages.units(other), stages.units(ground.module)
    depths = elastic.depths(source), elastic.depths(target)
    if asked.map:
        return Way(source, target, _given(asked.map, *depths))
    order = registry.resolve(asked.order, block_maps.ORDERS, "elastic.order")
    return Way(source, target, order(*depths))


def ticket(ground: Ground, found: Way, seed: int, level: int) -> Ticket:
    """Returns a ticket of the source, carried to this network.

    Args:
      ground: What the method is built on.
      found: From where to where.
      seed: Of this run.
      level: Of this run.

    Raises:
      ValueError: The source has no such ticket, or it does not fit.
    """
    own = source_runs.ticket(ground, NAME, seed, level)
    _check_steps(ground, own)
    there = elastic.remap_ticket(own, *found)
    _check_shapes(ground, there)
    if ground.options.elastic.match:
        now, prunable = map(int, masks_lib.count(own.masks))
        wanted = round(int(masks_lib.count(there.masks)[1]) * now / prunable)
        full = jax.tree.map(jnp.ones_like, there.masks)
        ranks = scores.magnitude(there.params, full)
        there = there._replace(masks=elastic.match_density(there.masks, ranks, wanted))
    _, begun = ground.init_fn(key(seed, "init"))  # dropout draws as this seed does
    state = draws.like(models.statistics(there.model_state), begun)
    return there._replace(level=level, until=ground.plan.steps, model_state=state)


def search(ground: Ground, optimizer, prune_fn) -> Search:
    """Returns the search: the dense network, then the source's tickets, level by level.

    Args:
      ground: What the method is built on.
      optimizer: Not used: every level begins with a fresh one.
      prune_fn: Not used: nothing is pruned here.
    """
    del optimizer, prune_fn
    _say_other_data(ground)

    def ticket_fn(seed, level):
        found = ticket(ground, way(ground), seed, level)
        _say(ground, found, seed)
        return found

    return source_runs.search(ground, NAME, ticket_fn)


def spans(ground: Ground) -> list[Training]:
    """Returns the dense training, and that of every level's ticket.

    Args:
      ground: What the method is built on.
    """
    return chain(ground.plan, (_first(ground).step, ground.plan.steps))


def check(ground: Ground) -> None:
    """Refuses a source that lacks a ticket, or whose tickets do not fit.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `way` and `ticket`.
    """
    found, asked = way(ground), ground.options
    if sentence := elastic.far(found.source, found.target):
        log.warning("%s", sentence)
    for seed in asked.seeds:
        for level in range(1, len(ground.plan.targets) + 1):
            ticket(ground, found, seed, level)


def taken(ground: Ground) -> dict[str, pathlib.Path]:
    """Returns {"level 1 of seed 0": the folder of the ticket that it is made of}.

    Args:
      ground: What the method is built on.
    """
    return source_runs.taken(ground, NAME)


def controls(ground: Ground) -> dict:
    """Returns {"copies": the control whose added copies have permuted masks}.

    Args:
      ground: What the method is built on.
    """

    def copies(own, found, init_fn):
        del init_fn
        masks = elastic.permuted_copies(own, found.masks, *way(ground))
        return found._replace(masks=masks, opt_state=None)

    return {"copies": copies}


def _first(ground):
    """Returns the source's ticket that the first level of the first seed is made of."""
    return source_runs.ticket(ground, NAME, ground.options.seeds[0], 1)


def _module(root, facts):
    """Returns the network of the source, one of ours."""
    config = files.from_json(json.dumps(origin.config(root)))
    with registry.read_in(root / layout.CONFIG):
        return network.model(config, facts)


def _given(text, source, target):
    """Returns the map of `elastic.map`."""
    found = block_maps.parse(text, target)
    block_maps.check(found, source, target)
    return found


def _check_steps(ground, own):
    if own.step >= ground.plan.steps:
        raise ValueError(
            "a ticket must be trained from before the last step, got a ticket of step "
            f"{own.step} from {ground.options.elastic.source!r} for train.steps = "
            f"{ground.plan.steps}"
        )


def _check_shapes(ground, there):
    """Refuses a ticket of other shapes than the network's, naming the first leaf."""
    wanted = {n: w.shape for n, w in masks_lib.by_name(ground.shapes).items()}
    found = {n: w.shape for n, w in masks_lib.by_name(there.params).items()}
    other = sorted(n for n in wanted.keys() | found if wanted.get(n) != found.get(n))
    if other:
        name = other[0]
        raise ValueError(
            "a ticket must fit the network that it is carried to, got "
            f"{found.get(name, 'nothing')} for {wanted.get(name, 'nothing')} at "
            f"{name!r}; give the width, data and options of the source, "
            f"{ground.options.elastic.source!r}"
        )
    full = ground.method.masks(ground)
    own = masks_lib.names(jax.eval_shape(full, ground.shapes))
    if own != masks_lib.names(there.masks):
        odd = sorted(set(own) ^ set(masks_lib.names(there.masks)))
        raise ValueError(
            "what is never pruned must be the same in both networks, got search.exclude"
            f" = {tuple(ground.options.search.exclude)} with other masks at "
            f"{', '.join(odd)}"
        )


def _say_other_data(ground):
    """Warns where the source was trained on other data than this run."""
    if ground.source is None:
        return
    given = ground.options.elastic.source
    held = origin.copy(source_runs.root(ground, NAME)).get("data") or {}
    if names := origin.apart(held, fingerprints.fingerprint(ground.source)):
        log.warning(
            "elastic tickets are carried within one set of data, got elastic.source = "
            "%r, which was trained on other %s",
            given,
            ", ".join(names),
        )


def _say(ground, found, seed):
    kept, prunable = map(int, masks_lib.count(found.masks))
    log.info(
        "level %d, seed %d: an elastic ticket of %s keeps %s of %s weights, %.2f %%",
        found.level,
        seed,
        ground.options.elastic.source,
        f"{kept:,}",
        f"{prunable:,}",
        100 * kept / prunable,
    )


METHODS = {
    NAME: Method(
        keys=("search.levels", "search.exclude", "search.include", "elastic"),
        targets=targets,
        search=search,
        spans=spans,
        check=check,
        controls=controls,
        taken=taken,
    )
}
