"""What tickets have in common: their masks, how dense these are, and their signs.

Pure functions of trees, which jit and map over populations. A "layer" is a leaf of a
mask tree. Figures of them are drawn by `studies`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks, Params


def overlap(a: Masks, b: Masks) -> jax.Array:
    """Returns the intersection over union of what two mask trees keep, float32 [].

        |a & b| / |a | b|,  1 where both keep nothing

    Args:
      a: Masks.
      b: Masks of the same leaves.

    Raises:
      ValueError: The leaves differ, or are not bool, with their names.
    """
    b = _masks_like(a, b)
    return _ratio(_count(jnp.logical_and, a, b), _count(jnp.logical_or, a, b))


def hamming(a: Masks, b: Masks) -> jax.Array:
    """Returns the fraction of the prunable weights at which two mask trees differ.

        |a ^ b| / N

    Args:
      a: Masks.
      b: Masks of the same leaves.

    Returns:
      float32 []; times N it is the count, a metric.

    Raises:
      ValueError: The leaves differ, or are not bool, with their names.
    """
    b = _masks_like(a, b)
    _, total = masks_lib.count(a)
    apart = jnp.asarray(_count(jnp.not_equal, a, b), jnp.float32)
    return apart / max(total, 1)


def chance_overlap(a: Masks, b: Masks, scope: str = "layer") -> jax.Array:
    """Returns the overlap to expect of two random masks that keep as many, float32 [].

        I / (|a| + |b| - I),  I = sum_l |a_l| |b_l| / N_l

    with l the layers, each with the counts it has in `a` and in `b`; with scope
    "global" l is the whole network. I is the expected intersection; the overlap is a
    convex function of it, so that its own expectation is higher, by a term in 1 / N.

    Args:
      a: Masks; only the counts matter.
      b: Masks of the same leaves.
      scope: "layer": masks that agree on how much each layer keeps do agree by more
        than chance in the whole network, and this takes that off; or "global".

    Raises:
      ValueError: The leaves differ, or are not bool, or the scope is unknown.
    """
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got scope = {scope!r}")
    b = _masks_like(a, b)
    layers = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    both = either = jnp.float32(0)
    for pair in [(a, b)] if scope == "global" else layers:
        (in_a, size), (in_b, _) = map(masks_lib.count, pair)
        in_a, in_b = jnp.asarray(in_a, jnp.float32), jnp.asarray(in_b, jnp.float32)
        expected = in_a * (in_b / max(size, 1))
        both, either = both + expected, either + (in_a + in_b - expected)
    return _ratio(both, either)


def densities(masks: Masks) -> dict[str, jax.Array]:
    """Returns {name: kept / size}, float32 [], of every layer that has weights."""
    found = masks_lib.by_name(masks).items()
    return {name: 1 - masks_lib.sparsity(mask) for name, mask in found if mask.size}


def sign_agreement(a: Params, b: Params, masks: Masks) -> jax.Array:
    """Returns the fraction of the kept weights that have one sign in both trees.

        |{i kept: sign(a_i) = sign(b_i)}| / |kept|,  1 where nothing is kept

    Zero has a sign of its own, NaN none: of it the fraction is NaN. Of two random trees
    it is a half.

    Args:
      a: Parameters: of a ticket at its start, say.
      b: Parameters of the same leaves: of the same ticket at its end.
      masks: The masks; leaves that are `None` do not count.

    Returns:
      float32 [].

    Raises:
      ValueError: The leaves differ, or a mask does not fit, with their names.
    """
    b = like(a, b)
    masks_lib.compatible(a, masks)
    same = jax.tree.map(
        lambda x, y, mask: (
            mask if mask is None else mask & (jnp.sign(x) == jnp.sign(y))
        ),
        a,
        b,
        masks,
    )
    broken = jax.tree.map(
        lambda x, y, mask: (
            None if mask is None else jnp.any(mask & (jnp.isnan(x) | jnp.isnan(y)))
        ),
        a,
        b,
        masks,
    )
    found = _ratio(masks_lib.count(same)[0], masks_lib.count(masks)[0])
    return jnp.where(jnp.any(jnp.array(jax.tree.leaves(broken))), jnp.nan, found)


def by_layer(fn: Callable[..., Any], *trees: Any) -> dict[str, Any]:
    """Returns {name: fn(the leaf of each tree)} for every leaf of the last tree.

    `by_layer(overlap, a, b)`, `by_layer(sign_agreement, start, end, masks)`.

    Args:
      fn: A function of as many trees.
      *trees: Trees; the leaves of the last, a mask tree, say which layers.

    Raises:
      ValueError: A tree lacks a leaf of the last one, or has two of one name.
    """
    rows = [masks_lib.by_name(tree) for tree in trees]
    lacking = [n for n in rows[-1] if not all(n in row for row in rows)]
    if lacking:
        raise ValueError(
            "every tree must have the leaves of the last one, got one without "
            f"{', '.join(lacking)}"
        )
    return {name: fn(*(row[name] for row in rows)) for name in rows[-1]}


def like(a: Any, b: Any) -> Any:
    """Returns the leaves of b in the dicts and lists of a, which has the same ones.

    Raises:
      ValueError: One has a leaf that the other has not, or of another shape; or, of
        two forms, two leaves have one name.
    """
    check_same(a, b)
    if _one_form(a, b):
        return b
    leaves = masks_lib.by_name(b)
    rows = [leaves[name] for name in masks_lib.names(a)]
    return jax.tree.unflatten(jax.tree.structure(a), rows)


def check_same(a: Any, b: Any) -> None:
    """Checks that two trees have the same leaves, of the same shapes."""
    if _one_form(a, b):
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        rows = list(zip(masks_lib.names(a), pairs, strict=True))
    else:
        one, other = masks_lib.by_name(a), masks_lib.by_name(b)
        rows = [(name, (one.get(name), other.get(name))) for name in one | other]
    shapes = [(name, *map(_shape, pair)) for name, pair in rows]
    differing = [f"{name} = {x} and {y}" for name, x, y in shapes if x != y]
    if differing:
        raise ValueError(
            f"both trees must have the same leaves, got {'; '.join(differing)}; are "
            "they of one network, with the same weights prunable?"
        )


def _shape(leaf):
    return "nothing" if leaf is None else jnp.shape(leaf)


def _one_form(a, b):
    """Whether the leaves of two trees go together by their places."""
    return jax.tree.structure(a) == jax.tree.structure(b)


def _masks_like(a, b):
    """Returns masks as `like` does; refuses what is none."""
    b = like(a, b)
    for tree in (a, b):
        for name, mask in zip(masks_lib.names(a), jax.tree.leaves(tree), strict=True):
            masks_lib.check_bool(name, mask)
    return b


def _count(fn, a, b):
    """Returns at how many entries fn(a, b) is true, int32 []."""
    return masks_lib.count(jax.tree.map(fn, a, b))[0]


def _ratio(part, whole):
    """Returns part / whole, float32, and 1 where the whole is nothing."""
    part, whole = (jnp.asarray(x, jnp.float32) for x in (part, whole))
    return jnp.where(whole == 0, 1.0, part / jnp.where(whole == 0, 1.0, whole))
