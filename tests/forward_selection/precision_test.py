"""Selection in float32 and of bytes: the picks and losses of exact numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.forward_selection import neurons as neurons_lib

RULES = ("uniform", "frank_wolfe", "line_search")
pytestmark = pytest.mark.usefixtures("double")


def test_in_float32_the_losses_are_those_of_float64():
    rng = np.random.default_rng(6)
    features, y = rng.standard_normal((60, 40)), rng.standard_normal(40)
    wanted = neurons_lib.select(features, y, 100)
    with jax.enable_x64(False):
        for options in ({}, {"block": 8}):
            found = neurons_lib.select(
                jnp.asarray(features, jnp.float32), y.astype(np.float32), 100, **options
            )
            assert found.losses.dtype == jnp.float32
            np.testing.assert_allclose(found.losses, wanted.losses, rtol=1e-5)


def test_bytes_are_selected_as_the_numbers_they_are_and_nan_is_not_hidden():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8)
    y = np.arange(7, dtype=np.int32)
    found = neurons_lib.select(pixels, y, 5)
    wanted = neurons_lib.select(pixels.astype(np.float32), y.astype(np.float32), 5)
    assert found.picks.tolist() == wanted.picks.tolist()
    np.testing.assert_array_equal(found.losses, wanted.losses)
    broken = jnp.ones((9, 7)).at[2, 1].set(jnp.nan)
    assert jnp.isnan(neurons_lib.select(broken, y, 3).losses).all()


@pytest.mark.parametrize("offset", [30.0, 300.0])
@pytest.mark.parametrize("rule", RULES)
def test_an_offset_of_all_answers_changes_no_pick(offset, rule):
    with jax.enable_x64(False):
        rng = np.random.default_rng(1)
        features = (offset + rng.standard_normal((50, 40))).astype(np.float32)
        target = (offset + 0.3 * rng.standard_normal(40)).astype(np.float32)
        found = neurons_lib.select(features, target, 20, weights=rule)
        products = neurons_lib.inner(features, target)
    exact = neurons_lib.select(
        features.astype(np.float64), target.astype(np.float64), 20, weights=rule
    )
    np.testing.assert_array_equal(found.picks, exact.picks)
    np.testing.assert_allclose(found.losses, exact.losses, rtol=1e-3)
    wide = features.astype(np.float64)
    gram = wide @ wide.T / 40
    known = neurons_lib.select_gram(
        gram,
        wide @ target.astype(np.float64) / 40,
        np.mean(target.astype(float) ** 2),
        20,
        weights=rule,
    )
    np.testing.assert_array_equal(known.picks, exact.picks)
    assert products.norms.dtype == jnp.float32
