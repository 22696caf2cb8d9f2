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


def drawn_scores(seed, kind):
    """Returns random scores, with heavy ties, wide ones or the float's extremes."""
    generator = np.random.default_rng(seed)
    extremes = np.array([-np.inf, -1.0, -1e-40, -0.0, 0.0, 1e-40, 2e-40, np.inf])
    kinds = {
        "tied": lambda shape: generator.integers(-2, 3, shape),
        "constant": lambda shape: np.ones(shape),
        "wide": lambda shape: generator.normal(size=shape) ** 9,
        "extreme": lambda shape: generator.choice(extremes, shape),
    }
    return tree([jnp.array(kinds[kind](s), jnp.float32) for s in SHAPES.values()])


def by_layer(kept):
    """Returns how many weights each layer keeps."""
    return [left for left, _ in masks.layers(kept).values()]


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
