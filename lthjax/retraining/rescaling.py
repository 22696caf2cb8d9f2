"""Layer-wise re-scaled initialisation: one learned positive factor a tensor.

The directions of a ticket's weights and its masks stay; each tensor is multiplied by a
number that is chosen so that one step of training from there lowers the loss the most.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax.pruning import masks as masks_lib
from lthjax.pruning import precision
from lthjax.pruning.masks import Masks, Params


class Options(NamedTuple):
    """How the factors are sought; the defaults are the published ones for sparse nets.

    Attributes:
      iterations: How many.
      rate: Of the factors' Adam.
      step: Of the step of training that is looked ahead.
      bound: The norm of the gradient above which that is lowered instead.
      normalise: Look ahead along the gradient's direction, not along the gradient.
      floor: The least factor of a tensor; that of biases is 0.
      clip: The largest derivative by a factor.
      masked: Search on the masked network; else on the dense one, to be masked after.
      survivors: The norm and the step are those of what the masks keep; else, as in the
        released code, of pruned weights too.
    """

    iterations: int = 180
    rate: float = 1e-2
    step: float = 0.1
    bound: float = 1.0
    normalise: bool = True
    floor: float = 0.01
    clip: float = 1.0
    masked: bool = True
    survivors: bool = True


class Report(NamedTuple):
    """What the search for the factors did.

    Attributes:
      factors: One for each tensor, float32 [].
      norms: Of the gradient at each iteration, before it, float32 [iterations].
      lowered: Whether each iteration lowered the norm, bool [iterations].
    """

    factors: Any
    norms: jax.Array
    lowered: jax.Array


class AdamState(NamedTuple):
    """Of `adam`: two first moments with their counts, one second moment."""

    counts: jax.Array  # [2]: of steps that follow the loss, of those that lower
    means: tuple[Any, Any]
    squares: Any


def adam(
    learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformationExtraArgs:
    """Returns the Adam of the factors, which takes turns between two objectives.

        m_k = b1 m_k + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  n_k += 1
        update = -rate (m_k / (1 - b1^n_k)) / (sqrt(v / (1 - b2^(n_0 + n_1))) + eps)

    with the first moment m_k and count n_k of the objective k that this gradient is of,
    and a second moment v for both. `update` takes the extra argument `lowered`, which
    may be traced: whether k is 1.

    Args:
      learning_rate: The rate.
      b1: Of the first moments.
      b2: Of the second.
      eps: Added to the root.

    References:
      Zhu et al., 2021, arXiv:2102.08098, its code.
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return AdamState(jnp.zeros(2, jnp.int32), (zeros, zeros), zeros)

    def update(grads, state, params=None, *, lowered):
        del params
        turn = jnp.asarray(lowered)
        counts = state.counts + jnp.stack([~turn, turn]).astype(jnp.int32)
        old = _select(turn, state.means[1], state.means[0])
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, old, grads)
        squares = jax.tree.map(
            lambda v, g: b2 * v + (1 - b2) * g * g, state.squares, grads
        )
        times = counts.astype(jnp.float32)
        first = 1 - b1 ** jnp.where(turn, times[1], times[0])
        second = 1 - b2 ** jnp.sum(times)
        updates = jax.tree.map(
            lambda m, v: -learning_rate * m / first / (jnp.sqrt(v / second) + eps),
            mean,
            squares,
        )
        means = _select(turn, state.means[0], mean), _select(turn, mean, state.means[1])
        return updates, AdamState(counts, means, squares)

    return optax.GradientTransformationExtraArgs(init, update)


