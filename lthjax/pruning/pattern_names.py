"""The name of a pattern becomes a choice: "channels", "heads", "4x4", "2:4"."""

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import jax

from lthjax.callables import ChooseFn
from lthjax.pruning import choose, cuts, patterns, targets
from lthjax.pruning import heads as heads_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.pruning.cuts import Cut
from lthjax.pruning.masks import Masks
from lthjax.pruning.targets import Target
from lthjax.pruning.views import Views

FORMS = {"blocks": r"(\d+)x(\d+)", "n_of_m": r"(\d+):(\d+)"}


def parse(name: str) -> tuple[str, tuple[Any, ...]]:
    """Returns (kind, numbers) of a pattern's name: ("blocks", (4, 4)) of "4x4".

    Raises:
      ValueError: It is none, or one of nothing.

    Example:
      >>> lth.pruning.pattern_names.parse("2:4")
      ('n_of_m', (2, 4))
    """
    if name in ("weights", "channels", "heads"):
        return name, ()
    for kind, form in FORMS.items():
        if match := re.fullmatch(form, name):
            numbers = tuple(int(number) for number in match.groups())
            _check_numbers(name, kind, *numbers)
            return kind, numbers
    raise ValueError(
        "search.pattern must be 'weights', 'channels', 'heads', blocks such as '4x4' "
        f"(inputs and outputs), or n of every m inputs such as '2:4', got {name!r}"
    )


def _check_numbers(name, kind, one, other):
    """Refuses blocks of nothing, and n of m that keeps nothing or all."""
    fine = 0 < one < other if kind == "n_of_m" else one > 0 and other > 0
    if not fine:
        form = "'n:m' with 0 < n < m" if kind == "n_of_m" else "'axb' of at least '1x1'"
        raise ValueError(f"a pattern must be {form}, got search.pattern = {name!r}")


def target(
    pattern: str, masks: Masks, weights: Target, views: Views | None = None
) -> Target:
    """Returns a number of weights in groups of a pattern, in the same proportion.

    Args:
      pattern: A name, as `parse` takes it.
      masks: The masks.
      weights: How many of them stay, in all or by layer.
      views: What the axes of the leaves are.
    """
    kind, numbers = parse(pattern)
    if kind == "heads":
        return _heads_target(masks, weights, views)
    leaves = jax.tree.leaves(masks)
    named = zip(masks_lib.names(masks), leaves, strict=True)
    if kind == "channels":
        groups = [_channels(name, leaf.shape, views) for name, leaf in named]
    elif kind == "blocks":
        groups = [leaf.size // math.prod(numbers) for leaf in leaves]
    else:
        return weights
    if weights.layers is not None:
        sizes = [leaf.size for leaf in leaves]
        rows = zip(groups, weights.layers, sizes, strict=True)
        return targets.target([_share(*row) for row in rows])
    total = sum(leaf.size for leaf in leaves)
    return Target(_share(sum(groups), weights.kept, total))


def chooser(pattern: str, minimum: int = 0, views: Views | None = None) -> ChooseFn:
    """Returns (masks, scores, target) -> masks, what prunes by a pattern.

    Args:
      pattern: A name, as `parse` takes it.
      minimum: How many groups every layer keeps.
      views: What the axes of the leaves are.
    """
    kind, numbers = parse(pattern)
    if kind == "n_of_m":
        return lambda masks, found, target: patterns.n_of_m(
            masks, found, *numbers, views=views
        )
    selects: dict[str, Callable[..., Any]] = {
        "weights": functools.partial(choose.prune, views=views),
        "channels": functools.partial(patterns.channels, views=views),
        "heads": functools.partial(heads_lib.heads, views=views),
        "blocks": functools.partial(patterns.blocks, shape=numbers, views=views),
    }
    select = selects[kind]
    return lambda masks, found, target: select(
        masks, found, kept=target, minimum=minimum
    )


def cut(
    pattern: str,
    masks: Masks,
    scores: Any,
    chosen: Masks,
    *,
    by_layer: bool,
    views: Views | None = None,
) -> Cut:
    """Returns where a choice by a pattern cut, through weights or means of groups.

    Args:
      pattern: A name, as `parse` takes it.
      masks: What was chosen from.
      scores: As for `patterns.channels`.
      chosen: What was kept.
      by_layer: Whether every layer was cut by itself.
      views: What the axes of the leaves are.
    """
    kind, numbers = parse(pattern)
    if kind in ("weights", "n_of_m"):
        return cuts.cut(masks, scores, chosen, by_layer=by_layer or kind == "n_of_m")
    if kind == "heads":
        alive, means = heads_lib.grouped(masks, scores, views)
        left = jax.tree.map(lambda n: n > 0, heads_lib.counts(chosen, views))
        return cuts.cut(alive, means, left, by_layer=by_layer)
    if kind == "blocks":
        groups = patterns.block_groups(numbers, views)
    else:
        groups = patterns.channel_groups(-1, views)
    alive, means = patterns.grouped(masks, scores, groups)
    left = jax.tree.map(lambda count: count > 0, patterns.counts(chosen, groups))
    return cuts.cut(alive, means, left, by_layer=by_layer)


def layers(pattern: str, masks: Masks, views: Views | None = None) -> list[str]:
    """Returns the names of what `cut` has numbers of: leaves, or attentions.

    Args:
      pattern: A name, as `parse` takes it.
      masks: The masks.
      views: What the axes of the leaves are.
    """
    heads = parse(pattern)[0] == "heads"
    return list(heads_lib.sizes(masks, views)) if heads else masks_lib.names(masks)


def _heads_target(masks, weights, views):
    """Returns a number of weights in heads, in all or of each attention."""
    found, leaves = heads_lib.layers(masks, views), jax.tree.leaves(masks)
    total = sum(leaf.size for leaf in leaves)
    groups = heads_lib.sizes(masks, views)
    if weights.layers is None:
        return Target(_share(sum(groups.values()), weights.kept, total))
    sizes, kept = dict.fromkeys(groups, 0), dict.fromkeys(groups, 0)
    for layer, leaf, own in zip(found, leaves, weights.layers, strict=True):
        sizes[layer.attention] += leaf.size
        kept[layer.attention] += own
    rows = ((number, kept[k], sizes[k]) for k, number in groups.items())
    return targets.target([_share(*row) for row in rows])


def _share(groups, kept, size):
    """Returns how many groups are in proportion, of no weights none."""
    return round(groups * kept / max(size, 1))


def _channels(name, shape, views):
    """Returns how many channels of outputs a leaf has, in all of its copies."""
    found = views_lib.sizes(shape, views_lib.one(name, shape, views))
    return found[0] * found[-1]
