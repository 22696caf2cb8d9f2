"""A config becomes a network: its module, its first weights, its axes."""

from typing import Any

import jax
import jax.numpy as jnp

from lthjax import draws, models
from lthjax.callables import ApplyFn, InitFn
from lthjax.pruning import views as views_lib

NORMS = ("batch", "device")  # what batch norm averages over, in training


def local(config) -> bool:
    """Says whether a device's batch norms are by its own rows of a batch.

    Its running statistics are then the mean of those of all devices, as in flax's
    example for ImageNet: one collective of all, beside that of the gradients, in the
    place of two for every norm. With one device for a batch there is no difference.

    Args:
      config: A validated config.
    """
    return config.model.norms == "device"


def check_local(config, init_fn: InitFn) -> None:
    """Checks that a network draws nothing, where its norms are a device's own.

    Args:
      config: A validated config.
      init_fn: Of its network.

    Raises:
      ValueError: It has dropout or the like: every device would draw the same.
    """
    if local(config) and drawing(init_fn):
        raise ValueError(
            "model.norms = 'device' must be of a network that draws nothing, got "
            f"model.name = {config.model.name!r}, which asks for random numbers, the "
            "same on every device then; give model.norms = 'batch'"
        )


def drawing(init_fn: InitFn) -> bool:
    """Says whether a network draws in training (dropout): each device its own, then.

    Args:
      init_fn: Of the network.
    """
    _, state = jax.eval_shape(init_fn, jax.random.key(0))
    return draws.DRAWS in state


def model(config, facts, *, axis_name: str | None = None) -> Any:
    """Returns the flax module of a config, for a set's images and classes.

    Args:
      config: A validated config.
      facts: Of the data set: num_classes.
      axis_name: The mesh axis that batches are split over, over which batch norm
        averages in training unless it is `local`.
    """
    return models.build(
        config.model.name,
        facts.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        axis_name=None if local(config) else axis_name,
        remat=config.model.remat,
        options=config.model.options.to_dict(),
    )


def applied(module: Any) -> ApplyFn:
    """Returns (params, model_state, images, train) -> (logits, model_state).

    Args:
      module: A flax module.
    """

    def apply_fn(params, model_state, images, train):
        return models.apply(module, params, model_state, images, train=train)

    return apply_fn


def inputs(facts, *leading: int) -> jax.ShapeDtypeStruct:
    """Returns the shape and type of what a network is given of a data set.

    Args:
      facts: Of the data set: image_shape, dtype.
      *leading: The axes before those of one input, such as the batch.
    """
    return jax.ShapeDtypeStruct((*leading, *facts.image_shape), facts.dtype)


def blank(facts, *leading: int) -> jax.Array:
    """Returns the same as zeros."""
    return jnp.zeros((*leading, *facts.image_shape), facts.dtype)


def initialiser(config, facts) -> InitFn:
    """Returns key -> (params, model_state)."""
    network, images = model(config, facts), blank(facts, 1)
    return lambda key: models.initialise(network, key, images)


def views(config, facts) -> tuple[Any, dict[str, views_lib.View]]:
    """Returns `views.traced` of a config's network, by its `model.views` too."""
    init_fn = initialiser(config, facts)
    key = jax.random.key(0)
    return views_lib.traced(lambda k: init_fn(k)[0], key, rules=config.model.views)
