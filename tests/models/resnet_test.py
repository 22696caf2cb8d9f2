"""The stem for photographs: what comes after its pool might have come before it."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lthjax import models

OPTIONS = {"blocks": (1,), "channels": (3,), "variant": "imagenet"}


def outcome(activation):
    options = OPTIONS | {"activation": activation}
    network = models.build("resnet18_imagenet", 4, options=options)
    images = jax.random.normal(jax.random.key(1), (2, 13, 12, 3))
    params, state = models.initialise(network, jax.random.key(0), images)

    @jax.jit
    def value_and_grad(params, images):
        def loss(params, images):
            logits, after = models.apply(network, params, state, images, train=True)
            return jnp.sum(logits @ jnp.arange(4.0)), after

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, images)

    return value_and_grad(params, images)


def test_a_relu_after_the_pool_of_a_stem_has_the_values_and_derivatives_of_one_before():
    after, before = outcome(nn.relu), outcome(lambda x: nn.relu(x))
    close = np.testing.assert_allclose
    jax.tree.map(lambda a, b: close(a, b, rtol=1e-5, atol=1e-6), after, before)
