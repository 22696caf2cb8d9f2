"""What goes over the wire: the bytes of a payload, and those of a round."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from lthjax.federated.policies import Policy
from lthjax.federated.states import Record
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params

VALUE = 4  # bytes of a float32
PRINTED = 8  # bytes that the tables of arXiv:2104.12501 count for a surviving weight
MEBI = 2**20


class Traffic(NamedTuple):
    """The bytes of a round, both ways.

    Attributes:
      up: What clients sent, 4 a weight, and the rest (biases) whole.
      down: What they were sent.
      masks: What says which weights were sent, a bit for each prunable one.
      printed: Both ways by the rule of the paper: 8 a prunable weight that is sent, the
        rest and masks free.
    """

    up: int
    down: int
    masks: int
    printed: int


def of_round(record: Record, policy: Policy, masks: Masks, params: Params) -> Traffic:
    """Returns the bytes of a round.

    Up goes the payload of each client that is there, with its mask where it is not full
    (`payload`). Down goes one broadcast of all weights, or to each client that is asked
    those of its mask, which the server knows. Where each trains alone there is nothing.

    Args:
      record: Of the round, on the host.
      policy: Whose downlink it is.
      masks: The full masks.
      params: The weights, or their shapes.

    References:
      Seo et al., 2021, arXiv:2104.12501, Table II counts as `printed`; its FedAvg cells
      are 21.15 MiB above that rule, unexplained.
    """
    if policy.downlink == "none":
        return Traffic(0, 0, 0, 0)
    total = sum(mask.size for mask in jax.tree.leaves(masks))
    rest = sum(w.size for w in jax.tree.leaves(params)) - total
    sent = [int(n) for n in np.asarray(record.sent) if n]
    reached = [int(n) for n in np.asarray(record.received)]
    down = reached if policy.downlink == "unicast" else [total]
    bits = sum(-(-total // 8) for n in sent if n < total)
    up_bytes, down_bytes = (VALUE * sum(n + rest for n in way) for way in (sent, down))
    return Traffic(up_bytes, down_bytes, bits, PRINTED * (sum(sent) + sum(down)))


def payload(params: Params, masks: Masks) -> list[np.ndarray]:
    """Returns what is sent of a network: the weights that are kept, and which.

    Args:
      params: The weights.
      masks: Their masks.

    Returns:
      float32 [kept + rest], in the order of the leaves, and the masks as packed bits,
      uint8 [prunable / 8], or [0] where all is kept.
    """
    values, bits = [], []
    for w, mask in _leaves(params, masks):
        kept = np.ones(w.shape, bool) if mask is None else np.asarray(mask)
        values.append(np.asarray(w, np.float32)[kept])
        bits += [] if mask is None else [kept.ravel()]
    packed = np.concatenate(bits)
    packed = np.zeros(0, np.uint8) if packed.all() else np.packbits(packed)
    return [np.concatenate(values), packed]


def opened(sent: Sequence[np.ndarray], full: Masks, params: Params) -> tuple:
    """Returns (params, masks) of what `payload` packed.

    Args:
      sent: The two arrays.
      full: The full masks.
      params: The weights, or their shapes.

    Raises:
      ValueError: There are more values than the masks keep, or fewer; or the masks are
        of another network.
    """
    values, packed = sent
    masks = _unpacked(packed, full)
    kept = [
        np.ones(w.shape, bool) if m is None else m for w, m in _leaves(params, masks)
    ]
    wanted = sum(int(m.sum()) for m in kept)
    if wanted != values.size:
        raise ValueError(
            f"a payload must have a value for each of the {wanted} weights kept, got "
            f"values = {values.size}"
        )
    found, at = [], 0
    for mask in kept:
        leaf = np.zeros(mask.shape, np.float32)
        leaf[mask] = values[at : at + int(mask.sum())]
        at += int(mask.sum())
        found.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(params), found), masks


def _unpacked(packed, full):
    """Returns the masks of packed bits; full ones of none."""
    leaves, structure = jax.tree.flatten(full)
    sizes = [leaf.size for leaf in leaves]
    total = sum(sizes)
    if packed.size not in (0, -(-total // 8)):
        raise ValueError(
            f"the masks of a payload must be {total} bits, got {packed.size} bytes"
        )
    flat = np.unpackbits(packed, count=total) if packed.size else np.ones(total)
    parts = np.split(flat.astype(bool), np.cumsum(sizes)[:-1])
    shaped = [
        part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)


def _leaves(params, masks):
    """Returns (weights, mask or None) of each leaf; a parameter `None` is none."""
    masks_lib.alike(params, masks)
    weights, kept = (
        jax.tree.leaves(tree, is_leaf=lambda leaf: leaf is None)
        for tree in (params, masks)
    )
    pairs = zip(weights, kept, strict=True)
    return [(w, mask) for w, mask in pairs if w is not None]
