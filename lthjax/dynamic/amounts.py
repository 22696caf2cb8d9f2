"""How much an optimizer that carries masks prunes, and when: counts and checks."""

import math
from typing import Any

import jax

from lthjax.pruning import kept_counts
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Masks


def counts(masks: Masks, sparsity: Any, scope: str) -> int | list[int]:
    """Returns how many weights a sparsity keeps: in all, or a list by layer.

    Args:
      masks: Full masks.
      sparsity: A fraction, or one for each layer, a list in their order or a tree with
        their names, whatever the scope.
      scope: "global" or "layer".

    Raises:
      ValueError: The sparsities are not of the layers, or not in [0, 1).
    """
    sizes = [mask.size for mask in jax.tree.leaves(masks)]
    if not jax.tree_util.all_leaves([sparsity]):
        fractions = _fractions(masks, sparsity)
    elif scope == "global":
        return kept_counts.kept_count(sum(sizes), sparsity)
    else:
        fractions = [sparsity] * len(sizes)
    return [kept_counts.kept_count(n, s) for n, s in zip(sizes, fractions, strict=True)]


def _fractions(masks, sparsity):
    """Returns the sparsities of the layers in their order, and checks their names."""
    layers, found = masks_lib.names(masks), masks_lib.names(sparsity)
    listed = isinstance(sparsity, list | tuple) and len(found) == len(layers)
    if not listed and found != layers:
        raise ValueError(
            "sparsity must be a number, or one for each prunable layer, a list in "
            f"their order or a tree with their names, got sparsity = {sparsity} for "
            f"the layers {', '.join(layers)}"
        )
    return jax.tree.leaves(sparsity)


def check_sparsity(**sparsities: Any) -> None:
    """Refuses sparsities, or trees of them, that are not in [0, 1).

    Raises:
      ValueError: One is not.
    """
    for name, tree in sparsities.items():
        for value in jax.tree.leaves(tree):
            kept_counts.check_sparsity(value, name)


def check_given(params: Any) -> None:
    """Refuses an update without the parameters.

    Raises:
      ValueError: `params` is `None`.
    """
    if params is None:
        raise ValueError(
            "an optimizer that carries masks needs the parameters, got params = None; "
            "call update(grads, state, params)"
        )


def check_steps(least: int, **steps: Any) -> None:
    """Refuses what is no whole number of at least `least`.

    Raises:
      ValueError: One of the steps is not.
    """
    for name, value in steps.items():
        if not (value >= least and math.isfinite(value) and value == int(value)):
            raise ValueError(
                f"{name} must be a whole number of at least {least}, got "
                f"{name} = {value}"
            )
