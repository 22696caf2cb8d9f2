"""What a network draws from in training (dropout): a key, and the number of its pass.

It lies in the model state, as batch statistics do. By itself it counts passes, from
wherever it was taken along; a training is begun at the number of its own first step.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

DRAWS = "draws"  # the collection: {"key": uint32 [2], "step": int32 []}


def at_step(model_state: Any, step: int | jax.Array) -> Any:
    """Returns a model state whose next pass has this number.

    Args:
      model_state: Of a network, or of a round around it; one that draws nothing stays
        as it is.
      step: The number; it may be traced.
    """
    if hasattr(model_state, "_fields"):  # of a round
        return type(model_state)(*(at_step(part, step) for part in model_state))
    if not _draw(model_state):
        return model_state

    def moved(path, leaf):
        names = [getattr(entry, "key", None) for entry in path]
        return jnp.asarray(step, jnp.int32) if names == [DRAWS, "step"] else leaf

    return jax.tree_util.tree_map_with_path(moved, model_state)


def like(model_state: Any, other: Any) -> Any:
    """Returns a model state that draws what another one of the same network does.

    Args:
      model_state: The statistics to take.
      other: Whose draws to take, if it has any.
    """
    return {**model_state, DRAWS: other[DRAWS]} if _draw(other) else model_state


def _draw(model_state):
    return isinstance(model_state, Mapping) and DRAWS in model_state
