import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from lthjax.forward_selection import convex_hull

SQUARE = jnp.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # a neuron a corner


def dictionary(seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.standard_normal((12, 6)), jnp.float32)


def test_the_diameter_is_the_largest_distance_and_lies_between_one_and_two_radii():
    features = dictionary()
    gaps = features[:, None] - features[None]
    wanted = np.sqrt(np.mean(np.square(gaps), axis=2).max())
    np.testing.assert_allclose(convex_hull.diameter(features), wanted, rtol=1e-5)
    assert convex_hull.radius(features) <= wanted <= 2 * convex_hull.radius(features)


@pytest.mark.parametrize(
    "target, squared",
    # The nearest point of the square is the target cut to it, coordinate by coordinate.
    [((0.3, -0.2), 0.0), ((3.0, 0.0), 4 / 2), ((2.0, 3.0), (1 + 4) / 2)],
)
def test_the_distance_to_a_square_is_the_known_one(target, squared):
    found = convex_hull.nearest(SQUARE, jnp.array(target), tolerance=1e-6)
    assert abs(found.loss - squared / 2) <= found.gap + 1e-6
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)


def test_a_mixture_is_in_the_hull_and_the_gap_certifies_it():
    features = dictionary()
    mixture = np.random.default_rng(1).dirichlet(np.ones(12))
    target = jnp.asarray(mixture @ features, jnp.float32)
    found = convex_hull.nearest(features, target, tolerance=1e-4)
    scale = jnp.mean(jnp.square(target)) / 2
    assert 0 <= found.loss <= found.gap + 1e-6 <= 1e-4 * scale + 2e-6
    direct = jnp.mean(jnp.square(found.weights @ features - target)) / 2
    np.testing.assert_allclose(found.loss, direct, atol=1e-6)


def test_the_hull_is_never_farther_than_the_dense_network():
    features = dictionary(4)
    target = features.mean(0) + 1e-3
    found = convex_hull.nearest(features, target, most=3)
    assert found.loss <= jnp.mean(jnp.square(features.mean(0) - target)) / 2 + 1e-9


def test_labels_that_a_mixture_gives_have_a_margin_and_contradictions_have_none():
    features = np.asarray(dictionary(2), float)
    mixture = np.random.default_rng(3).dirichlet(np.ones(12))
    signs = np.where(mixture @ features > 0, 1, -1)
    margin, weights = convex_hull.margin(features, signs)
    assert margin >= np.abs(mixture @ features).min() - 1e-7
    assert (signs * (weights @ features)).min() == margin
    doubled = np.concatenate([features, features], axis=1)
    assert convex_hull.margin(doubled, np.append(signs, -signs))[0] <= 1e-7
    with pytest.raises(ValueError, match=r"signs must be \+1 or -1"):
        convex_hull.margin(features, np.arange(6))


@pytest.mark.parametrize("outside", [False, True])
def test_the_hull_has_what_a_linear_program_has(outside):
    features = np.asarray(dictionary(5), float)
    rng = np.random.default_rng(6)
    for _ in range(3):
        target = rng.dirichlet(np.ones(12)) @ features
        if outside:  # beyond all neurons in some direction
            along = rng.standard_normal(6)
            target = target + 2 * along * np.ptp(features @ along) / (along @ along)
        found = optimize.linprog(
            np.zeros(12),
            A_eq=np.concatenate([features.T, np.ones((1, 12))]),
            b_eq=np.append(target, 1.0),
        )
        near = convex_hull.nearest(
            jnp.asarray(features, jnp.float32), jnp.float32(target)
        )
        assert (found.status == 0) == (near.loss <= near.gap + 1e-6)
        assert (found.status == 2) == outside


def test_bytes_are_numbers_and_lengths_do_not_cancel():
    small = jnp.array([[200, 100], [100, 250]], jnp.uint8)
    target = jnp.array([100, 200], jnp.uint8)
    for measure in (convex_hull.diameter, convex_hull.radius):
        np.testing.assert_allclose(measure(small), measure(small.astype(float)))
    found = convex_hull.nearest(small, target)
    expected = convex_hull.nearest(small.astype(float), target.astype(float))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    far = np.random.default_rng(0).standard_normal((5, 50)) * 1e-2 + 100
    far = far.astype("float32")
    apart = far[:, None].astype(float) - far[None]
    wanted = np.sqrt((apart**2).mean(-1).max())
    np.testing.assert_allclose(
        convex_hull.diameter(jnp.asarray(far)), wanted, rtol=1e-3
    )
    centred = far.astype(float) - far.astype(float).mean(0)
    wanted = np.sqrt((centred**2).mean(1).max())
    np.testing.assert_allclose(convex_hull.radius(jnp.asarray(far)), wanted, rtol=1e-3)


@pytest.mark.parametrize(
    "act, words",
    [
        (lambda: convex_hull.diameter(jnp.ones(4)), r"\[neurons, examples\]"),
        (lambda: convex_hull.radius(jnp.ones((0, 4))), "got features of none"),
        (lambda: convex_hull.nearest(SQUARE, 0.5), r"target.shape = \(\)"),
        (lambda: convex_hull.nearest(SQUARE, jnp.ones((2, 1))), r"shape = \(2, 1\)"),
        (lambda: convex_hull.margin(SQUARE, np.ones(1)), "each of the 2 examples"),
        (lambda: convex_hull.margin(SQUARE * np.inf, np.ones(2)), "must be finite"),
    ],
)
def test_what_is_no_dictionary_with_its_targets_is_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()
