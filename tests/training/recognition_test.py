import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.training import centre_points, losses, precision_counts, recognition
from lthjax.training.centre_points import Found
from lthjax.training.objective import SEGMENTATION


def read(*, away=0.0, kind=1.0):
    """Two images with one object each, that of the second one moved, and padding."""
    box, points = [0.2, 0.2, 0.6, 0.6], [0.3, 0.3, 2.0, 0.5, 0.4, 2.0]
    row = [1.0, *box, 0.16, 0.0, *points]
    labels = np.array([[row, [-1.0] * 13]] * 2)
    moved = np.array([[0.0], [away]])
    boxes = np.array(box)[None] + moved
    where = np.array(points).reshape(1, 2, 3)[..., :2] + moved[..., None]
    classes = np.array([[1.0], [kind]])
    found = Found(np.array([[0.9], [0.8]]), classes, boxes[:, None], where[:, None])
    return recognition.Read(found, labels)


def test_what_is_found_where_it_is_is_worth_one():
    for measure in (recognition.box_precision, recognition.point_precision):
        found = measure(read())
        np.testing.assert_allclose([found["ap"], found["ar"]], 1.0)
    assert found["pck"] == 1.0


def test_what_is_elsewhere_or_of_another_class_is_missed():
    for given in (read(away=0.4), read(kind=0.0)):
        found = recognition.point_precision(given)
        np.testing.assert_allclose(found["ap"], 51 / 101)  # one of two, ranked first
        assert found["pck"] == 0.5


def test_images_without_objects_or_with_a_crowd_alone_are_evaluated():
    given = read()
    for row in ([-1.0] * 13, [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, *[0.0] * 6]):
        labels = given.labels.copy()
        labels[1, 0] = row
        found = recognition.point_precision(given._replace(labels=labels))
        np.testing.assert_allclose(found["ap"], 1.0)
        assert found["pck"] == 1.0
    none = jax.tree.map(lambda x: x[:0], given)
    found = recognition.point_precision(none)
    assert np.isnan(found["ap"]) and np.isnan(found["pck"])


def test_the_size_of_a_find_is_what_its_points_span():
    given = read()
    wide = np.tile(
        [0.0, 0.0, 1.0, 1.0], (2, 1, 1)
    )  # the boxes, of which points know not
    found = recognition._points(*next(recognition._images(given)))
    other = given._replace(found=given.found._replace(boxes=wide))
    np.testing.assert_allclose(found.areas, [0.2 * 0.1])
    assert recognition._points(*next(recognition._images(other))).areas == found.areas


def test_labels_that_are_no_class_do_not_count():
    logits = jax.nn.one_hot(jnp.array([[[0, 1], [1, 1]]]), 2)
    counts = recognition.confusions(logits, jnp.array([[[0, -1], [2, 1]]]))
    np.testing.assert_array_equal(counts, [[[1, 0], [0, 1]]])


def test_pixels_whose_logits_are_nan_are_wrong():
    logits = jnp.full((1, 2, 2, 2), jnp.nan)
    counts = recognition.confusions(logits, jnp.array([[[0, 1], [0, -1]]]))
    np.testing.assert_array_equal(counts, [[[0, 2], [1, 0]]])


def test_pixels_are_counted_by_class_and_by_what_is_said():
    logits = jax.nn.one_hot(jnp.array([[[0, 1], [1, 1]]]), 3)
    counts = recognition.confusions(logits, jnp.array([[[0, 1], [0, 1]]]))
    np.testing.assert_array_equal(counts, [[[1, 1, 0], [0, 2, 0], [0, 0, 0]]])
    found = recognition.mean_overlap(np.asarray(counts))
    np.testing.assert_allclose(found["miou"], (1 / 2 + 2 / 3) / 2)


def test_pixels_labelled_by_bytes_are_counted_as_those_of_int32():
    labels = jnp.array([[[20, 3], [19, 255]]])
    logits = jax.nn.one_hot(labels % 21, 21)
    expected = recognition.confusions(logits, labels)
    found = recognition.confusions(logits, labels.astype(jnp.uint8))
    np.testing.assert_array_equal(found, expected)
    assert expected[0, [20, 3, 19], [20, 3, 19]].tolist() == [1, 1, 1]


def perfect(points):
    """A network's maps of one object, and its label with k points, all seen."""
    box, k = [0.25, 0.25, 0.75, 0.75], points
    row = [0.0, *box, 0.25, 0.0, *[0.5, 0.5, 2.0] * k]
    maps = np.zeros((1, 8, 8, 5 + (3 * k + 2) * bool(k)), np.float32)
    maps[..., 0] = -20.0
    maps[0, 4, 4, :5] = [20.0, 4.0, 4.0, 0.0, 0.0]  # the centre, sizes, offsets
    labels = np.full((1, 2, 7 + 3 * k), -1.0, np.float32)
    labels[0, 0] = row
    return jnp.asarray(maps), jnp.asarray(labels)


@pytest.mark.parametrize("points", [0, 2])
def test_boxes_are_found_whether_or_not_objects_have_points(points):
    outputs, labels = perfect(points)
    read = recognition.read_boxes(outputs, labels)
    best = int(read.found.scores[0].argmax())
    np.testing.assert_allclose(read.found.boxes[0, best], labels[0, 0, 1:5], atol=1e-6)
    found = jax.tree.map(np.asarray, read)
    assert recognition.box_precision(found)["ap"] == pytest.approx(1)
    counts = recognition.box_counts(outputs, labels, jnp.ones(1))
    assert counts.wanted.shape == (1,)
    assert precision_counts.average(counts) == pytest.approx(1)


def test_points_that_nobody_sees_make_no_box_free():
    outputs, labels = perfect(2)
    hidden = labels.at[..., 9::3].set(0.0)
    counts = recognition.box_counts(outputs, hidden, jnp.ones(1))
    np.testing.assert_array_equal(counts.wanted, [1.0])


def test_points_are_not_learnt_from_boxes():
    outputs, labels = perfect(0)
    with pytest.raises(ValueError, match="from labels that have some, got .* of boxes"):
        centre_points.point_loss(jnp.zeros((1, 8, 8, 13)), labels)


@pytest.mark.parametrize("none", [-1, 255])
def test_pixels_of_no_class_count_for_nothing(none):
    logits = jax.random.normal(jax.random.key(0), (2, 2, 2, 3))
    labels = jnp.array([[[0, 1], [2, none]], [[none, none], [none, none]]])
    known, three = logits[0].reshape(4, 3)[:3], jnp.arange(3)
    for fn, plain in (
        (SEGMENTATION.loss, losses.cross_entropy),
        (SEGMENTATION.measures["accuracy"], losses.correct),
    ):
        found = fn(logits, labels)
        np.testing.assert_allclose(found[0], plain(known, three).mean(), rtol=1e-6)
        assert found[1] == 0
    found = SEGMENTATION.smoothed(logits, labels, 0.1)[0]
    expected = losses.smoothed(known, three, 0.1).mean()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    grads = jax.grad(lambda x: SEGMENTATION.loss(x, labels).sum())(logits)
    assert jnp.isfinite(grads).all() and not grads[1].any() and not grads[0, 1, 1].any()
