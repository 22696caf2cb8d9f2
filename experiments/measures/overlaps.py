"""How much masks that are drawn early have in common with those of the end."""

import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lthjax.analysis import comparison
from lthjax.program.workdir import layout
from lthjax.pruning import choose, scores


def in_common(root: pathlib.Path, seed: int, shares: Sequence[float]) -> list[float]:
    """Returns the overlap of early and final masks of the dense network, by share.

    Args:
      root: The workdir, whose first ticket holds the weights of the early step.
      seed: Whose tickets.
      shares: Sparsities, at each of which both are pruned at one go.
    """
    early = layout.load_ticket(root, seed, 1)
    end = layout.load_trained(root, "ticket", seed, 0).params
    full = jax.tree.map(jnp.ones_like, early.masks)
    trees = [(full, scores.magnitude(w, full)) for w in (early.params, end)]
    pairs = ([choose.prune(*tree, share) for tree in trees] for share in shares)
    return [float(comparison.overlap(*pair)) for pair in pairs]
