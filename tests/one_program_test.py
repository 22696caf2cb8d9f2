"""The whole loop, train, prune, rewind, retrain, level after level, as one function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from trees import assert_same

from lthjax import models
from lthjax.pruning import choose, masks, scores, sparsities
from lthjax.training import losses
from lthjax.training import zeros as zeros_lib

SIZE, CLASSES, LEVELS = 64, 3, 3


def lottery(key, network, data, counts, steps=30):
    """Returns the masks and the trained parameters of every level.

    Args:
      key: A JAX PRNG key.
      network: A flax module.
      data: (images [n, ...], labels [n]), a batch.
      counts: How many weights each level keeps [levels], all of them first.
      steps: The length of a training.
    """
    images, labels = data
    tx = zeros_lib.keep(optax.sgd(0.1, momentum=0.9))
    init, state = models.initialise(network, key, images)

    def loss(params):
        logits, _ = models.apply(network, params, state, images, train=True)
        return jnp.mean(losses.cross_entropy(logits, labels))

    def train(tree):
        def step(_, carry):
            params, opt_state = carry
            grads = jax.grad(loss)(params)
            updates, opt_state = tx.update(grads, opt_state, params, masks=tree)
            return optax.apply_updates(params, updates), opt_state

        params = masks.apply(init, tree)
        return lax.fori_loop(0, steps, step, (params, tx.init(params)))[0]

    def level(ticket, kept):
        tree, trained = ticket
        ranked = scores.magnitude(trained, tree)
        tree = choose.prune(tree, ranked, kept=kept)
        ticket = tree, train(tree)
        return ticket, ticket

    return lax.scan(level, (masks.full(init), init), counts)[1]


def task(shape):
    """Images whose label says which of the templates is in them, and noise."""
    keys = jax.random.split(jax.random.key(1), 3)
    labels = jax.random.randint(keys[0], (SIZE,), 0, CLASSES)
    templates = jax.random.normal(keys[1], (CLASSES, *shape))
    return templates[labels] + jax.random.normal(keys[2], (SIZE, *shape)), labels


def program(network, shape):
    """Returns a key's whole loop as one function, the counts computed on the host."""
    images, _ = data = task(shape)
    params, _ = jax.eval_shape(
        lambda key: models.initialise(network, key, images), jax.random.key(0)
    )
    total = sum(m.size for m in jax.tree.leaves(jax.eval_shape(masks.full, params)))
    counts = jnp.array([total, *sparsities.by_rate({"all": total}, 0.2, LEVELS)])
    return lambda key: lottery(key, network, data, counts), counts


def separate(function, keys):
    compiled = jax.jit(function)
    return jax.device_get([compiled(key) for key in keys])


KEYS = jax.random.split(jax.random.key(0), 8)
IMAGE = (4, 4, 1)


@functools.cache
def perceptrons():
    """Returns the loop of a small MLP, its counts, and eight separate runs of it."""
    network = models.build("mlp", CLASSES, options={"hidden": (8,)})
    loop, counts = program(network, IMAGE)
    return loop, counts, separate(loop, KEYS)


def member(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def prunable(tree, params):
    """Returns the masks and the magnitudes of all prunable weights, as two rows."""
    ranked = jax.tree.map(
        lambda w, mask: None if mask is None else np.abs(w), params, tree
    )
    rows = [jax.tree.leaves(part) for part in (tree, ranked)]
    return [np.concatenate([leaf.ravel() for leaf in row]) for row in rows]


def margin(tree, before, trained):
    """Returns by how much the lowest kept magnitude is above the highest pruned one."""
    kept, magnitudes = prunable(tree, trained)
    pruned = prunable(before, trained)[0] & ~kept
    return magnitudes[kept].min() - magnitudes[pruned].max()


def test_the_whole_loop_of_eight_keys_at_once_equals_eight_separate_runs():
    loop, counts, runs = perceptrons()
    together = jax.device_get(jax.jit(jax.vmap(loop))(KEYS))
    for i, (trees, trained) in enumerate(runs):
        found_trees, found = member(together, i)
        # Thirty steps a level, each level from the start: rounding cannot grow.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            found,
            trained,
        )
        assert_same(found_trees, trees)
        for level in range(1, LEVELS + 1):
            tree, before = member(trees, level), member(trees, level - 1)
            rows = [prunable(tree, member(w, level - 1)) for w in (found, trained)]
            rounding = np.abs(rows[0][1] - rows[1][1]).max()
            # Why the sets may be compared exactly: what rounds differently is far
            # from carrying a weight across the threshold.
            assert margin(tree, before, member(trained, level - 1)) > 4 * rounding
            assert rows[0][0].sum() == counts[level]


def test_every_level_trains_its_own_weights_and_keeps_zero_at_zero():
    network = models.build("mlp", CLASSES, options={"hidden": (8,)})
    trees, trained = perceptrons()[2][0]
    images, labels = task(IMAGE)
    for level in range(LEVELS + 1):
        params = member(trained, level)
        zeros = masks.apply(params, member(trees, level))
        assert_same(params, zeros)
        logits, _ = models.apply(network, params, {}, images, train=False)
        # Guessing is right a third of the time.
        assert losses.correct(logits, labels).mean() > 2 / 3
    for before, after in ((level - 1, level) for level in range(1, LEVELS + 1)):
        inside = jax.tree.map(lambda m, a=after, b=before: ~m[a] | m[b], trees)
        assert all(leaf.all() for leaf in jax.tree.leaves(inside))


@pytest.mark.slow
def test_a_convolutional_network_by_map_has_the_bits_of_separate_runs(lowered):
    options = {"channels": (3,), "hidden": ()}
    loop, counts = program(models.build("conv2", CLASSES, options=options), (6, 6, 1))
    found = jax.device_get(jax.jit(lambda keys: lax.map(loop, keys))(KEYS[:3]))
    for i, alone in enumerate(separate(loop, KEYS[:3])):
        assert_same(member(found, i), alone)
        kept = [prunable(*member(alone, n))[0].sum() for n in range(LEVELS + 1)]
        assert kept == [*counts]
