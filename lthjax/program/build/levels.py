"""How many weights every level keeps, by rates or by a list of sparsities."""

import functools

from lthjax.program.build.parts import Ground
from lthjax.pruning import sparsities
from lthjax.pruning.targets import LEARNT, Target, target

# The keys that say how much a level keeps, and of what.
KEYS = (
    "search.levels",
    "search.sparsities",
    "search.rate",
    "search.layer_rates",
    "search.scope",
    "search.exclude",
    "search.include",
)
# The scopes in which layers share a total by their shapes: is it by whole kernels?
SHARED = {"erdos_renyi": False, "erdos_renyi_kernel": True}


def targets(ground: Ground) -> list[Target]:
    """Returns what each level keeps.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: A sparsity or rate is out of range, a pattern matches no layer, or
        keys are set that do not go together.
    """
    search, plan = ground.options.search, ground.plan
    if search.sparsities and search.layer_rates:
        raise ValueError(
            "search.layer_rates are rates, and do not go with search.sparsities, got "
            f"layer_rates = {search.layer_rates}; set one of them to ()"
        )
    scope = search.scope if search.scope in ("global", "layer") else "global"
    if search.sparsities:
        found = sparsities.by_list(plan.sizes, search.sparsities, scope=scope)
    else:
        found = sparsities.by_rate(
            plan.sizes,
            search.rate,
            search.levels,
            scope=scope,
            layer_rates=dict(search.layer_rates),
        )
    if search.scope in SHARED and search.layer_rates:
        raise ValueError(
            f"search.scope = {search.scope!r} gives every layer its own sparsity, got "
            f"layer_rates = {search.layer_rates}; set one of them to its default"
        )
    if search.scope in SHARED:
        kernel = SHARED[search.scope]
        share = functools.partial(
            sparsities.erdos_renyi, kernel=kernel, views=plan.views
        )
        found = [share(plan.shapes, n) for n in found]
    return [target(amount) for amount in found]


def learnt(ground: Ground) -> list[Target]:
    """Returns a target without a number for each level: the search learns how many.

    Args:
      ground: What the method is built on.
    """
    search = ground.options.search
    return [LEARNT] * (len(search.sparsities) or search.levels)
