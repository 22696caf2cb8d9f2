"""Methods that prune by a score: iterative, one-shot, before training."""

import functools
from collections.abc import Callable

from lthjax.callables import PruneFn
from lthjax.program.build import criterion, levels, own_parts
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground, Training
from lthjax.program.build.spans import chain
from lthjax.pruning.targets import Target
from lthjax.tickets import Search
from lthjax.tickets.iterative import at_init, iterative, one_shot
from lthjax.tickets.iterative import span as pruned_span

# The keys that say which weights go.
SCORING = (
    "search.score",
    "search.rounds",
    "search.batches",
    "search.examples",
    "search.norms",
    "search.corrupt",
    "search.invert",
    "search.pattern",
    "search.minimum",
)
RESTARTS = ("search.rewind_to", "search.restart")
BASIS = ("search.basis", "search.basis_each_level")
KEYS = (*levels.KEYS, *SCORING, *RESTARTS, *BASIS)


def spans(ground: Ground) -> list[Training]:
    """Returns the dense training, and that of every level's ticket.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: As `tickets.iterative.iterative`.
    """
    search, plan = ground.options.search, ground.plan
    own = pruned_span(plan.steps, search.rewind_to, search.restart)
    return chain(plan, own)


def by_level(targets: tuple[Target, ...], prune_fn: PruneFn) -> PruneFn:
    """Returns (key, trained, level) -> masks, of (key, trained, target) -> masks.

    Args:
      targets: What each level keeps.
      prune_fn: What prunes to a target.
    """
    return lambda key, trained, level: prune_fn(key, trained, targets[level - 1])


def search(
    factory: Callable[..., Search], ground: Ground, optimizer, prune_fn: PruneFn
) -> Search:
    """Returns the search of a config.

    Args:
      factory: `tickets.iterative.iterative`, or one that takes the same.
      ground: What the method is built on.
      optimizer: Not used: every level begins with a fresh one.
      prune_fn: (key, trained, target) -> masks.

    Raises:
      ValueError: As the factory.
    """
    del optimizer
    asked, plan = ground.options.search, ground.plan
    return factory(
        by_level(plan.targets, prune_fn),
        levels=len(plan.targets),
        steps=plan.steps,
        rewind_to=asked.rewind_to,
        restart=asked.restart,
    )


def _method(factory):
    return Method(
        keys=KEYS,
        targets=levels.targets,
        search=functools.partial(search, factory),
        spans=spans,
        check=criterion.check,
        prune=criterion.selector,
        rehearse=own_parts.score,
    )


METHODS = {
    "iterative": _method(iterative),
    "one_shot": _method(one_shot),
    "at_init": _method(at_init),
}
