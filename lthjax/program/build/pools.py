"""A config becomes averages of tickets: the arm "pools", which trains nothing."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import models
from lthjax.callables import EvaluationFn, StatisticsFn
from lthjax.data import splits as splits_lib
from lthjax.devices import cpu_convolutions
from lthjax.program.build import criterion, methods, spans
from lthjax.program.build.parts import Ground, Plan
from lthjax.retraining import pools
from lthjax.retraining.arms import POOLS
from lthjax.tickets import Trained
from lthjax.training import statistics

log = logging.getLogger(__name__)

STATISTICS = ("averaged", "recomputed")
_CLASSIC = "search.restart = 'weights'"


class Pools(NamedTuple):
    """What the loop needs for averages.

    Attributes:
      pool: ({level: trained}, level, evaluate) -> `retraining.pools.Pool`, the average
        of a level's network with its neighbours, as much as evaluate(params,
        model_state) rises by it.
      validate: (params, model_state) -> {column: value} of the validation set alone.
      evaluate: The same of both held-out sets.
      describe: (job, masks) -> more columns of its record.
    """

    pool: Callable[[dict[int, Trained], int, Any], pools.Pool]
    validate: EvaluationFn
    evaluate: EvaluationFn
    describe: Callable[[Any, Any], dict]


def targets(config, plan: Plan) -> tuple[int, ...]:
    """Returns the levels whose tickets are averaged with their neighbours.

    Args:
      config: A validated config.
      plan: The numbers of the run.

    Raises:
      ValueError: As `spans.levels`.
    """
    asked = config.retraining
    return spans.levels(asked.levels, plan) if POOLS in asked.arms else ()


def levels(plan: Plan, last: int) -> tuple[int, ...]:
    """Returns the levels whose networks go into averages: all that end with the run.

    Args:
      plan: The numbers of the run.
      last: The last level of the chain.
    """
    whole = not spans.drawn(plan) and spans.dense(plan) >= plan.steps
    return tuple(range(0 if whole else 1, last + 1))


def evaluations(config, plan: Plan) -> int:
    """Returns how often the averages of a chain are measured on validation, at most.

    Args:
      config: A validated config.
      plan: The numbers of the run.
    """
    own, count = targets(config, plan), len(config.retraining.pools.alphas)
    others = len(levels(plan, len(plan.targets))) - 1
    return len(own) * (1 + count * others)


def check(ground: Ground) -> None:
    """Refuses averages of what has no common start, and warns where that is early.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: Tickets are not rewound, groups of weights are pruned, or there is no
        alpha.
    """
    config = ground.options
    if POOLS not in config.retraining.arms:
        return
    targets(config, ground.plan)
    search, asked = config.search, config.retraining.pools
    rewinds = methods.reads(search.method, "search.restart")
    if not rewinds or search.restart != "weights":
        shown = f"search.restart = {search.restart!r}, " * rewinds
        raise ValueError(
            "pools average tickets that restart from the same weights: without that "
            f"averages are worthless; got {shown}search.method = {search.method!r} "
            f"with retraining.arms = {tuple(config.retraining.arms)}; give a method "
            f"that prunes by a score, with {_CLASSIC}, or leave 'pools' out"
        )
    if ground.method.prune is not criterion.selector:
        raise ValueError(
            "pools prune averages weight by weight by a score, got search.method = "
            f"{search.method!r} with retraining.arms = "
            f"{tuple(config.retraining.arms)}; give a method that does, such as "
            "'iterative', or leave 'pools' out"
        )
    if search.pattern != "weights":
        raise ValueError(
            "pools prune averages weight by weight, got search.pattern = "
            f"{search.pattern!r} with retraining.arms = "
            f"{tuple(config.retraining.arms)}; leave 'pools' out"
        )
    if not asked.alphas:
        raise ValueError(
            "retraining.pools.alphas must be one number or more in (0, 1), got "
            "retraining.pools.alphas = ()"
        )
    if not search.rewind_to:
        log.warning(
            "pools average tickets that restart from step 0, search.rewind_to = 0: "
            "where training is not stable from there on, no average will be taken"
        )


def built(ground: Ground, parts: Any, describe: Any) -> Pools:
    """Returns what the loop needs for averages.

    Args:
      ground: What the method is built on, its source too.
      parts: The functions of the search, and of vanilla training.
      describe: (job, masks) -> more columns of a record.
    """
    search, asked = ground.options.search, ground.options.retraining.pools
    single = search.scope == "global" and not (search.layer_rates or search.minimum)
    how = {
        "alphas": tuple(asked.alphas),
        "scope": "global" if single else "layer",
        "higher": parts.options.measures.best_by in ground.objective.higher,
        "recompute_fn": _recomputing(ground, parts),
    }
    evaluation = parts.data.evaluation

    def pool(networks, level, evaluate):
        known = sorted(networks)
        trees = [networks[n] for n in known]
        return pools.pool(trees, known.index(level), evaluate, levels=known, **how)

    both = evaluation(parts.apply_fn, ground.objective)
    validate = evaluation(parts.apply_fn, ground.objective, sets=1)
    return Pools(pool, validate, both, describe)


def _recomputing(ground: Ground, parts: Any) -> StatisticsFn | None:
    """Returns what takes batch statistics anew, `None` where they are averaged."""
    asked = ground.options.retraining.pools
    shapes = jax.eval_shape(parts.init_fn, jax.random.key(0))
    none = not jax.tree.leaves(models.statistics(shapes[1]))
    if asked.statistics == "averaged" or none:
        return None
    options = cpu_convolutions.compiler_options(ground.shapes) or None

    @functools.partial(jax.jit, compiler_options=options)
    def recompute(params, model_state, images):
        return statistics.recomputed(parts.apply_fn, images)(params, model_state)

    images = _images(ground, parts.data.prepare)
    return lambda params, model_state: recompute(params, model_state, images)


def _images(ground, prepare):
    """Returns the first training examples in whole batches, as the network reads it."""
    train, batch = ground.source.train, ground.options.train.batch_size
    number = min(ground.options.retraining.pools.examples, splits_lib.size(train))
    batch = min(batch, number)
    whole = number // batch * batch
    images = prepare(jnp.asarray(splits_lib.take(train, range(whole)).images))
    return images.reshape(-1, batch, *images.shape[1:])
