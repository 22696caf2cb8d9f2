import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data import augment, objects

SIDE = 8


def moves(down, right, mirrored=False):
    return augment.Moves(jnp.array([[down, right]]), jnp.array([mirrored]))


def labels(kind, box, *points):
    """One object, in pixels, and a row of padding."""
    box = np.array(box) / SIDE
    area = np.prod(box[2:] - box[:2])
    where = [c for x, y in points for c in (x / SIDE, y / SIDE, 2)]
    row = [kind, *box, area, 0, *where]
    return jnp.array([[row, [-1.0] * len(row)]], jnp.float32)


POINTED = labels(1, (1, 1, 5, 6), (1.2, 3.5), (4.6, 2.1))


def follow(found, moved, pairs=(1, 0)):
    return objects.follow_objects(found, moved, (SIDE, SIDE), pairs=pairs)


def test_what_leaves_the_image_is_cut_off():
    found = follow(POINTED, moves(2, -2))[0, 0]
    # x from 1..5 to 0..3 (cut at 0), y from 1..6 to 3..8: 15 of 20 pixels are left.
    np.testing.assert_allclose(found[1:5] * SIDE, [0, 3, 3, 8], atol=1e-5)
    np.testing.assert_allclose(found[5], 15 / SIDE**2, rtol=1e-5)
    assert found[9] == 0 and found[12] == 2  # 1.2 - 2 has left
    gone = follow(labels(0, (4, 4, 7, 7)), moves(0, 5))
    assert gone[0, :, 0].tolist() == [-1, -1]


def test_a_mirror_turns_boxes_and_swaps_points_and_is_its_own_inverse():
    once = follow(POINTED, moves(0, 0, True))
    np.testing.assert_allclose(once[0, 0, 1:5] * SIDE, [3, 1, 7, 6], atol=1e-5)
    np.testing.assert_allclose(once[0, 0, 7:9] * SIDE, [8 - 4.6, 2.1], atol=1e-5)
    twice = follow(once, moves(0, 0, True))
    np.testing.assert_allclose(twice[0, 0], POINTED[0, 0], atol=1e-6)


@pytest.mark.parametrize(
    "padding, flip", [(0, False), (3, False), (0, True), (3, True)]
)
def test_labels_go_where_the_pixels_go(padding, flip):
    given = {"padding": padding, "flip": flip}
    key, (h, w) = jax.random.key(2), (6, 9)
    pixels = jax.random.randint(jax.random.key(1), (16, h, w), 1, 9)
    images = augment.augment(key, pixels[..., None], **given)[..., 0]
    moved = augment.moves(key, 16, **given)
    np.testing.assert_array_equal(objects.follow_pixels(pixels, moved, (h, w)), images)


def test_boxes_go_where_the_pixels_go():
    given, key = {"padding": 2, "flip": True}, jax.random.key(3)
    image = np.zeros((16, SIDE, SIDE, 1), np.uint8)
    image[:, 2:5, 3:7] = 1
    images = np.asarray(augment.augment(key, jnp.asarray(image), **given))[..., 0]
    own = jnp.tile(labels(0, (3, 2, 7, 5)), (16, 1, 1))
    found = follow(own, augment.moves(key, 16, **given), ())
    for pixels, row in zip(images, np.asarray(found[:, 0]), strict=True):
        rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(row[1:5] * SIDE, box, atol=1e-5)


def test_objects_of_a_shape_alone_keep_their_points_in_a_mirror():
    moved = objects.follower(POINTED.shape[1:], "float32", (SIDE, SIDE, 3), rows=True)
    found = moved(POINTED, moves(1, -1, True), (SIDE, SIDE))
    np.testing.assert_array_equal(found, follow(POINTED, moves(1, -1, True), (0, 1)))
    assert objects.follower((2, 7), "float32", (SIDE, SIDE, 3)) is None


def test_what_are_no_objects_is_refused():
    assert objects.number_of_points(POINTED) == 2
    with pytest.raises(ValueError, match="labels of objects must be"):
        objects.number_of_points(jnp.zeros((3,)))
