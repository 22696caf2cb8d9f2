"""A target is a number, one for each layer, or as many as are learnt."""

import pytest

from lthjax.pruning.targets import LEARNT, Target, target


@pytest.mark.parametrize(
    "amount, expected",
    [
        (7, Target(7)),
        ([3, 4], Target(7, (3, 4))),
        (0, Target(0)),
        (None, LEARNT),
    ],
)
def test_a_target_gives_back_what_it_was_made_of(amount, expected):
    found = target(amount)
    assert found == expected
    assert found.amount == amount


def test_the_numbers_of_a_target_add_up():
    for found in (target(7), target([3, 4])):
        assert sum(found.counts) == found.kept == 7
    assert LEARNT.counts == () and LEARNT.kept is None
