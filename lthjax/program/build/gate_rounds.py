"""The rounds of searches that learn masks, and of what they are compared with.

A round is trained as a whole, and its end gives the masks of a ticket; see
`tickets.rounds`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from lthjax.callables import PruneFn, Schedule
from lthjax.channels import slimming
from lthjax.channels.slimming import Slim
from lthjax.gates import families, sigmoid
from lthjax.gates import gated as gated_lib
from lthjax.gates.families import Kind
from lthjax.gates.gated import Gated
from lthjax.program.build.by_score import by_level
from lthjax.program.build.parts import Ground
from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Trained
from lthjax.tickets.rounds import Rounds, continued, slimmed
from lthjax.training import schedules

KINDS = {
    "continuous": lambda options: families.continuous(
        final=options.final_temperature, reset=options.reset
    ),
    "stochastic": lambda options: families.stochastic(
        gradient=options.gradient, output=options.output
    ),
    "l0": lambda options: families.hard_concrete(),
    "soft_threshold": lambda options: families.soft_threshold(),
}


def kind(name: str, ground: Ground) -> Kind:
    """Returns the gates of a search.

    Args:
      name: Of its method.
      ground: What that is built on.
    """
    return KINDS[name](ground.options.search.gates)


def scaled(name: str, ground: Ground) -> bool:
    """Says whether the gates have the constant of the released code."""
    return name == "continuous" and ground.options.search.gates.scaled


def temperature(ground: Ground) -> Schedule:
    """Returns step -> temperature of a round.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: It does not end above 1.
    """
    options, plan = ground.options.search.gates, ground.plan
    every = options.period or plan.steps_per_epoch
    schedule = {"final": options.final_temperature, "steps": plan.steps}

    def at(step):
        return sigmoid.temperature(step, **schedule, every=every)

    jax.eval_shape(at, jnp.int32(0))
    return at


def gated_rounds(name: str, ground: Ground, tx, prune_fn) -> Rounds:
    """Returns the rounds of a search by gates.

    Where a level has a target, the gates with the highest logits are kept, exactly that
    many: trimming by gate value, which is not the method of any paper. A gate that is
    kept has its hard value, zero if it is closed.

    Args:
      name: Of the method.
      ground: What it is built on.
      tx: The optimizer.
      prune_fn: Not used.
    """
    del prune_fn
    options = ground.options.search
    gates, first = kind(name, ground), options.gates.initial[0]
    harvest = jax.jit(
        lambda *pair: gated_lib.harvest(gates, *pair, scaled=scaled(name, ground))
    )

    def open_round(key, params, model_state, masks):
        network = params, model_state, masks
        pair = gated_lib.begin(key, *network, first, init_fn=gates.init)
        return Trained(*pair, gated_lib.masked(masks), tx.init(pair[0]))

    def again(key, trained, level):
        del key, level
        pair = gated_lib.again(gates, trained.params, trained.model_state)
        opt_state = schedules.at_step(trained.opt_state, 0)
        return Trained(*pair, trained.masks, opt_state)

    def harvested(key, trained, level):
        del key
        params, masks = harvest(trained.params, trained.model_state)
        amount = ground.plan.targets[level - 1].amount
        if amount is not None:
            how = {"minimum": options.minimum, "views": ground.plan.views}
            masks = _trimmed(trained, amount, **how)
            params = masks_lib.apply(params, masks)
        return Trained(params, trained.model_state.network, masks)

    def weights(trained):
        return trained.params.weights, trained.model_state.network

    return Rounds(open_round, again, weights, harvested)


def _trimmed(trained, amount, **how):
    """Returns the masks of the highest logits, as many as the target says."""
    full = jax.tree.map(jnp.ones_like, trained.masks.weights)
    return choose.prune(full, trained.params.gates, kept=amount, **how)


def continued_rounds(ground: Ground, tx, prune_fn: PruneFn) -> Rounds:
    """Returns the rounds of iterative pruning that never rewinds its search.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: (key, trained, target) -> masks.
    """
    return continued(by_level(ground.plan.targets, prune_fn), tx.init)


def slimming_rounds(ground: Ground, tx, prune_fn) -> Rounds:
    """Returns the rounds of network slimming; the sparsity is that of channels.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
      prune_fn: Not used.

    Raises:
      ValueError: There is not exactly one sparsity.
    """
    del prune_fn
    shares = ground.options.search.sparsities
    if len(shares) != 1:
        raise ValueError(
            "slimming prunes once, to one share of the channels, got "
            f"search.sparsities = {tuple(shares)}"
        )

    def mask_fn(params, full, level):
        kept = slimming.slimmed(slimming.scales(params), shares[level - 1])
        return slimming.masks(full, kept, views=ground.plan.views)

    return slimmed(Slim, mask_fn, tx.init)


def varied(state: Any, initial: float) -> Any:
    """Returns a search's first state with another first logit for all its gates.

    Its key stays: searches of one seed differ by their logits, not by their noise.
    """
    first = state.round
    if not isinstance(first.params, Gated):
        return state
    at, initial = first.model_state.progress, jnp.float32(initial)
    logits = jax.tree.map(
        lambda s: jnp.where(s == at.initial, initial, s), first.params.gates
    )
    at = at._replace(initial=initial)
    gated = first._replace(
        params=first.params._replace(gates=logits),
        model_state=first.model_state._replace(progress=at),
    )
    return state._replace(round=gated)
