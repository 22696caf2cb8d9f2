"""What may be measured beside an objective's own: by name, of any split, in one pass.

Everything is a sum over examples, so that it is counted on the device, batch by batch
and device by device, of a set that is streamed too.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.callables import ExampleFn
from lthjax.training import losses
from lthjax.training import objective as objective_lib
from lthjax.training.objective import Counted, Objective

TOP = 5  # logits that may hold the label's
BINS = 15  # of confidence, in the calibration error


class Measure(NamedTuple):
    """Something that is measured.

    Attributes:
      of: (outputs, labels) -> values [batch], whose mean it is; or what is counted.
      higher: Whether more is better.
      percent: Whether it is shown times 100.
      finish: mean -> number, of a mean that is not yet what is reported.
      table: Whether it is an array, which is measured at the end of a training and
        stands in the records, and is no point of a curve.
      classes: Whether it is of logits and classes; `None`: it does not matter.
    """

    of: ExampleFn | Counted
    higher: bool = False
    percent: bool = False
    finish: Callable[[Any], Any] | None = None
    table: bool = False
    classes: bool | None = None


def with_measures(
    objective: Objective, names: Sequence[str], *, name: str = ""
) -> Objective:
    """Returns an objective that measures more; what it measures already stays as it is.

    Args:
      objective: The objective.
      names: Of `MEASURES`, or "package.module:name" of your own `Measure`, whose column
        is called as its attribute is.
      name: What the config calls the objective, for the error.

    Raises:
      ValueError: There is no such measure, it does not go with the objective, or two
        that are not the same have one name.
    """
    found = objective
    given: dict[str, str] = {}  # what each column is of
    for asked in names:
        one, column = resolve(asked), asked.rpartition(":")[2]
        _check_outputs(objective, one, asked, name)
        there = column in (*objective_lib.names(objective), *objective.tables)
        first = given.setdefault(column, column if there else asked)
        if first != asked:
            raise ValueError(
                f"measures must have names of their own, got {asked!r} for the column "
                f"{column!r}, which is of {first!r}; give its attribute another name"
            )
        if column not in (*objective_lib.names(found), *found.tables):
            found = _added(found, column, one)
    return found


def resolve(name: str) -> Measure:
    """Returns a measure, ours or a user's own.

    Raises:
      ValueError: There is none of that name, or what is there is no `Measure`.
    """
    found = registry.resolve(name, MEASURES, "measure")
    if not isinstance(found, Measure):
        raise ValueError(
            "a measure of your own must be a training.measures.Measure, got measures = "
            f"{name!r}, which is a {type(found).__name__}"
        )
    return found


def _check_outputs(objective, one, asked, name):
    if one.classes is None or one.classes == objective.logits:
        return
    what = "logits, an objective of classes" if one.classes else "numbers, no classes"
    raise ValueError(
        f"the measure {asked!r} is of outputs that are {what}, got objective = {name!r}"
    )


def _added(objective, column, one):
    counted = isinstance(one.of, Counted)
    field = "tables" if one.table else "counted" if counted else "measures"
    changes = {field: {**getattr(objective, field), column: one.of}}
    if one.finish:
        changes["finish"] = {**objective.finish, column: one.finish}
    for sense in ("higher", "percent") if not one.table else ():
        if getattr(one, sense):
            changes[sense] = getattr(objective, sense) | {column}
    return objective._replace(**changes)


def tables(objective: Objective) -> Objective:
    """Returns an objective that measures an objective's tables, and nothing else."""
    return Objective(objective.loss, counted=objective.tables)


def check(objective: Objective, outputs: Any, labels: Any, *, name: str = "") -> None:
    """Refuses tables that cannot be counted; they are called once, on shapes.

    Args:
      objective: The objective.
      outputs: What has the shape [batch, ...] and the type of a network's outputs.
      labels: The same of the labels [batch, ...].
      name: What the config calls it, for the error.

    Raises:
      ValueError: One raises something; or `top5` is asked for of five classes or fewer,
        where it is always one.
    """
    weights = jax.ShapeDtypeStruct(labels.shape[:1], jnp.float32)
    for table, own in objective.tables.items():
        with registry.calling("measure", table):
            jax.eval_shape(
                own.number, jax.eval_shape(own.sums, outputs, labels, weights)
            )
    if "top5" in objective.measures and outputs.shape[-1] <= TOP:
        raise ValueError(
            f"the measure 'top5' needs more than {TOP} classes, got "
            f"{outputs.shape[-1]} with objective = {name!r}"
        )


