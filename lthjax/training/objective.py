"""What a task is: the loss that is minimised, and what is measured beside it."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.callables import ExampleFn, TemperedFn
from lthjax.training import centre_points, losses, precision_counts, recognition

LOSS = "loss"
HELD_OUT = ("validation", "test")
_FEW = 2.0**-24  # less than the share of any place


class OfSet(NamedTuple):
    """What is measured of a whole set, and is no mean over its examples.

    Attributes:
      names: Of the numbers, which become columns of the records.
      read: (outputs, labels) -> a tree of arrays [batch, ...], all it needs; compiled.
      reduce: (that of all examples, numpy [n, ...]) -> {name: number}.
    """

    names: tuple[str, ...]
    read: Callable[[Any, Any], Any]
    reduce: Callable[[Any], dict[str, float]]


class Counted(NamedTuple):
    """A number that is no mean over examples, but of sums over them.

    Attributes:
      sums: (outputs, labels, weights [batch]) -> a tree of sums over the batch, of any
        shapes, but the same for every batch; compiled.
      number: (the sums of a set) -> the number; compiled too.
    """

    sums: Callable[[Any, Any, jax.Array], Any]
    number: Callable[[Any], jax.Array]


class Objective(NamedTuple):
    """What a task is; classification is one of several.

    Each function is given a batch of outputs [batch, ...] and its labels [batch, ...],
    and returns one float for each example.

    Attributes:
      loss: (outputs, labels) -> losses [batch], whose mean is minimised.
      measures: {name: (outputs, labels) -> values [batch]}, in the order of the columns
        after the loss; what is reported are their means over a set.
      finish: {"loss" or a measure: mean -> number}, of those whose mean is not yet what
        is reported.
      best_by: "loss" or a measure: the one that chooses the best step.
      higher: The measures of which more is better.
      percent: The measures that are shown times 100.
      smoothed: (outputs, labels, smoothing) -> losses [batch]; `None`: there is none.
      distilled: (outputs, the teacher's, temperature) -> distances [batch]; or `None`.
      logits: Whether outputs are logits, which may be divided by a temperature.
      of_set: What is measured of a whole set at the end of a training; or `None`.
      counted: {name: what is measured beside measures, and is no mean}.
      tables: The same of arrays, which are measured at the end of a training.
    """

    loss: ExampleFn
    measures: Mapping[str, ExampleFn] = {}  # noqa: RUF012
    finish: Mapping[str, Callable[[Any], Any]] = {}  # noqa: RUF012
    best_by: str = LOSS
    higher: frozenset[str] = frozenset()
    percent: frozenset[str] = frozenset()
    smoothed: TemperedFn | None = None
    distilled: TemperedFn | None = None
    logits: bool = False
    of_set: OfSet | None = None
    counted: dict[str, Counted] = {}  # noqa: RUF012
    tables: dict[str, Counted] = {}  # noqa: RUF012


def squared_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the mean of `(output - target)^2` over all that belongs to an example.

    Args:
      outputs: float32 [batch, ...].
      targets: As many numbers [batch, ...], such as [batch] for outputs [batch, 1].

    Raises:
      ValueError: They are of other numbers of examples, or of other shapes: axes of one
        place may be left out, and either may be flat, [batch, n].
    """
    return _by_example(jnp.square(_apart(outputs, targets)))


def absolute_error(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns the mean of `|output - target|` over all that belongs to an example.

    Args:
      outputs: As for `squared_error`.
      targets: Likewise.

    Raises:
      ValueError: As `squared_error`.
    """
    return _by_example(jnp.abs(_apart(outputs, targets)))


def token_cross_entropy(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns the mean of `-log softmax(logits)[token]` over the places, in nats.

    Args:
      logits: float32 [batch, ..., vocabulary].
      tokens: int32 [batch, ...]; places of -1 are none, and do not count.
    """
    return by_place(losses.cross_entropy, logits, tokens)


def tokens_correct(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns the share of the places whose highest logit is their token's.

    Args:
      logits: As for `token_cross_entropy`.
      tokens: Likewise.
    """
    return by_place(losses.correct, logits, tokens)


def _tokens_smoothed(logits, tokens, smoothing):
    smoothed = functools.partial(losses.smoothed, smoothing=smoothing)
    return by_place(smoothed, logits, tokens)


def _tokens_distilled(logits, taught, temperature):
    return _by_example(losses.distillation(logits, taught, temperature))


def measured(objective: Objective) -> dict[str, ExampleFn]:
    """Returns {name: (outputs, labels) -> values [batch]}: the loss, then measures."""
    return {LOSS: objective.loss, **objective.measures}


def names(objective: Objective) -> tuple[str, ...]:
    """Returns "loss", the names of the measures, and those of what is counted."""
    return (*measured(objective), *objective.counted)


def columns(objective: Objective) -> tuple[str, ...]:
    """Returns the names of what a point of a learning curve holds, in order.

    "train_loss", then "validation_loss" and "validation_<measure>" of each measure,
    and of what is counted, then the same of "test".
    """
    found = [f"{part}_{name}" for part in HELD_OUT for name in names(objective)]
    return ("train_loss", *found)


def finished(objective: Objective, means: list, counts: tuple = ()) -> tuple:
    """Returns what is reported, from the means of the loss and the measures in order.

    Args:
      objective: Whose `finish` is called.
      means: One number each [].
      counts: The sums of each of `counted`.
    """
    pairs = zip(measured(objective), means, strict=True)
    found = [objective.finish.get(name, _same)(mean) for name, mean in pairs]
    rows = zip(objective.counted.values(), counts, strict=True)
    return (*found, *(own.number(sums) for own, sums in rows))


def averaged(objective: Objective, sums: tuple) -> tuple:
    """Returns what is reported, from the sums that `training.counter` returns.

    Args:
      objective: Whose they are.
      sums: Those of a set, added up.
    """
    (*found, total), counts = sums
    return finished(objective, [x / total for x in found], counts)


def _apart(outputs, targets):
    """Returns outputs - targets, of the targets' shape."""
    one, other = (_sides(x.shape) for x in (outputs, targets))
    flat = min(len(one), len(other)) <= 2 and math.prod(one) == math.prod(other)
    if one[:1] != other[:1] or not (one == other or flat):
        raise ValueError(
            "outputs must be as many as targets, of as many examples, and their axes "
            f"in one order, got outputs = {outputs.shape}, targets = {targets.shape}; "
            "targets that are whole numbers, which count as classes, are given as "
            "floats"
        )
    return outputs.reshape(targets.shape) - targets


def _sides(shape):
    """Returns the length of the batch, and of the axes of more than one place."""
    return shape[:1] + tuple(side for side in shape[1:] if side != 1)


def by_place(fn: ExampleFn, logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns the mean of fn over the places of an example that have a token [batch].

    Where tokens are distributions, as a user's own mixing gives, all places count.

    Args:
      fn: (logits, tokens) -> values, one a place.
      logits: [batch, ..., vocabulary].
      tokens: int32 [batch, ...]; places of -1 have none.
    """
    if jnp.issubdtype(tokens.dtype, jnp.floating):
        return _by_example(fn(logits, tokens))
    known = tokens >= 0
    found = _by_example(jnp.where(known, fn(logits, jnp.maximum(tokens, 0)), 0))
    # All of them is a share of exactly 1: the mean keeps its bits.
    return found / jnp.maximum(_by_example(known.astype(found.dtype)), _FEW)


def _by_example(values):
    places = math.prod(values.shape[1:])  # not -1, which no batch of nothing has
    return jnp.mean(values.reshape(len(values), places), axis=1)


def _same(mean):
    return mean


CLASSIFICATION = Objective(
    loss=losses.cross_entropy,
    measures={"accuracy": losses.correct},
    best_by="accuracy",
    higher=frozenset({"accuracy"}),
    percent=frozenset({"accuracy"}),
    smoothed=losses.smoothed,
    distilled=losses.distillation,
    logits=True,
)
REGRESSION = Objective(loss=squared_error, measures={"absolute_error": absolute_error})
NEXT_TOKEN = Objective(
    loss=token_cross_entropy,
    measures={"accuracy": tokens_correct, "perplexity": token_cross_entropy},
    finish={"perplexity": jnp.exp},
    best_by="perplexity",
    higher=frozenset({"accuracy"}),
    percent=frozenset({"accuracy"}),
    smoothed=_tokens_smoothed,
    distilled=_tokens_distilled,
    logits=True,
)
DETECTION = Objective(
    loss=centre_points.box_loss,
    higher=frozenset({"ap"}),
    percent=frozenset({"ap"}),
    best_by="ap",
    of_set=OfSet(recognition.AP, recognition.read_boxes, recognition.box_precision),
    counted={"ap": Counted(recognition.box_counts, precision_counts.average)},
)
KEYPOINTS = Objective(
    loss=centre_points.point_loss,
    higher=frozenset({"ap"}),
    percent=frozenset({"ap"}),
    best_by="ap",
    of_set=OfSet(
        (*recognition.AP, "pck"), recognition.read_boxes, recognition.point_precision
    ),
    counted={"ap": Counted(recognition.point_counts, precision_counts.average)},
)
SEGMENTATION = Objective(
    loss=recognition.pixel_cross_entropy,
    measures={"accuracy": recognition.pixels_correct},
    higher=frozenset({"accuracy", "miou"}),
    percent=frozenset({"accuracy", "miou"}),
    best_by="miou",
    smoothed=recognition.pixels_smoothed,
    distilled=_tokens_distilled,
    logits=True,
    counted={"miou": Counted(recognition.pixel_counts, recognition.overlap)},
    of_set=OfSet(("miou",), recognition.confusions, recognition.mean_overlap),
)

OBJECTIVES = {
    "classification": CLASSIFICATION,
    "regression": REGRESSION,
    "next_token": NEXT_TOKEN,
    "detection": DETECTION,
    "keypoints": KEYPOINTS,
    "segmentation": SEGMENTATION,
}
