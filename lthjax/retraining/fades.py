"""How ghosts go: whole up to a step, then less and less, then gone."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.pruning import precision


class Fade(NamedTuple):
    """When ghosts fade: whole up to step `hold`, gone from step `end` on.

    Attributes:
      hold: The last step at which they are whole.
      end: The first step without them; `None` if they stay for good.
      law: A name in `LAWS`: how they go in between.
    """

    hold: int = 0
    end: int | None = None
    law: str = "linear"


def fade(step: jax.Array, times: Fade) -> jax.Array:
    """Returns how far ghosts have faded at a step: lam, from 0 to exactly 1.

    Args:
      step: The optimizer step [], traced or not.
      times: When.

    Raises:
      ValueError: The law is unknown.
    """
    law = registry.resolve(times.law, LAWS, "law of fading")
    if times.end is None:
        return jnp.zeros(())
    length = largest(times.end - times.hold, 1)
    step = jnp.asarray(precision.signed(step))
    part = jnp.clip((step - times.hold) / length, 0, 1)
    with registry.calling("law of fading", times.law, _LAW):
        return jnp.where(step >= times.end, 1.0, law(part))


def largest(one: Any, other: Any) -> Any:
    """Returns the larger of two steps, which may be traced."""
    traced = any(isinstance(x, jax.Array) for x in (one, other))
    return jnp.maximum(one, other) if traced else max(one, other)


_LAW = "take how far the fade is, from 0 to 1, and return how much is gone"


def _cosine(part):
    return (1 - jnp.cos(jnp.pi * part)) / 2


LAWS = {
    "linear": lambda part: part,
    "cosine": _cosine,
    "switch": functools.partial(jnp.multiply, 0.0),
}
