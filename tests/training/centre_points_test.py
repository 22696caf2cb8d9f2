import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data import objects as objects_lib
from lthjax.training import centre_points

SIDE, CLASSES, MOST = 8, 3, 4


def objects(*rows, points=0):
    """Labels of one image: (class, box in pixels of the maps, points in the same)."""
    found = np.full((1, MOST, objects_lib.WIDTH + 3 * points), -1, np.float32)
    for i, (kind, box, *more) in enumerate(rows):
        box = np.array(box, np.float32) / SIDE
        area = (box[2] - box[0]) * (box[3] - box[1])
        where = [c for x, y in more for c in (x / SIDE, y / SIDE, 2)]
        found[0, i] = [kind, *box, area, 0, *where]
    return jnp.asarray(found)


def perfect(labels, points=0):
    """The maps that say just what the labels do."""
    width = CLASSES + 4 + (3 * points + 2 if points else 0)
    maps = np.zeros((1, SIDE, SIDE, width), np.float32)
    maps[..., :CLASSES] = -20
    heat = CLASSES + 4 + 2 * points
    maps[..., heat : heat + points] = -20
    for row in np.asarray(labels[0]):
        if row[0] < 0:
            continue
        box = row[1:5] * SIDE
        centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        x, y = np.floor(centre).astype(int)
        maps[0, y, x, int(row[0])] = 20
        maps[0, y, x, CLASSES : CLASSES + 4] = [*size, *(centre % 1)]
        where = row[7:].reshape(-1, 3)[:, :2] * SIDE
        if points:
            moved = (where - [x, y]).reshape(-1)
            maps[0, y, x, CLASSES + 4 : CLASSES + 4 + 2 * points] = moved
        for j, (px, py) in enumerate(where):
            maps[0, int(py), int(px), heat + j] = 20
            maps[0, int(py), int(px), -2:] = [px % 1, py % 1]
    return jnp.asarray(maps)


TWO = objects((0, (0.5, 1, 3, 4)), (2, (4, 3.5, 7.5, 8)))
POINTED = objects((1, (1, 1, 5, 6), (1.2, 3.5), (4.6, 2.1)), points=2)


def test_maps_that_are_right_cost_nothing_and_others_something():
    loss = jax.jit(centre_points.box_loss)
    maps = perfect(TWO)
    assert loss(maps, TWO) < 1e-5
    assert loss(maps.at[..., CLASSES].add(1.0), TWO) > 0.05
    assert loss(jnp.zeros_like(maps), TWO) > 1


def test_points_that_are_right_cost_nothing_either():
    loss = jax.jit(centre_points.point_loss)
    maps = perfect(POINTED, points=2)
    assert loss(maps, POINTED) < 1e-5
    # Two points, moved by a pixel each way: |displacement| = 2 of each, by 2 points.
    moved = maps.at[..., CLASSES + 4 : CLASSES + 8].add(1.0)
    np.testing.assert_allclose(loss(moved, POINTED), 2.0, rtol=1e-5)


def test_sizes_and_offsets_count_by_object():
    loss = jax.jit(centre_points.box_loss)
    maps = perfect(TWO)
    wider = maps.at[..., CLASSES].add(1.0)  # of both objects, a tenth of it each
    np.testing.assert_allclose(loss(wider, TWO), 0.1, rtol=1e-4)
    aside = maps.at[..., CLASSES + 2].add(0.5)
    np.testing.assert_allclose(loss(aside, TWO), 0.5, rtol=1e-4)


def test_padding_and_crowds_change_nothing():
    loss = jax.jit(centre_points.box_loss)
    maps = jax.random.normal(jax.random.key(0), perfect(TWO).shape)
    crowd = TWO.at[0, 2].set(jnp.array([1, 0.1, 0.1, 0.9, 0.9, 0.5, 1.0]))
    junk = TWO.at[0, 3, 1:].set(0.7)
    expected = loss(maps, TWO)
    for other in (crowd, junk, TWO[:, ::-1]):
        np.testing.assert_allclose(loss(maps, other), expected, rtol=1e-5)


def test_an_image_without_an_object_has_a_finite_loss_and_gradient():
    none = objects()
    maps = jnp.zeros(perfect(none).shape)
    value, slope = jax.value_and_grad(lambda x: centre_points.box_loss(x, none)[0])(
        maps
    )
    # Every pixel of every class: p^2 log 2, p = 1/2.
    np.testing.assert_allclose(value, SIDE**2 * CLASSES * np.log(2) / 4, rtol=1e-5)
    assert np.isfinite(slope).all()


def test_what_is_decoded_is_what_was_drawn():
    found = centre_points.decode(perfect(TWO), most=2)
    order = np.argsort(found.classes[0])
    assert found.classes[0][order].tolist() == [0, 2]
    np.testing.assert_allclose(found.boxes[0][order], TWO[0, :2, 1:5], atol=1e-6)
    assert (found.scores > 0.99).all() and found.points.shape == (1, 2, 0, 2)


@pytest.mark.parametrize("away", [0.0, 0.4])
def test_points_move_to_the_peaks_of_their_heat_maps(away):
    maps = perfect(POINTED, points=2)
    maps = maps.at[..., CLASSES + 4 : CLASSES + 8].add(away)
    found = centre_points.decode(maps, points=2, most=1)
    expected = POINTED[0, 0, 7:].reshape(2, 3)[:, :2]
    np.testing.assert_allclose(found.points[0, 0], expected, atol=1e-6)
    blind = maps.at[..., CLASSES + 8 : CLASSES + 10].set(-20.0)
    found = centre_points.decode(blind, points=2, most=1)
    np.testing.assert_allclose(found.points[0, 0], expected + away / SIDE, atol=1e-6)


def test_what_is_no_maps_or_no_objects_is_refused():
    with pytest.raises(ValueError, match="must return .* for 2 points"):
        centre_points.split(jnp.zeros((1, 2, 2, 7)), 2)
    with pytest.raises(ValueError, match="labels of objects must be"):
        objects_lib.number_of_points(jnp.zeros((3,)))
