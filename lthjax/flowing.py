"""The network as SynFlow wants it, and whether it is one that SynFlow is made for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax import cuts, flows, models, planning
from lthjax import masks as masks_lib
from lthjax.data import sources
from lthjax.data import splits as splits_lib
from lthjax.models.layers import Network


def checker(config, network: Callable, source: sources.Source) -> Callable:
    """Returns (trained, cut) -> None, which refuses what SynFlow is not made for.

    Args:
      config: A validated config.
      network: (params, model_state, images, train) -> (logits, model_state).
      source: The data set, for the shape of its images.

    Raises:
      ValueError: In a call: `cuts.check_flow`, and of a user's network that nothing was
        pruned of yet, `cuts.check_dead`.
    """
    shape, inverted = splits_lib.image_shape(source.train), config.search.invert
    ours = models.is_ours(planning.model(config, planning.kind(source)))

    @jax.jit
    def degree(trained):
        def logits_fn(params, images):
            return network(params, neutral(trained.model_state), images, False)[0]

        return flows.degree(logits_fn, trained.params, trained.masks, shape)

    def check(trained, cut):
        grown = 1.0 if ours else float(degree(trained))
        cuts.check_flow(masks_lib.names(trained.masks), cut, grown, inverted=inverted)
        whole = masks_lib.sparsity(trained.masks) == 0
        if whole and not ours:
            cuts.check_dead(cut)

    return check


def linear(config, network: Callable, source: sources.Source) -> Callable:
    """Returns the network, ours with an activation that is linear above zero.

    That is relu in place of relu6, which passes nothing on beyond its bound, and in
    place of what a user's own `layers.Network` has.

    Args:
      config: A validated config.
      network: As for `checker`.
      source: The data set.
    """
    module = planning.model(config, planning.kind(source))
    if not isinstance(module, Network) or module.activation is nn.relu:
        return network
    open_ended = module.clone(activation=nn.relu)

    def apply_fn(params, model_state, images, train):
        return models.apply(open_ended, params, model_state, images, train=train)

    return apply_fn


def neutral(model_state: Any) -> Any:
    """Returns batch statistics that change nothing: mean 0, variance 1."""
    fill = {"mean": jnp.zeros_like, "var": jnp.ones_like}

    def neutral(path, leaf):
        name = masks_lib.path_name(path).rpartition("/")[2]
        return fill.get(name, lambda same: same)(leaf)

    return jax.tree_util.tree_map_with_path(neutral, model_state)
