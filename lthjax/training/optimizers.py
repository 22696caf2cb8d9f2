"""Optimizers that hold pruned weights at zero, and schedules that can be rewound."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lthjax import moved, registry
from lthjax.pruning import masks as masks_lib
from lthjax.training import optax_names, zeros
from lthjax.training import schedules as schedules_lib


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
    if len({int(step) for step in drops}) < len(drops):
        raise ValueError(f"drops must be different steps, got drops = {tuple(drops)}")
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

    def rate(step):
        share = (jnp.asarray(step, jnp.float32) + 1) / warmup
        return schedule(step) * jnp.minimum(1.0, share)

    return rate


def held(schedule: optax.Schedule, steps: int, rate: float = 0.0) -> optax.Schedule:
    """Holds a schedule at a rate beyond its end, for fine-tuning.

    Args:
      schedule: The schedule.
      steps: Its steps.
      rate: The rate from then on; 0 for that of the last step.
    """
    last = lambda step: schedule(jnp.minimum(step, steps - 1))  # noqa: E731
    if not rate:
        return last
    return lambda step: jnp.where(step < steps, last(step), rate)


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
    """Adds `strength sign(scale)` to the gradient of every scale of our batch norms.

    That is the gradient of `strength |scale|_1`; it goes before momentum and rate. The
    scales are the leaves whose names end in "_norm/scale".

    Args:
      strength: The coefficient.

    Raises:
      ValueError: In `init`: there are none.

    References:
      Liu et al., 2017, arXiv:1708.06519; You et al., 2020, arXiv:1909.11957 (1e-4).
    """

    def scale(path):
        return masks_lib.path_name(path).endswith("_norm/scale")

    def init(params):
        rows = jax.tree_util.tree_leaves_with_path(params)
        if not any(scale(path) for path, _ in rows):
            raise ValueError(
                "optimizer.norm_l1 needs scales of batch norm, leaves called "
                f"..._norm/scale, got norm_l1 = {strength} and the leaves "
                f"{', '.join(masks_lib.names(params))}; set it to 0, or name your "
                "norms so"
            )
        return optax.EmptyState()

    def update(updates, state, params=None):
        def penalised(path, grad, w):
            if not scale(path):
                return grad
            return grad + strength * jnp.sign(w)

        return jax.tree_util.tree_map_with_path(penalised, updates, params), state

    return optax.GradientTransformation(init, update)


def sgd(learning_rate, *, momentum, nesterov, weight_decay, **options):
    """Returns SGD with momentum and coupled weight decay, as PyTorch's `SGD` has it.

    g = grad + weight_decay w;  v = momentum v + g;  w -= rate v, and with `nesterov`
    w -= rate (g + momentum v). The decay acts on every parameter, norms included.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(
            learning_rate, momentum=momentum or None, nesterov=nesterov, **options
        ),
    )


