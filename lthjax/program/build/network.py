"""A config becomes a network: its module, its first weights, its axes."""

from typing import Any

import jax
import jax.numpy as jnp

from lthjax import models
from lthjax.callables import ApplyFn, InitFn
from lthjax.pruning import views as views_lib


def model(config, facts, *, axis_name: str | None = None) -> Any:
    """Returns the flax module of a config, for a set's images and classes.

    Args:
      config: A validated config.
      facts: Of the data set: num_classes.
      axis_name: The mesh axis over which batch norm averages in training.
    """
    return models.build(
        config.model.name,
        facts.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        axis_name=axis_name,
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