def _select(condition, a, b):
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def rescale(
    loss_fn: Callable[[Params, Any], jax.Array],
    params: Params,
    masks: Masks,
    batch_fn: Callable[[jax.Array], tuple[Any, Any]],
    options: Options | None = None,
) -> tuple[Params, Report]:
    """Returns the (masked) parameters, each tensor times its factor, and a report.

        theta_l = a_l theta0_l,  theta0 = where(mask, params, 0),  g = d loss_S / dtheta
        |g| > bound:  a follows  -d |g| / da_l       = -<(H g / |g|)_l, theta0_l>
        otherwise:    a follows  -d loss_S~(theta - step A(g)) / (step da_l),

    `A(g) = g or g / |g|`, held constant. The Hessian product is forward over reverse,
    goes on from the gradient, and is computed in the iterations that need it alone. A
    tensor that is zero at the start keeps the factor 1. The function is pure: under
    `jit` it is one loop.

    Args:
      loss_fn: (params, batch) -> loss [], of the network that training starts with:
        ghosts whole, norms by the batch, plain labels.
      params: The ticket's, pruned or not.
      masks: Its masks.
      batch_fn: i -> (S, S~), the batches of iteration i, which is traced.
      options: `Options()` if None.

    References:
      Zhu et al., 2021, arXiv:2102.08098 (GradInit); Jaiswal et al., 2022,
      arXiv:2206.12755, which runs it on the masked network. Departure, unless
      `survivors=False`: the gradient's norm and the step leave pruned weights out,
      which carry most of that norm at high sparsity. The network is in training mode,
      so that what draws at random (dropout) does, the same at every iteration; the
      released code has norms alone in that mode. Not built: GradInit's form for Adam,
      A(g) = sign(g) under the 1-norm; and as in the released code S is two batches,
      where GradInit's launches halve them.
    """
    options = options or Options()
    if not options.masked:
        masks = jax.tree.map(lambda _: None, params)
    loss_fn, wide = precision.in_float32(loss_fn, params)
    start = masks_lib.apply(wide, masks)
    tx = adam(options.rate)
    factors = jax.tree.map(lambda w: jnp.ones((), jnp.float32), start)
    carry = factors, tx.init(factors)
    search = _iteration(loss_fn, start, masks, batch_fn, options)

    def body(carry, i):
        factors, state = carry
        slopes, norm, lowered = search(factors, i)
        updates, state = tx.update(slopes, state, lowered=lowered)
        factors = _bounded(start, factors, updates, options.floor)
        return (factors, state), (norm, lowered)

    indices = jnp.arange(options.iterations)
    (factors, _), (norms, lowered) = lax.scan(body, carry, indices)
    found = precision.as_of(scaled(start, factors), params)
    return found, Report(factors, norms, lowered)


def scaled(params: Params, factors: Any) -> Params:
    """Returns every tensor times its factor."""
    wide = precision.widened(params)
    found = jax.tree.map(lambda w, a: w * a.astype(w.dtype), wide, factors)
    return precision.as_of(found, params)


def _iteration(loss_fn, start, masks, batch_fn, options):
    """Returns (factors, i) -> (derivatives by the factors, norm, whether lowered)."""

    def search(factors, i):
        batch, ahead = batch_fn(i)
        theta = scaled(start, factors)
        gradient = jax.grad(loss_fn)
        grads, product = jax.linearize(lambda w: gradient(w, batch), theta)
        grads = _considered(grads, masks, options)
        norm = optax.tree.norm(grads)
        lowered = norm > options.bound

        def lower(_):
            return product(jax.tree.map(lambda g: g / norm, grads))

        def look_ahead(_):
            # Without a gradient there is no direction: the factors stay.
            unit = jnp.where(options.normalise & (norm > 0), norm, 1.0)
            size = options.step / unit
            moved = jax.tree.map(lambda w, g: w - size * g, theta, grads)
            return jax.tree.map(lambda g: g / options.step, gradient(moved, ahead))

        slopes = _by_factor(lax.cond(lowered, lower, look_ahead, None), start)
        clipped = jax.tree.map(
            lambda d: jnp.clip(d, -options.clip, options.clip), slopes
        )
        return clipped, norm, lowered

    return search


def _considered(grads, masks, options):
    return masks_lib.apply(grads, masks) if options.survivors else grads


def _by_factor(grads, start):
    """Returns the derivatives by the factors: <d/dtheta_l, theta0_l>."""
    return jax.tree.map(lambda g, w: jnp.sum(g * w).astype(jnp.float32), grads, start)


def _bounded(start, factors, updates, floor):
    """Moves the factors, down to their floors; those of zero tensors stay."""

    def move(path, w, a, u):
        bias = masks_lib.path_name(path).endswith("bias")
        return jnp.where(jnp.any(w != 0), jnp.maximum(a + u, 0 if bias else floor), a)

    return jax.tree_util.tree_map_with_path(move, start, factors, updates)
