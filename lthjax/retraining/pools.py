"""Lottery Pools: a ticket averaged with its neighbours, where that does not hurt."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.analysis import barriers
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

ALPHAS = tuple(round(0.05 + 0.09 * i, 2) for i in range(11))  # of what is there so far


class Network(NamedTuple):
    """A trained ticket.

    Attributes:
      params: Its parameters, zero where `masks` are off.
      model_state: Batch statistics and the like.
      masks: Which weights are on.
    """

    params: Params
    model_state: Any
    masks: Masks


class Taken(NamedTuple):
    """A neighbour that was averaged in.

    Attributes:
      place: Where it is among the neighbours that were given.
      alpha: The share of what was there before it.
    """

    place: int
    alpha: float


class Pool(NamedTuple):
    """What a ticket became.

    Attributes:
      network: The averaged ticket, as sparse as it was.
      taken: The neighbours in it, in order.
      score: What `evaluate` says of it, at least what it said of the ticket alone.
    """

    network: Network
    taken: tuple[Taken, ...]
    score: float


def nearest(sparsities: Sequence[float], at: int) -> list[int]:
    """Returns the indices of all other tickets, those of the nearest sparsity first.

    Args:
      sparsities: Of all tickets.
      at: Which of them is averaged; of two as near the earlier one comes first.

    Example:
      >>> lth.retraining.pools.nearest([0.0, 0.2, 0.36, 0.49], 2)
      [3, 1, 0]
    """
    others = [i for i in range(len(sparsities)) if i != at]
    return sorted(others, key=lambda i: (abs(sparsities[i] - sparsities[at]), i))


def averaged(
    alpha: jax.typing.ArrayLike, one: Network, other: Network, scope: str = "global"
) -> Network:
    """Returns the average of two tickets, as sparse as the first.

        theta = prune_k(alpha theta + (1 - alpha) theta_i)

    prune_k keeps the k weights that are largest in magnitude, exactly as many as `one`
    has, of all layers together or in each; batch statistics are averaged alike.

    Args:
      alpha: The share of `one`, in [0, 1]; may be traced.
      one: A ticket.
      other: Its neighbour, of the same network.
      scope: "global" or "layer".

    Raises:
      ValueError: The networks differ, or the scope is unknown.
    """
    share = 1 - jnp.asarray(alpha, jnp.float32)
    pair = (n.params for n in (one, other)), (n.model_state for n in (one, other))
    params, model_state = (barriers.interpolate(share, *trees) for trees in pair)
    full = jax.tree.map(jnp.ones_like, one.masks)
    kept: Any = jax.tree.map(lambda mask: jnp.sum(mask, dtype=jnp.int32), one.masks)
    kept = kept if scope == "layer" else sum(jax.tree.leaves(kept))
    ranks = scores.magnitude(params, full)
    masks = choose.prune(full, ranks, scope=scope, kept=kept)
    return Network(masks_lib.apply(params, masks), model_state, masks)


def pooled(
    one: Network,
    neighbours: Sequence[Network],
    evaluate: Callable[[Network], jax.Array],
    *,
    alphas: Sequence[float] = ALPHAS,
    scope: str = "global",
    settle: Callable[[Network], Network] = lambda network: network,
) -> Pool:
    """Averages a ticket with one neighbour after the other, where that does not hurt.

    Of each neighbour the best of `alphas` is tried, the first of equals, and what it
    gives is kept where the score is no lower than before. Tickets must have been
    rewound to the same weights: others do not lie in one valley, and their averages
    fail. `evaluate` must not see the test set.

    Args:
      one: The ticket.
      neighbours: Other tickets of its network, `nearest` first.
      evaluate: Network -> a number of which more is better, on held-out examples.
      alphas: The shares of what is there that are tried.
      scope: As for `averaged`.
      settle: Network -> the same with batch statistics of its own, before it is
        evaluated: those of an average are too small.

    Raises:
      ValueError: As `averaged`.

    References:
      Yin et al., 2023, arXiv:2208.10842, algorithm 2 (eleven shares from 0.05 to 0.95;
      a tenth of the training set held out).
    """
    shares = jnp.asarray(alphas, jnp.float32)

    @jax.jit
    def made(alpha, one, other):
        return settle(averaged(alpha, one, other, scope))

    @jax.jit
    def tried(one, other):
        return jax.lax.map(lambda alpha: evaluate(made(alpha, one, other)), shares)

    score, taken = float(jax.jit(evaluate)(one)), []
    for index, other in enumerate(neighbours):
        found = jax.device_get(tried(one, other))
        best = int(found.argmax())
        if found[best] >= score:
            one, score = made(shares[best], one, other), float(found[best])
            taken.append(Taken(index, float(alphas[best])))
    return Pool(one, tuple(taken), score)