def adam(learning_rate, *, weight_decay, **options):
    """Returns Adam with coupled weight decay."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate, **options)
    )


def adamw(learning_rate, *, weight_decay, **options):
    """Returns Adam with decoupled weight decay."""
    return optax.adamw(learning_rate, weight_decay=weight_decay, **options)


def build(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    wrap: Callable[..., Any] = zeros.keep,
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
    options: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """Returns the named optimizer, which knows no masks.

    Args:
      name: "sgd", "adam", "adamw"; the name of one of optax that takes a learning rate,
        "lion" (see `optax_names.optimizer`); or your own as "package.module:function",
        called with the learning rate and the options alone.
      learning_rate: A number or a schedule over optimizer steps.
      momentum: Of SGD.
      nesterov: Nesterov's form of it.
      weight_decay: The coefficient, on every parameter; not of your own.
      clip: The largest global norm of the gradients; 0 for none.
      norm_l1: The coefficient of the l1 norm of batch norm's scales, 0 for none.
      options: More arguments of its factory, by name.

    Raises:
      ValueError: The name is unknown, or it takes no such option.
    """
    known = {**optax_names.optimizers(), **OPTIMIZERS}
    factory, options = _factory(name, known), dict(options or {})
    if name in OPTIMIZERS:
        keys = {"momentum": momentum, "nesterov": nesterov}
        keys |= {"weight_decay": weight_decay}
        own = {key: keys[key] for key in _keys(factory)}
        _check_options(name, options, ("learning_rate", *own))
        inner = factory(learning_rate, **own, **options)
    elif name in known:
        inner = optax_names.optimizer(
            name, learning_rate, weight_decay=weight_decay, options=options
        )
    else:
        with registry.calling("optimizer", name):
            inner = _alone(name, factory)(learning_rate, **options)
    if norm_l1:
        inner = optax.chain(shrunk_norms(norm_l1), inner)
    if clip:
        inner = optax.chain(optax.clip_by_global_norm(clip), inner)
    return inner


def _factory(name, known):
    """Returns the factory of a name; what none can train with is not offered."""
    offered = {key: known[key] for key in known if key not in optax_names.ASKING}
    return known.get(name) or registry.resolve(name, offered, "optimizer")


def _keys(factory):
    """Returns the keys of the config that an optimizer of ours takes."""
    known = inspect.signature(factory).parameters.values()
    return [one.name for one in known if one.kind is one.KEYWORD_ONLY]


def _check_options(name, options, keys):
    """Refuses options of ours that optax's does not take, or that are keys."""
    for option in options:
        if option in keys:
            raise ValueError(
                f"{option} is a key of its own, got optimizer.options = {options}; "
                f"give optimizer.{option}"
            )
    factory = optax_names.optimizers()[name]
    optax_names.check_options("optimizer", name, factory, options, keys)


def _alone(name, factory):
    """Returns a factory that says what it is called with, where it cannot be."""

    def made(learning_rate, **options):
        try:
            found = factory(learning_rate, **options)
        except (TypeError, AttributeError) as error:
            raise ValueError(
                "an optimizer of your own is called with the learning rate alone, a "
                "function of the step, and optimizer.options, got optimizer.name = "
                f"{name!r}, which raises "
                f"{type(error).__name__}: {error}; give a function of one argument "
                "that calls it"
            ) from error
        if not (hasattr(found, "init") and hasattr(found, "update")):
            raise ValueError(
                "an optimizer of your own must return an optax optimizer, got "
                f"optimizer.name = {name!r}, which returns {type(found).__name__}"
            )
        return found

    return made


def check(
    tx: optax.GradientTransformationExtraArgs,
    shapes: Any,
    starts: Iterable[int],
    *,
    again: bool = False,
) -> None:
    """Refuses an optimizer that cannot do what a training asks of it.

    Args:
      tx: The optimizer, wrapped.
      shapes: The parameters, or their shapes.
      starts: The steps at which trainings start with its fresh state.
      again: Whether its schedule also restarts while its moments live on.

    Raises:
      ValueError: Its `init` or `update` fails when handed gradients, state, parameters
        and masks; its schedule cannot be moved to one of the steps.
    """
    ones = jax.tree.map(lambda w: jnp.ones((1,) * len(w.shape), w.dtype), shapes)

    def updated(params):
        masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), params)
        return tx.update(params, tx.init(params), params, masks=masks, step=0)

    try:
        jax.eval_shape(updated, shapes)
    except Exception as error:  # whatever a user's own, or optax's, fails with
        if isinstance(error, ValueError) and registry.is_ours(error):
            raise
        raise ValueError(
            "an optimizer must update from gradients, its state and the parameters "
            f"alone, got {type(error).__name__}: {error}; take another, or give it "
            "what else it asks for in a function of your own"
        ) from error
    state = tx.init(ones)
    for step in sorted(starts):
        schedules_lib.at_step(state, step, tx=tx, params=ones)
    if again:  # whatever was counted by then
        jax.eval_shape(
            lambda at: schedules_lib.at_step(state, at, tx=tx, params=ones), 0
        )


OPTIMIZERS = {"sgd": sgd, "adam": adam, "adamw": adamw}
SCHEDULES = {"constant": constant, "piecewise": piecewise, "cosine": cosine}


moved.answers(__name__)
