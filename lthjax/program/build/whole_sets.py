"""What a record says of whole sets, beside means: precision, tables, sparsity."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from lthjax.callables import ApplyFn
from lthjax.program.build import data as data_lib
from lthjax.program.build.parts import Ground
from lthjax.pruning import masks as masks_lib
from lthjax.training import evaluate
from lthjax.training import measures as measures_lib
from lthjax.training.objective import HELD_OUT

NETWORK = "sparsity_network"


def measures(
    ground: Ground,
    data: data_lib.RunData,
    apply_fn: ApplyFn,
    shapes: Any,
) -> Callable[[Any], dict]:
    """Returns trained -> columns of its record, {} where no set is measured whole.

    They are "validation_<name>" and "test_<name>" of each name in `Objective.of_set`,
    `None` where nothing was there to be found, as small objects in a set of large ones;
    and the share that is removed of all weights of the network, `NETWORK`, of which
    "sparsity" counts those in scope; weights are what masks may have, biases and norms
    are none.

    Args:
      ground: What the method is built on, its source too.
      data: Of the run.
      apply_fn: (params, model_state, inputs, train) -> (outputs, model_state), of what
        is trained.
      shapes: Of the parameters of the network that is deployed.
    """
    goal, source = ground.objective, ground.source
    if goal.of_set is None or source is None:
        return lambda trained: {}
    sets = {"validation": source.validation, "test": source.test}
    given = apply_fn, data.prepare, sets
    batch = data_lib.chunk(ground.options, source)
    measured = evaluate.of_sets(*given, batch=batch, objective=goal)

    def columns(trained):
        found = measured(trained.params, trained.model_state)
        rows = {k: None if math.isnan(v) else v for k, v in found.items()}
        return rows | {NETWORK: of_network(shapes, trained.masks)}

    return columns


def tables(
    ground: Ground, data: data_lib.RunData, apply_fn: ApplyFn
) -> Callable[[Any], dict]:
    """Returns trained -> columns of its record: the tables of the objective, as lists.

    They are "validation_<name>" and "test_<name>"; what is NaN is `None` there, the
    accuracy of a class that the set has no example of.

    Args:
      ground: What the method is built on.
      data: Of the run.
      apply_fn: (params, model_state, inputs, train) -> (outputs, model_state), of what
        is trained.
    """
    goal = ground.objective
    if not goal.tables:
        return lambda trained: {}
    measured = data.evaluation(apply_fn, measures_lib.tables(goal))
    wanted = [f"{part}_{name}" for part in HELD_OUT for name in goal.tables]

    def columns(trained):
        found = measured(trained.params, trained.model_state)
        return {name: _listed(np.asarray(found[name])) for name in wanted}

    return columns


def _listed(table):
    """Returns an array as nested lists of six decimals."""
    if table.ndim:
        return [_listed(row) for row in table]
    return None if math.isnan(table) else round(float(table), 6)


def of_network(params: Any, masks: Any) -> float:
    """Returns (prunable - kept) / all weights, those out of scope among them.

    Args:
      params: Of the network, or their shapes.
      masks: `None` for what is out of scope.
    """
    kept, prunable = map(int, masks_lib.count(masks))
    weights = jax.tree.leaves(jax.eval_shape(masks_lib.full, params))
    return (prunable - kept) / sum(leaf.size for leaf in weights)
