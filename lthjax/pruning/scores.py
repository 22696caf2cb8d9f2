"""How important each weight is: a tree of scores, in which higher means keep.

`snip`, `taylor` and `grasp` take `loss_fn(params) -> scalar`, closed over its examples
and over the mode of the network (batch statistics of the examples, or running ones:
published codes differ). Several batches are one loss by `over_batches`, or several
scores by `average`. Outside of `jax.jit` each traces its loss at every call, and
compiles it where no earlier call had the same program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lthjax import moved, values
from lthjax.callables import BatchLossFn, LossFn
from lthjax.pruning import cuts, gradients, places, precision
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.flows import synflow as synflow
from lthjax.pruning.gradients import graded, where_masked
from lthjax.pruning.masks import Masks, Params


def magnitude(params: Params, masks: Masks) -> Params:
    """Scores a weight by its magnitude: `score = |w|`.

    Args:
      params: The parameters, usually at the end of a training.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is. (Ranking happens in float32:
      bfloat16 weights tie far more often.)

    Example:
      >>> masks = {"kernel": jnp.array([True, True]), "bias": None}
      >>> params = {"kernel": jnp.array([-3.0, 2.0]), "bias": jnp.ones(1)}
      >>> lth.scores.magnitude(params, masks)
      {'bias': None, 'kernel': Array([3., 2.], dtype=float32)}

    References:
      Han et al., 2015, arXiv:1506.02626; Frankle and Carbin, 2019, arXiv:1803.03635.
    """
    return where_masked(jnp.abs, masks, params)


def energy(params: Params, masks: Masks) -> Params:
    """Scores a weight by its square: `score = |w|^2`.

    Of single weights that is the order of magnitudes; the mean over a channel, or over
    a row of coefficients, is then its squared length by its size. In float32 weights
    above 1.8e19 have an infinite one, those below 1e-19, on most devices, zero.

    Args:
      params: The parameters, usually at the end of a training.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Example:
      >>> masks = {"kernel": jnp.array([True, True])}
      >>> lth.scores.energy({"kernel": jnp.array([-3.0, 2.0])}, masks)
      {'kernel': Array([9., 4.], dtype=float32)}
    """
    return where_masked(lambda w: jnp.abs(w) ** 2, masks, params)


def random(key: jax.Array, params: Params, masks: Masks) -> Params:
    """Scores weights at random: `score ~ U[0, 1)`, independent of the weights.

    One `key` gives the same scores at every level, so that pruning by them to ever
    fewer weights gives nested masks.

    Args:
      key: A JAX PRNG key.
      params: The parameters; only their shapes matter.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Example:
      >>> masks = {"kernel": jnp.ones(3, bool)}
      >>> drawn = lth.scores.random(jax.random.key(0), {"kernel": jnp.zeros(3)}, masks)
      >>> drawn["kernel"].shape
      (3,)
    """
    masks_lib.compatible(params, masks)
    leaves, treedef = jax.tree.flatten(
        jax.tree.map(lambda w, mask: None if mask is None else w, params, masks)
    )
    keys = jax.random.split(key, len(leaves))
    drawn = [
        places.beside(jax.random.uniform(k, w.shape, "float32"), w)
        for k, w in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def snip(loss_fn: LossFn, params: Params, masks: Masks) -> Params:
    """Scores a weight by the derivative of the loss by its mask.

        score = |dL(c * w)/dc| at c = masks = |w * g|,  g = dL/dw at masks.apply(w)

    Pruned weights have a score too, of the loss that they would change if they came
    back: `pruning.in_rounds` makes iterative SNIP of it, and FORCE with `revive`.

    Args:
      loss_fn: params -> loss [].
      params: The parameters at initialisation.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Raises:
      ValueError: The gradient is zero at every prunable weight (where it is not
        traced; see `check`).

    Example:
      >>> params, masks = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([True, False])}
      >>> lth.scores.snip(lambda params: jnp.sum(3 * params["w"]), params, masks)
      {'w': Array([3., 6.], dtype=float32)}

    References:
      Lee et al., 2019, arXiv:1810.02340. Departures: their division by the sum of all
      scores changes no rank and is left out; they score biases too, and train another
      draw of the weights than they scored, and score by running statistics (the
      program: `search.norms`); Tanaka et al. do so too, over several batches.
      Iterative: Verdenius et al., 2020, arXiv:2006.00896. FORCE: de Jorge et al., 2021,
      arXiv:2006.09081, whose code takes 10 rounds and a new batch for each; the
      program's take 100 of one batch (`search.rounds` changes their number).
    """
    return graded(gradients.snip, loss_fn, params, masks)


def taylor(loss_fn: LossFn, params: Params, masks: Masks) -> Params:
    """Scores a weight by what its removal does to the loss, to first order.

        score = |w * g|,  w = masks.apply(params), g = dL/dw

    As `snip` at what is kept, zero at what is pruned.

    Args:
      loss_fn: params -> loss [].
      params: The parameters, usually at the end of a training.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Raises:
      ValueError: The gradient is zero at every prunable weight (where it is not
        traced; see `check`).

    Example:
      >>> params, masks = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([True, False])}
      >>> lth.scores.taylor(lambda params: jnp.sum(3 * params["w"]), params, masks)
      {'w': Array([3., 0.], dtype=float32)}

    References:
      Molchanov et al., 2017, arXiv:1611.06440. Departure: they score feature maps, this
      scores weights (`patterns.channels` ranks channels by their mean).
    """
    return graded(gradients.taylor, loss_fn, params, masks)


def grasp(loss_fn: LossFn, params: Params, masks: Masks) -> Params:
    """Scores a weight by how much the gradient flow would lose with it.

        score = w * (H g),  w = masks.apply(params), g = dL/dw, H = d2L/dw2

    g is zero at what is pruned or not prunable. Twice the score is, to first order, how
    far `|g|^2` falls as the weight goes. Scores have both signs, and the sign decides:
    the highest are kept. Costs about two gradients.

    Args:
      loss_fn: params -> loss []; in the paper of logits divided by 200, which is for
        the caller to do.
      params: The parameters at initialisation.
      masks: Their masks; a leaf that is `None` has no scores.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Raises:
      ValueError: The gradient is zero at every prunable weight (where it is not
        traced; see `check`).

    Example:
      >>> params, masks = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([True, True])}
      >>> lth.scores.grasp(lambda params: jnp.sum(params["w"] ** 2), params, masks)
      {'w': Array([ 4., 16.], dtype=float32)}

    References:
      Wang et al., 2020, arXiv:2002.07376, whose score is -w * (H g), the largest
      removed: the same set. Departures: their code halves the batch, class by class,
      and normalises each half by its own statistics (a `loss_fn` of two terms does so);
      it draws new weights for dense layers before scoring, and reads 10 examples a
      class (the program: `search.examples`, drawn at random).
    """
    return graded(gradients.grasp, loss_fn, params, masks)


def inverted(scores: Params) -> Params:
    """Returns the scores with the order turned round: a control that keeps the worst.

    Example:
      >>> lth.scores.inverted({"w": jnp.array([1.0, 2.0])})
      {'w': Array([-1., -2.], dtype=float32)}

    References:
      Frankle et al., 2021, arXiv:2009.08576. (Tanaka et al.'s `invert` of SynFlow maps
      s to s / s^2 instead, which ranks positive scores in the same way.)
    """
    return jax.tree.map(jnp.negative, precision.floating(scores))


def over_batches(loss_fn: BatchLossFn, batches: Any) -> LossFn:
    """Returns params -> the mean loss over batches, in the memory of one.

        L(w) = 1/n sum_i loss_fn(w, batches[i])

    A score of it takes the magnitude of the summed gradient, as Tanaka et al. do, and
    is that of one large batch wherever `loss_fn` is a mean over examples.

    Args:
      loss_fn: (params, batch) -> loss [].
      batches: A tree of arrays [n, ...].

    Example:
      >>> loss = lth.scores.over_batches(lambda w, x: w * x, jnp.array([1.0, 3.0]))
      >>> float(loss(jnp.float32(10.0)))
      20.0
    """
    number = _length(batches)
    one = jax.checkpoint(loss_fn, prevent_cse=False)

    def mean(params):
        dtype = jax.eval_shape(loss_fn, params, _first(batches)).dtype
        wide = precision.widened(params)  # what gradients are added up in, too

        def add(total, batch):
            loss = one(precision.as_of(wide, params), batch)
            return total + loss.astype(total.dtype), None

        start = jnp.zeros((), values.wide(dtype))
        return lax.scan(add, start, batches)[0] / number

    return mean


def average(score_fn: Callable[[Any], Params], batches: Any) -> Params:
    """Returns the mean over batches of `score_fn(batch)`.

    For `snip` the mean of magnitudes, as in Frankle et al., 2021, arXiv:2009.08576:
    never below the magnitude of the mean, which `over_batches` gives. For `grasp` their
    estimator too, gradient and Hessian of the same batch.

    Args:
      score_fn: batch -> scores.
      batches: A tree of arrays [n, ...].

    Example:
      >>> lth.scores.average(lambda x: {"w": jnp.abs(x)}, jnp.array([1.0, -3.0]))
      {'w': Array(2., dtype=float32)}
    """
    number = _length(batches)
    shapes = jax.eval_shape(score_fn, _first(batches))
    start = jax.tree.map(lambda x: places.zeros(x, values.wide(x.dtype)), shapes)

    def add(total, batch):
        own = score_fn(batch)
        return jax.tree.map(lambda t, s: t + s.astype(t.dtype), total, own), None

    total, _ = lax.scan(add, start, batches)
    return jax.tree.map(lambda leaf: leaf / number, total)


def all_zero(scores: Params, masks: Masks) -> jax.Array:
    """Returns whether every kept weight has the score zero, bool []."""
    rows = cuts.pairs(masks, scores)
    return jnp.stack([jnp.all((score == 0) | ~mask) for mask, score in rows]).all()


def check(scores: Params, masks: Masks) -> None:
    """Refuses scores that rank nothing; for the host, outside `jit`.

    Args:
      scores: A tree of float arrays of the shapes of `masks`.
      masks: The masks; scores of pruned weights are not looked at.

    Raises:
      ValueError: The trees differ, a score is NaN or infinite, or all are zero.
    """
    rows = zip(masks_lib.names(masks), cuts.finite(scores, masks).tolist(), strict=True)
    damaged = [name for name, good in rows if not good]
    if damaged:
        raise ValueError(
            f"scores must be finite, got NaN or infinity in {', '.join(damaged)}"
        )
    if all_zero(scores, masks):
        raise ValueError(
            "scores must tell weights apart, got zero for all: take other examples or "
            "weights, or see whether the network is connected"
        )


def _length(batches) -> int:
    """Returns how many batches there are."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batches)]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(
            "batches must have one leading axis of at least one batch, got lengths = "
            f"{sorted(lengths)}"
        )
    return min(lengths)


def _first(batches):
    return jax.tree.map(lambda leaf: leaf[0], batches)


moved.answers(__name__)
