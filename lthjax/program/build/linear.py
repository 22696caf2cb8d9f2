"""The network as SynFlow wants it, and whether it is one that SynFlow is made for."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from lthjax import models
from lthjax.callables import ApplyFn
from lthjax.models.layers import Network
from lthjax.models.transformer import Transformer
from lthjax.program.build import network
from lthjax.program.build.parts import Ground
from lthjax.pruning import cuts, flows
from lthjax.pruning import masks as masks_lib


def is_known(module: nn.Module) -> bool:
    """Returns whether a network is linear above zero without being tried: most of ours.

    Args:
      module: The network.
    """
    return models.is_ours(module) and not isinstance(module, Transformer)


def checker(ground: Ground) -> Callable[[Any], None]:
    """Returns trained -> None, which refuses a network that SynFlow is not made for.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: In a call: a transformer, or a user's own network, is not linear
        above zero.
    """
    if is_known(ground.module):
        return lambda trained: None

    @jax.jit
    def degree(trained):
        def logits_fn(params, images):
            return ground.apply_fn(params, neutral(trained.model_state), images, False)[
                0
            ]

        shape = ground.facts.image_shape
        return flows.degree(logits_fn, trained.params, trained.masks, shape)

    return lambda trained: cuts.check_linear(float(degree(trained)))


def judge(ground: Ground, trained: Any, cut: cuts.Cut) -> None:
    """Refuses where SynFlow cut.

    Args:
      ground: What the method is built on.
      trained: What was pruned: its masks.
      cut: Where.

    Raises:
      ValueError: Scores are negative, or the first choice in a user's own network fell
        among weights that nothing flows through.
    """
    names, inverted = masks_lib.names(trained.masks), ground.options.search.invert
    cuts.check_flow(names, cut, inverted=inverted)
    if not is_known(ground.module) and masks_lib.sparsity(trained.masks) == 0:
        cuts.check_dead(cut)


def linear(ground: Ground) -> ApplyFn:
    """Returns the network, ours with an activation that is linear above zero.

    That is relu in place of relu6, which passes nothing on beyond its bound, and in
    place of what a user's own `layers.Network` has.

    Args:
      ground: What the method is built on.
    """
    module = ground.module
    if not isinstance(module, Network) or module.activation is nn.relu:
        return ground.apply_fn
    return network.applied(module.clone(activation=nn.relu))


def neutral(model_state: Any) -> Any:
    """Returns batch statistics that change nothing: mean 0, variance 1."""
    fill = {"mean": jnp.zeros_like, "var": jnp.ones_like}

    def neutral(path, leaf):
        name = masks_lib.path_name(path).rpartition("/")[2]
        return fill.get(name, lambda same: same)(leaf)

    return jax.tree_util.tree_map_with_path(neutral, model_state)
