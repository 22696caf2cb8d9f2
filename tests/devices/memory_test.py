"""Less memory, the same numbers: computed again, in bfloat16, and given away."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from cases import rest_slow

from lthjax import models
from lthjax.devices import memory
from lthjax.training import steps

IMAGES = jnp.linspace(-1, 1, 8 * 32 * 32 * 3).reshape(8, 32, 32, 3)
LABELS = jnp.arange(8)
SMALL = {"resnet18": {"blocks": (1, 1)}, "vgg11": {"depths": (1, 1)}}


def derivative(name, **options):
    """Returns the compiled loss and gradient of a network, and their arguments."""
    network = models.build(name, 10, width=0.125, options=SMALL[name], **options)

    def apply_fn(params, model_state, images, train):
        return models.apply(network, params, model_state, images, train=train)

    loss_fn = steps.supervised(apply_fn)
    params, state = networks.initialise(network, jax.random.key(0), IMAGES)
    fn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    return fn.lower(params, state, IMAGES, LABELS).compile(), (params, state)


@pytest.mark.parametrize("name", rest_slow(SMALL, "vgg11"))
def test_what_is_computed_again_has_the_same_derivative(name):
    plain, args = derivative(name)
    again, _ = derivative(name, remat=True)
    (loss, state), grads = plain(*args, IMAGES, LABELS)
    (loss_again, state_again), grads_again = again(*args, IMAGES, LABELS)
    np.testing.assert_allclose(loss_again, loss, rtol=1e-5)
    for one, other in zip(
        jax.tree.leaves((grads, state)),
        jax.tree.leaves((grads_again, state_again)),
        strict=True,
    ):
        far = jnp.linalg.norm(one - other)
        assert far <= 1e-4 * jnp.linalg.norm(one) + 1e-6


@pytest.mark.parametrize(
    "name",
    rest_slow(["resnet20", "vgg16", "mobilenet_v1", "mobilenet_v2"], "resnet20"),
)
def test_the_derivative_keeps_only_what_goes_from_block_to_block(name):
    def kept(remat):
        network = models.build(name, 10, width=0.125, remat=remat)
        init = jax.eval_shape(
            lambda key: models.initialise(network, key, IMAGES), jax.random.key(0)
        )
        params, state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), init)

        def loss(params):
            return models.apply(network, params, state, IMAGES, train=True)[0].sum()

        _, residuals = jax.eval_shape(lambda p: jax.vjp(loss, p), params)
        return sum(x.size for x in jax.tree.leaves(residuals))

    assert kept(True) < kept(False) / 2


@pytest.mark.slow
def test_activations_in_bfloat16_leave_parameters_and_logits_in_float32():
    fn, (params, state) = derivative("resnet18", dtype="bfloat16")
    (loss, _), grads = fn(params, state, IMAGES, LABELS)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, grads, loss))} == {
        jnp.dtype("float32")
    }
    assert "bf16[8,32,32" in fn.as_text()


def test_a_users_network_must_take_what_it_is_asked_for():
    with pytest.raises(ValueError, match="takes no remat, .* got remat = True"):
        models.build("tiny:ConvNet", 10, remat=True)
    with pytest.raises(ValueError, match="takes no axis_name, .* axis_name = 'data'"):
        models.build("tiny:ConvNet", 10, axis_name="data")


def test_the_peak_is_at_least_what_lies_in_memory():
    before = memory.peak()
    held = np.ones(5 * 10**7, np.uint8)
    assert memory.peak() >= max(before, held.nbytes)
    assert "peak memory" in memory.text() and "GB" in memory.text()
