"""What a value must be: laws of types and of ranges in float32."""

import math

import numpy as np
import pytest

from lthjax import values
from lthjax.values import Range


@pytest.mark.parametrize(
    "value, example",
    [
        (1, 2.0),
        (1.5, 2.0),
        ([1, 2], (0,)),
        ((), (0,)),
        ((1, 2.5), (0.0,)),
        ((("a", 1),), (("b", 0.5),)),
        (("a", 1), ("b", 0.5)),
        ((1, "a"), ()),
    ],
)
def test_a_value_is_like_an_example(value, example):
    assert values.like(value, example)


@pytest.mark.parametrize(
    "value, example",
    [
        (True, 1),
        (True, 1.0),
        (1, True),
        (1.0, 1),
        ("a", ("a",)),
        (("a", 1), (0,)),
        ((True,), (0,)),
        ((("a", 1, 2),), (("b", 0.5),)),
        (("ab",), (("b", 0.5),)),
        (None, "a"),
    ],
)
def test_a_value_is_not_like_another(value, example):
    assert not values.like(value, example)


def test_ends_belong_to_a_range_as_intervals_are_written():
    for ends, found in {"[)": (1, 0), "(]": (0, 1), "[]": (1, 1), "()": (0, 0)}.items():
        limits = Range(0, 1, ends)
        assert limits.text == f"{ends[0]}0, 1{ends[1]}"
        assert (values.inside(0.0, limits), values.inside(1.0, limits)) == found
        assert values.inside(0.5, limits) and not values.inside(math.nan, limits)


def test_a_float_counts_as_float32_has_it():
    below = Range(0, 1)
    assert values.inside(0.999999, below) and not values.inside(0.99999999, below)
    positive = Range(0, ends="()")
    assert values.inside(1e-37, positive) and not values.inside(1e-39, positive)
    assert values.inside(3e38, positive) and not values.inside(4e38, positive)
    # An int is held exactly, beyond the 24 bits of a float32.
    assert values.inside(2**31 - 1, Range(0, 2**31))
    assert not values.inside(2**31, Range(0, 2**31))


def test_what_is_plain_is_json():
    assert values.plain({"a": [1, (2.5, None)], "b": {"c": "d", "e": True}})
    for wrong in (len, math.inf, [math.nan], {1: 2}, {"a": {1, 2}}, 1j, b"a"):
        assert not values.plain(wrong)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float64(3.0)])
def test_a_whole_number_is_one_of_any_type(value):
    found = values.whole("levels", value, 0)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [2.5, float("inf"), float("nan"), "2", None, [1]])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="must be a whole number, got levels = "):
        values.whole("levels", value)
    with pytest.raises(ValueError, match="of at least 4, got levels = 3"):
        values.whole("levels", 3, 4)
