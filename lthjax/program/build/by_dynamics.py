"""Methods whose masks change while a network trains: gradual, SET, RigL, wirings."""

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import dynamic
from lthjax.callables import PruneFn, Schedule
from lthjax.program.build import levels, spans
from lthjax.program.build.method import Method, include, optimizer_options
from lthjax.program.build.parts import Ground
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Search
from lthjax.tickets.dynamic import changing
from lthjax.tickets.ticket import Ticket
from lthjax.training import optimizers

log = logging.getLogger(__name__)

GROWING = ("set", "rigl")  # sparse from the start: what is pruned grows elsewhere
# What each reads of `config.dynamic`.
READ = {
    "gradual": ("dynamic.every", "dynamic.begin", "dynamic.end"),
    "set": ("dynamic.every", "dynamic.end", "dynamic.fraction"),
    "rigl": ("dynamic.every", "dynamic.end", "dynamic.fraction"),
    "straight_through": ("dynamic.every", "dynamic.begin", "dynamic.end"),
    "wirings": (),
}


def window(name: str, config, steps: int) -> tuple[int, int]:
    """Returns the steps between which masks change, the last of them the training's.

    Args:
      name: Of the method.
      config: A validated config.
      steps: Of a training.

    Raises:
      ValueError: There is no change in between.
    """
    given = config.dynamic
    begin, end = round(given.begin * steps), min(round(given.end * steps), steps - 1)
    moves = name in GROWING
    if name != "wirings" and not 0 < given.every <= end - begin - moves:
        often = "at least once" if moves else "more than once"
        raise ValueError(
            f"search.method = {name!r} must change masks {often} in its "
            f"window, steps {begin} to {end} of {steps}, got dynamic.begin = "
            f"{given.begin}, dynamic.end = {given.end}, dynamic.every = {given.every}; "
            "take a longer window, or a smaller dynamic.every"
        )
    return begin, end


def check(ground: Ground) -> None:
    """Refuses controls, which go with tickets whose masks stay, and a wrong scope.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: There are controls, or wirings are to share a total over all layers.
    """
    config = ground.options
    layered = all(target.layers is not None for target in ground.plan.targets)
    if config.search.method == "wirings" and not layered:
        raise ValueError(
            "search.method = 'wirings' keeps a share of each layer, got search.scope = "
            f"{config.search.scope!r}; give 'layer', 'erdos_renyi' or "
            "'erdos_renyi_kernel'"
        )
    if config.controls:
        raise ValueError(
            "controls go with tickets whose masks stay, got controls = "
            f"{tuple(config.controls)} with search.method = {config.search.method!r}; "
            "its control is search.method = 'at_init' with search.score = 'random'"
        )
    if config.search.method in GROWING:
        _say_still(ground)


def _say_still(ground):
    """Says where so few weights may move that none does."""
    sizes, asked = ground.plan.sizes.values(), ground.options.dynamic.fraction
    for level, target in enumerate(ground.plan.targets, start=1):
        most = max(target.layers or (max(sizes) * target.kept / sum(sizes),))
        if most * asked < 1:
            log.warning(
                "level %d moves no weight: dynamic.fraction = %g of the %d of its "
                "largest layer is none",
                *(level, asked, most),
            )


def optimizer(
    name: str, ground: Ground, schedule: Schedule, exclude: tuple[str, ...]
) -> Any:
    """Returns the optimizer that moves the masks.

    How much a method prunes is data, put in when a level begins.

    Args:
      name: Of the method.
      ground: What it is built on.
      schedule: step -> learning rate.
      exclude: Layers never pruned, beside the config's.

    Raises:
      ValueError: As `window`.
    """
    config, steps = ground.options, ground.plan.steps
    begin, end = window(name, config, steps)
    inner_name, given = optimizer_options(ground)
    excluded = (*config.search.exclude, *exclude)
    options = {"exclude": excluded, "include": include(ground)}
    if name != "wirings":
        options["every"] = config.dynamic.every
    if name in GROWING:
        fraction = config.dynamic.fraction
        options |= {"until": end, "fraction": fraction, "key": jax.random.key(0)}
        options["distribution"] = "uniform"  # of a sparsity of 0.0: any keeps all
    elif name != "wirings":
        options |= {"begin": begin, "end": end}
    if name == "straight_through":
        options["until"] = end + 1
    sparsity = jax.tree.map(lambda _: 0.0, _full(ground, ground.plan.sizes.values()))

    def wrap(inner):
        return dynamic.METHODS[name](inner, sparsity, **options)

    return optimizers.build(inner_name, schedule, wrap=wrap, **given)


def search(
    name: str, ground: Ground, optimizer: Any, prune_fn: PruneFn | None
) -> Search:
    """Returns the search.

    Args:
      name: Of the method.
      ground: What it is built on.
      optimizer: What `optimizer` returned.
      prune_fn: Not used.
    """
    del prune_fn
    plan = ground.plan

    @jax.jit
    def begin(key, params, masks, kept, start):
        if name in GROWING:
            drawn = scores.random(jax.random.fold_in(key, 0), params, masks)
            masks = choose.prune(masks, drawn, kept=start)
        state = optimizer.init(masks_lib.apply(params, masks))
        return masks, dynamic.start(state, masks, kept, key)

    def begin_fn(key, params, masks, level):
        kept = _kept(ground, masks, level)
        return begin(key, params, masks, *[jax.tree.map(jnp.int32, kept)] * 2)

    return changing(begin_fn, levels=len(plan.targets), steps=plan.steps)


def carried(ground: Ground, optimizer: Any, ticket: Ticket, key: jax.Array) -> Any:
    """Returns the optimizer's state, which carries the masks, at a ticket's start.

    Args:
      ground: What the method is built on.
      optimizer: What `optimizer` returned.
      ticket: The ticket.
      key: A PRNG key.
    """
    kept = _kept(ground, ticket.masks, ticket.level)
    state = optimizer.init(masks_lib.apply(ticket.params, ticket.masks))
    return dynamic.start(state, ticket.masks, kept, key)


def _kept(ground, masks, level):
    """Returns how many weights a level keeps, as its target says; 0 keeps all."""
    sizes = [int(mask.size) for mask in jax.tree.leaves(masks)]
    return ground.plan.targets[level - 1].amount if level else _full(ground, sizes)


def _full(ground, sizes):
    """Returns the sizes of layers as targets have them: each, or all in one."""
    targets = ground.plan.targets
    layered = bool(targets) and targets[0].layers is not None
    return list(sizes) if layered else sum(sizes)


def _shrink(config):
    config.dynamic.every = 1


def _method(name):
    return Method(
        keys=(*levels.KEYS, *READ[name]),
        targets=levels.targets,
        search=functools.partial(search, name),
        spans=spans.whole,
        check=check,
        optimizer=functools.partial(optimizer, name),
        carried=carried,
        shrink=_shrink if READ[name] else lambda config: None,
    )


METHODS = {name: _method(name) for name in dynamic.METHODS}
