"""A config's searches in rounds become functions: learnt masks and their comparators.

Their search trains "search" rounds and "ticket" trainings; see `tickets.continuous`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.channels import slimming
from lthjax.channels.slimming import Slim
from lthjax.gates import gated as gated_lib
from lthjax.gates import hard_concrete, sigmoid
from lthjax.gates import kinds as kinds_lib
from lthjax.gates.gated import Gated, Kind
from lthjax.program.config import defaults
from lthjax.pruning import choose
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Search, Trained
from lthjax.tickets.rounds import Rounds, continued, continuous, slimmed
from lthjax.training import optimizers

# Keys that choose what to prune, and only matter to searches that choose by them.
UNUSED = ("pattern", "score", "rounds", "batches", "corrupt", "invert", "layer_rates")
TRIMMING = ("scope", "minimum")


def kind(config) -> Kind | None:
    """Returns the gates of a config's search, `None` where it has none."""
    options = config.search.gates
    kinds = {
        "continuous": lambda: gated_lib.continuous(
            final=options.final_temperature, reset=options.reset
        ),
        "stochastic": lambda: gated_lib.stochastic(
            gradient=options.gradient, output=options.output
        ),
        "l0": gated_lib.hard_concrete,
        "soft_threshold": kinds_lib.kind,
    }
    name = config.search.method
    return kinds[name]() if name in kinds else None


def scaled(config) -> bool:
    """Says whether the gates have the constant of the released code."""
    return config.search.method == "continuous" and config.search.gates.scaled


def temperature(config, numbers) -> Callable:
    """Returns step -> temperature of a round.

    Raises:
      ValueError: It does not end above 1.
    """
    options = config.search.gates
    every = options.period or numbers.steps_per_epoch
    schedule = {"final": options.final_temperature, "steps": numbers.steps}

    def at(step):
        return sigmoid.temperature(step, **schedule, every=every)

    jax.eval_shape(at, jnp.int32(0))
    return at


def network(config, numbers, apply_fn: Callable) -> Callable:
    """Returns apply_fn, for the parameters of a round too.

    Args:
      config: A validated config.
      numbers: The plan of the run.
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
    """
    if config.search.method == "slimming":
        return _slim_network(apply_fn)
    gates = kind(config)
    if gates is None:
        return apply_fn
    at = temperature(config, numbers)
    return gated_lib.network(apply_fn, gates, at, scaled=scaled(config))


def _slim_network(apply_fn):
    def apply(params, *rest):
        return apply_fn(params.weights if isinstance(params, Slim) else params, *rest)

    return apply


def objective(config, numbers, plain: Callable) -> Callable:
    """Returns an objective with the penalty of a round where its parameters are.

    Args:
      config: A validated config.
      numbers: The plan of the run.
      plain: (params, model_state, images, labels) -> (loss, model_state).
    """
    weight = config.search.gates.penalty
    if config.search.method == "slimming":
        return _slim_objective(plain, weight)
    gates = kind(config)
    if gates is None:
        return plain
    at = temperature(config, numbers)
    options = {"weight": weight, "scaled": scaled(config)}
    return gated_lib.penalised(plain, gates, at, **options)


def _slim_objective(plain, weight):
    def penalised(params, *rest):
        loss, state = plain(params, *rest)
        if isinstance(params, Slim):
            loss += weight * slimming.penalty(params.weights)
        return loss, state

    return penalised


def optimizer(config, schedule: Callable):
    """Returns the optimizer of weights and gates, each with options of its own.

    Args:
      config: A validated config.
      schedule: step -> learning rate of the weights; the gates' is in proportion.
    """
    options = config.optimizer.to_dict()
    rate = options.pop("learning_rate")
    weights_tx = optimizers.unwrapped(options.pop("name"), schedule, **options)
    gates = config.search.gates
    ratio = (gates.learning_rate or rate) / rate
    gates_tx = optimizers.unwrapped(
        gates.optimizer,
        lambda step: ratio * schedule(step),
        momentum=gates.momentum,
        nesterov=gates.nesterov,
    )
    if config.search.method == "l0":
        gates_tx = hard_concrete.bounded(gates_tx)
    return gated_lib.optimizer(weights_tx, gates_tx)


def learns_count(config) -> bool:
    """Says whether a search learns how many weights it keeps: no level has a target."""
    method, shares = config.search.method, config.search.sparsities
    return method == "slimming" or (method in GATED and not shares)


def search(config, numbers, prune_fn: Callable, tx) -> Search:
    """Returns the search of a config.

    Args:
      config: A validated config.
      numbers: The plan of the run.
      prune_fn: (key, trained, target) -> masks.
      tx: The optimizer.

    Raises:
      ValueError: As `tickets.continuous`; a first logit cannot be learnt from; a round
        has no two periods; a key has a value that the method has no use for.
    """
    _check_used(config.search)
    _check_periods(config, numbers)
    _check_logits(config.search)
    temperature(config, numbers)
    if config.studies and len(config.search.gates.initial) > 1:
        raise ValueError(
            "studies go with one first logit, got search.gates.initial = "
            f"{tuple(config.search.gates.initial)}; give one of them"
        )
    return continuous(
        METHODS[config.search.method](config, numbers, tx, prune_fn),
        levels=len(numbers.targets),
        steps=numbers.steps,
        rewind_to=config.search.rewind_to,
        restart=config.search.restart,
        start=config.search.gates.start,
    )


