"""Training with gates: a gated network is a network, and its gates are parameters.

`Gated` parameters and a `GatedState` go wherever parameters and a model state go: into
a ticket, the step, a checkpoint, a population. Ordinary ones pass through unchanged, so
that one program trains both a search and the tickets it finds.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax import moved
from lthjax.callables import ApplyFn, PriceFn, Schedule
from lthjax.gates import sigmoid
from lthjax.gates.families import Kind
from lthjax.gates.sigmoid import Gates
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.training import zeros

_AGAIN = np.uint32(2**32 - 1)  # folded into the key of a new round; no step has it


class Gated(NamedTuple):
    """Parameters with gates; also their masks (none of the gates), and labels of both.

    Attributes:
      weights: The parameters of the network.
      gates: Logits, `None` where a leaf is never pruned.
    """

    weights: Params
    gates: Gates


class Progress(NamedTuple):
    """Where a round is; arrays, so that it is carried, saved and mapped.

    Attributes:
      step: The step within the round, int32 [].
      initial: The logit the gates began with, float32 [].
      key: The data of the round's PRNG key, for stochastic gates, uint32 [2].
    """

    step: jax.Array
    initial: jax.Array
    key: jax.Array


class GatedState(NamedTuple):
    """The model state of a gated network: the network's own, and the round's."""

    network: Any
    progress: Progress

    def held(self, before: "GatedState") -> "GatedState":
        """Returns the state at the step of another one, as parts of a batch are."""
        step = before.progress.step
        return self._replace(progress=self.progress._replace(step=step))


def begin(
    key: jax.Array,
    params: Params,
    model_state: Any,
    masks: Masks,
    initial: jax.typing.ArrayLike,
    *,
    init_fn: Callable[[Masks, Any], Any] = sigmoid.init,
) -> tuple[Gated, GatedState]:
    """Returns the gated network at the beginning of its first round.

    Args:
      key: A JAX PRNG key, for stochastic gates. Networks that differ in their first
        logits alone share it: common random numbers.
      params: The parameters.
      model_state: The batch statistics.
      masks: Full masks: they say where there are gates.
      initial: The first logit of every gate, which may be traced.
      init_fn: (masks, initial) -> gates: that of the kind.

    Raises:
      ValueError: The key is not of the kind that is JAX's default.
    """
    data, usual = (jax.random.key_data(k) for k in (key, jax.random.key(0)))
    if data.shape != usual.shape:
        raise ValueError(
            "the key of a gated network must be of JAX's default kind, got one of the "
            f"shape {data.shape} in place of {usual.shape}; set "
            "jax_default_prng_impl, or leave impl out"
        )
    logits = init_fn(masks, initial)
    start = jnp.asarray(initial, jnp.float32)
    progress = Progress(jnp.int32(0), start, data)
    return Gated(params, logits), GatedState(model_state, progress)


def masked(masks: Masks) -> Gated:
    """Returns the masks of a gated network's parameters: none of its gates."""
    return Gated(masks, jax.tree.map(lambda _: None, masks))


def again(
    kind: Kind, params: Gated, model_state: GatedState
) -> tuple[Gated, GatedState]:
    """Returns the gated network at the beginning of its next round.

    Only the gates are reset; weights and batch statistics go on from where they are.
    Stochastic gates have a key of their own in each round.
    """
    at = model_state.progress
    reset = kind.reset(params.gates, at.initial)
    key = jax.random.fold_in(jax.random.wrap_key_data(at.key), _AGAIN)
    progress = Progress(jnp.int32(0), at.initial, jax.random.key_data(key))
    return params._replace(gates=reset), model_state._replace(progress=progress)


def scale(progress: Progress, scaled: bool) -> jax.Array | float:
    """Returns c: 1 / sigmoid(s0) in the form of the released code, else 1."""
    return sigmoid.constant(progress.initial) if scaled else 1.0


def network(
    apply_fn: ApplyFn, kind: Kind, temperature_fn: Schedule, *, scaled: bool
) -> ApplyFn:
    """Returns apply_fn for gated and for ordinary parameters.

    Args:
      apply_fn: (params, model_state, images, train) -> (logits, model_state).
      kind: Of the gates.
      temperature_fn: step -> temperature. An evaluation is at that of the last step.
      scaled: Whether gates have the constant c of the released code.
    """

    def apply(params, model_state, images, train):
        if not isinstance(params, Gated):
            return apply_fn(params, model_state, images, train)
        inner, at = model_state
        c = scale(at, scaled)
        if train:
            key = jax.random.fold_in(jax.random.wrap_key_data(at.key), at.step)
            m = kind.train(key, params.gates, temperature_fn(at.step), c)
            at = at._replace(step=at.step + 1)
        else:
            m = kind.test(params.gates, temperature_fn(_last(at.step)), c)
        effective = kind.effect(params.weights, m)
        logits, inner = apply_fn(effective, inner, images, train)
        return logits, GatedState(inner, at)

    return apply


def _last(step):
    return jnp.maximum(step - 1, 0)


def penalty(
    kind: Kind, temperature_fn: Schedule, *, weight: float, scaled: bool
) -> PriceFn:
    """Returns (params, model_state) -> `weight * price`, `None` without gates.

    Args:
      kind: Of the gates.
      temperature_fn: step -> temperature.
      weight: Of the penalty, lambda; not divided by the number of gates.
      scaled: As for `network`.
    """

    def price(params, model_state):
        if not isinstance(params, Gated):
            return None
        at = model_state.progress
        temperature = temperature_fn(at.step)
        return weight * kind.price(params.gates, temperature, scale(at, scaled))

    return price


def optimizer(
    weights_tx: optax.GradientTransformation, gates_tx: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer for the weights with another one for the gates.

    `optax.partition` by weights and gates, wrapped in `training.keep`; ordinary
    parameters are all weights. What adds over both (a clipped norm) belongs outside.

    Args:
      weights_tx: Of the weights.
      gates_tx: Of the gates; weight decay would pull their logits to a half.
    """

    def labels(params):
        parts = params if isinstance(params, Gated) else (params,)
        named = [
            jax.tree.map(lambda _, name=name: name, part)
            for part, name in zip(parts, ("weights", "gates"), strict=False)
        ]
        return Gated(*named) if isinstance(params, Gated) else named[0]

    parts = {"weights": weights_tx, "gates": gates_tx}
    return zeros.keep(optax.partition(parts, labels))


def harvest(
    kind: Kind, params: Gated, model_state: GatedState, *, scaled: bool
) -> tuple[Params, Masks]:
    """Returns the pruned network of the gates as they are: (parameters, masks).

    The parameters are `c H(s) w` (of hard concrete gates, z w; of soft thresholds, the
    shrunk weights): what the soft network tends to, so that its batch statistics fit.
    Where the masks keep nothing there are zeros.

    Args:
      kind: Of the gates.
      params: Weights and gates.
      model_state: The state with them.
      scaled: As for `network`.
    """
    at = model_state.progress
    key = jax.random.fold_in(jax.random.wrap_key_data(at.key), at.step)
    m = kind.hard(key, params.gates, scale(at, scaled))
    effective = kind.effect(params.weights, m)
    kept = kind.kept(effective, m)
    return masks_lib.apply(effective, kept), kept


moved.answers(__name__)
