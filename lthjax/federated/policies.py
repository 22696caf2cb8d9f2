"""Who prunes when, by how much, and what is sent: FedAvg, LotteryFL and CELL."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.federated import aggregation
from lthjax.pruning import choose, kept_counts, scores
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

MASKS = ("fresh", "nested")
DOWNLINKS = ("broadcast", "unicast", "none")
SCOPES = ("layer", "global")
MOST = 10_000  # tickets of a policy


class Policy(NamedTuple):
    """A way to draw tickets in rounds; three of them are functions here.

    Attributes:
      sparsities: Of the tickets of stage 0, 1, ...; the last one is the target.
      threshold: The validation accuracy that must be exceeded to draw the next one.
      decay: What a client's threshold is multiplied by when it fails; 1 leaves it.
      masks: "fresh": drawn from the global weights in each round, none where a client
        fails; "nested": inside the client's own, which it keeps where it fails.
      aggregation: A name in `aggregation.AGGREGATIONS`.
      downlink: "broadcast": all weights, once for all; "unicast": to each client the
        weights of its mask; "none": nothing, each goes on with its own weights.
      scope: "layer": each layer is pruned by the same share; "global": all as one.
    """

    sparsities: tuple[float, ...] = (0.0,)
    threshold: float = 0.5
    decay: float = 1.0
    masks: str = "fresh"
    aggregation: str = "zero_fill"
    downlink: str = "broadcast"
    scope: str = "layer"


def fedavg(**changes: Any) -> Policy:
    """Returns federated averaging: nobody prunes.

    References:
      McMahan et al., 2017, arXiv:1602.05629.
    """
    return Policy(**{"threshold": 1.0, **changes})


def standalone(**changes: Any) -> Policy:
    """Returns the baseline without a server: each client trains alone."""
    own = {"threshold": 1.0, "aggregation": "none", "downlink": "none"}
    return Policy(**{**own, **changes})


def lottery_fl(*, rate: float = 0.2, limit: float = 0.7, **changes: Any) -> Policy:
    """Returns LotteryFL: a fixed threshold, masks inside masks, each sent its own.

        sparsity_s = min(1 - (1 - rate)^s, limit)

    Args:
      rate: The share of what is left that a ticket prunes.
      limit: The target; the paper's are 0.9, 0.7 and 0.5.
      **changes: Other fields of the policy.

    References:
      Li et al., 2020, arXiv:2008.03371. Departures from its code: the target is met
      exactly, not passed; a weight is pruned by its mask, not for being small.
    """
    _check_rate(rate, limit)
    steps = _tickets(math.log(1 - limit) / math.log1p(-rate), rate)
    found = tuple(min(1 - (1 - rate) ** s, limit) for s in range(steps + 1))
    own = {"masks": "nested", "aggregation": "mask_mean", "downlink": "unicast"}
    return Policy(found, **{**own, **changes})


def cell(*, rate: float = 0.2, limit: float = 0.8, **changes: Any) -> Policy:
    """Returns CELL: thresholds that fall with failures, fresh masks, a broadcast.

        sparsity_s = min(s rate, limit)

    Args:
      rate: What each ticket adds to the sparsity.
      limit: The target.
      **changes: Other fields of the policy; `decay` is the paper's alpha, which it does
        not print (a half by default).

    References:
      Seo et al., 2021, arXiv:2104.12501. The sparsity rises with a ticket, as its prose
      says; its Algorithm 1 raises it before the test.
    """
    _check_rate(rate, limit)
    steps = _tickets(limit / rate, rate)
    found = tuple(min(round(s * rate, 12), limit) for s in range(steps + 1))
    return Policy(found, **{"decay": 0.5, **changes})


def _check_rate(rate, limit):
    if not 0 < rate < 1:
        raise ValueError(f"a rate of pruning must be in (0, 1), got rate = {rate}")
    if not 0 <= limit < 1:
        raise ValueError(f"a target must be a sparsity in [0, 1), got limit = {limit}")


def _tickets(wanted, rate):
    """Returns how many tickets reach a target; refuses more than can be listed."""
    if wanted > MOST:
        raise ValueError(
            f"a rate of pruning must reach its target in {MOST:,} tickets at most, got "
            f"rate = {rate}, which takes {wanted:,.0f}"
        )
    return math.ceil(wanted - 1e-9)


def check(policy: Policy) -> None:
    """Refuses a policy that cannot be followed.

    Raises:
      ValueError: A field is out of range, or no name that is known; or clients send
        what nobody averages, or the other way round.
    """
    for name in ("threshold", "decay"):
        if not 0 <= getattr(policy, name) <= 1:
            raise ValueError(
                f"{name} of a policy must be in [0, 1], got {name} = "
                f"{getattr(policy, name)}"
            )
    named = (("masks", MASKS), ("downlink", DOWNLINKS), ("scope", SCOPES))
    for name, choices in named:
        if getattr(policy, name) not in choices:
            raise ValueError(
                f"{name} of a policy must be one of {', '.join(choices)}, got {name} = "
                f"{getattr(policy, name)!r}"
            )
    _check_sparsities(policy.sparsities)
    aggregation.by_name(policy.aggregation)
    if (policy.downlink == "none") != (policy.aggregation == "none"):
        raise ValueError(
            "downlink and aggregation of a policy must both be 'none', or neither: what"
            f" is sent is averaged, got downlink = {policy.downlink!r} with "
            f"aggregation = {policy.aggregation!r}"
        )


def _check_sparsities(found: Sequence[float]):
    found = tuple(found)
    rising = all(a < b for a, b in zip(found, found[1:], strict=False))
    if not found or found[0] != 0 or not rising or found[-1] >= 1:
        raise ValueError(
            "sparsities of a policy must begin with 0 and rise, below 1, got "
            f"sparsities = {found}"
        )


def kept(policy: Policy, masks: Masks) -> Any:
    """Returns how many weights the tickets keep, stage by stage.

    Args:
      policy: Whose.
      masks: The full masks.

    Returns:
      int32 [stages], or with scope "layer" a tree of them; never none of a layer,
      but of an empty one.
    """

    def counts(total):
        counted = (kept_counts.kept_count(total, s) for s in policy.sparsities)
        rows = [max(min(1, total), number) for number in counted]
        return jnp.asarray(rows, jnp.int32)

    if policy.scope == "global":
        return counts(masks_lib.count(masks)[1])
    return jax.tree.map(lambda mask: counts(mask.size), masks)


def drawn(
    policy: Policy, counts: Any, masks: Masks, params: Params, stage: jax.Array
) -> Masks:
    """Returns the masks of a stage: of each weight's magnitude, inside `masks`.

    Args:
      policy: Whose `scope` it is.
      counts: What `kept` returns.
      masks: What is chosen among.
      params: Whose magnitudes decide.
      stage: Which, int32 [].
    """
    left = jax.tree.map(lambda rows: rows[stage], counts)
    found = scores.magnitude(params, masks)
    return choose.prune(masks, found, kept=left, scope=policy.scope)


POLICIES = {
    "fedavg": fedavg,
    "lottery_fl": lottery_fl,
    "cell": cell,
    "standalone": standalone,
}
