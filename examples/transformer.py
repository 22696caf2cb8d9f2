"""A vision transformer whose heads are pruned, and then single weights.

    python examples/transformer.py

Prints the accuracy on the digits' test set, and the heads that are left in each block.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lthjax as lth
from lthjax import models
from lthjax.data import in_memory
from lthjax.pruning import heads, views

STEPS = 300
OPTIONS = {"patch": 4, "features": 32, "depth": 1, "heads": 4, "pool": "mean"}
ATTENTION = r"attention/.*kernel$"

train_set, _, test_set, *_ = in_memory.load("digits")
images, labels = train_set.images / np.float32(255), train_set.labels
tests = test_set.images / np.float32(255)
model = models.build("vit_tiny", 10, options=OPTIONS)
first, _ = jax.jit(lambda key: models.initialise(model, key, images[:1]))(
    jax.random.key(0)
)
axes = views.of(model.init, jax.random.key(0), images[:1])
tx = lth.keep(optax.adam(3e-3))


@jax.jit
def train(params, kept, key):
    """Returns what a ticket trains to in so many steps of 64 images."""

    def loss(params, at):
        logits, _ = models.apply(model, params, {}, images[at], train=True)
        return lth.losses.cross_entropy(logits, labels[at]).mean()

    def step(i, carry):
        params, state = carry
        at = jax.random.randint(jax.random.fold_in(key, i), (64,), 0, len(labels))
        grads = jax.grad(loss)(params, at)
        updates, state = tx.update(grads, state, params, masks=kept)
        return optax.apply_updates(params, updates), state

    begin = lth.masks.apply(params, kept)
    return jax.lax.fori_loop(0, STEPS, step, (begin, tx.init(begin)))[0]


@jax.jit
def accuracy(params):
    """Returns the share of the test images that are told."""
    logits, _ = models.apply(model, params, {}, tests, train=False)
    return lth.losses.correct(logits, test_set.labels).mean()


@jax.jit
def without_heads(params, kept):
    """Returns masks of half of the heads, of all kernels of their attention at once."""
    found = lth.scores.magnitude(params, kept)
    return heads.heads(kept, found, 0.5, minimum=1, views=axes)


images, labels = jnp.asarray(images), jnp.asarray(labels)
key = jax.random.key(1)
full = lth.masks.full(first, include=r"kernel$|embedding$")  # tables of positions too
dense = train(first, full, key)
print(f"dense: {accuracy(dense):.1%}")

kept = without_heads(dense, lth.masks.full(first, include=ATTENTION))
for block, count in heads.counts(kept, axes).items():
    print(f"{block}: {int((count > 0).sum())} of {OPTIONS['heads']} heads are left")
kept = jax.tree.map(lambda all, own: all if own is None else own, full, kept)
print(f"half of the heads: {accuracy(train(first, kept, key)):.1%}")

kept = jax.jit(lambda p, m: lth.prune(m, lth.scores.magnitude(p, m), 0.8))(dense, full)
print(f"a fifth of the weights: {accuracy(train(first, kept, key)):.1%}")
