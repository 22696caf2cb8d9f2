"""Arms that retrain the dense network are of level 0, and are not the dense network."""

import numpy as np
import pytest
from rows import record

from lthjax.program.report import (
    gains,
    learning_rates,
    page,
    page_figures,
    run_report,
    start_points,
)
from lthjax.program.workdir import member, text_files
from lthjax.program.workdir.measures import ACCURACY

SMOOTHED, SKIPS = "smoothing=0.9", "skips"
# Of one arm the dense network alone is retrained, of one the ticket alone too.
REACHED = {
    (0, "ticket"): 90,
    (0, SMOOTHED): 10,
    (0, "neurons"): 80,
    (1, "ticket"): 90,
    (1, "reinit"): 85,
    (1, SKIPS): 70,
    (1, SMOOTHED): 20,
}
COSTS = dict.fromkeys(("deployed_parameters", "deployed_flops", "ghost_flops"), 1)
COSTS |= {"ghost_steps": 0}


def rows(**more):
    return [
        {**record(level, seed, arm, value / 100), **more, **COSTS}
        | {"retrained": arm not in ("ticket", "reinit")}
        for seed in (0, 1)
        for (level, arm), value in REACHED.items()
    ]


def test_the_ticket_of_level_0_alone_is_the_dense_network():
    dense = [row for row in rows() if member.is_dense(row)]
    assert [(row["level"], row["arm"]) for row in dense] == [(0, "ticket")] * 2


TABLE = {
    (0, "dense"): 90,
    (0, "neurons"): 80,
    (0, SMOOTHED): 10,
    (1, "ticket"): 90,
    (1, "reinit"): 85,
    (1, SKIPS): 70,
    (1, SMOOTHED): 20,
}


def test_arms_of_level_0_have_rows_of_their_own_in_both_tables():
    columns = [list(column.cells) for column in run_report.table(rows()).columns]
    found = {
        (int(level), arm): (value, n)
        for level, arm, value, n in zip(
            *(columns[i] for i in (0, 1, 4, -1)), strict=True
        )
    }
    assert found == {at: (f"{x:.2f} ± 0.00", "2") for at, x in TABLE.items()}
    shown = page._table(page.Run(None, rows(), [], ACCURACY, {}))
    found = {(row["level"], row["arm"]): (row["value"], row["n"]) for row in shown}
    assert found == {at: (f"{x:.2f}", 2) for at, x in TABLE.items()}


def test_a_line_begins_with_its_arm_of_level_0_or_with_the_dense_network():
    axes = run_report.curve(rows()).axes[0]
    found = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(found.pop("dense"), [90, 90])
    expected = {"ticket": [90, 90], "reinit": [90, 85], SKIPS: [90, 70]}
    expected |= {SMOOTHED: [10, 20], "neurons": [80]}
    assert found.keys() == expected.keys()
    for label, values in expected.items():
        np.testing.assert_allclose(found[label], values)


def test_lines_of_several_first_logits_begin_with_the_arm_that_they_share():
    drawn = [row for logit in (-0.1, 0.3) for row in rows(initial=logit)]
    axes = run_report.curve(drawn).axes[0]
    found = {line.get_label(): line.get_ydata() for line in axes.lines}
    for logit in (-0.1, 0.3):
        np.testing.assert_allclose(found[f"{SMOOTHED}, first logit {logit}"], [10, 20])
    assert SMOOTHED not in found and "neurons" in found
    groups = run_report.by_arm(drawn)
    assert [len(own) for (level, _), own in groups if not level] == [2, 2, 2]


def test_starts_and_learning_rates_are_held_against_the_dense_network_alone(tmp_path):
    (start,) = start_points.start_point_study(rows())
    assert start.below == pytest.approx(0) and start.winning
    text_files.write(tmp_path / "config.json", '{"optimizer": {"learning_rate": 0.1}}')
    said = learning_rates.sentence(tmp_path, rows(), ACCURACY)
    assert "test accuracy 90.00 ± 0.00 (n = 2)" in said


def test_arms_of_level_0_are_points_beside_the_dense_network():
    axes = page_figures.against_dense(rows(), ACCURACY).axes[0]
    found = {box.get_label(): box.lines[0].get_ydata() for box in axes.containers}
    expected = {"ticket": [0], "reinit": [-5], SKIPS: [-20]}
    expected |= {SMOOTHED: [-80, -70], "neurons": [-10]}
    assert found.keys() == expected.keys()
    for label, values in expected.items():
        np.testing.assert_allclose(found[label].astype(float), values, atol=1e-9)
    drawn = [row for logit in (-0.1, 0.3) for row in rows(initial=logit)]
    level_0 = [r for r in page_figures.paired(drawn, "test_accuracy") if not r["level"]]
    assert len(level_0) == 4  # two arms of two seeds, once


def test_tickets_of_several_runs_begin_with_the_dense_network():
    runs = {n: page.Run(None, rows(), [], ACCURACY, {}) for n in "AB"}
    ((_, figure),) = page_figures.together(runs)
    for line in figure.axes[0].lines:
        np.testing.assert_allclose(line.get_ydata(), [90, 90])


def test_a_gain_over_the_dense_network_is_over_it_alone():
    found = gains.gains(rows())
    assert found[SMOOTHED, 0].mean == pytest.approx(-80)
    assert found[SMOOTHED, 1].mean == pytest.approx(-70)
