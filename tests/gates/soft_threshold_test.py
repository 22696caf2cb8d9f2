"""Soft thresholds, against published values and their own equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lthjax.gates import soft_threshold
from lthjax.program.run import experiment

WEIGHTS = jnp.array([0.5, -0.1, 0.05, -0.9])


def shrunk(weights, logit):
    return soft_threshold.shrink(weights, soft_threshold.thresholds(logit))


def test_weights_shrink_by_the_published_threshold():
    logit = jnp.float32(-2.0)
    np.testing.assert_allclose(soft_threshold.thresholds(logit), 0.119203, atol=5e-7)
    expected = [0.380797, 0, 0, -0.780797]
    np.testing.assert_allclose(shrunk(WEIGHTS, logit), expected, atol=5e-7)


def test_the_network_begins_dense_and_what_has_no_threshold_stays():
    params = {"kernel": WEIGHTS, "bias": jnp.ones(2)}
    masks = {"kernel": WEIGHTS != 0, "bias": None}
    found = shrunk(params, soft_threshold.init(masks, -3200.0))
    assert (found["kernel"] == WEIGHTS).all()
    assert found["bias"] is params["bias"]


def test_the_price_of_logits_in_half_precision_is_finite():
    half = {"kernel": jnp.float16(-3200), "bias": None}
    assert soft_threshold.price(half) == soft_threshold.price({"kernel": -3200.0})
    assert soft_threshold.price(half).dtype == jnp.float32


def test_weights_of_64_bits_and_complex_ones_shrink_as_they_are():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        small = jnp.asarray([1e-60, 1 / 3])
        found = soft_threshold.shrink(small, jnp.float32(0))
        np.testing.assert_array_equal(found, small)
        turned = jnp.asarray([3 + 4j, 0.6j], jnp.complex64)
        found = soft_threshold.shrink(turned, jnp.float32(1))
    assert found.dtype == jnp.complex64
    np.testing.assert_allclose(found, [2.4 + 3.2j, 0], rtol=1e-6)


def test_only_weights_beyond_the_threshold_have_a_gradient_and_push_it():
    logit, direction = jnp.float32(-2.0), jnp.array([1.0, 2.0, 3.0, 4.0])
    by_weight, by_logit = jax.grad(lambda w, s: shrunk(w, s) @ direction, (0, 1))(
        WEIGHTS, logit
    )
    assert by_weight.tolist() == [1, 0, 0, 4]
    slope = jax.grad(jax.nn.sigmoid)(logit)
    np.testing.assert_allclose(by_logit, slope * (4 - 1), rtol=1e-6)


@pytest.mark.slow
def test_decay_on_the_logits_is_what_prunes(tmp_path):
    """Without it nothing moves a logit that begins far below zero."""
    start = {"search.gates.initial": (-5.0,), "search.gates.learning_rate": 0.5}
    settings = {"seeds": (0,), "search.levels": 1, "search.method": "soft_threshold"}
    kept = []
    for decay in (0.0, 0.1):
        changes = {**settings, **start, "search.gates.penalty": decay}
        rows = experiment.run(tiny.config(changes), tmp_path / str(decay))
        kept += [row["kept"] for row in rows if row["arm"] == "search"]
    assert 0 < kept[1] < kept[0]


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"search.gates.initial": (-5.0,), "search.sparsities": (0.5,)},
            "set search.gates.penalty",
        ),
        ({}, r"below a half, .* got search.gates.initial = \(0.0,\).* give \(-5.0,\)"),
        ({"search.gates.initial": (-5.0, 0.1)}, r"got .* = \(-5.0, 0.1\)"),
    ],
)
def test_what_a_sparsity_or_a_high_threshold_would_do_is_refused(
    changes, said, tmp_path
):
    config = tiny.config({"search.method": "soft_threshold", **changes})
    with pytest.raises(ValueError, match=said):
        experiment.run(config, tmp_path)


def test_thresholds_are_made_from_masks_alone():
    with pytest.raises(ValueError, match="give masks.full"):
        soft_threshold.init({"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}, -5.0)
