"""A config's searches in rounds become functions: learnt masks and their comparators.

Their search trains "search" rounds and "ticket" trainings; see `tickets.continuous`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import gates as gates_lib
from lthjax import gating, optimizers, pruning, slimming, soft_threshold
from lthjax import masks as masks_lib
from lthjax.gating import Gated, Kind
from lthjax.slimming import Slim
from lthjax.tickets import Search, Trained
from lthjax.tickets.continuous import Rounds, continued, continuous, slimmed

MANY = 0.05  # undecided gates, a share that a search should end below


def kind(config) -> Kind | None:
    """Returns the gates of a config's search, `None` where it has none."""
    options = config.search.gates
    kinds = {
        "continuous": lambda: gating.continuous(
            final=options.final_temperature, reset=options.reset
        ),
        "stochastic": lambda: gating.stochastic(
            gradient=options.gradient, output=options.output
        ),
        "l0": gating.hard_concrete,
        "soft_threshold": soft_threshold.kind,
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
        return gates_lib.temperature(step, **schedule, every=every)

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
    return gating.network(apply_fn, gates, at, scaled=scaled(config))


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
    return gating.penalised(plain, gates, at, **options)


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
    return gating.optimizer(weights_tx, gates_tx)


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
      ValueError: As `tickets.continuous`, or a first logit cannot be learnt from.
    """
    _check_gates(config)
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


def _check_gates(config):
    if config.search.method != "soft_threshold":
        for initial in config.search.gates.initial:
            gates_lib.check_initial(initial)
    elif config.search.sparsities:
        raise ValueError(
            "soft thresholds are learnt and hit no sparsity, got search.sparsities = "
            f"{tuple(config.search.sparsities)}; set search.gates.penalty in its place"
        )


def gated_rounds(config, numbers, tx, prune_fn) -> Rounds:
    """Returns the rounds of a search by gates.

    Where a level has a target, the gates with the highest logits are kept, exactly that
    many: trimming by gate value, which is not the method of any paper.
    """
    del prune_fn
    gates, first = kind(config), config.search.gates.initial[0]
    harvest = jax.jit(lambda *pair: gating.harvest(gates, *pair, scaled=scaled(config)))

    def open_round(key, params, model_state, masks):
        network = params, model_state, masks
        pair = gating.begin(key, *network, first, init_fn=gates.init)
        return Trained(*pair, gating.masked(masks), tx.init(pair[0]))

    def again(key, trained, level):
        del key, level
        pair = gating.again(gates, trained.params, trained.model_state)
        opt_state = optimizers.at_step(trained.opt_state, 0)
        return Trained(*pair, trained.masks, opt_state)

    def harvested(key, trained, level):
        del key
        params, masks = harvest(trained.params, trained.model_state)
        target = numbers.targets[level - 1]
        if target is not None:
            masks = _trimmed(trained, target)
            c = gating.scale(trained.model_state.progress, scaled(config))
            factors = jax.tree.map(lambda mask: c * mask, masks)
            params = gates_lib.multiply(trained.params.weights, factors)
        return Trained(params, trained.model_state.network, masks)

    def weights(trained):
        return trained.params.weights, trained.model_state.network

    return Rounds(open_round, again, weights, harvested)


def _trimmed(trained, target):
    """Returns the masks of the highest logits, as many as the target says."""
    full = jax.tree.map(jnp.ones_like, trained.masks.weights)
    return pruning.prune(full, trained.params.gates, kept=target)


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
        kept = slimming.channels(slimming.scales(params), shares[level - 1])
        return slimming.masks(full, kept)

    return slimmed(Slim, mask_fn, tx.init)


def varied(state: Any, initial: float) -> Any:
    """Returns a search's first state with another first logit for all its gates."""
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


def examiner(
    config, numbers, prune_fn: Callable, tx, evaluate_fn: Callable
) -> Callable | None:
    """Returns (key, trained, level) -> what the record of a round says beside accuracy.

    `None` for a search without rounds.

    A record's accuracies are those of the soft network; `hard_test_accuracy` and the
    like are those of the network pruned as the gates are, untrained.

    Args:
      config: A validated config.
      numbers: The plan of the run.
      prune_fn: (key, trained, target) -> masks.
      tx: The optimizer.
      evaluate_fn: (params, model_state) -> {metric: value}.
    """
    if config.search.method not in METHODS:
        return None
    rounds = METHODS[config.search.method](config, numbers, tx, prune_fn)
    gates, at = kind(config), temperature(config, numbers)

    def examine(key, trained, level):
        found = rounds.harvest(key, trained, level)
        layers = masks_lib.layers(found.masks)
        kept, prunable = (sum(column) for column in zip(*layers.values(), strict=True))
        hard = jax.device_get(evaluate_fn(found.params, found.model_state))
        row = {f"hard_{name}": round(float(x), 6) for name, x in hard.items()}
        row |= {"kept": kept, "prunable": prunable}
        row["sparsity"] = (prunable - kept) / prunable
        row["collapsed"] = [name for name, (left, _) in layers.items() if left == 0]
        row["layers"] = {name: left / size for name, (left, size) in layers.items()}
        if config.search.method in BINARY:
            m = gates.test(trained.params.gates, at(numbers.steps - 1), 1.0)
            row["undecided"] = round(float(gates_lib.between(m)), 6)
        return row

    return examine


def warnings(config, row: dict) -> list[str]:
    """Returns sentences on what makes the masks of a round doubtful.

    Args:
      config: A validated config.
      row: The record of a round.
    """
    found, undecided = [], row.get("undecided", 0.0)
    if undecided > MANY and config.search.method == "continuous":
        found.append(
            f"{100 * undecided:.1f} % of the gates are undecided at the end: raise the "
            "gates' learning rate, the steps or the final temperature"
        )
    gap = row["test_accuracy"] - row["hard_test_accuracy"]
    if gap > 0.01:
        found.append(f"the hard mask costs {100 * gap:.1f} points of accuracy")
    if row["sparsity"] > 0.998:
        found.append(f"only {row['kept']} of {row['prunable']} weights are left")
    return found


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
