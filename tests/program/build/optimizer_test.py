"""A config names any optimizer and any schedule of optax, with its options."""

import numpy as np
import pytest
import tiny

from lthjax.program.build import optimizer
from lthjax.program.run import check, experiment

LION = {
    "optimizer.name": "lion",
    "optimizer.learning_rate": 0.01,
    "optimizer.options": {"b1": 0.5},
    "schedule.name": "exponential_decay",
    "schedule.options": {"decay_rate": 0.25},
}


def own(rate, *, steps, drops, factor, lowest):
    return lambda step: rate * factor + lowest + 0.0 * step


def bare(rate):
    return lambda step: rate


def test_a_run_by_names_prunes_and_keeps_zeros(tmp_path):
    config = tiny.config({**LION, "seeds": (0,), "search.rewind_to": 1})
    _, _, ground = check.check(config)
    rate = optimizer.schedule(ground)
    # A rate of 0.01 that falls to a quarter over the four steps, its last one is held.
    np.testing.assert_allclose([rate(0), rate(2)], [0.01, 0.005], rtol=1e-5)
    assert rate(9) == rate(3)
    rows = experiment.run(config, tmp_path)
    assert [row["kept"] for row in rows] == [592, 474, 379]


def test_a_schedule_of_ones_own_is_given_the_options():
    config = {"schedule.name": f"{__name__}:own", "schedule.options": {"lowest": 0.5}}
    _, _, ground = check.check(tiny.config(config))
    assert float(optimizer.schedule(ground)(3)) == pytest.approx(0.1 * 0.1 + 0.5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"optimizer.name": "loin"}, "must be one of .*did you mean 'lion'"),
        ({"optimizer.options": {"b1": 0.5}}, "optimizer.options of 'sgd' must be am"),
        ({"schedule.name": "cosin"}, "must be one of .*did you mean 'cosine'"),
        (
            {"schedule.name": f"{__name__}:bare"},
            r"take \(learning_rate, steps=, drops=",
        ),
        ({"schedule.options": {"alpha": 0.5}}, "of a schedule of optax, or your own"),
        (
            {**LION, "schedule.options": {"rate": 0.5}},
            "'exponential_decay' must be among .* got rate = 0.5",
        ),
        ({"optimizer.name": "lbfgs"}, "must update from gradients, its state"),
        ({"optimizer.name": "sophia"}, "must update from gradients, its state"),
        ({"optimizer.options": {"b1": None, "b2": object}}, "texts, finite numbers"),
    ],
)
def test_what_no_optimizer_and_no_schedule_takes_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))
