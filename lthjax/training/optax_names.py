"""Optimizers and schedules of optax by their names, and what of them a config says."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from lthjax import registry

# A schedule's rate is the first of these that it takes, and its length of those.
RATES = ("peak_value", "value", "init_value")
DECAYS = ("weight_decay", "weight_decay_rate")  # how optimizers call their own
BESIDE = "adam_weight_decay"  # Muon's, of the leaves that it leaves to Adam
LENGTHS = ("decay_steps", "transition_steps")
# These take no function for a rate, or count moments and a schedule at once: the rate
# is handed to them from outside, step by step.
INJECTED = (
    "ademamix",
    "dadapt_adamw",
    "madgrad",
    "optimistic_adam",
    "prodigy",
    "rprop",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "simplified_ademamix",
    "sm3",
)


# These ask for a loss or a function, or for gradients of every example, which no
# training here gives them: `optimizers.check` refuses them.
ASKING = ("dpsgd", "lbfgs", "momo", "momo_adam", "sophia")


@functools.cache
def optimizers() -> dict[str, Callable[..., Any]]:
    """Returns {name: factory} of all that optax makes of a learning rate."""
    from optax import contrib  # here: what names none of them needs none

    return {
        name: factory
        for module in (contrib, optax)
        for name, factory in inspect.getmembers(module, _is_factory)
        if next(iter(_parameters(factory)), "") == "learning_rate"
        and not name.startswith(("scale_by_", "_"))
    }


def _is_factory(member):
    """Says whether it is a function, or one with arguments filled in (`nadam`)."""
    return inspect.isfunction(member) or isinstance(member, functools.partial)


@functools.cache
def schedules() -> dict[str, Callable[..., Any]]:
    """Returns {name: factory} of all schedules of optax that numbers describe."""
    return {
        name: factory
        for name, factory in inspect.getmembers(optax, inspect.isfunction)
        if name.endswith(("_schedule", "_decay")) and not name.startswith("scale_by_")
    }


def optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """Returns an optimizer of optax by its name.

    Args:
      name: One of `optimizers`.
      learning_rate: A number or a schedule over optimizer steps.
      weight_decay: The optimizer's own (Adafactor's is its `weight_decay_rate`, which
        no learning rate multiplies; Muon's is of what it leaves to Adam too); of one
        that has none, `weight_decay w` is added to the gradient, as SGD's is.
      options: Its other arguments, by name.

    Raises:
      ValueError: It takes no such option, or needs one that is not given.
    """
    factory, options = optimizers()[name], dict(options or {})
    own = next((key for key in DECAYS if key in _parameters(factory)), None)
    coupled = 0.0 if own else weight_decay
    if own:
        _check_once(name, weight_decay, options, own)
        if weight_decay or own == DECAYS[0]:
            options.setdefault(own, weight_decay)
        if weight_decay and BESIDE in _parameters(factory):
            options.setdefault(BESIDE, weight_decay)
    check_options("optimizer", name, factory, options, ("learning_rate",))
    if name in INJECTED:
        factory = optax.inject_hyperparams(factory)
    with registry.calling("optimizer", name, f"take options = {options}"):
        found = factory(learning_rate=learning_rate, **options)
    decay = optax.add_decayed_weights(coupled)
    return optax.chain(decay, found) if coupled else found


def _check_once(name, weight_decay, options, own):
    """Refuses a weight decay that is given in two places."""
    if weight_decay and own in options:
        raise ValueError(
            "the weight decay must be given once, got optimizer.weight_decay = "
            f"{weight_decay} beside optimizer.options = {options} of {name!r}; leave "
            "one of them out"
        )


def schedule(
    name: str,
    learning_rate: float,
    *,
    steps: int,
    options: Mapping[str, Any] | None = None,
) -> optax.Schedule:
    """Returns a schedule of optax by its name.

    Args:
      name: One of `schedules`.
      learning_rate: What it takes as `peak_value`, `value` or `init_value`, the first
        of these that it has; of `sgdr_schedule`, the peak of every cycle that has none
        of its own.
      steps: Of the training: its `decay_steps` or `transition_steps`, unless given.
      options: Its other arguments, by name, counts in steps; the keys of boundaries may
        be texts of digits.

    Raises:
      ValueError: It takes no such option, or needs one that is not given.
    """
    factory, options = schedules()[name], dict(options or {})
    taken = _parameters(factory)
    own = next((rate for rate in RATES if rate in taken), None)
    if own in options:
        raise ValueError(
            f"{own} of the schedule is optimizer.learning_rate, got schedule.options = "
            f"{options} with schedule.name = {name!r}; give the learning rate"
        )
    given: dict[str, Any] = {one: steps for one in LENGTHS if one in taken}
    check_options("schedule", name, factory, options, (own, *given))
    given |= {key: _counted(value) for key, value in options.items()}
    given |= {own: learning_rate} if own else _peaks(given, learning_rate)
    with registry.calling("schedule", name, f"take options = {options}"):
        return factory(**given)


def _counted(value):
    """Returns an option, the steps that name its parts as numbers."""
    if not isinstance(value, Mapping):
        return value
    return {int(k) if str(k).isdigit() else k: v for k, v in value.items()}


def _peaks(given, learning_rate):
    """Returns the cycles of a schedule of them, each with a peak."""
    cycles = given["cosine_kwargs"]
    return {"cosine_kwargs": [{"peak_value": learning_rate, **c} for c in cycles]}


def check_options(
    kind: str,
    name: str,
    factory: Callable[..., Any],
    options: Mapping[str, Any],
    filled: tuple[str | None, ...],
) -> None:
    """Refuses options that a factory does not take, and names those that it lacks.

    Args:
      kind: "optimizer" or "schedule".
      name: Of the factory.
      factory: What takes them.
      options: By name.
      filled: Its arguments that come from elsewhere.

    Raises:
      ValueError: There are any.
    """
    taken = _parameters(factory)
    for option in options:
        if option not in taken or option == "learning_rate":
            known = [k for k in taken if k != "learning_rate"]
            raise ValueError(
                f"{kind}.options of {name!r} must be among {', '.join(known)}, got "
                f"{option} = {options[option]!r}{registry.suggestion(option, known)}"
            )
    empty = inspect.Parameter.empty
    needed = [n for n, p in taken.items() if p.default is empty and n not in filled]
    lacking = [n for n in needed if n not in options]
    if lacking:
        raise ValueError(
            f"{kind}.options must have {', '.join(lacking)} for {kind}.name = "
            f"{name!r}, got {kind}.options = {dict(options)}"
        )


def _parameters(factory):
    return inspect.signature(factory).parameters
