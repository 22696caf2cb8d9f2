import math

import numpy as np
import pytest
from bound_runs import RUN, written

from lthjax import bound
from lthjax.forward_selection import pretraining_bound, rates
from lthjax.forward_selection.pretraining_bound import Setting
from lthjax.training import losses

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
    found = [pretraining_bound.threshold(setting(m), optimizer) for m in SIZES]
    np.testing.assert_allclose(found, published, rtol=5e-3)


def test_twice_the_data_takes_four_times_the_steps_or_twice_and_k_its_logarithm():
    large = 10**6  # c d is far below m: the asymptotic form
    for optimizer, times in (("sgd", 4), ("gd", 2)):
        one, two = (
            pretraining_bound.threshold(setting(m), optimizer)
            for m in (large, 2 * large)
        )
        assert two / one == pytest.approx(times, rel=1e-3)
        squared = pretraining_bound.threshold(setting(large, picks=200**2), optimizer)
        assert squared / one == pytest.approx(2)


def test_the_explicit_threshold_is_the_first_step_that_meets_its_condition():
    known = {"initial": 0.7, "first": 0.3, "diameter": 0.4}
    for rigorous in (True, False):
        rho, k = 0.999, 50
        t = pretraining_bound.explicit_threshold(k, rho, **known, rigorous=rigorous)
        rest = 0.3 + pretraining_bound.spread(k, 0.4, rigorous=rigorous)
        assert (
            (k - 1) / k * 0.7 * rho**t <= rest / k < (k - 1) / k * 0.7 * rho ** (t - 1)
        )


def test_the_initial_loss_is_the_sum_of_squares_of_the_theorem_by_two_m():
    residuals = np.random.default_rng(0).standard_normal(50)
    total, m, k, rho = np.sum(residuals**2), 50, 30, 0.99
    initial = float(np.mean(losses.squared(residuals, 0.0)))
    assert total / (2 * m) == pytest.approx(initial)
    known = {"first": 0.3, "diameter": 0.4}
    t = pretraining_bound.explicit_threshold(
        k, rho, initial=initial, **known, rigorous=False
    )
    dense = (k - 1) / (2 * m * k) * rho ** np.array([t - 1, t]) * total
    rest = (0.3 + 0.4**2 / 2) / k
    assert dense[1] <= rest < dense[0]


def test_a_geometric_run_gives_its_rate_and_the_constant_behind_it():
    for optimizer in ("gd", "sgd"):
        rho = pretraining_bound.contraction(setting(5000), optimizer, 0.05)
        steps = np.arange(0, 1000, 50)
        rate = rates.fitted(steps, 3 * rho**steps)
        assert rate.rho == pytest.approx(rho, rel=1e-9)
        assert rate.fit == pytest.approx(1)
        found = pretraining_bound.implied_constant(setting(5000), optimizer, rate.rho)
        assert found == pytest.approx(0.05, rel=1e-3)


def test_the_bound_tends_to_the_dense_loss_and_the_rigorous_one_is_weaker():
    known = {"first": 0.5, "diameter": 1.0, "dense": 0.1}
    proved = [pretraining_bound.selection_bound(k, **known) for k in (2, 10, 10**5)]
    published = [
        pretraining_bound.selection_bound(k, **known, rigorous=False)
        for k in (4, 10, 10**5)
    ]
    assert proved == sorted(proved, reverse=True)
    # The harmonic number's log k / k is all that is left of it.
    assert proved[-1] - 0.1 < math.log(10**5) / 10**5
    assert proved[1] > published[1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"width": 1275}, r"m\^2 / d = 1,276, got N = 1,275"),
        ({"examples": 50_000, "width": 5000}, r"m\^2 / d = 3,188,776, got N = 5,000"),
        ({"examples": 700}, "more than 784 examples, got m = 700"),
        ({"activation": "relu"}, "second derivative is unbounded"),
        ({"activation": "relu6"}, "second derivative is unbounded"),
        ({"activation": "ReLU"}, "one of .*relu.* got activation = 'ReLU'"),
        ({"picks": 1}, "picks must be at least 2"),
        ({"width": 0}, "width must be at least 1, got width = 0"),
    ],
)
def test_a_bound_outside_its_assumptions_is_refused_with_by_how_much(changes, words):
    with pytest.raises(ValueError, match=words):
        pretraining_bound.check(setting(1000)._replace(**changes))


