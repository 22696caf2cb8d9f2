"""Networks drawn and applied by one compiled program each, not one an operation."""

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import models

initialise = jax.jit(models.initialise, static_argnums=0)
apply = jax.jit(models.apply, static_argnums=0, static_argnames="train")


def drawn(name, images, options, width=1.0):
    """Returns a network of random weights, norms and statistics: module, both trees.

    None of them is at its trivial start: vectors lie in [0.2, 1.5], kernels have the
    variance of one by their inputs.
    """
    model = models.build(name, 3, width=width, options=options)
    shapes = jax.eval_shape(
        lambda key: models.initialise(model, key, images), jax.random.key(0)
    )
    leaves, structure = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    found = [
        rng.uniform(0.2, 1.5, w.shape)
        if w.ndim == 1
        else rng.normal(0, np.prod(w.shape[:-1]) ** -0.5, w.shape)
        for w in leaves
    ]
    found = [jnp.asarray(w, jnp.float32) for w in found]
    return model, *jax.tree.unflatten(structure, found)
