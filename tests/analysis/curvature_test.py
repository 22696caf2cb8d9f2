"""The loss around a ticket, against its explicit Hessian."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from trees import assert_same

from lthjax import models
from lthjax.analysis import curvature
from lthjax.pruning import masks as masks_lib
from lthjax.training import losses

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (12, 2, 2, 1))
LABELS = jnp.arange(12) % 3
NETWORK = models.build("mlp", 3, options={"hidden": (4,)})


@functools.cache
def ticket():
    params, _ = networks.initialise(NETWORK, KEY, IMAGES)
    full = masks_lib.full(params)
    kept = jax.tree.map(lambda m: jax.random.bernoulli(KEY, 0.5, m.shape), full)
    return params, kept


def loss_fn(params):
    logits, _ = models.apply(NETWORK, params, {}, IMAGES, train=False)
    return jnp.mean(losses.cross_entropy(logits, LABELS))


@functools.cache
def explicit():
    """The gradient and the Hessian by the kept coordinates, as matrices."""
    params, kept = ticket()
    start, restore = jax.flatten_util.ravel_pytree(masks_lib.apply(params, kept))
    ones = jax.tree.map(jnp.ones_like, params)
    keep = np.asarray(jax.flatten_util.ravel_pytree(masks_lib.apply(ones, kept))[0])
    flat = lambda w: loss_fn(restore(w))  # noqa: E731
    slope, hessian = jax.jit(lambda w: (jax.grad(flat)(w), jax.hessian(flat)(w)))(start)
    return np.asarray(slope) * keep, np.asarray(hessian) * np.outer(keep, keep)


def test_the_gradients_norm_is_of_kept_coordinates():
    found = curvature.gradient_norm(loss_fn, *ticket())
    np.testing.assert_allclose(found, np.linalg.norm(explicit()[0]), rtol=1e-5)


def test_power_iteration_finds_the_largest_eigenvalue():
    values = np.linalg.eigvalsh(explicit()[1])
    largest = values[np.argmax(np.abs(values))]
    found = curvature.top_eigenvalue(KEY, loss_fn, *ticket(), iterations=200)
    np.testing.assert_allclose(found, largest, rtol=1e-3)


def test_the_trace_is_within_its_error():
    found, error = curvature.trace(KEY, loss_fn, *ticket(), probes=200)
    assert error > 0
    # Four standard errors: one draw in 15,000 lies farther off.
    assert abs(found - np.trace(explicit()[1])) < 4 * error


@pytest.mark.parametrize("probes", [0, 1])
def test_a_trace_of_too_few_probes_has_no_error_and_is_refused(probes):
    with pytest.raises(ValueError, match=f"at least 2 probes, got probes = {probes}"):
        curvature.trace(KEY, loss_fn, *ticket(), probes=probes)


def test_pruned_weights_do_not_matter():
    params, kept = ticket()
    other = jax.tree.map(
        lambda w, m: w if m is None else jnp.where(m, w, 9.0), params, kept
    )
    for fn in (curvature.top_eigenvalue, curvature.trace, curvature.surface):
        found = [fn(KEY, loss_fn, tree, kept) for tree in (params, other)]
        assert_same(*found)


def test_the_surface_has_the_ticket_in_its_middle():
    params, kept = ticket()
    steps, found = curvature.surface(KEY, loss_fn, params, kept, points=3)
    own = loss_fn(masks_lib.apply(params, kept))
    np.testing.assert_allclose(found[1, 1], own, rtol=1e-6)
    np.testing.assert_array_equal(steps, [-1, 0, 1])
    assert len(np.unique(found)) == 9


def test_quiet_activations_are_those_that_relu_cuts():
    params, _ = ticket()

    def forward(model):
        return models.apply(model, params, {}, IMAGES, train=False)

    found = curvature.quiet(NETWORK, forward, threshold=0.0)
    layer = params["dense1"]
    x = IMAGES.reshape(12, -1) @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(found, np.mean(x <= 0))


def test_two_eigenvalues_of_opposite_signs_are_told_apart():
    full, params = {"a": jnp.ones(2, bool)}, {"a": jnp.array([1.0, 2.0])}
    for pair in ((3.0, -3.0), (3.0, -2.9), (2.9, -3.0), (3.0, 0.0)):
        spectrum = jnp.array(pair)
        found = [
            curvature.top_eigenvalue(
                jax.random.key(i),
                lambda w, s=spectrum: jnp.sum(s * w["a"] ** 2) / 2,
                params,
                full,
            )
            for i in range(3)
        ]
        wanted = max(abs(x) for x in pair)
        np.testing.assert_allclose(np.abs(found), wanted, rtol=1e-5)
        if abs(pair[0]) != abs(pair[1]):
            assert np.sign(found[0]) == np.sign(max(pair, key=abs))


@pytest.mark.parametrize(
    "measure",
    [
        curvature.gradient_norm,
        functools.partial(curvature.product, vector=None),
        functools.partial(curvature.top_eigenvalue, jax.random.key(0)),
        functools.partial(curvature.trace, jax.random.key(0)),
        functools.partial(curvature.surface, jax.random.key(0)),
    ],
)
def test_weights_without_a_gradient_are_refused_by_name(measure):
    masks = {"a": jnp.ones(2, bool), "b": None}
    for b, message in (
        (jnp.array(3), "must be floating, .* got b = int32"),
        (jnp.array(3j), "real weights, got complex ones in b"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(lambda w: jnp.sum(w["a"]), {"a": jnp.ones(2), "b": b}, masks)


def test_losses_of_half_precision_are_float32():
    params = {"kernel": jnp.ones((2, 2), jnp.bfloat16)}
    full = masks_lib.full(params)
    found = curvature.surface(
        KEY, lambda w: jnp.sum(w["kernel"] ** 2), params, full, points=3
    )
    assert found.losses.dtype == jnp.float32 and found.losses[1, 1] == 4


def test_a_surface_of_one_point_is_refused():
    with pytest.raises(ValueError, match="points must be at least 2, got points = 1"):
        curvature.surface(KEY, sum, {}, {}, points=1)
