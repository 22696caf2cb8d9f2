"""Network slimming: channels go by the scales of their norms, shrunk by a penalty."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.channels import layers_of
from lthjax.pruning import choose, kept_counts, precision
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params
from lthjax.pruning.views import Views

SCALE = r"_norm/scale$"
KERNEL = "/kernel"


class Slim(NamedTuple):
    """Parameters that train under the penalty on the scales of their norms."""

    weights: Params


def penalty(params: Params) -> jax.Array:
    """Returns `sum of |gamma|` over the scales of all batch norms, float32 [].

    Its derivative is sign(gamma).

    Args:
      params: The parameters.

    Example:
      >>> params = {"conv_norm": {"scale": jnp.array([1.0, -2.0])}}
      >>> float(lth.channels.slimming.penalty(params))
      3.0

    References:
      Liu et al., 2017, arXiv:1708.06519.
    """
    found = precision.widened(scales(params))
    total: Any = sum(jnp.sum(jnp.abs(gamma)) for gamma in found.values())
    return total


def scales(params: Params) -> dict[str, Any]:
    """Returns {"conv1_1": gamma [channels]} of the norms, by the layer before each."""
    rows = jax.tree_util.tree_leaves_with_path(params)
    named = [(masks_lib.path_name(path), leaf) for path, leaf in rows]
    found = {re.sub(SCALE, "", n): leaf for n, leaf in named if re.search(SCALE, n)}
    if not found:
        raise ValueError(
            "slimming needs scales of batch norm, got a network without any; its "
            f"leaves are {', '.join(name for name, _ in named)}"
        )
    return found


def norm_scales(
    params: Params, groups: tuple[layers_of.Group, ...]
) -> dict[str, jax.Array]:
    """Returns {group: `|scale|` of the norm before its activation} as scores.

    Raises:
      ValueError: A group has no norm.

    References:
      Liu et al., 2017, arXiv:1708.06519 (network slimming).
    """
    byname = layers_of.named(params)
    result = {}
    for group in groups:
        scale = f"{group.producers[-1]}_norm/scale"
        if scale not in byname:
            raise ValueError(
                "channels are scored by their norm's scales, and every group must have "
                f"a norm, got none for {group.producers[-1]}; take a network with "
                "batch norm"
            )
        result[group.name] = _sizes(byname[scale])
    return result


def _sizes(gamma):
    """Returns `|gamma|`; of whole numbers the least has none in its own type."""
    return jnp.abs(precision.floating(jnp.asarray(gamma)))


def slimmed(
    scales: Mapping[str, Any], sparsity: float, *, released: bool = False
) -> dict[str, jax.Array]:
    """Keeps round(T (1 - sparsity)) of all T channels, those of largest `|gamma|`.

    The best channel of every layer stays, so that none is emptied; on a tie the first
    one does, in the order of the layers' names.

    Args:
      scales: {layer: gamma [channels]}, ranked all together: what `scales` or
        `norm_scales` returns.
      sparsity: The fraction of channels removed, in [0, 1).
      released: The rule of the released code, strictly above, `|gamma| > sorted(all
        |gamma|)[int(T sparsity)]`, so that one more than the share goes, and more on a
        tie; a layer may be emptied, which is refused (where nothing is traced).

    Returns:
      {layer: bool [channels]}.

    Raises:
      ValueError: The sparsity is out of range, or leaves fewer channels than layers; or
        the released rule would empty a layer.

    Example:
      >>> scales = {"conv1": jnp.array([0.9, 0.1]), "conv2": jnp.array([0.01, 0.02])}
      >>> stay = lth.channels.slimmed(scales, 0.5)
      >>> stay["conv1"].tolist(), stay["conv2"].tolist()
      ([True, False], [False, True])

    References:
      Liu et al., 2017, arXiv:1708.06519; You et al., 2020, arXiv:1909.11957.
      Departures: exactly so many channels (their codes remove one more, and all at the
      initialisation of the latter, where all scales tie); one channel stays in each
      layer (their VGG codes can empty a layer, and then fail).
    """
    sizes = {name: _sizes(gamma) for name, gamma in scales.items()}
    total = sum(size.size for size in sizes.values())
    wanted = kept_counts.kept_count(total, sparsity)
    if released:
        return _strictly_above(sizes, int(total * sparsity), sparsity)
    if wanted < len(sizes):
        raise ValueError(
            f"each of the {len(sizes)} layers must keep a channel: a layer cannot be "
            f"emptied, got sparsity = {sparsity}, which keeps {wanted} of {total}; ask "
            f"for at most {1 - len(sizes) / total:.4f}"
        )
    open_ = {name: jnp.ones(size.shape, bool) for name, size in sizes.items()}
    return choose.prune(open_, sizes, kept=wanted, minimum=1)


def _strictly_above(sizes, index, sparsity):
    """Returns the channels above the one at an index of all, in rising order."""
    for name, size in sizes.items():
        if not isinstance(size, jax.core.Tracer) and not jnp.isfinite(size).all():
            raise ValueError(
                f"scales must be finite, got {name} with {size}; the training that "
                "they are of diverged"
            )
    threshold = jnp.sort(jnp.concatenate(list(sizes.values())))[index]
    kept = {name: size > threshold for name, size in sizes.items()}
    for name, stays in kept.items():
        if not isinstance(stays, jax.core.Tracer) and not stays.any():
            raise ValueError(
                f"every layer must keep a channel, got sparsity = {sparsity}, which by "
                f"the released rule leaves none in {name}; prune a smaller share"
            )
    return kept


def check(params: Params, views: Views | None = None) -> None:
    """Checks that a network can be slimmed: all its layers form one chain.

    Args:
      params: The parameters, or their shapes.
      views: What the axes of the leaves are, `views.of`. Without them a kernel [height,
        width, out, in] of as many outputs as inputs is read as any other.

    Raises:
      ValueError: A layer but `head` has no batch norm with scales, reads other channels
        than those of the layer before it, or by its view has other axes there.
    """
    sizes = {name: gamma.shape[-1] for name, gamma in scales(params).items()}
    rows = jax.tree_util.tree_leaves_with_path(params)
    named = {masks_lib.path_name(path): leaf.shape for path, leaf in rows}
    kernels = {n.removesuffix(KERNEL): s for n, s in named.items() if KERNEL in n}
    for layer, shape in kernels.items():
        if len(shape) not in (2, 4):
            raise ValueError(
                "slimming goes through dense layers and convolutions, [in, out] or "
                f"[height, width, in, out], got {layer}{KERNEL} of shape {shape}"
            )
        layers_of.check_axes(layer + KERNEL, views)
    chain = [*_ordered(sizes), "head"]
    if others := sorted(kernels.keys() ^ set(chain)):
        raise ValueError(
            "slimming goes through networks whose layers form one chain, such as VGG, "
            f"a norm after each but the head, got {', '.join(others)} outside of it"
        )
    for before, layer in itertools.pairwise(chain):
        _check_chain(layer, kernels[layer][-2], before, sizes[before])


def masks(full: Masks, kept: Mapping[str, Any], *, views: Views | None = None) -> Masks:
    """Returns the masks of a chain of layers that has lost channels.

    A channel takes its column of the kernel that makes it and the rows of the next
    kernel that read it, so that its norm and its bias no longer matter.

    Args:
      full: Full masks of a network whose layers, in the order of their names and then
        `head`, form one chain (VGG).
      kept: {layer: bool [channels]}, from `slimmed`.
      views: What the axes of the leaves are, as for `check`.

    Raises:
      ValueError: The layers are not one chain, or not those that are prunable; or by
        its view one has other axes; or what is kept is not bool.
    """
    kept = {name: np.asarray(stays) for name, stays in kept.items()}
    for name, stays in kept.items():
        masks_lib.check_bool(name, stays)
    order = [*_ordered(kept), "head"]
    before = dict(zip(order[1:], order, strict=False))
    there = {name.removesuffix(KERNEL) for name in masks_lib.names(full)}
    if others := sorted(there ^ set(order)):
        raise ValueError(
            "channels must be given of each layer of the chain but the head, got "
            f"{', '.join(others)} on one side alone"
        )
    for layer in order:
        layers_of.check_axes(layer + KERNEL, views)

    def one(path, mask):
        layer = masks_lib.path_name(path).removesuffix("/kernel")
        stays = np.asarray(mask)
        if layer in before:
            channels = len(kept[before[layer]])
            _check_chain(layer, mask.shape[-2], before[layer], channels)
            stays = stays & kept[before[layer]].reshape(-1, 1)
        if layer in kept:
            stays = stays & kept[layer]
        return jnp.asarray(stays)

    return jax.tree_util.tree_map_with_path(one, full)


def _ordered(names):
    """Returns the names of layers in their order, conv2 before conv10."""
    return sorted(
        names, key=lambda name: (re.split(r"(\d+)", name)[::2], _numbers(name))
    )


def _numbers(name):
    return [int(number) for number in re.findall(r"\d+", name)]


def _check_chain(layer, inputs, before, channels):
    if inputs != channels:
        raise ValueError(
            "slimming goes through networks whose layers form one chain, such as VGG, "
            f"got {layer} with {inputs} inputs after {before} with {channels} channels"
        )
