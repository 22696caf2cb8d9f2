"""What a training carries beside its optimizer's state: an average, when to stop.

Both lie around the state of the optimizer, so that they are saved, resumed and handed
on from one part of a training to the next as that is. Without them it is the state as
it comes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lthjax.callables import ForwardFn, StepFn
from lthjax.pruning import precision
from lthjax.pruning.masks import Masks, Params


class Rule(NamedTuple):
    """When a training stops: a measure has not improved for so many validations.

    Attributes:
      column: Of a point of the learning curve: the measure, on validation.
      higher: Whether more of it is better.
      patience: Validations in a row that are no better than the best one.
      delta: What is better is so by more than this.
      after: Validations up to this step count for nothing.
    """

    column: int
    higher: bool
    patience: int
    delta: float = 0.0
    after: int = 0


class Extras(NamedTuple):
    """What is asked for.

    Attributes:
      decay: Of the average, in [0, 1); 0: there is none.
      rule: When a training stops; `None`: at its end.
    """

    decay: float = 0.0
    rule: Rule | None = None


class Average(NamedTuple):
    """The exponential moving average of a network; `None` for what is no float."""

    params: Params
    model_state: Any


class Stop(NamedTuple):
    """Where a rule stands: the best value, validations since, the end or -1."""

    best: jax.Array
    waited: jax.Array
    at: jax.Array


class Carried(NamedTuple):
    """The state of an optimizer, and what goes with it."""

    opt_state: Any
    average: Average | None
    stop: Stop | None


NONE = Extras()


def begin(asked: Extras, opt_state: Any, params: Params, model_state: Any) -> Any:
    """Returns the state of an optimizer with what goes with it, if anything does.

    One that has it already, of a training that goes on, stays as it is.

    Args:
      asked: What is asked for.
      opt_state: The state of the optimizer.
      params: The weights that training starts from.
      model_state: Batch statistics.
    """
    if asked == NONE or isinstance(opt_state, Carried):
        return opt_state
    own = precision.widened((params, _floats(model_state)))  # or it would not move
    average = Average(*own) if asked.decay else None
    worst = -math.inf if asked.rule and asked.rule.higher else math.inf
    first = Stop(jnp.float32(worst), jnp.int32(0), jnp.int32(-1))
    return Carried(opt_state, average, first if asked.rule else None)


def inner(opt_state: Any) -> Any:
    """Returns the state of the optimizer itself."""
    return opt_state.opt_state if isinstance(opt_state, Carried) else opt_state


def put(carried: Any, opt_state: Any) -> Any:
    """Returns what is carried, with another state of the optimizer itself."""
    if not isinstance(carried, Carried):
        return opt_state
    return carried._replace(opt_state=opt_state)


def averaged(state: Any, masks: Masks, decay: float, forward_fn: ForwardFn) -> Any:
    """Moves the average that a state carries, if it does, to the weights it has.

        a = decay a + (1 - decay) w;  a = 0 where a weight that may be pruned is 0

    Args:
      state: A `training.State`.
      masks: Of its weights; `None` for what is never pruned.
      decay: In [0, 1).
      forward_fn: The weights of the forward pass, w.
    """
    carried = state.opt_state
    if not isinstance(carried, Carried) or carried.average is None:
        return state

    def mean(w, a, mask=None):
        moved = decay * a + (1 - decay) * w.astype(a.dtype)
        return moved if mask is None else jnp.where(w == 0, 0, moved)

    def mean_of_floats(x, a):
        return None if a is None else mean(x, a)

    average = Average(
        jax.tree.map(mean, forward_fn(state), carried.average.params, masks),
        jax.tree.map(mean_of_floats, state.model_state, carried.average.model_state),
    )
    return state._replace(opt_state=carried._replace(average=average))


def weights(state: Any, forward_fn: ForwardFn) -> tuple[Params, Any]:
    """Returns the (params, model_state) that are measured and deployed.

    They are the average where there is one, of batch statistics too, and else those of
    the forward pass.

    Args:
      state: A `training.State`.
      forward_fn: Its weights of the forward pass.
    """
    carried = state.opt_state
    if not isinstance(carried, Carried) or carried.average is None:
        return forward_fn(state), state.model_state
    average = carried.average
    params = precision.as_of(average.params, state.params)
    model_state = jax.tree.map(
        lambda x, a: x if a is None else a.astype(x.dtype),
        state.model_state,
        average.model_state,
    )
    return params, model_state


def stop(opt_state: Any) -> Stop | None:
    """Returns where the rule of a state stands, `None` without one."""
    return opt_state.stop if isinstance(opt_state, Carried) else None


def put_stop(opt_state: Any, found: Stop | None) -> Any:
    """Returns a state whose rule stands elsewhere."""
    return opt_state if found is None else opt_state._replace(stop=found)


def judged(
    rule: Rule | None, found: Stop | None, row: jax.Array, at: jax.Array
) -> tuple[jax.Array, Stop | None]:
    """Returns a point of the learning curve, NaN if training had stopped, and the rule.

    Args:
      rule: When a training stops.
      found: Where it stands.
      row: The point, as measured.
      at: Its step.
    """
    if rule is None or found is None:
        return row, found
    own, value = found.at < 0, row[rule.column].astype(found.best.dtype)
    gain = value - found.best if rule.higher else found.best - value
    better, counts = gain > rule.delta, at > rule.after
    waited = jnp.where(better, 0, found.waited + 1)
    ends = own & counts & (waited >= rule.patience)
    after = Stop(
        jnp.where(own & counts & better, value, found.best),
        jnp.where(own & counts, waited, found.waited),
        jnp.where(ends, jnp.asarray(at, jnp.int32), found.at),
    )
    return jnp.where(own, row, jnp.nan), after


def until_stopped(step_fn: Callable[..., Any]) -> StepFn:
    """Returns a step that leaves a state as it is once its rule has stopped it.

    Args:
      step_fn: (state, masks, inputs, labels, at) -> state.
    """

    def step(state, *given, **more):
        found = stop(state.opt_state)
        if found is None:
            return step_fn(state, *given, **more)
        going = found.at < 0
        return lax.cond(going, lambda: step_fn(state, *given, **more), lambda: state)

    return step


def _floats(tree):
    """Returns a tree with `None` for each leaf that is no float."""

    def own(leaf):
        return leaf if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else None

    return jax.tree.map(own, tree)