def test_inside_the_assumptions_only_what_numbers_cannot_show_is_assumed():
    # N d > m^2: 1276 * 784 is just above a million.
    pretraining_bound.check(setting(1000, width=1276))
    own = setting(1000, activation="jax.nn:sigmoid")
    pretraining_bound.check(own)
    extra = {*pretraining_bound.assumed(own)} - {
        *pretraining_bound.assumed(setting(1000))
    }
    assert extra == {"two bounded derivatives of jax.nn:sigmoid"}


@pytest.mark.parametrize(
    "act, words",
    [
        (
            lambda: pretraining_bound.threshold(setting(1000), "gd", constant=2.0),
            "c d = 1568 for m",
        ),
        (
            lambda: pretraining_bound.threshold(setting(1000), "adam"),
            "got optimizer = 'adam'",
        ),
        (
            lambda: pretraining_bound.implied_constant(setting(1000), "gd", 1.2),
            "got rho = 1.2",
        ),
        (
            lambda: pretraining_bound.explicit_threshold(
                9, 0.9, initial=1.0, first=0.0, diameter=0.0
            ),
            "got first = 0.0, diameter = 0.0",
        ),
        (
            lambda: pretraining_bound.threshold(setting(1000, picks=1)),
            "picks must be at",
        ),
        (
            lambda: pretraining_bound.threshold(setting(1000, picks=2.5)),
            "picks must be a whole number, got picks = 2.5",
        ),
        (
            lambda: pretraining_bound.check(setting("1000")),
            "examples must be a whole number, got examples = '1000'",
        ),
        (
            lambda: pretraining_bound.selection_bound(
                0, first=1.0, diameter=1.0, dense=0.5
            ),
            "picks must be .* of at least 1, got picks = 0",
        ),
        (
            lambda: pretraining_bound.explicit_threshold(
                0, 0.9, initial=1.0, first=1.0, diameter=1.0
            ),
            "picks must be .* of at least 1, got picks = 0",
        ),
    ],
)
def test_numbers_that_make_no_sense_are_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()


def test_a_constant_that_rounds_the_rate_to_one_still_has_a_threshold():
    assert pretraining_bound.contraction(setting(1000), "sgd", 1e-300) == 1
    found = [
        pretraining_bound.threshold(setting(1000), constant=c) for c in (1e-300, 1e-20)
    ]
    assert found[0] / found[1] == pytest.approx(1e280)


ARGUMENTS = ["--inputs=784", "--picks=200", "--activation=sigmoid"]
INSIDE = [*ARGUMENTS, "--examples=1000", "--width=5000"]


def once(arguments, others):
    """Returns arguments without those that are given otherwise."""
    given = {flag.partition("=")[0] for flag in others}
    return [flag for flag in arguments if flag.partition("=")[0] not in given]


def test_the_command_prints_the_threshold_its_errata_and_what_is_assumed(capsys):
    bound.main([*INSIDE, "--learning_rate=0.1"])
    text = capsys.readouterr().out
    assert "published threshold: 6,755 steps" in text
    assert all(erratum in text for erratum in bound.ERRATA)
    assert "assumed, not checked: inputs of unit length" in text
    assert "by the learning rate" not in text  # c is assumed: the quotient says nothing
    bound.main([*INSIDE, "--learning_rate=0.1", "--constant=0.5"])
    assert "c by the learning rate 0.1: 5\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "examples, printed",
    # The same table, in the form without the factor 2 of a square.
    [*zip(SIZES, (3.5, 31.1, 64.9, 133, 200, 335), strict=True)],
)
def test_the_command_says_what_the_printed_form_for_gradient_descent_is(
    examples, printed, capsys
):
    flags = [f"--examples={examples}", "--width=10000000", "--optimizer=gd"]
    bound.main([*ARGUMENTS, *flags])
    _, _, text = capsys.readouterr().out.partition("(as printed ")
    np.testing.assert_allclose(float(text.partition(":")[0]), printed, rtol=0.02)


def test_a_learning_rate_beside_an_assumed_constant_is_said_not_to_be_read(capsys):
    bound.main([*INSIDE, "--learning_rate=0.1"])
    assert "the learning rate 0.1 is not read" in capsys.readouterr().out


