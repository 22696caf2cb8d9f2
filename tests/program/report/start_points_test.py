"""Which starts of one mask win, beside which dense network."""

import pytest
import rows as recorded

from lthjax.program.report import learning_rates, start_points
from lthjax.program.workdir.measures import ACCURACY, Measures

LOSS = Measures(("test_loss",), "loss", "loss")


def records(seeds=(0, 1, 2), **arms):
    """Records of level 0 and 1: {arm: accuracy in %, or one a seed}."""
    found = []
    for arm, given in arms.items():
        values = given if isinstance(given, tuple) else (given,) * len(seeds)
        level, name = (0, "ticket") if arm == "dense" else (1, arm)
        found += [
            recorded.record(level, seed, name, value / 100)
            for seed, value in zip(seeds, values, strict=True)
        ]
    return found


def only(rows, **how):
    (found,) = start_points.start_point_study(rows, **how)
    return found


def test_a_start_wins_that_reaches_the_dense_network_ahead_of_fresh_weights():
    found = only(records(dense=90.0, ticket=(89.9, 90.0, 89.8), reinit=88.0))
    assert (found.level, found.arm, found.kept) == (1, "ticket", pytest.approx(0.8))
    assert found.value.n == 3 and found.below == pytest.approx(0.1)
    assert found.ahead.mean == pytest.approx(1.9)
    assert found.winning and found.matches and found.wins


@pytest.mark.parametrize(
    "arms, matches, wins",
    [
        ({"ticket": 89.5, "reinit": 88.0}, False, True),  # half a point below
        ({"ticket": 89.5, "reinit": (89.6, 89.4, 89.4)}, False, False),
        # Ahead by 1 in the mean, with deviation 1.732 and so twice its error 2.0.
        ({"ticket": 90.0, "reinit": (90.0, 90.0, 87.0)}, True, False),
        ({"ticket": 90.0}, True, None),  # nobody tried
    ],
)
def test_each_condition_can_fail_by_itself(arms, matches, wins):
    found = only(records(dense=90.0, **arms))
    assert (found.matches, found.wins) == (matches, wins)
    assert not found.winning
    shown = start_points.cells(found)
    assert shown[6].startswith("not tried" if wins is None else "no: ")


def test_tolerances_are_asked_for():
    rows = records(dense=90.0, ticket=89.0, reinit=(88.0, 88.9, 88.5))
    assert not only(rows).matches
    assert only(rows, match=1.5).matches
    assert only(rows, gap=2).wins and not only(rows, gap=5).wins


def test_of_one_seed_the_gap_is_the_tolerance_in_points():
    for ahead, wins in ((0.3, True), (0.1, False)):
        rows = records((0,), dense=90.0, ticket=90.0, reinit=90.0 - ahead)
        assert only(rows).wins == wins


def test_what_is_exactly_the_tolerance_is_within_it():
    (found,) = start_points.start_point_study(
        records((0,), dense=90.0, ticket=89.8, reinit=89.6)
    )
    assert 90.0 - 100 * 0.898 > 0.2 and 100 * (0.898 - 0.896) > 0.2  # by rounding
    assert found.matches and not found.wins
    alike = records(dense=90.0, ticket=(90.0, 88.1, 87.7), reinit=(90.0, 88.1, 87.7))
    assert not only(alike).wins


def test_a_start_is_judged_beside_the_dense_network_of_its_own_seeds():
    rows = records(dense=(90.0, 80.0, 70.0))
    rows += [r for r in records((1, 2), ticket=(80.0, 70.0), reinit=60.0)]
    assert only(rows).matches and only(rows).below == pytest.approx(0)
    rows = [r for r in rows if r["level"] or not r["seed"]]
    assert start_points.start_point_study(rows) == []


@pytest.mark.parametrize("lost", ["dense", "ticket", "reinit"])
def test_records_without_the_measure_are_left_out(lost):
    whole = {"dense": 90.0, "ticket": (90.0, 89.9, 89.9), "reinit": (86.0, 85.0, 85.5)}
    rows = records(**whole)
    level, arm = (0, "ticket") if lost == "dense" else (1, lost)
    for row in rows:
        if (row["level"], row["arm"], row["seed"]) == (level, arm, 1):
            row["test_accuracy"] = None
    found = only(rows)
    assert found.value.n == (3 if lost == "reinit" else 2)
    assert found.ahead.n == 2 and found.winning


def test_where_less_is_better_the_signs_turn():
    rows = records(dense=100.0, ticket=100.1, reinit=120.0)
    for row in rows:
        row["test_loss"] = row.pop("test_accuracy")
    found = only(rows, measures=LOSS)
    assert found.ahead.mean == pytest.approx(0.199)
    assert found.winning  # 0.1 % above the dense network's loss, of 0.2 allowed
    assert not only(records(dense=100.0, ticket=100.1, reinit=120.0)).wins


def test_every_start_is_judged_in_one_order():
    rows = records(dense=90.0, trained=91.0, ticket=90.0, init=80.0, reinit=85.0)
    found = start_points.start_point_study(rows)
    assert [start.arm for start in found] == ["ticket", "init", "trained"]
    assert [start.winning for start in found] == [True, False, True]
    assert start_points.start_point_study([r for r in rows if r["level"]]) == []


def test_the_table_has_the_dense_network_at_its_foot():
    rows = records(dense=90.0, ticket=90.0, reinit=85.0)
    shown = start_points.table(rows, "dense network: learning rate 0.1")
    assert shown.caption == "dense network: learning rate 0.1"
    assert shown.row_count == 1
    assert next(iter(shown.columns[6].cells)) == "yes"


def test_the_spread_is_that_over_seeds_or_of_one_seed_a_fifth_of_a_point():
    spread = learning_rates.spread(records(dense=(90.0, 91.0, 92.0)), ACCURACY)
    assert learning_rates.tolerance(spread, ACCURACY) == pytest.approx(1)
    one = learning_rates.spread(records((0,), dense=90.0), ACCURACY)
    assert learning_rates.tolerance(one, ACCURACY) == 0.2
    assert learning_rates.tolerance(one, LOSS) == pytest.approx(0.18)
