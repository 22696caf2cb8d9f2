"""Structured masks become a smaller network that computes the same function."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lthjax import models
from lthjax.channels import layers_of
from lthjax.devices import measure
from lthjax.interceptors import intercepted
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import places
from lthjax.pruning.masks import Masks, Params, path_name
from lthjax.pruning.views import Views

MADE = ("/kernel", "/bias", *(f"_norm/{n}" for n in ("scale", "bias", "mean", "var")))


class Slim(nn.Module):
    """A network some of whose layers have fewer channels than it says itself.

    Its parameters have the names of the network's own. It can be initialised anew,
    trained and pruned like any other.

    Attributes:
      model: The network, from `models.build` or of the same kind.
      widths: (name of a layer, channels) of those that differ.
      readers: Names of the layers that read fewer channels.
    """

    model: nn.Module
    widths: tuple[tuple[str, int], ...] = ()
    readers: tuple[str, ...] = ()

    @property
    def remat(self) -> bool:
        """Whether the network keeps for its derivative only what it marks."""
        return getattr(self.model, "remat", False)

    @property
    def axis_name(self) -> str | None:
        """Over which axis of a mesh the network's batches are spread, if any."""
        return getattr(self.model, "axis_name", None)

    def setup(self):
        """Takes the network's parameters as its own."""
        nn.share_scope(self, self.model)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits of `images` [batch, height, width, channels]."""
        widths = dict(self.widths)
        normed: dict[str, Any] = {}

        def narrow(call, args, options, context):
            layer = context.module
            name = "/".join(layer.path)
            if context.method_name == "__call__" and name in self.readers:
                _check_reader(layer)
            if context.method_name == "__call__" and name in widths:
                _resize(layer, widths[name])
            return call(*args, **options)

        with intercepted(_noting(normed)), intercepted(narrow):
            logits = self.model(images, train)
        if normed:
            _check_norms(normed, self.model.clone(parent=None, name=None), images)
        return logits


def _resize(layer, size):
    """Gives a layer another number of channels, just before it is called.

    A flax module is frozen against assignment; this one lives for one call.
    """
    if not layers_of.plain(layer):
        raise ValueError(
            "only dense layers and convolutions can lose channels, those of flax "
            f"without methods of one's own, got {'/'.join(layer.path)}, of "
            f"{type(layer).__name__}; leave its group out"
        )
    if getattr(layer, "feature_group_count", 1) not in (1, layer.features):
        raise ValueError(
            "a convolution that loses channels must read all of them or be depthwise, "
            f"got {'/'.join(layer.path)} with {layer.feature_group_count} groups for "
            f"{layer.features} channels; leave its group out"
        )
    object.__setattr__(layer, "features", size)
    if getattr(layer, "feature_group_count", 1) > 1:
        object.__setattr__(layer, "feature_group_count", size)


def _check_reader(layer):
    """Refuses a reader that may take a channel of zeros for more than nothing."""
    if isinstance(layer, nn.Dense | nn.Conv) and not layers_of.plain(layer):
        raise ValueError(
            "a channel can go where what reads it adds up its products with a kernel, "
            "as flax's own dense layers and convolutions do, got "
            f"{'/'.join(layer.path)}, of {type(layer).__name__}, which has methods of "
            "its own; leave its group out"
        )


def _check_norms(found, model, images):
    """Refuses norms over channels some of which have gone, with parameters or without.

    Args:
      found: {name of a norm: how many it takes together, an axis}.
      model: The whole network, unbound.
      images: What it is called with.
    """
    whole = {}
    keys = dict.fromkeys(("params", "dropout"), jax.random.key(0))
    with intercepted(_noting(whole)):
        jax.eval_shape(lambda x: model.init(keys, x, False), images)
    if cut := [name for name, sides in found.items() if sides != whole[name]]:
        raise ValueError(
            "a channel may go where nothing takes it together with others, got the "
            f"norm {', '.join(cut)} over channels that have lost some; leave their "
            "group out"
        )


def _noting(sides):
    """Returns an interceptor that notes by name how many each norm takes together."""

    def note(call, args, options, context):
        layer = context.module
        if context.method_name == "__call__" and _axes(layer):
            sides["/".join(layer.path)] = _sides(layer, *args, **options)
        return call(*args, **options)

    return note


def _axes(layer):
    """Returns the axes along which a norm of flax takes entries together, if any."""
    if isinstance(layer, nn.GroupNorm):
        return () if layer.group_size == 1 else (-1,)
    axes = getattr(layer, "reduction_axes", ())
    found = isinstance(layer, nn.LayerNorm | nn.RMSNorm)
    return (tuple(axes) if isinstance(axes, Sequence) else (axes,)) if found else ()


def _sides(layer, x, **options):
    del options
    return [jnp.shape(x)[axis] for axis in _axes(layer)]


class Compact(NamedTuple):
    """A smaller network: the module, its parameters and its batch statistics."""

    model: nn.Module
    params: Params
    model_state: Any


def compact(
    model: nn.Module,
    params: Params,
    masks: Masks,
    model_state: Any = None,
    *,
    groups: tuple[layers_of.Group, ...] | None = None,
    views: Views | None = None,
) -> Compact:
    """Returns the network without the channels that the masks remove, outside `jit`.

    A channel goes where the masked weights read nothing of it, or where it is always
    zero: scale and shift of its norm (or kernel and bias, without a norm) are, and the
    network's activation is zero at zero. Masks of kernels alone, or of single weights,
    may therefore remove nothing; the masks are applied to what stays. A group of which
    nothing is left keeps one channel, which adds nothing. On explicit axes of a mesh
    every device has a copy of a leaf that is cut.

    What lies between the layers of a group must take each channel by itself and leave
    it the last axis: the smaller network refuses flax's norms over channels when it is
    called, but of a function of one's own (a softmax, a transposition before a feature
    map is flattened) it knows nothing.

    Args:
      model: One of `models.by_name.MODELS`, or what this made of it; with `groups` any
        that is called alike and names its leaves alike.
      params: Its parameters.
      masks: Their masks; soft weights belong in `params` (`channels.fold`).
      model_state: Its batch statistics.
      groups: The channels that may go, by default those of `channels.groups`.
      views: What the axes of the leaves are, as for `layers_of.leaves`.

    Returns:
      A module that computes the same logits (in evaluation), and what it takes.

    Raises:
      ValueError: The network has no known channel groups, or the masks do not fit;
        or as `layers_of.leaves`.

    Example:
      >>> model = lth.models.build("mlp", 2, options={"hidden": (3,)})
      >>> params = {
      ...     "dense1": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)},
      ...     "head": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)},
      ... }
      >>> groups = lth.channels.groups(model, params)
      >>> stay = {"dense1": jnp.array([True, False, False])}
      >>> masks = lth.channels.spread(lth.channels.full(params, groups), stay, groups)
      >>> small = lth.channels.compact(model, params, masks)
      >>> small.params["head"]["kernel"].shape
      (1, 2)
    """
    masks_lib.compatible(params, masks)
    found = layers_of.groups(model, params) if groups is None else groups
    applied = masks_lib.apply(params, masks)
    widths = dict(model.widths) if isinstance(model, Slim) else {}
    readers = {group.consumer for group in found}
    readers |= {*model.readers} if isinstance(model, Slim) else set()
    model = model.model if isinstance(model, Slim) else model
    silent = _silent(model)
    known = layers_of.named(dict(model_state or {}).get("batch_stats", {}))
    leaves = {group.name: layers_of.leaves(applied, group, views) for group in found}
    left = {
        group.name: _left(applied, group, leaves[group.name], silent, known)
        for group in found
    }
    cuts: dict[str, dict[int, Any]] = {}
    for group in found:
        indices = left[group.name]
        widths |= dict.fromkeys(group.producers, len(indices))
        for layer, leaf in itertools.product(group.producers, MADE):
            cuts.setdefault(f"{layer}{leaf}", {})[-1] = indices
        wide = _tiled(indices, layers_of.repeats(params, group), group.size)
        cuts.setdefault(f"{group.consumer}/kernel", {})[-2] = wide
    small, state = _cut(applied, cuts), dict(model_state or {})
    if "batch_stats" in state:
        state["batch_stats"] = _cut(state["batch_stats"], cuts)
    slim = Slim(model, tuple(sorted(widths.items())), tuple(sorted(readers)))
    return Compact(slim, small, state)


def _silent(model):
    """Returns whether the activation is known to give zero for zero."""
    activation = getattr(model, "activation", None)
    return callable(activation) and float(activation(jnp.zeros(()))) == 0


def _left(params, group, leaves, silent, statistics):
    """Returns the indices of the channels that must stay: those read, if not silent.

    A batch norm without a scale makes a number of a channel of zeros.
    """
    named, (made, read) = layers_of.named(params), leaves
    reader = np.asarray(named[read])
    reads = np.abs(reader).reshape(-1, *reader.shape[-2:]).max((0, 2))
    reads = reads.reshape(-1, group.size).max(0)
    own = layers_of.last_of(group, made)
    norms = [name for name in own if "_norm/" in name]
    normed = f"{group.producers[-1]}_norm"
    if norms and f"{normed}/mean" not in statistics:
        raise ValueError(
            "a channel may go where a norm takes each by itself, as a batch norm does, "
            f"got {normed}, which has no running mean; "
            + "hand in the network's model_state, or " * (not statistics)
            + "leave its group out"
        )
    silent &= f"{normed}/mean" not in statistics or f"{normed}/scale" in norms
    emits = [np.abs(np.asarray(named[n])).reshape(-1, group.size) for n in norms or own]
    # NaN is no zero: it stays, and is seen.
    stays = ~(reads == 0) & (~(np.concatenate(emits).max(0) == 0) | (not silent))
    return np.flatnonzero(stays) if stays.any() else np.zeros(1, int)


def _tiled(indices, times, size):
    return (np.arange(times)[:, None] * size + indices[None]).ravel()


def _cut(tree, cuts: Mapping):
    """Takes the indices that `cuts` has for an axis of a leaf, by the leaf's name."""

    def taken(path, leaf):
        for axis, indices in cuts.get(path_name(path), {}).items():
            some = functools.partial(jnp.take, indices=indices, axis=axis)
            leaf = places.anywhere(some, leaf, like=0)
        return leaf

    return jax.tree_util.tree_map_with_path(taken, tree)


def speed_up(
    model: nn.Module,
    trees: tuple,
    small: Compact,
    images: jax.Array,
    *,
    rounds: int = 7,
    seconds: float = 0.5,
    compiler_options: dict | None = None,
) -> np.ndarray:
    """Returns how many times faster the small network answers a batch [rounds].

    Both are compiled, and run in turns.

    Args:
      model: The whole network.
      trees: Its (params, model_state).
      small: What `compact` made of it.
      images: A batch.
      rounds: How many ratios.
      seconds: Of a turn, about.
      compiler_options: For `jax.jit`: `cpu_convolutions.compiler_options(params)`.
    """
    runs = {
        "whole": _repeated((model, *trees), images, compiler_options),
        "small": _repeated(small, images, compiler_options),
    }
    taken = measure.in_turns(runs, rounds, seconds)
    return taken["whole"] / taken["small"]


def _repeated(network, images, options) -> Callable:
    model, params, state = network
    forward = jax.jit(
        lambda params, state, images: models.apply(
            model, params, state, images, train=False
        )[0],
        compiler_options=options or None,
    )
    return measure.repeated(forward, params, state, images)
