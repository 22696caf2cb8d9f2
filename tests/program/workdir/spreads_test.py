"""Means over seeds, their deviation, and how both are shown."""

import math

import pytest

from lthjax.program.workdir import spreads


def row(level=0, seed=0, arm="ticket", **more):
    return {"level": level, "seed": seed, "arm": arm, **more}


def test_mean_and_sample_deviation():
    # (1 + 2 + 6) / 3;  sqrt((2^2 + 1^2 + 3^2) / (3 - 1))
    assert spreads.spread([1, 2, 6]) == (3, math.sqrt(7), 3)
    assert spreads.spread([5]) == (5, 0, 1)


def test_groups_leave_out_who_has_no_value():
    rows = [row(x=1), row(seed=1, x=3), row(seed=2), row(1, x=4), row(1, x=None)]
    assert spreads.aggregate(rows, "x") == {
        ("ticket", 0): (2, math.sqrt(2), 2),
        ("ticket", 1): (4, 0, 1),
    }


@pytest.mark.parametrize(
    "form, beside, text",
    [
        (".2f", "", "1.23 ± 0.35"),
        ("+.1f", "", "+1.2 ± 0.3"),
        (".3g", ".1g", "1.23 ± 0.3"),
    ],
)
def test_a_mean_is_shown_with_its_deviation_where_there_is_one(form, beside, text):
    found = spreads.Spread(1.234, 0.3451, 2)
    assert spreads.shown(found, form, beside) == text
    alone = spreads.spread([1.234])
    assert spreads.shown(alone, form, beside) == text.partition(" ±")[0]


def test_a_mean_that_rounds_to_zero_has_no_minus():
    assert spreads.shown(spreads.spread([-0.001, 0.0]), "+.2f") == "+0.00 ± 0.00"
    assert spreads.shown(spreads.spread([-0.001])) == "0.00"
    assert spreads.shown(spreads.spread([-1.5]), "+.1f") == "-1.5"
