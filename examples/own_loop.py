"""A convolutional network of one's own, in a plain loop: train, prune, rewind, retrain.

    python examples/own_loop.py

Prints the accuracy of each level on the digits' test set.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import lthjax as lth
from lthjax.data import in_memory
from lthjax.devices import cpu_convolutions

LEVELS, STEPS, BATCH = 4, 150, 100


class Net(nn.Module):
    """Two convolutions and a dense layer."""

    @nn.compact
    def __call__(self, x):
        """Returns logits [batch, 10] of images [batch, 8, 8, 1]."""
        x = nn.relu(nn.Conv(16, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(16, (3, 3), strides=2, name="conv2")(x))
        return nn.Dense(10, name="head")(x.reshape(len(x), -1))


def batches(rng, split):
    """Yields so many random batches of a split."""
    for _ in range(STEPS):
        at = rng.integers(0, len(split.labels), BATCH)
        yield split.images[at] / np.float32(255), split.labels[at]


def main():
    """Trains and prunes, level by level."""
    cpu_convolutions.lower_convolutions()  # fast ones on a CPU
    train, _, test, *_ = in_memory.load("digits")
    model, tx = Net(), lth.keep(optax.adam(3e-3))
    first = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))["params"]
    kept = lth.masks.full(first, exclude=["^head"])

    @jax.jit  # masks are an argument: compiled once for all levels
    def step(params, state, kept, images, labels):
        def loss(params):
            logits = model.apply({"params": params}, images)
            return lth.losses.cross_entropy(logits, labels).mean()

        grads = jax.grad(loss)(params)
        updates, state = tx.update(grads, state, params, masks=kept)
        return optax.apply_updates(params, updates), state

    @jax.jit
    def prune(params, kept, count):
        return lth.prune(kept, lth.scores.magnitude(params, kept), kept=count)

    @jax.jit
    def accuracy(params, images, labels):
        logits = model.apply({"params": params}, images)
        return lth.losses.correct(logits, labels).mean()

    total = lth.masks.count(kept)[1]
    for level in range(LEVELS):
        params = lth.masks.apply(first, kept)  # rewound to the first weights
        state, rng = tx.init(params), np.random.default_rng(level)
        for images, labels in batches(rng, train):
            params, state = step(params, state, kept, images, labels)
        right = accuracy(params, test.images / np.float32(255), test.labels)
        left = int(lth.masks.count(kept)[0])
        print(f"level {level}: {left:5,} of {total:,} weights, {right:.1%}")
        kept = prune(params, kept, round(total * 0.5 ** (level + 1)))


if __name__ == "__main__":
    main()