def _check_logits(search):
    if search.method != "soft_threshold":
        for initial in search.gates.initial:
            sigmoid.check_initial(initial)
    elif search.sparsities:
        raise ValueError(
            "soft thresholds are learnt and hit no sparsity, got search.sparsities = "
            f"{tuple(search.sparsities)}; set search.gates.penalty in its place"
        )


def check_network(config, params: Any) -> None:
    """Checks that the method of a config can prune a network.

    Args:
      config: A validated config.
      params: Its parameters, or their shapes.

    Raises:
      ValueError: It cannot.
    """
    if config.search.method == "slimming":
        slimming.check(params)


def _check_used(search):
    """Refuses keys of searches by scores where no score is taken."""
    known, trimmed = defaults.default().search, search.method in GATED
    trimmed = trimmed and len(search.sparsities) > 0
    if search.method == "continued":
        return
    for name in (*UNUSED, *TRIMMING * (not trimmed)):
        if search[name] != known[name]:
            also = name in TRIMMING and search.method in GATED
            raise ValueError(
                f"search.method = {search.method!r} has no use for search.{name}"
                f"{' without search.sparsities' * also}, got search.{name} = "
                f"{search[name]!r}; leave it at {known[name]!r}"
            )


def _check_periods(config, numbers):
    """Refuses rounds that would be at the final temperature from their first step."""
    period = config.search.gates.period
    every = period or numbers.steps_per_epoch
    if config.search.method == "continuous" and numbers.steps <= every:
        epoch = f" (an epoch, {every})" * (not period)
        raise ValueError(
            "a round must have two periods of the temperature at least, got "
            f"search.gates.period = {period}{epoch} in {numbers.steps} steps; give a "
            "shorter one"
        )


def gated_rounds(config, numbers, tx, prune_fn) -> Rounds:
    """Returns the rounds of a search by gates.

    Where a level has a target, the gates with the highest logits are kept, exactly that
    many: trimming by gate value, which is not the method of any paper. A gate that is
    kept has its hard value, zero if it is closed.
    """
    del prune_fn
    gates, first = kind(config), config.search.gates.initial[0]
    harvest = jax.jit(
        lambda *pair: gated_lib.harvest(gates, *pair, scaled=scaled(config))
    )

    def open_round(key, params, model_state, masks):
        network = params, model_state, masks
        pair = gated_lib.begin(key, *network, first, init_fn=gates.init)
        return Trained(*pair, gated_lib.masked(masks), tx.init(pair[0]))

    def again(key, trained, level):
        del key, level
        pair = gated_lib.again(gates, trained.params, trained.model_state)
        opt_state = optimizers.at_step(trained.opt_state, 0)
        return Trained(*pair, trained.masks, opt_state)

    def harvested(key, trained, level):
        del key
        params, masks = harvest(trained.params, trained.model_state)
        target = numbers.targets[level - 1]
        if target is not None:
            masks = _trimmed(trained, target, config.search.minimum)
            params = masks_lib.apply(params, masks)
        return Trained(params, trained.model_state.network, masks)

    def weights(trained):
        return trained.params.weights, trained.model_state.network

    return Rounds(open_round, again, weights, harvested)


def _trimmed(trained, target, minimum):
    """Returns the masks of the highest logits, as many as the target says."""
    full = jax.tree.map(jnp.ones_like, trained.masks.weights)
    return choose.prune(full, trained.params.gates, kept=target, minimum=minimum)


def continued_rounds(config, numbers, tx, prune_fn) -> Rounds:
    """Returns the rounds of iterative pruning that never rewinds its search."""
    del config

    def prune(key, trained, level):
        return prune_fn(key, trained, numbers.targets[level - 1])

    return continued(prune, tx.init)


def slimming_rounds(config, numbers, tx, prune_fn) -> Rounds:
    """Returns the rounds of network slimming; the sparsity is that of channels."""
    del prune_fn, numbers
    shares = config.search.sparsities
    if len(shares) != 1:
        raise ValueError(
            "slimming prunes once, to one share of the channels, got "
            f"search.sparsities = {tuple(shares)}"
        )

    def mask_fn(params, full, level):
        kept = slimming.slimmed(slimming.scales(params), shares[level - 1])
        return slimming.masks(full, kept)

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


METHODS = {
    "continuous": gated_rounds,
    "stochastic": gated_rounds,
    "l0": gated_rounds,
    "soft_threshold": gated_rounds,
    "continued": continued_rounds,
    "slimming": slimming_rounds,
}
BINARY = ("continuous", "stochastic", "l0")  # a gate for each weight
GATED = (*BINARY, "soft_threshold")
