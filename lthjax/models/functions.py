"""Any flax module, ours or a user's, as two pure functions."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.errors import InvalidRngError

from lthjax.draws import DRAWS
from lthjax.models.layers import BLOCK

# The arguments by which a network may be told its mode, with their value in training.
MODES = {
    **dict.fromkeys(("train", "training", "is_train", "is_training"), True),
    **dict.fromkeys(("train_mode", "training_mode"), True),
    **dict.fromkeys(("deterministic", "use_running_average", "inference"), False),
    **dict.fromkeys(("eval", "evaluate", "evaluation", "is_eval", "eval_mode"), False),
    **dict.fromkeys(("test", "testing", "is_test", "is_testing", "test_mode"), False),
}
_STREAM = 0x64726F70  # of the key that a network is initialised with


def initialise(model: nn.Module, key: jax.Array, images: jax.Array) -> tuple[Any, dict]:
    """Returns fresh `(params, model_state)` of a network.

    Args:
      model: The network.
      key: A JAX PRNG key, of any implementation.
      images: [batch, height, width, channels], or inputs of any kind [batch, ...]; only
        shape and dtype count.

    Returns:
      The parameters, and every other collection of variables by name, such as
      `batch_stats`; {} if there is none. A network that draws in training (dropout) has
      a collection `draws` more: a key of JAX's default implementation, made of `key`,
      and the number of its next step.
    """
    told, mode = _told(model, False)
    variables = dict(told.init(key, images, **mode))
    params = variables.pop("params", {})
    if _draws(model, params, variables, images):
        own = _usual(jax.random.fold_in(key, _STREAM))
        variables[DRAWS] = {"key": own, "step": jnp.int32(0)}
    return params, variables


def apply(
    model: nn.Module, params, model_state: dict, images: jax.Array, *, train: bool
) -> tuple[jax.Array, dict]:
    """Returns the logits of a batch and the model state after it.

    What a module returns in half precision comes as float32, in which losses and
    measures are computed.

    What a step draws is a function of the key and the step in `model_state["draws"]`,
    so that a training that is cut and resumed, or rewound, draws the same again. Over a
    mesh axis, the module's attribute `axis_name`, every device draws its own.

    Args:
      model: The network; `train` is passed on by the argument of its `__call__`, or the
        attribute if that takes none, whose name is in `MODES`: `train`, `training`,
        `deterministic`, `use_running_average` and others.
      params: Its parameters, pruned or not.
      model_state: The other collections of variables.
      images: [batch, height, width, channels], or inputs of any kind [batch, ...].
      train: Normalise by the batch, draw, and return the new model state, in the dicts
        that it came in; otherwise the state is used, and returned as it came. A module
        with a true attribute `remat` keeps for its derivative only what it marks
        (`layers.kept`).
    """
    told, mode = _told(model, train)
    state = statistics(model_state)
    variables = {"params": params, **state}
    if not train:
        return widened(told.apply(variables, images, **mode)), model_state
    draws = model_state.get(DRAWS)
    rngs = None if draws is None else _rngs(draws, getattr(model, "axis_name", None))

    def forward(variables, images, rngs):
        return told.apply(variables, images, mutable=list(state), rngs=rngs, **mode)

    if getattr(model, "remat", False):
        policy = jax.checkpoint_policies.save_only_these_names(BLOCK)
        forward = jax.checkpoint(forward, policy=policy)
    logits, after = forward(variables, images, rngs)
    if draws is not None:
        after = {**after, DRAWS: {**draws, "step": draws["step"] + 1}}
    return widened(logits), _held_as(model_state, after)


def widened(outputs: Any) -> Any:
    """Returns a tree, floats of less than 32 bits in it as float32."""

    def wide(x):
        half = hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if half else x

    return jax.tree.map(wide, outputs)


def statistics(model_state: dict) -> dict:
    """Returns the model state without what a network draws from."""
    return {name: value for name, value in model_state.items() if name != DRAWS}


def is_ours(model: nn.Module) -> bool:
    """Returns whether a network is one of this package's, not a user's own."""
    return type(model).__module__.startswith("lthjax.models.")


def modes(parameters: Mapping[str, inspect.Parameter]) -> tuple[str, ...]:
    """Returns which of a function's parameters tell it whether it trains.

    Args:
      parameters: Of `inspect.signature`. One whose default is neither a bool nor `None`
        means something else.
    """
    return tuple(
        name
        for name, parameter in parameters.items()
        if name in MODES and _is_mode(parameter.default)
    )


def _told(model, train):
    """Returns the module and the arguments by which it knows its mode."""
    called = modes(inspect.signature(type(model).__call__).parameters)
    fields = {field.name: getattr(model, field.name) for field in _fields(model)}
    if called:  # one that the constructor has set may not be passed too
        own = [name for name in called if isinstance(fields.get(name), bool)]
    else:
        own = [n for n in MODES if n in fields and _is_mode(fields[n])]
    told = model.clone(**{n: MODES[n] == train for n in own}) if own else model
    return told, {n: MODES[n] == train for n in called if n not in own}


def _fields(model):
    return [f for f in dataclasses.fields(model) if hasattr(model, f.name)]


def _is_mode(value):
    absent = value is None or value is inspect.Parameter.empty
    return absent or isinstance(value, bool)


def _draws(model, params, state, images) -> bool:
    """Returns whether a training step of the network asks for random numbers."""
    if is_ours(model):
        return False
    told, mode = _told(model, True)

    def step(variables, images):
        return told.apply(variables, images, mutable=list(state), **mode)

    try:
        jax.eval_shape(step, {"params": params, **state}, images)
    except InvalidRngError:
        return True
    except Exception:  # said where the network is trained, or rehearsed
        return False
    return False


def _held_as(before, after):
    """Returns the leaves of a tree in what holds the same ones of another, or it."""
    own, found = map(jax.tree_util.tree_leaves_with_path, (before, after))
    if [path for path, _ in own] != [path for path, _ in found]:
        return after
    return jax.tree.unflatten(jax.tree.structure(before), [leaf for _, leaf in found])


def _usual(key):
    """Returns the data of a key of the default implementation, which `_rngs` wraps."""
    usual = jax.random.key(0)
    if jax.random.key_impl(key) == jax.random.key_impl(usual):
        return jax.random.key_data(key)
    return jax.random.bits(key, jax.random.key_data(usual).shape, jnp.uint32)


def _rngs(draws, axis_name):
    """Returns the keys of a step, for any name that a module asks them by."""
    key = jax.random.fold_in(jax.random.wrap_key_data(draws["key"]), draws["step"])
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    return {"params": key, "dropout": key}
