import math

import numpy as np
import pytest

from lthjax.analysis import overlaps


def test_boxes_overlap_by_what_both_hold_over_what_either_holds():
    found = [[0, 0, 2, 2], [5, 5, 6, 6]]
    truth = [[1, 0, 3, 2], [0, 0, 2, 2], [0, 0, 0, 0]]
    expected = [[2 / 6, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(overlaps.box_overlaps(found, truth), expected)


def test_of_a_crowd_what_counts_is_the_share_that_lies_in_it():
    crowd = np.array([True])
    box = overlaps.box_overlaps([[0, 0, 2, 2]], [[1, 0, 30, 30]], crowd)
    assert box == [[0.5]]
    left, whole = np.zeros((1, 2, 4), bool), np.ones((1, 2, 4), bool)
    left[..., :2] = True
    assert overlaps.mask_overlaps(left, whole) == [[0.5]]
    assert overlaps.mask_overlaps(left, whole, crowd) == [[1.0]]
    assert overlaps.mask_overlaps(left[:0], whole).shape == (0, 1)


def test_points_are_as_alike_as_a_bell_over_their_distance_says():
    truth = np.array([[[1.0, 1, 2], [3, 3, 0]]])
    found = np.array([[[1.0, 2], [9, 9]]])
    given = found, truth, np.array([[0.0, 0, 4, 4]]), np.array([8.0])
    # One visible point, d^2 = 1, area 8, 2 sigma = 0.1: exp(-1 / 0.16).
    found = overlaps.point_similarities(*given)
    np.testing.assert_allclose(found, math.exp(-1 / 0.16))
    with pytest.raises(ValueError, match="one for each of 2 points, got 3"):
        overlaps.point_similarities(*given, sigmas=(0.1,) * 3)


def test_points_are_correct_within_a_share_of_the_size():
    truth = np.array([[[0.0, 0, 1], [10, 0, 2]], [[0, 0, 1], [5, 5, 0]]])
    found = np.array([[[1.0, 0], [10, 3]], [[np.nan, np.nan]] * 2])
    sizes = np.array([10.0, 10.0])
    assert overlaps.correct_points(found, truth, sizes) == 1 / 3
    assert overlaps.correct_points(found, truth, sizes, 0.3) == 2 / 3
    assert math.isnan(overlaps.correct_points(found[:0], truth[:0], sizes[:0]))


def test_the_mean_overlap_of_classes_leaves_out_those_that_are_nowhere():
    counts = [[3, 1, 0], [2, 4, 0], [0, 0, 0]]
    np.testing.assert_allclose(overlaps.mean_overlap(counts), (3 / 6 + 4 / 7) / 2)
    assert math.isnan(overlaps.mean_overlap(np.zeros((2, 2))))
