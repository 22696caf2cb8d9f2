"""Ghosts: what a network has while it is retrained, and no longer when it is deployed.

Soft neurons in place of its activations, and 1x1 branches beside its 3x3 convolutions.
How strong they are is two scalars, `Knobs`, that may be traced: while they vary nothing
is compiled again. The branches' parameters lie among the network's own, under names of
their own, so that `strip` leaves exactly the plain network's trees.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from lthjax import registry
from lthjax.callables import Activation
from lthjax.models.layers import INITIALISERS

SUFFIX = "_ghost"
_GHOST = re.compile(rf"{SUFFIX}(_norm)?$")


class Knobs(NamedTuple):
    """How far the ghosts have faded; the network is the plain one at (1, 0).

    Attributes:
      lam: From 0, soft neurons, to 1, the network's own activation.
      alpha: What the branches are multiplied by: from 1, whole, to 0, absent.
    """

    lam: float | jax.Array = 1.0
    alpha: float | jax.Array = 0.0


def mish(x: jax.Array) -> jax.Array:
    """Returns x tanh(log(1 + exp(x))).

    References:
      Misra, 2019, arXiv:1908.08681.
    """
    return x * jnp.tanh(jax.nn.softplus(x))


def parametric_swish(x: jax.Array, beta: float = 2.0) -> jax.Array:
    """Returns x sigmoid(beta x), at most 0.2785 / beta from relu.

    References:
      Ramachandran et al., 2017, arXiv:1710.05941; the constant 2 is that of the code
      released with Jaiswal et al., 2022, arXiv:2206.12755.
    """
    return x * jax.nn.sigmoid(beta * x)


def blend(
    x: jax.Array, lam: float | jax.Array, soft: Activation, hard: Activation = nn.relu
) -> jax.Array:
    """Returns lam hard(x) + (1 - lam) soft(x): exactly `soft` at 0, `hard` at 1.

    Args:
      x: Finite, of any shape.
      lam: In [0, 1]; it may be traced.
      soft: An activation.
      hard: The one that it becomes.
    """
    lam = jnp.asarray(lam, x.dtype)
    return lam * hard(x) + (1 - lam) * soft(x)


def sharpen(
    x: jax.Array, lam: float | jax.Array, hard: Activation = nn.relu
) -> jax.Array:
    """Returns x sigmoid(x / (1 - lam)), and exactly `hard` at lam = 1.

    Swish at 0, whose beta = 1 / (1 - lam) then grows: the largest distance from relu,
    0.2785 (1 - lam), falls to none. Gradients stay finite at 1 too.

    Args:
      x: Finite, of any shape.
      lam: In [0, 1]; it may be traced.
      hard: The network's own activation, relu.
    """
    width = 1 - jnp.asarray(lam, x.dtype)
    live = width > 0
    soft = x * jax.nn.sigmoid(x / jnp.where(live, width, 1))
    return jnp.where(live, soft, hard(x))


def attach(
    model: nn.Module,
    knobs: Knobs,
    *,
    neurons: str = "",
    skips: str = "",
) -> nn.Module:
    """Returns the network with ghosts, to be applied within one trace of the knobs.

    Ghost skips follow `y = conv_norm(x)` for every 3x3 convolution but the stem's:

        y + alpha * norm(conv1x1(x)),

    with the convolution's stride, width and groups, so that a depthwise one gets a
    depthwise branch. What comes next, a shortcut's sum or the activation, sees that.

    Args:
      model: One of our networks, or one that has their attributes.
      knobs: How strong the ghosts are; traced or not.
      neurons: A name in `NEURONS`, or "" to leave the activations.
      skips: A name in `STARTS`, how the branches start, or "" for none.

    Raises:
      ValueError: The network has nothing to attach them to, or a name is unknown.

    References:
      Jaiswal et al., 2022, arXiv:2206.12755. Departures: the released code has branches
      in basic residual blocks alone; here they are in bottlenecks, VGG and MobileNet
      too, and fade, as its text says and its code does not.
    """
    changes: dict[str, Any] = {}
    if neurons:
        _check_activation(model, neurons)
        soften = registry.resolve(neurons, NEURONS, "ghost neuron")
        hard = model.activation
        if soften is sharpen and hard is not nn.relu:
            raise ValueError(
                f"ghost neurons {neurons!r} sharpen to a relu, got "
                f"{type(model).__name__} with another activation, to which they would "
                "jump; give 'swish', which fades into any"
            )
        changes["activation"] = functools.partial(
            _softened, neurons, soften, knobs.lam, hard
        )
    if skips:
        if not hasattr(model, "beside"):
            raise no_place(model)
        start = registry.resolve(skips, STARTS, "start of ghost skips")
        _check_start(start, skips)
        changes["beside"] = functools.partial(_beside, knobs.alpha, start)
    return model.clone(**changes)


def _softened(name, soften, lam, hard, x):
    """Returns the ghost neurons of an array, by a function that may be a user's own."""
    must = "take (x, lam, hard=the activation) and return an array like x"
    with registry.calling("ghost neuron", name, must):
        found = soften(x, lam, hard=hard)
        if jnp.shape(found) != x.shape:
            raise ValueError(
                f"ghost neurons must keep the shape {x.shape} that they are given, got "
                f"{jnp.shape(found)} from {name!r}"
            )
        return found


