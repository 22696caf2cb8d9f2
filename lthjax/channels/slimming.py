"""Network slimming: channels go by the scales of their norms, shrunk by a penalty."""

import itertools
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

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

    References:
      Liu et al., 2017, arXiv:1708.06519.
    """
    return sum(jnp.sum(jnp.abs(gamma)) for gamma in scales(params).values())


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


def channels(scales: dict[str, Any], share: float) -> dict[str, np.ndarray]:
    """Returns which channels stay: `|gamma| > sorted(all |gamma|)[int(total share)]`.

    Strictly above, as in the released code: one more than the share goes, and more on a
    tie.

    Args:
      scales: {layer: gamma [channels]}.
      share: Of all channels to be pruned, in [0, 1).

    Returns:
      {layer: bool [channels]}, arrays of the host.

    Raises:
      ValueError: The share is not in [0, 1), or a layer would lose all its channels.

    References:
      Liu et al., 2017, arXiv:1708.06519. Departure: a layer that loses all its channels
      is refused by name.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got share = {share}")
    sizes = {name: np.abs(np.asarray(gamma)) for name, gamma in scales.items()}
    ordered = np.sort(np.concatenate(list(sizes.values())))
    threshold = ordered[int(len(ordered) * share)]
    kept = {name: size > threshold for name, size in sizes.items()}
    for name, stays in kept.items():
        if not stays.any():
            raise ValueError(
                f"every layer must keep a channel, got share = {share}, which leaves "
                f"none in {name}; prune a smaller share"
            )
    return kept


def check(params: Params) -> None:
    """Checks that a network can be slimmed: all its layers form one chain.

    Args:
      params: The parameters, or their shapes.

    Raises:
      ValueError: A layer but `head` has no batch norm with scales, or reads other
        channels than those of the layer before it.
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
    chain = [*sorted(sizes), "head"]
    if others := sorted(kernels.keys() ^ set(chain)):
        raise ValueError(
            "slimming goes through networks whose layers form one chain, such as VGG, "
            f"a norm after each but the head, got {', '.join(others)} outside of it"
        )
    for before, layer in itertools.pairwise(chain):
        _check_chain(layer, kernels[layer][-2], before, sizes[before])


def masks(full: Masks, kept: dict[str, np.ndarray]) -> Masks:
    """Returns the masks of a chain of layers that has lost channels.

    A channel takes its column of the kernel that makes it and the rows of the next
    kernel that read it, so that its norm and its bias no longer matter.

    Args:
      full: Full masks of a network whose layers, in the order of their names and then
        `head`, form one chain (VGG).
      kept: {layer: bool [channels]}, from `channels`.

    Raises:
      ValueError: The layers are not one chain.
    """
    order = [*sorted(kept), "head"]
    before = dict(zip(order[1:], order, strict=False))

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


def _check_chain(layer, inputs, before, channels):
    if inputs != channels:
        raise ValueError(
            "slimming goes through networks whose layers form one chain, such as VGG, "
            f"got {layer} with {inputs} inputs after {before} with {channels} channels"
        )
