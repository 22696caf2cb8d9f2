"""Any flax module, ours or a user's, as two pure functions."""

import inspect
from typing import Any

import jax
from flax import linen as nn

from lthjax.models.layers import BLOCK


def initialise(model: nn.Module, key: jax.Array, images: jax.Array) -> tuple[Any, dict]:
    """Returns fresh `(params, model_state)` of a network.

    Args:
      model: The network.
      key: A JAX PRNG key.
      images: [batch, height, width, channels]; only shape and dtype count.

    Returns:
      The parameters, and every other collection of variables by name, such as
      `batch_stats`; {} if there is none.
    """
    variables = dict(model.init(key, images, **_mode(model, False)))
    return variables.pop("params", {}), variables


def apply(
    model: nn.Module, params, model_state: dict, images: jax.Array, *, train: bool
) -> tuple[jax.Array, dict]:
    """Returns the logits of a batch and the model state after it.

    Args:
      model: The network; `train` is passed on if its `__call__` takes it.
      params: Its parameters, pruned or not.
      model_state: The other collections of variables.
      images: [batch, height, width, channels].
      train: Normalise by the batch and return the new model state; otherwise the state
        is used, and returned as it came. A module with a true attribute `remat` keeps
        for its derivative only what it marks (`layers.kept`).
    """
    variables = {"params": params, **model_state}
    if not train:
        return model.apply(variables, images, **_mode(model, False)), model_state
    mutable, mode = list(model_state), _mode(model, True)

    def forward(variables, images):
        return model.apply(variables, images, mutable=mutable, **mode)

    if getattr(model, "remat", False):
        policy = jax.checkpoint_policies.save_only_these_names(BLOCK)
        forward = jax.checkpoint(forward, policy=policy)
    return forward(variables, images)


def takes_train(model: nn.Module) -> bool:
    """Returns whether the module's `__call__` has an argument `train`."""
    return "train" in inspect.signature(type(model).__call__).parameters


def _mode(model: nn.Module, train: bool) -> dict[str, bool]:
    return {"train": train} if takes_train(model) else {}
