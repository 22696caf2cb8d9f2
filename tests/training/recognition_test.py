import jax
import jax.numpy as jnp
import numpy as np

from lthjax.training import recognition
from lthjax.training.centre_points import Found


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


def test_pixels_are_counted_by_class_and_by_what_is_said():
    logits = jax.nn.one_hot(jnp.array([[[0, 1], [1, 1]]]), 3)
    counts = recognition.confusions(logits, jnp.array([[[0, 1], [0, 1]]]))
    np.testing.assert_array_equal(counts, [[[1, 1, 0], [0, 2, 0], [0, 0, 0]]])
    found = recognition.mean_overlap(np.asarray(counts))
    np.testing.assert_allclose(found["miou"], (1 / 2 + 2 / 3) / 2)