def _check_start(start, skips):
    """Refuses what branches cannot be drawn by."""
    pair = isinstance(start, tuple) and len(start) == 2
    if not pair or not all(map(callable, start)):
        raise ValueError(
            "a start of ghost skips must be a pair of initialisers, of the kernel and "
            f"of the norm's scale, got {skips!r}, which is {start!r}"
        )


def no_place(model: nn.Module) -> ValueError:
    """Returns the error of a network without layers that branches could run beside."""
    return ValueError(
        "a network with ghost skips must have 3x3 convolutions with norms beside its "
        f"stem, got {type(model).__name__}, which has none"
    )


def _check_activation(model, neurons):
    """Refuses a network without a function for its activation."""
    if not callable(getattr(model, "activation", None)):
        raise ValueError(
            "a network with ghosts must have the attribute 'activation', a function, "
            f"got {type(model).__name__}, which has none, for ghost neurons {neurons!r}"
        )


def _beside(alpha, start, layer):
    """Returns the function of a layer and of the branch beside it."""
    kernel_init, scale_init = start
    norm = functools.partial(layer.keywords["norm"], scale_init=scale_init)

    def with_branch(x, name, channels, size=3, stride=1, **options):
        y = layer(x, name, channels, size, stride, **options)
        if size != 3 or name == "stem":
            return y
        groups = options.get("feature_group_count", 1)
        rest = {"feature_group_count": groups, "kernel_init": kernel_init}
        branch = layer(x, f"{name}{SUFFIX}", channels, 1, stride, norm=norm, **rest)
        return y + jnp.asarray(alpha, y.dtype) * branch

    return with_branch


def is_ghost(path: tuple) -> bool:
    """Returns whether a JAX key path leads to a leaf of a ghost."""
    return any(_GHOST.search(str(getattr(part, "key", ""))) for part in path)


def strip(tree: Any) -> Any:
    """Returns a tree without what belongs to ghosts: parameters, statistics, momentum.

    Args:
      tree: Parameters, model state, masks, or an optimizer state that holds trees like
        the parameters; made of dicts, tuples and lists.
    """
    if isinstance(tree, Mapping):
        kept = {k: v for k, v in tree.items() if not _GHOST.search(str(k))}
        bare = {key: strip(value) for key, value in kept.items()}
        kind: Any = type(tree)
        return bare if isinstance(tree, dict) else kind(bare)
    if isinstance(tree, tuple | list):
        parts = [strip(value) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def graft(tree: Any, plain: Any) -> Any:
    """Returns a tree with ghosts whose other leaves are those of a plain tree.

    So that `strip(graft(tree, plain))` is `plain`, and `graft(tree, strip(tree))` is
    `tree`.

    Args:
      tree: A tree with ghosts.
      plain: A tree with the structure of `strip(tree)`.

    Raises:
      ValueError: It has another structure.
    """
    bare, given = map(str, map(jax.tree.structure, (strip(tree), plain)))
    if bare != given:
        raise ValueError(f"what is grafted must be of {bare}, got {given}")
    leaves = iter(jax.tree.leaves(plain))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if is_ghost(path) else next(leaves), tree
    )


def held(tree: Any, before: Any) -> Any:
    """Returns a tree whose leaves of ghosts are those of another one.

    Args:
      tree: A tree with ghosts.
      before: One of the same structure.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, old: old if is_ghost(path) else leaf, tree, before
    )


def spare(params: Any, masks: Any) -> Any:
    """Returns the masks of a network with ghosts, which are never pruned: `None`.

    Args:
      params: The parameters with ghosts.
      masks: The masks of the plain network.

    Raises:
      ValueError: A mask is of no parameter.
    """
    found = dict(jax.tree_util.tree_leaves_with_path(masks))
    known = dict(jax.tree_util.tree_leaves_with_path(params))
    if lost := [jax.tree_util.keystr(path) for path in found if path not in known]:
        raise ValueError(f"masks must be of parameters, got {', '.join(lost)}")
    return jax.tree_util.tree_map_with_path(lambda path, _: found.get(path), params)


NEURONS = {
    "swish": functools.partial(blend, soft=nn.swish),
    "mish": functools.partial(blend, soft=mish),
    "parametric_swish": functools.partial(blend, soft=parametric_swish),
    "sharpening_swish": sharpen,
}
# The initialisers of a branch's kernel and of the scale of its norm. "constant" is the
# released code's: its norm makes it as strong as the layer it runs beside, but for
# layers so quiet that the norm's epsilon counts.
STARTS = {
    "constant": (initializers.constant(1e-4), initializers.ones),
    "zero_norm": (INITIALISERS["kaiming_normal"], initializers.zeros),
    "he": (INITIALISERS["kaiming_normal"], initializers.ones),
}
