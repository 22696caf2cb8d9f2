"""The weights and the masks of two small networks."""

import jax

SHAPES = {"conv": (3, 3, 4, 8), "head": (8, 10)}


KEEP = {"conv": 0.2, "head": 0.6}


def drawn(seed, keep=KEEP):
    """Masks that keep each weight with its layer's probability."""
    keys = jax.random.split(jax.random.key(seed), len(SHAPES))
    return {
        name: {"kernel": jax.random.bernoulli(key, keep[name], shape), "bias": None}
        for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }


def weights(seed):
    keys = iter(jax.random.split(jax.random.key(seed), 2 * len(SHAPES)))
    return {
        name: {
            "kernel": jax.random.normal(next(keys), shape),
            "bias": jax.random.normal(next(keys), shape[-1:]),
        }
        for name, shape in SHAPES.items()
    }


A, B, C = (drawn(seed) for seed in range(3))
