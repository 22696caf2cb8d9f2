"""Averages of the tickets of a seed, where they are worth more on what is held out."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.analysis import barriers, comparison
from lthjax.callables import StatisticsFn
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.tickets.ticket import Trained

ALPHAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SCOPES = ("global", "layer")


class Pool(NamedTuple):
    """What a greedy average came to.

    Attributes:
      trained: The network, with its masks.
      value: What it is worth on what is held out.
      before: The same of the network that it began with.
      taken: (place of a network, alpha) of those that went into it, in their order.
    """

    trained: Trained
    value: float
    before: float
    taken: tuple[tuple[int, float], ...]


def order(levels: Sequence[int], target: int) -> list[int]:
    """Returns the places of all other levels, the closest to the target's first.

    Of two equally close ones the lower level, the denser ticket, comes first.

    Args:
      levels: All different.
      target: The place of one of them.

    Example:
      >>> lth.retraining.pools.order([0, 1, 2, 5], 2)
      [1, 0, 3]
    """
    own = levels[target]
    others = [i for i in range(len(levels)) if i != target]
    return sorted(others, key=lambda i: (abs(levels[i] - own), levels[i]))


def averaged(alpha: Any, own: Trained, other: Trained, kept: Any) -> Trained:
    """Returns the average of two networks, pruned to what is to be kept.

        prune_k(alpha own + (1 - alpha) other)

    by magnitude, among what either of them keeps. All floating leaves are averaged,
    those never pruned and batch statistics too.

    Args:
      alpha: The weight of `own`, in (0, 1); may be traced.
      own: A network, pruned weights at zero.
      other: Another one, of the same leaves, whatever holds them.
      kept: k, how many weights are kept in all, or a tree of them by layer; may be
        traced.
    """
    pair = ((x.params, x.model_state) for x in (own, other))
    params, model_state = barriers.interpolate(1 - alpha, *pair)
    others = comparison.like(own.masks, other.masks)
    either = jax.tree.map(jnp.logical_or, own.masks, others)
    masks = choose.prune(either, scores.magnitude(params, either), kept=kept)
    return Trained(masks_lib.apply(params, masks), model_state, masks)


_averaged = jax.jit(averaged)  # one program for all alphas and levels of a run


def pool(
    networks: Sequence[Trained],
    target: int,
    evaluate_fn: Callable[[Any, Any], Any],
    *,
    levels: Sequence[int] | None = None,
    alphas: Sequence[float] = ALPHAS,
    recompute_fn: StatisticsFn | None = None,
    scope: str = "global",
    higher: bool = True,
) -> Pool:
    """Averages a network with its neighbours, one after the other, where that helps.

        for i in order(levels, target):
            alpha = the best of alphas for averaged(alpha, own, networks[i], k)
            own = that average, unless it is worth less than own

    The average keeps exactly as many weights as the target, k, and is never worth less
    on what is held out. Of equal alphas the largest is taken: the closest to `own`.

    Args:
      networks: What tickets of one seed were trained to, their weights rewound to one
        point: without that they lie in no common valley, and averages are worthless.
      target: The place of the network that is to be improved.
      evaluate_fn: (params, model_state) -> what a network is worth on examples that are
        neither trained nor tested on.
      levels: Of the networks; as they come if `None`.
      alphas: In (0, 1).
      recompute_fn: (params, model_state) -> model_state of an average, such as
        `analysis.recomputed`. Without it statistics are averaged as the weights are:
        the variances of an average of networks lie below the average of theirs, the
        more the further they are apart.
      scope: "global" ranks all weights together; "layer" keeps as many of each layer as
        the target does.
      higher: Whether more is better.

    Raises:
      ValueError: An alpha or the scope is out of its range, there is no such target, or
        the leaves of the networks differ.

    References:
      Yin et al., 2022, arXiv:2208.10842, Algorithm 2, from notes on it: they say that
      there are 11 values of alpha from 0.05 to 0.95, not which. Departures: `|w|` is
      ranked among what either network keeps, so that k is exact; what is done with
      batch statistics, and about ties, was not at hand.
    """
    networks = list(networks)
    levels = list(range(len(networks)) if levels is None else levels)
    _check(networks, target, levels, (alphas, scope))
    own, kept = networks[target], _kept(networks[target].masks, scope)
    sign = 1.0 if higher else -1.0

    def worth(found):
        return sign * float(evaluate_fn(found.params, found.model_state))

    def candidate(alpha, other):
        found = _averaged(alpha, own, other, kept)
        if recompute_fn is None:
            return found
        return found._replace(model_state=recompute_fn(found.params, found.model_state))

    before = value = worth(own)
    taken = []
    for i in order(levels, target):
        best = _best(lambda alpha, i=i: candidate(alpha, networks[i]), worth, alphas)
        if best[0] is not None and best[1] >= value:
            own, value, alpha = best
            taken.append((i, alpha))
    return Pool(own, sign * value, sign * before, tuple(taken))


def _best(candidate, worth, alphas):
    """Returns (network, its worth, alpha) of the best alpha, the largest on a tie."""
    best = None, -jnp.inf, None
    for alpha in sorted(alphas, reverse=True):
        found = candidate(alpha)
        value = worth(found)
        best = (found, value, alpha) if value > best[1] else best
    return best


def _kept(masks, scope):
    """Returns how many weights are kept, in all or by layer, as arrays."""
    if scope == "global":
        return masks_lib.count(masks)[0]
    return jax.tree.map(lambda mask: jnp.sum(mask, dtype=jnp.int32), masks)


def _check(networks, target, levels, asked):
    alphas, scope = asked
    if not 0 <= target < len(networks) or len(levels) != len(networks):
        raise ValueError(
            "target must be the place of one of the networks, and each must have a "
            f"level, got target = {target} of {len(networks)} networks with levels = "
            f"{levels}"
        )
    if not alphas or not all(0 < alpha < 1 for alpha in alphas):
        raise ValueError(
            "alphas must be in (0, 1), one at least, got alphas = "
            f"{tuple(alphas)}; at 1 there is no average"
        )
    if scope not in SCOPES:
        raise ValueError(
            f"scope must be one of {', '.join(SCOPES)}, got scope = {scope!r}"
        )
    for one in networks:
        masks_lib.compatible(one.params, one.masks)
        comparison.check_same(networks[target].masks, one.masks)
