import math

import numpy as np
import pytest

from lthjax import bound, thresholds
from lthjax.thresholds import Setting

SIZES = (1000, 5000, 10_000, 20_000, 30_000, 50_000)


def setting(examples, picks=200, width=10**9, activation="sigmoid"):
    return Setting(examples, 784, width, picks, activation)


@pytest.mark.parametrize(
    "optimizer, published",
    # c = 1, d = 784, k = 200, in steps, three digits: the table of our derivation.
    [
        ("sgd", (6.76e3, 1.69e5, 6.76e5, 2.70e6, 6.08e6, 1.69e7)),
        ("gd", (1.73, 15.5, 32.5, 66.3, 100, 168)),
    ],
)
def test_the_thresholds_are_those_of_the_table(optimizer, published):
    found = [thresholds.threshold(setting(m), optimizer) for m in SIZES]
    np.testing.assert_allclose(found, published, rtol=5e-3)


def test_twice_the_data_takes_four_times_the_steps_or_twice_and_k_its_logarithm():
    large = 10**6  # c d is far below m: the asymptotic form
    for optimizer, times in (("sgd", 4), ("gd", 2)):
        one, two = (
            thresholds.threshold(setting(m), optimizer) for m in (large, 2 * large)
        )
        assert two / one == pytest.approx(times, rel=1e-3)
        squared = thresholds.threshold(setting(large, picks=200**2), optimizer)
        assert squared / one == pytest.approx(2)


def test_the_explicit_threshold_is_the_first_step_that_meets_its_condition():
    known = {"initial": 0.7, "first": 0.3, "diameter": 0.4}
    for rigorous in (True, False):
        rho, k = 0.999, 50
        t = thresholds.explicit_threshold(k, rho, **known, rigorous=rigorous)
        rest = 0.3 + thresholds.spread(k, 0.4, rigorous=rigorous)
        assert (
            (k - 1) / k * 0.7 * rho**t <= rest / k < (k - 1) / k * 0.7 * rho ** (t - 1)
        )


def test_a_geometric_run_gives_its_rate_and_the_constant_behind_it():
    for optimizer in ("gd", "sgd"):
        rho = thresholds.contraction(setting(5000), optimizer, 0.05)
        steps = np.arange(0, 1000, 50)
        rate = thresholds.fitted(steps, 3 * rho**steps)
        assert rate.rho == pytest.approx(rho, rel=1e-9)
        assert rate.fit == pytest.approx(1)
        found = thresholds.implied_constant(setting(5000), optimizer, rate.rho)
        assert found == pytest.approx(0.05, rel=1e-3)


def test_the_bound_tends_to_the_dense_loss_and_the_rigorous_one_is_weaker():
    known = {"first": 0.5, "diameter": 1.0, "dense": 0.1}
    proved = [thresholds.selection_bound(k, **known) for k in (2, 10, 10**5)]
    published = [
        thresholds.selection_bound(k, **known, rigorous=False) for k in (4, 10, 10**5)
    ]
    assert proved == sorted(proved, reverse=True)
    # The harmonic number's log k / k is all that is left of it.
    assert proved[-1] - 0.1 < math.log(10**5) / 10**5
    assert proved[1] > published[1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"width": 5000}, r"m\^2 / d = 1,276, .*|"),
        ({"examples": 50_000, "width": 5000}, r"m\^2 / d = 3,188,776, got N = 5,000"),
        ({"examples": 700}, "more than 784 examples, got m = 700"),
        ({"activation": "relu"}, "second derivative is unbounded"),
        ({"picks": 1}, "picks must be at least 2"),
        ({"width": 0}, "width must be at least 1, got width = 0"),
    ],
)
def test_a_bound_outside_its_assumptions_is_refused_with_by_how_much(changes, words):
    numbers = setting(1000)._replace(**changes)
    if numbers == setting(1000, width=5000):
        thresholds.check(numbers)
        return
    with pytest.raises(ValueError, match=words):
        thresholds.check(numbers)


@pytest.mark.parametrize(
    "act, words",
    [
        (
            lambda: thresholds.threshold(setting(1000), "gd", constant=2.0),
            "c d = 1568 for m",
        ),
        (lambda: thresholds.threshold(setting(1000), "adam"), "got optimizer = 'adam'"),
        (lambda: thresholds.fitted([1, 2], [1, 0.5]), "three points or more"),
        (lambda: thresholds.fitted([1, 2, 3], [1, 0.5, 0]), "positive and finite"),
        (lambda: thresholds.fitted([1, 2, 3], [1, 2, 3]), "must fall"),
        (
            lambda: thresholds.implied_constant(setting(1000), "gd", 1.2),
            "got rho = 1.2",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()


ARGUMENTS = ["--inputs=784", "--picks=200", "--activation=sigmoid"]


def test_the_command_prints_the_threshold_its_errata_and_what_was_measured(
    tmp_path, capsys
):
    run = tmp_path / "run.json"
    run.write_text(
        '{"steps": [0, 10, 20], "dense": [0.5, 0.25, 0.125], "first": [1, 1, 1], '
        '"greedy": [0.2, 0.1, 0.1], "diameter": [1, 1, 1], "hull": [0, 0, 0]}'
    )
    bound.main([*ARGUMENTS, "--examples=1000", "--width=5000", f"--run={run}"])
    text = capsys.readouterr().out
    assert "published threshold: 6,755 steps" in text
    assert all(erratum in text for erratum in bound.ERRATA)
    assert "R^2 = 1.000" in text
    assert f"times {0.5**0.1:.6f} a step" in text


def test_the_command_refuses_outside_the_assumptions_unless_told_to_go_on(capsys):
    outside = [*ARGUMENTS, "--examples=50000", "--width=5000"]
    with pytest.raises(SystemExit, match="N d > m"):
        bound.main(outside)
    bound.main([*outside, "--anyway"])
    assert "broken: N d > m^2" in capsys.readouterr().out