def test_a_run_brings_its_setting_and_its_rate_and_the_threshold_that_follows(
    tmp_path, capsys
):
    rho = 0.5**0.1  # the loss halves in ten steps
    bound.main([written(tmp_path)])
    text = capsys.readouterr().out
    assert "m = 1,000 examples, d = 784 inputs, N = 5,000 neurons, k = 200" in text
    assert f"times {rho:.6f} a step, R^2 = 1.000" in text
    assert f"c = {(1 - rho) * 1000**2 / 784:.4g} (implied by the run's rho" in text
    steps = math.log(200) / -math.log(rho)
    assert f"published threshold: {steps:,.4g} steps" in text
    # 1/8 and what is left by k: (1 - 1/8) / 200, D^2 / 2 = 1/2 with H_k - 1 or alone.
    harmonic = sum(1 / i for i in range(1, 201)) - 1
    for times in (harmonic, 1):
        assert f"{1 / 8 + (7 / 8 + times / 2) / 200:.4g}" in text
    assert "vacuous" not in text
    bound.main([written(tmp_path, diameter=[1, 1, 40])])
    assert "at the last checkpoint the bound is vacuous" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes, flags, words",
    [
        ({}, ["--picks=50"], "of the setting asked for, got .*'picks': 200"),
        ({"first": [1, 1]}, [], r"each of its 3 steps, got first = \[1, 1\]"),
        (
            {"hull": [0, None, 0]},
            [],
            r"hull of a run must be of numbers, got \[0, None",
        ),
        ({"hull": [0, float("inf"), 0]}, [], "finite number for each"),
        ({"dense": {"a": 1}}, [], "dense of a run must be of numbers"),
        ({"zero": "0"}, [], "zero of a run must be of numbers, got '0'"),
        ({"steps": [0, 10, 10]}, [], r"steps of a run must rise, got .*10, 10\]"),
        ({"steps": [5, 10, 20]}, [], r"begin before training, .* got steps = \[5, 10"),
        (
            dict.fromkeys(bound.LISTS, []),
            [],
            "three checkpoints at least",
        ),
        ({"dense": [0, 0, 0]}, [], "begin with a loss above 0, got dense = 0 "),
        ({"zero": math.nan}, [], "zero of a run must be finite, got zero = nan"),
        ({"setting": {}}, [], "a run's setting must have"),
        ({"setting": 3}, [], "a run's setting must have .* got 3"),
        ({"setting": RUN["setting"] | {"width": 5.5}}, [], "whole numbers .* 5.5"),
        ({"first": [0, 0, 0], "diameter": [0, 0, 0]}, [], "got first = 0.0"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_before_anything_is_printed(
    changes, flags, words, tmp_path, capsys
):
    with pytest.raises(SystemExit, match=words):
        bound.main([written(tmp_path, **changes), *flags])
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--anyway", "--picks=1"], "picks must be at least 2"),
        (["--anyway", "--width=0"], "width must be at least 1"),
        (["--anyway", "--activation=sigmiod"], "did you mean 'sigmoid'"),
        (["--constant=nan"], "c d must be positive"),
        (
            ["--learning_rate=-1"],
            "must be positive, and finite, got learning_rate = -1",
        ),
        (["--width=5000"] * 2, "every flag must be given once, got --width 2 times"),
        (["--constant=1", "--rate=0.5"], "one of --constant and --rate"),
    ],
)
def test_the_command_ends_with_one_sentence_on_what_makes_no_sense(flags, words):
    with pytest.raises(SystemExit, match=words):
        bound.main([*once(INSIDE, flags), *flags])
    with pytest.raises(SystemExit, match="got no --examples --width"):
        bound.main(ARGUMENTS)


@pytest.mark.parametrize("content", ["", '{"a":', "[]", "3", "\xff"])
def test_a_file_that_holds_no_run_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="latin1")
    with pytest.raises(SystemExit, match="--run must be JSON|a run must be a dict"):
        bound.main([f"--run={path}"])


@pytest.mark.parametrize("name, why", [("absent", "No such file"), (".", "Is a dir")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, why):
    with pytest.raises(SystemExit, match=f"a file that can be read, got .*, {why}"):
        bound.main([f"--run={tmp_path / name}"])


def test_the_command_refuses_outside_the_assumptions_unless_told_to_go_on(capsys):
    outside = [*ARGUMENTS, "--examples=50000", "--width=5000"]
    with pytest.raises(SystemExit, match="N d > m"):
        bound.main(outside)
    bound.main([*outside, "--anyway"])
    assert "broken: N d > m^2" in capsys.readouterr().out


@pytest.mark.parametrize("initial", [math.nan, -1.0, 0.0, math.inf])
def test_a_loss_that_is_none_has_no_threshold(initial):
    given = {"first": 0.1, "diameter": 1.0}
    with pytest.raises(ValueError, match="initial must be positive and finite"):
        pretraining_bound.explicit_threshold(10, 0.9, initial=initial, **given)
