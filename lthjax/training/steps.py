"""The training step, and training from step a to step b in one dispatch.

Everything here is a pure function of one network on one device. A mesh maps the step
(`axis_name`), a population maps the whole run (`population`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from lthjax import draws
from lthjax.callables import (
    ApplyFn,
    BeginFn,
    EvaluateFn,
    FetchFn,
    MeasureFn,
    ObjectiveFn,
    PriceFn,
    RunFn,
    StepFn,
)
from lthjax.data import batches
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Params
from lthjax.training import accumulation, schedules
from lthjax.training import extras as extras_lib
from lthjax.training import objective as objective_lib
from lthjax.training.extras import Extras, Rule
from lthjax.training.objective import CLASSIFICATION, Objective

COLUMNS = objective_lib.columns(CLASSIFICATION)


class State(NamedTuple):
    """What training carries from step to step; the step itself is an argument.

    Attributes:
      params: The parameters, pruned weights at zero.
      model_state: Batch statistics, {} if there are none.
      opt_state: The state of the optimizer, `extras.Carried` if more goes with it.
      loss: The training losses summed since the last validation, float32 [].
      curve: The learning curve, float32 [points, columns of the objective], COLUMNS by
        default; NaN where there is none yet.
    """

    params: Params
    model_state: Any
    opt_state: Any
    loss: jax.Array
    curve: jax.Array


def begin(
    tx: optax.GradientTransformation,
    ticket: Any,
    *,
    points: int = 0,
    objective: Objective = CLASSIFICATION,
    extras: Extras = extras_lib.NONE,
    parts: int = 1,
) -> State:
    """Returns the state that a ticket's training starts from.

    Without an optimizer state of its own the ticket gets a fresh one: momentum from
    zero, the schedule moved to the ticket's step. A network that draws (dropout) does
    so by that step too, wherever its model state is from.

    Args:
      tx: The optimizer.
      ticket: A `tickets.Ticket`: params, model_state, masks, opt_state, step.
      points: Room for how many validations.
      objective: Whose columns these have.
      extras: What is carried beside.
      parts: Of a batch, as for `step`: each draws anew.
    """
    params = masks_lib.apply(ticket.params, ticket.masks)
    opt_state = ticket.opt_state
    if opt_state is None:
        given = {"tx": tx, "params": params}
        opt_state = schedules.at_step(tx.init(params), ticket.step, **given)
    opt_state = extras_lib.begin(extras, opt_state, params, ticket.model_state)
    width = len(objective_lib.columns(objective))
    curve = jnp.full((points, width), jnp.nan, jnp.float32)
    model_state = draws.at_step(ticket.model_state, ticket.step * parts)
    return State(params, model_state, opt_state, jnp.zeros(()), curve)


def starter(
    tx: optax.GradientTransformation,
    *,
    points: int,
    objective: Objective = CLASSIFICATION,
    extras: Extras = extras_lib.NONE,
    parts: int = 1,
) -> BeginFn:
    """Returns ticket -> State, `begin` compiled; what moves to its step is not.

    One program serves tickets of all steps, and an optimizer whose schedule cannot be
    moved may still start at step 0.

    Args:
      tx: The optimizer.
      points: As for `begin`.
      objective: Likewise.
      extras: Likewise.
      parts: Likewise.
    """
    room = {"points": points, "objective": objective, "extras": extras}

    @jax.jit
    def compiled(ticket):
        return begin(tx, ticket._replace(step=0), **room)

    def start(ticket):
        state = compiled(ticket)
        model_state = draws.at_step(state.model_state, ticket.step * parts)
        state = state._replace(model_state=model_state)
        if ticket.opt_state is not None:
            return state
        given = {"tx": tx, "params": ticket.params}
        own = extras_lib.inner(state.opt_state)
        moved = schedules.at_step(own, ticket.step, **given)
        return state._replace(opt_state=extras_lib.put(state.opt_state, moved))

    return start


def supervised(apply_fn: ApplyFn, objective: Objective = CLASSIFICATION) -> ObjectiveFn:
    """Returns (params, model_state, inputs, labels) -> (mean loss, model_state).

    Args:
      apply_fn: (params, model_state, inputs, train) -> (outputs, model_state).
      objective: Whose loss it is.
    """

    def mean_loss(params, model_state, inputs, labels):
        outputs, model_state = apply_fn(params, model_state, inputs, True)
        return jnp.mean(objective.loss(outputs, labels)), model_state

    return mean_loss


def penalised(objective: ObjectiveFn, price: PriceFn | None) -> ObjectiveFn:
    """Returns the objective plus a price of the parameters, where there is one.

        loss + price(params, model_state)

    Args:
      objective: (params, model_state, images, labels) -> (loss, model_state).
      price: (params, model_state) -> a number, `None` for nothing; or `None`.
    """
    if price is None:
        return objective

    def penalised_objective(params, model_state, images, labels):
        loss, after = objective(params, model_state, images, labels)
        added = price(params, model_state)
        return (loss if added is None else loss + added), after

    return penalised_objective


def plain(state: State) -> Params:
    """Returns the weights of the forward pass: the parameters as they are."""
    return state.params


def step(
    objective: ObjectiveFn,
    tx: optax.GradientTransformationExtraArgs,
    *,
    forward_fn: Callable[[State], Params] = plain,
    axis_name: str | None = None,
    local: bool = False,
    parts: int = 1,
    decay: float = 0.0,
) -> StepFn:
    """Returns (state, masks, images, labels, at) -> state, one masked update.

        v = forward(w);  g = d/dv objective(v);  w += tx.update(g, w, masks, step=at)

    The masks are an argument: new masks do not compile a new program. Pruned weights
    are zero when training begins (`begin`), and `tx` holds them there, so that w is
    where(mask, w, 0) without a copy of it at every step; g is the dense gradient.

    Args:
      objective: (params, model_state, images, labels) -> (loss, model_state).
      tx: An optimizer that takes `masks`: `training.keep(inner)`, or one of
        `dynamic`, which has its own and goes by `at`, the number of the step.
      forward_fn: The weights that the network is evaluated with, v; other than w for
        straight-through training alone (`dynamic.forward`).
      axis_name: The mesh axis that the batch is split over; the gradient and the loss
        are averaged over it. Map the step with `jax.shard_map(..., check_vma=False)`.
      local: Whether what the objective leaves of the model state is by a device's own
        rows; it is averaged over the axis too.
      parts: Of a batch, which divide it: its gradient is the mean of theirs, one after
        the other, for less memory. Batch norm is by a part, and moves with each; what
        a network draws, a part draws anew. A part of the model state with a method
        `held(before)` counts steps: every part of a batch is given it at one of them.
      decay: Of the average that the state carries, if it does (`extras`).

    Raises:
      ValueError: As `accumulation.accumulated`.
    """
    gradients = accumulation.accumulated(
        jax.value_and_grad(objective, has_aux=True), parts
    )

    def update(state, masks, images, labels, at=None):
        (loss, model_state), grads = gradients(
            forward_fn(state), state.model_state, images, labels
        )
        if axis_name is not None:
            loss, grads = lax.pmean((loss, grads), axis_name)
            model_state = _averaged(model_state, axis_name) if local else model_state
        own = extras_lib.inner(state.opt_state)
        updates, own = tx.update(grads, own, state.params, masks=masks, step=at)
        params = optax.apply_updates(state.params, updates)
        opt_state = extras_lib.put(state.opt_state, own)
        after = State(params, model_state, opt_state, state.loss + loss, state.curve)
        return extras_lib.averaged(after, masks, decay, forward_fn)

    return extras_lib.until_stopped(update)


def _averaged(tree, axis_name):
    """Returns a tree, its floating leaves averaged over an axis of the mesh."""

    def mean(leaf):
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return lax.pmean(leaf, axis_name) if floating else leaf

    return jax.tree.map(mean, tree)


def runner(
    step_fn: StepFn,
    fetch_fn: FetchFn,
    measure_fn: MeasureFn = lambda state, masks, data, at: state,
    *,
    size: int,
    batch_size: int,
    every: int | None = None,
) -> RunFn:
    """Returns (member, data, start, stop) -> state: all steps from start to stop.

    A member is (state, masks, key). The key decides which examples form a step and how
    they are augmented, as a function of the step alone, so that a run cut anywhere and
    continued has the same bits. The bounds may be traced: any length, one compilation.

    Args:
      step_fn: (state, masks, images, labels, step) -> state.
      fetch_fn: (key, data, indices [batch]) -> (images, labels), normalised, augmented.
      measure_fn: (state, masks, data, at) -> state, called before step `at` at the
        multiples of `every`, between epochs and at `stop`; see `validation`.
      size: The number of training examples.
      batch_size: The number of examples in a step.
      every: In steps.
    """

    def run(member, data, start, stop):
        state, masks, key = member
        order_key, augment_key = jax.random.split(key)

        def body(step, indices, state):
            key = jax.random.fold_in(augment_key, step)
            return step_fn(state, masks, *fetch_fn(key, data, indices), step)

        def pause(at, state):
            return measure_fn(state, masks, data, at)

        sizes = {"size": size, "batch_size": batch_size, "every": every}
        return batches.over_steps(
            order_key, body, state, pause, start=start, stop=stop, **sizes
        )

    return run


def points(start: int, until: int, every: int) -> list[int]:
    """Returns the steps at which a training from start is validated, its end too."""
    first = (start // every + 1) * every
    return [*range(first, until, every), until]


def validation(
    evaluate_fn: EvaluateFn,
    *,
    every: int,
    forward_fn: Callable[[State], Params] = plain,
    rule: Rule | None = None,
) -> MeasureFn:
    """Returns a `measure_fn` that writes a point of the learning curve when it is due.

    It is due at multiples of `every` and at the end. Whether it is due is one scalar
    for a whole population, so that under `vmap` it stays a branch. Where the state
    carries an average of the weights, that is what is evaluated.

    Args:
      evaluate_fn: (params, model_state, examples) -> what `evaluator` reports, as many
        numbers as the curve has columns for each set.
      every: In steps.
      forward_fn: As for `step`.
      rule: When a member stops, if it does.

    Returns:
      (state, masks, data, at) -> state, where `data` has the fields `span`, the (start,
      until) of the training, and `validation` and `test`, examples.
    """

    def measure(state, masks, data, at):
        del masks  # pruned weights are zero
        start, until = data.span
        before = (at - 1) // every
        length = at - jnp.maximum(start, before * every)

        def write(curve, loss, stop):
            network, row = extras_lib.weights(state, forward_fn), [loss / length]
            for examples in (data.validation, data.test):
                row += evaluate_fn(*network, examples)
            point, stop = extras_lib.judged(rule, stop, jnp.stack(row), at)
            index = before - start // every
            point = point.astype(curve.dtype)
            return curve.at[index].set(point), jnp.zeros_like(loss), stop

        due = (at % every == 0) | (at == until)
        given = state.curve, state.loss, extras_lib.stop(state.opt_state)
        curve, loss, stop = lax.cond(due, write, lambda *given: given, *given)
        opt_state = extras_lib.put_stop(state.opt_state, stop)
        return state._replace(curve=curve, loss=loss, opt_state=opt_state)

    return measure
