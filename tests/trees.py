"""Small trees of weights and masks, and what tests ask of them."""

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.pruning import choose, masks, scores

SHAPES = {"first": (3, 4), "second": (2, 3, 2), "third": (5,)}
SIZES = [12, 12, 5]
TOTAL = sum(SIZES)


def tree(leaves):
    """Puts one leaf a layer into the shape of parameters with unprunable biases."""
    return {
        name: {"kernel": leaf, "bias": None}
        for name, leaf in zip(SHAPES, leaves, strict=True)
    }


FULL = tree([jnp.ones(shape, bool) for shape in SHAPES.values()])


def flat(leaves):
    """Returns all leaves in one row."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(leaves)])


def inside(inner, outer):
    """Says whether what one keeps, the other keeps too."""
    return all(
        (~m | o).all()
        for m, o in zip(jax.tree.leaves(inner), jax.tree.leaves(outer), strict=True)
    )


def partly(params, kept):
    """Returns masks that keep some weights, drawn at random."""
    full = masks.full(params)
    return choose.prune(full, scores.random(jax.random.key(0), params, full), kept=kept)


def assert_same(found, expected):
    """Checks that two trees have the same structure and bits, some bits at least."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert expected is None or jax.tree.leaves(expected), "there is nothing to compare"
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def same(a, b):
    """Says whether two trees of one structure have the same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert jax.tree.leaves(a)
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))