def in_top(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the share of an example's places whose label is among the 5 likeliest.

    That is where fewer than five logits are larger than the label's, or as large and of
    an earlier class; NaN is in no top.

    Args:
      logits: float32 [batch, ..., classes].
      labels: int32 [batch, ...]; places of -1 are none, and do not count.
    """
    return objective_lib.by_place(_in_top, logits, labels)


def _in_top(logits, labels):
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    classes = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    earlier = classes < labels[..., None]
    above = (logits > own) | ((logits == own) & earlier)
    right = (jnp.sum(above, axis=-1) < TOP) & ~jnp.isnan(own[..., 0])
    return right.astype(jnp.float32)


def confusion(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns how many places of each class are said to be of each [classes, classes].

    Args:
      logits: float32 [batch, ..., classes].
      labels: int32 [batch, ...]; places of -1 are none, and do not count.
      weights: Of the examples [batch].
    """
    classes = logits.shape[-1]
    said = losses.answers(logits, labels)
    weights = _by_place(weights, labels)
    pairs = (labels.astype(said.dtype) * classes + said).ravel()
    counts = jax.ops.segment_sum(weights.ravel(), pairs, classes**2)
    return counts.reshape(classes, classes)


def class_accuracy(counts: jax.Array) -> jax.Array:
    """Returns the share of each class that is said to be it; NaN where it has none.

    Args:
      counts: What `confusion` returns, of a set.
    """
    return jnp.diagonal(counts) / jnp.sum(counts, axis=1)


def balanced_accuracy(counts: jax.Array) -> jax.Array:
    """Returns the mean of the accuracies of those classes that there are.

    Args:
      counts: What `confusion` returns, of a set.
    """
    there = jnp.sum(counts, axis=1) > 0
    shares = jnp.where(there, jnp.diagonal(counts), 0) / jnp.maximum(
        jnp.sum(counts, axis=1), 1
    )
    return jnp.sum(shares) / jnp.maximum(jnp.sum(there), 1)


def confidences(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the sums of (weight, confidence, correct) by confidence, [15, 3].

    The confidence of an answer is its softmax, and the bins have one width.

    Args:
      logits: float32 [batch, ..., classes].
      labels: int32 [batch, ...]; places of -1 are none, and do not count.
      weights: Of the examples [batch].
    """
    sure = jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1)
    right = losses.correct(logits, labels)
    weights = _by_place(weights, labels)
    bins = jnp.clip(jnp.ceil(sure * BINS) - 1, 0, BINS - 1).astype(jnp.int32)
    rows = jnp.stack([weights, weights * sure, weights * right], axis=-1)
    return jax.ops.segment_sum(rows.reshape(-1, 3), bins.ravel(), BINS)


def calibration_error(sums: jax.Array) -> jax.Array:
    """Returns the expected calibration error, in [0, 1].

        sum over bins of  |correct - confidence| / number of all

    Args:
      sums: What `confidences` returns, of a set.

    References:
      Guo et al., 2017, arXiv:1706.04599, with 15 bins as there.
    """
    total, sure, right = sums.T
    return jnp.sum(jnp.abs(right - sure)) / jnp.sum(total)


def _by_place(weights, labels):
    """Returns the weight of every place: its example's, and 0 where it is none."""
    return weights.reshape(-1, *(1,) * (labels.ndim - 1)) * (labels >= 0)


MEASURES = {
    "accuracy": Measure(
        objective_lib.tokens_correct, higher=True, percent=True, classes=True
    ),
    "top5": Measure(in_top, higher=True, percent=True, classes=True),
    "balanced_accuracy": Measure(
        Counted(confusion, balanced_accuracy), higher=True, percent=True, classes=True
    ),
    "calibration_error": Measure(
        Counted(confidences, calibration_error), percent=True, classes=True
    ),
    "perplexity": Measure(
        objective_lib.token_cross_entropy, finish=jnp.exp, classes=True
    ),
    "absolute_error": Measure(objective_lib.absolute_error, classes=False),
    "squared_error": Measure(objective_lib.squared_error, classes=False),
    "class_accuracy": Measure(
        Counted(confusion, class_accuracy), table=True, classes=True
    ),
    "confusion": Measure(
        Counted(confusion, lambda counts: counts), table=True, classes=True
    ),
}
