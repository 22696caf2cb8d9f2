"""Optimizers that hold pruned weights at zero, and schedules that can be rewound."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lthjax import masks as masks_lib
from lthjax import names

# What counts steps for a schedule: of the updates, and of `optax.inject_hyperparams`.
_SCHEDULE_STATES = (
    optax.ScaleByScheduleState,
    type(jax.eval_shape(optax.WrappedSchedule(optax.constant_schedule(0.0)).init)),
)


def keep(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer so that pruned weights stay exactly zero.

    `update(grads, state, params, masks=masks)` masks what goes into `inner` (the
    gradients) and what comes out of it (the updates):

        u, state = inner.update(where(mask, grads, 0), state, params)
        updates  = where(mask, u, -params)

    so that `params + updates == 0.0` at every pruned weight that is finite (apply the
    masks first), whatever momentum, weight decay or noise `inner` has. It goes
    outermost: inside `optax.partition` or `optax.masked` the trees do not fit and it
    raises. flax's `TrainState.apply_gradients` does not pass `masks` on: call
    `tx.update` yourself.

    Args:
      inner: Any optax optimizer.

    Returns:
      An optimizer whose `update` needs the extra argument `masks`, a mask tree that may
      be traced and may differ from call to call.

    Raises:
      ValueError: In `update`, where `params` is not given.
    """
    inner = optax.with_extra_args_support(inner)

    def update(updates, state, params=None, *, masks, **extra):
        if params is None:
            raise ValueError(
                "keep(inner).update needs the parameters, got params = None; call "
                "update(grads, state, params, masks=masks)"
            )
        grads = masks_lib.apply(updates, masks)
        updates, state = inner.update(grads, state, params, **extra)
        return _cancel(updates, params, masks), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _cancel(updates, params, masks):
    """Puts -param at every pruned entry of the updates."""
    return jax.tree.map(
        lambda u, w, mask: u if mask is None else jnp.where(mask, u, -w),
        updates,
        params,
        masks,
    )


def at_step(opt_state: Any, step: int | jax.Array) -> Any:
    """Moves the schedules inside an optimizer state to a step, and nothing else.

    Rewinding restarts momentum from zero but the learning rate from where it was:
    `at_step(tx.init(params), rewind_to)`. Adam's own count belongs to its moments and
    stays at zero.

    Args:
      opt_state: The state of any optax optimizer.
      step: The optimizer step that comes next.
    """

    def scheduled(node):
        return isinstance(node, _SCHEDULE_STATES)

    def move(node):
        if not scheduled(node):
            return node
        return node._replace(count=jnp.asarray(step, node.count.dtype))

    return jax.tree.map(move, opt_state, is_leaf=scheduled)


def constant(
    learning_rate: float, *, steps: int, drops: Sequence[int], factor: float
) -> optax.Schedule:
    """Returns the schedule that stays at one rate."""
    del steps, drops, factor
    return optax.constant_schedule(learning_rate)


def piecewise(
    learning_rate: float, *, steps: int, drops: Sequence[int], factor: float
) -> optax.Schedule:
    """Returns the step schedule: the rate times `factor` at every step in `drops`."""
    del steps
    return optax.piecewise_constant_schedule(
        learning_rate, {int(step): factor for step in drops}
    )


def cosine(
    learning_rate: float, *, steps: int, drops: Sequence[int], factor: float
) -> optax.Schedule:
    """Returns half a cosine: `rate (1 + cos(pi step / steps)) / 2`."""
    del drops, factor
    return optax.cosine_decay_schedule(learning_rate, steps)


def warmed(schedule: optax.Schedule, warmup: int) -> optax.Schedule:
    """Multiplies a schedule by `min(1, (step + 1) / warmup)`, linear warm-up."""
    if warmup == 0:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1.0) / warmup)


def held(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """Holds a schedule at the rate of its last step, for fine-tuning beyond the end."""
    return lambda step: schedule(jnp.minimum(step, steps - 1))


def tuned(
    schedule: optax.Schedule, steps: int, rate: float, tune: int
) -> optax.Schedule:
    """Goes on after `steps` with half a cosine from `rate` to 0 over `tune` steps.

    Raises:
      ValueError: `tune` is not positive.
    """
    if tune < 1:
        raise ValueError(f"fine-tuning must take a step at least, got tune = {tune}")
    fine = optax.cosine_decay_schedule(rate, tune)
    return lambda step: jnp.where(step < steps, schedule(step), fine(step - steps))


def shrunk_norms(strength: float) -> optax.GradientTransformation:
    """Adds `strength sign(scale)` to the gradient of every scale of batch norm.

    That is the gradient of `strength |scale|_1`; it goes before momentum and rate.

    Args:
      strength: The coefficient.

    References:
      Liu et al., 2017, arXiv:1708.06519; You et al., 2020, arXiv:1909.11957 (1e-4).
    """

    def update(updates, state, params=None):
        def penalised(path, grad, w):
            if not masks_lib.path_name(path).endswith("_norm/scale"):
                return grad
            return grad + strength * jnp.sign(w)

        return jax.tree_util.tree_map_with_path(penalised, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def sgd(learning_rate, *, momentum, nesterov, weight_decay):
    """Returns SGD with momentum and coupled weight decay, as PyTorch's `SGD` has it.

    g = grad + weight_decay w;  v = momentum v + g;  w -= rate v, and with `nesterov`
    w -= rate (g + momentum v). The decay acts on every parameter, norms included.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum=momentum or None, nesterov=nesterov),
    )


def adam(learning_rate, *, momentum, nesterov, weight_decay):
    """Returns Adam with coupled weight decay; it has no `momentum`, no `nesterov`."""
    del momentum, nesterov
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate)
    )


def adamw(learning_rate, *, momentum, nesterov, weight_decay):
    """Returns Adam with decoupled weight decay."""
    del momentum, nesterov
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def build(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    wrap: Callable = keep,
    **options,
) -> optax.GradientTransformationExtraArgs:
    """Returns the named optimizer, wrapped in `keep` or in what else is given.

    Args:
      name: As for `unwrapped`.
      learning_rate: A number or a schedule over optimizer steps.
      wrap: What holds pruned weights at zero: `keep`, or a wrapper of `dynamic`.
      **options: As for `unwrapped`.
    """
    return wrap(unwrapped(name, learning_rate, **options))


def unwrapped(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip: float = 0.0,
    norm_l1: float = 0.0,
) -> optax.GradientTransformation:
    """Returns the named optimizer, which knows no masks.

    Args:
      name: "sgd", "adam", "adamw", or your own as "package.module:function", called
        with the learning rate alone.
      learning_rate: A number or a schedule over optimizer steps.
      momentum: Of SGD.
      nesterov: Nesterov's form of it.
      weight_decay: The coefficient, on every parameter.
      clip: The largest global norm of the gradients; 0 for none.
      norm_l1: The coefficient of the l1 norm of batch norm's scales, 0 for none.

    Raises:
      ValueError: The name is unknown.
    """
    factory = names.resolve(name, OPTIMIZERS, "optimizer")
    options = {
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
    }
    with names.calling("optimizer", name):
        inner = factory(learning_rate, **(options if name in OPTIMIZERS else {}))
    if norm_l1:
        inner = optax.chain(shrunk_norms(norm_l1), inner)
    if clip:
        inner = optax.chain(optax.clip_by_global_norm(clip), inner)
    return inner


OPTIMIZERS = {"sgd": sgd, "adam": adam, "adamw": adamw}
SCHEDULES = {"constant": constant, "piecewise": piecewise, "cosine": cosine}
