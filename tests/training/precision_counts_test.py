import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.analysis import average_precision, overlaps
from lthjax.training import precision_counts, recognition
from lthjax.training.centre_points import Found

IMAGES, FINDS, OBJECTS, CLASSES, POINTS = 8, 6, 4, 3, 2


def boxes(rng, *shape):
    corner = rng.uniform(0, 0.6, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(0.1, 0.4, (*shape, 2))], -1)


def case(seed):
    """Finds near objects and elsewhere, some of them crowds or without a point."""
    rng = np.random.default_rng(seed)
    given = boxes(rng, IMAGES, OBJECTS)
    kinds = rng.integers(-1, CLASSES, (IMAGES, OBJECTS))
    points = rng.uniform(0, 1, (IMAGES, OBJECTS, POINTS, 3))
    points[..., 2] = rng.integers(0, 2, points.shape[:3])
    sizes = (given[..., 2:] - given[..., :2]).prod(-1)
    crowd = rng.uniform(size=kinds.shape) < 0.2
    flat = points.reshape(IMAGES, OBJECTS, -1)
    columns = [kinds[..., None], given, sizes[..., None], crowd[..., None], flat]
    near = rng.integers(0, OBJECTS, (IMAGES, FINDS))
    image = np.arange(IMAGES)[:, None]
    found = given[image, near] + rng.normal(0, 0.02, (IMAGES, FINDS, 4))
    where = points[image, near, :, :2]
    where = where + rng.normal(0, 0.02, where.shape)
    # A bin each, so that no find is taken together with another one.
    number = IMAGES * FINDS
    odds = (rng.permutation(precision_counts.BINS)[:number] + 0.5) / 8 - 8
    odds = -np.sort(-odds.reshape(IMAGES, FINDS), axis=1)
    scores, classes = 1 / (1 + np.exp(-odds)), np.maximum(kinds[image, near], 0)
    return Found(scores, classes, found, where), np.concatenate(columns, -1)


def single(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_where_each_find_has_a_bin_the_precision_is_exact_and_counts_add_up(kind, seed):
    found, labels = case(seed)
    # Without points nothing is blind.
    labels = labels if kind == "points" else labels[..., :7]
    exact = {"boxes": recognition.box_precision, "points": recognition.point_precision}
    expected = exact[kind](recognition.Read(found, labels))["ap"]

    @jax.jit
    def counts(found, labels, weights):
        similar = (
            precision_counts.box_overlaps(found.boxes, labels)
            if kind == "boxes"
            else precision_counts.point_similarities(found.points, labels)
        )
        given = similar, found, labels, weights
        return precision_counts.of_finds(*given, classes=CLASSES)

    own = single((found, labels))
    halves = [jnp.arange(IMAGES) < 3, jnp.arange(IMAGES) >= 3]  # weights, 0 or 1
    parts = [counts(*own, half.astype(jnp.float32)) for half in halves]
    number = precision_counts.average(jax.tree.map(jnp.add, *parts))
    assert 0.05 < expected < 0.95
    np.testing.assert_allclose(number, expected, atol=1e-5)


def test_overlaps_and_similarities_are_those_of_the_analysis():
    found, labels = case(2)
    own, given = single((found, labels))
    near = precision_counts.box_overlaps(own.boxes, given)
    alike = precision_counts.point_similarities(own.points, given)
    for i, rows in enumerate(labels):
        expected = overlaps.box_overlaps(found.boxes[i], rows[:, 1:5], rows[:, 6] > 0)
        np.testing.assert_allclose(near[i], expected, atol=1e-5)
        points = rows[:, 7:].reshape(OBJECTS, POINTS, 3)
        expected = overlaps.point_similarities(
            found.points[i], points, rows[:, 1:5], rows[:, 5]
        )
        np.testing.assert_allclose(alike[i], expected, atol=1e-5)


def test_of_nothing_the_precision_is_zero():
    shape = CLASSES, precision_counts.BINS, len(average_precision.THRESHOLDS)
    none = precision_counts.Counts(
        jnp.zeros(shape), jnp.ones(shape), jnp.zeros(CLASSES)
    )
    assert precision_counts.average(none) == 0
    assert recognition.overlap(jnp.zeros((3, 3))) == 0


def test_the_overlap_of_pixels_is_that_of_the_whole_set():
    counts = np.array([[3.0, 1.0, 0.0], [2.0, 5.0, 0.0], [0.0, 0.0, 0.0]])
    expected = overlaps.mean_overlap(counts)
    np.testing.assert_allclose(recognition.overlap(jnp.array(counts)), expected, 1e-6)
