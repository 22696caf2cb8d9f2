"""SynFlow: how much of all paths' weight runs through each weight, without data."""

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.callables import LogitsFn
from lthjax.pruning import cuts, gradients, overflow_free, programs
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params


def synflow(
    apply_fn: LogitsFn, params: Params, masks: Masks, input_shape: tuple[int, ...]
) -> Params:
    """Scores a weight by the share of all paths' weight that runs through it.

        score = w * dR/dw / R,  R = sum(apply_fn(w, ones)),  w = |masks.apply(params)|

    Without data. In a network without skips, with relu or linear units, the scores of
    each layer sum to one, and what flows into a unit flows out of it; skips share what
    they bridge. R grows like a product over depth: it is computed by `scaled`, which
    neither overflows nor underflows. If nothing connects input and output, all scores
    are zero.

    Prune in many rounds, `pruning.in_rounds` by `sparsities.exponential(..., 100)`: in
    a single one whole layers go.

    Args:
      apply_fn: `(params, inputs [1, *input_shape]) -> logits`, the network as it
        evaluates, closed over running batch statistics of mean 0 and variance 1: any
        others would make signed or unequal paths. Its activation should be linear above
        zero: beyond its bound a relu6 passes nothing on.
      params: The parameters. Scales of norms count by magnitude, leaves called `bias`
        as zero: they would add what comes from no input.
      masks: Their masks; a leaf that is `None` has no scores.
      input_shape: Of one input, without the batch.

    Returns:
      A tree of float32 arrays, `None` where `masks` is.

    Raises:
      ValueError: A leaf is not floating, or a score is negative, which no network with
        the assumption has (where it is not traced; see `degree` and `cuts.check_flow`).

    Example:
      >>> params = {"kernel": jnp.array([[1.0, -3.0]])}
      >>> masks = {"kernel": jnp.ones((1, 2), bool)}
      >>> lth.scores.synflow(lambda w, x: x @ w["kernel"], params, masks, (1,))
      {'kernel': Array([[0.25, 0.75]], dtype=float32)}

    References:
      Tanaka et al., 2020, arXiv:2006.05467. Departures: divided by R, which changes no
      rank; their code takes magnitudes of biases and running statistics too.
    """
    masks_lib.compatible(params, masks)
    gradients.check_inexact(params)
    fixed = apply_fn, tuple(input_shape)
    found = programs.called(_synflow, fixed, params, masks)
    _check_flow(found)
    return found


def _synflow(apply_fn, input_shape, params, masks):
    positive = _positive(params, masks)

    def flow(params):
        return _flow(apply_fn, params, input_shape)

    total, grads = jax.value_and_grad(flow)(positive)
    share = jnp.where(total == 0, jnp.ones_like(total), total)

    def score(w, mask, g):
        if mask is None:
            return None
        wide = values.wide(w.dtype)
        found = w.astype(wide) * g.astype(wide) / share.astype(wide)
        return jnp.where(w > 0, found, 0).astype(jnp.float32)

    return jax.tree.map(score, positive, masks, grads)


def degree(
    apply_fn: LogitsFn, params: Params, masks: Masks, input_shape: tuple[int, ...]
) -> jax.Array:
    """Returns the degree of the flow R of `synflow`: c times the inputs, c^degree R.

        degree = sum(x * dR/dx) / R

    It is 1 where the network is linear above zero, which SynFlow's conservation needs:
    below where an activation saturates or something is added that no input feeds, zero
    behind a softmax or a LayerNorm, 1 too where nothing flows at all.

    Args:
      apply_fn: As for `synflow`.
      params: As for `synflow`.
      masks: As for `synflow`.
      input_shape: As for `synflow`.
    """
    positive = _positive(params, masks)

    def flow(size):
        return _flow(apply_fn, positive, input_shape, size)

    total, growth = jax.value_and_grad(flow)(jnp.float32(1))
    return jnp.where(total == 0, 1, growth / jnp.where(total == 0, 1, total))


def _positive(params, masks):
    """Returns the magnitudes of kept weights, of biases zero."""
    positive = jax.tree_util.tree_map_with_path(_magnitude_but_of_bias, params)
    return masks_lib.apply(positive, masks)


def _flow(apply_fn, params, input_shape, size=None):
    """Returns R up to a power of two, for inputs of ones, or all of one size."""
    inputs = jnp.ones((1, *input_shape), jnp.float32)
    inputs = inputs if size is None else inputs * size
    return jnp.sum(overflow_free.evaluate(apply_fn, params, inputs).mantissa)


def _check_flow(scores):
    leaves = jax.tree.leaves(scores)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    names = masks_lib.names(scores)
    lowest = [float(leaf.min(initial=jnp.inf)) for leaf in leaves]
    highest = [float(leaf.max(initial=-jnp.inf)) for leaf in leaves]
    bound = -cuts.ROUNDING * max(highest, default=0)
    below = [n for n, x in zip(names, lowest, strict=True) if x < min(bound, 0)]
    if below:
        raise ValueError(cuts.negative(below, min(lowest)))


def _magnitude_but_of_bias(path, w):
    """Returns |w|, or zero for a leaf that is called `bias`."""
    bias = masks_lib.path_name(path).rpartition("/")[2] == "bias"
    return jnp.zeros_like(w) if bias else jnp.abs(w)
