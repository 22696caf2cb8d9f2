"""What a network is worth on a set: means of loss and measures, and measures of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lthjax.callables import ApplyFn, CountFn, EvaluateFn, PrepareFn
from lthjax.data import splits as splits_lib
from lthjax.devices import meshes
from lthjax.training import objective as objective_lib
from lthjax.training.objective import CLASSIFICATION, Objective


def counter(
    apply_fn: ApplyFn, prepare_fn: PrepareFn, objective: Objective = CLASSIFICATION
) -> CountFn:
    """Returns (params, model_state, chunk) -> (sums, counts) of the chunk's examples.

    The sums [measures + 2] are of losses, of each measure, and of weights: by default
    of losses in nats, of correct answers, and of weights; the counts are the sums of
    each of `objective.counted`. A chunk is (inputs [batch, ...], labels [batch, ...],
    weights [batch]), as `evaluator` has them.

    Args:
      apply_fn: (params, model_state, inputs, train) -> (outputs, state).
      prepare_fn: uint8 images -> normalised images; the identity for other inputs.
      objective: What is measured.
    """
    measured = objective_lib.measured(objective).values()

    def count(params, model_state, chunk):
        inputs, labels, weights = chunk
        outputs, _ = apply_fn(params, model_state, prepare_fn(inputs), False)
        sums = [of_weighted(fn(outputs, labels), weights) for fn in measured]
        outputs = jax.tree.map(lambda x: _of_those(x, weights), outputs)
        rows = objective.counted.values()
        counts = tuple(row.sums(outputs, labels, weights) for row in rows)
        return jnp.stack([*sums, jnp.sum(weights)]), counts

    return count


def of_weighted(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns sum_i weights_i values_i, whatever the values of weight zero are.

    What fills a batch is a picture of zeros, of which a network may make no number.

    Args:
      values: Of the examples [batch].
      weights: Of the same [batch].
    """
    return jnp.sum(jnp.where(weights > 0, values, 0) * weights)


def _of_those(outputs, weights):
    """Returns outputs, zero where the weight is: see `of_weighted`."""
    there = (weights > 0).reshape(-1, *(1,) * (outputs.ndim - 1))
    return jnp.where(there, outputs, jnp.zeros_like(outputs))


def nothing(count: CountFn, params: Any, model_state: Any, chunk: Any) -> Any:
    """Returns the sums of no example, zeros of the shapes that `count` returns.

    Args:
      count: What `counter` returns.
      params: Arrays, or their shapes, as all that follow.
      model_state: As params.
      chunk: Of any size.
    """
    shapes = jax.eval_shape(count, params, model_state, chunk)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def evaluator(
    apply_fn: ApplyFn,
    prepare_fn: PrepareFn,
    *,
    axis_name: str | None = None,
    objective: Objective = CLASSIFICATION,
) -> EvaluateFn:
    """Returns (params, model_state, examples) -> (loss, each measure) of a set.

    By default they are (mean loss in nats, accuracy). `examples` are (inputs
    [n, batch, ...], labels [n, batch, ...], weights [n, batch]), the weights 1, or 0
    for what only fills the last batch: `batches.chunks`.

    Args:
      apply_fn: (params, model_state, inputs, train) -> (outputs, state).
      prepare_fn: As for `counter`.
      axis_name: The mesh axis whose devices share every batch and add up their sums.
      objective: What is measured.
    """
    count = counter(apply_fn, prepare_fn, objective)

    def evaluate(params, model_state, examples):
        def add(sums, chunk):
            rows = meshes.share(chunk, axis_name)
            found = count(params, model_state, rows)
            return jax.tree.map(jnp.add, sums, found), None

        one = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in examples]
        none = nothing(count, params, model_state, one)
        sums, _ = lax.scan(add, none, tuple(examples))
        sums = sums if axis_name is None else lax.psum(sums, axis_name)
        return objective_lib.averaged(objective, sums)

    return evaluate


def of_sets(
    apply_fn: ApplyFn,
    prepare_fn: PrepareFn,
    sets: dict[str, Any],
    *,
    batch: int,
    objective: Objective,
) -> Callable[[Any, Any], dict[str, float]]:
    """Returns (params, model_state) -> {"<set>_<name>": number}, what is no mean.

    A set is read batch by batch, from the disk where it lies there; what is kept of it
    is what `objective.of_set.read` returns.

    Args:
      apply_fn: (params, model_state, inputs, train) -> (outputs, state).
      prepare_fn: As for `counter`.
      sets: {name: split}.
      batch: Examples at once.
      objective: What is measured; without `of_set` it is nothing, {}.
    """
    measure = objective.of_set
    if measure is None:
        return lambda params, model_state: {}

    @jax.jit
    def read(params, model_state, inputs, labels):
        outputs, _ = apply_fn(params, model_state, prepare_fn(inputs), False)
        return measure.read(outputs, labels)

    def found(params, model_state, split):
        size, parts = splits_lib.size(split), []
        for first in range(0, size, batch):
            taken = splits_lib.take(split, range(first, min(first + batch, size)))
            rows = len(taken.labels)
            given = [_filled(x, batch) for x in taken]
            part = jax.device_get(read(params, model_state, *given))
            parts.append(jax.tree.map(lambda x, rows=rows: x[:rows], part))
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def measured(params, model_state):
        none = dict.fromkeys(measure.names, float("nan"))
        rows = {
            name: measure.reduce(found(params, model_state, split))
            if splits_lib.size(split)
            else none
            for name, split in sets.items()
        }
        return {f"{s}_{n}": rows[s][n] for s in rows for n in measure.names}

    return measured


def _filled(array, rows):
    return np.pad(array, [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1))
