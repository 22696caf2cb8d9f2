"""Trainings have the spans of their tickets, and a rate above zero in each."""

import jax.numpy as jnp
import pytest
import tiny

from lthjax.program.build import by_dynamics, methods, optimizer, rates, recipes, spans
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.parts import Ground, Plan
from lthjax.program.run import dry_run
from lthjax.pruning.targets import Target
from lthjax.retraining import steps as steps_lib
from lthjax.tickets import Ticket
from lthjax.training import optimizers

PLAN = Plan(36, 4, 12, 4, 0, {}, {}, (Target(1), Target(1)))
ALONE = dict.fromkeys(("forward", "early_bird"), PLAN._replace(targets=(Target(1),)))
METHODS = {  # the span of a ticket of 12 steps, rewound to step 4 where it can be
    "iterative": ({}, (4, 12)),
    "one_shot": ({"search.restart": "fine_tune"}, (12, 20)),
    "rigl": ({"search.rewind_to": 0}, (0, 12)),
    "continued": ({}, (0, 12)),
    "continuous": ({}, (0, 12)),
    "l0": ({"search.gates.start": "rewind_to"}, (4, 12)),
    "admm": ({}, (4, 12)),
    "slimming": ({"search.restart": "learning_rate"}, (4, 12)),
    "soft_threshold": ({"search.restart": "fine_tune"}, (12, 20)),
    "forward": ({"forward.tune": 3, "search.rewind_to": 0}, (12, 15)),
    "early_bird": ({"search.rewind_to": 0}, (4, 12)),
}


def configured(method, changes):
    start = {"search.method": method, "search.rewind_to": 4}
    return tiny.config({**start, "retraining.arms": ("smoothing",), **changes})


def grounded(config, plan=None):
    """Returns what a method is built on, as far as spans and rates read it."""
    method = methods.resolve(config.search.method)
    plan = plan or ALONE.get(config.search.method, PLAN)
    ground = Ground(config, method, None, plan, None, None, None, None)
    rows = tuple(spans.trainings(ground))
    return ground._replace(plan=plan._replace(trainings=rows))


@pytest.mark.parametrize(
    "rounds, arms", [(False, ["ticket"]), (True, ["search", "ticket"])]
)
def test_a_chain_is_dense_then_of_every_level_its_round_and_its_ticket(rounds, arms):
    dense, *rows = spans.chain(PLAN, (4, 9), rounds=rounds)
    assert dense == ("ticket", 0, 0, 12)
    assert [row[:2] for row in rows] == [(arm, n) for n in (1, 2) for arm in arms]
    length = {"search": (0, 12), "ticket": (4, 9)}
    assert all(row[2:] == length[row.arm] for row in rows)


@pytest.mark.parametrize("method", METHODS)
def test_an_arm_trains_as_long_as_its_ticket(method):
    changes, expected = METHODS[method]
    plan = grounded(configured(method, changes)).plan
    last = len(plan.targets)
    assert spans.span(plan, 1) == expected
    rows = [row for row in plan.trainings if row.level == last]
    own = {row.arm: row[2:] for row in rows}
    assert own["smoothing"] == own["ticket"] == expected
    assert own.get("search", (0, 12)) == (0, 12)
    # What comes after the dense training: rounds, tickets and arms of two levels.
    rounds = 12 * ("search" in own)
    after = last * (rounds + 2 * (expected[1] - expected[0]))
    dense = Ticket(0, 0, 12, {}, {}, {})
    assert spans.after(plan, dense) == (0, after)
    assert plan_lib.steps_later(plan, dense, 1.0) == after


def test_the_times_of_ghosts_are_those_of_their_ticket_handed_in():
    config = configured("early_bird", {"retraining.neurons.hold": 0.25})
    found = recipes.recipe(config, (8, 12), 10, "neurons")
    assert steps_lib.times(found)[0] == (9, 10)
    form = steps_lib.timed(found, ((0, 1), (0, 1)))
    given = tuple(tuple(jnp.int32(x) for x in pair) for pair in steps_lib.times(found))
    handed = steps_lib.timed(form, given)
    assert steps_lib.ends(form) == 1
    assert [int(steps_lib.ends(r)) for r in (found, handed)] == [10, 10]
    for step in (9, 10):
        assert steps_lib.knobs(handed, step) == steps_lib.knobs(found, step)


@pytest.mark.parametrize(
    "method, changes",
    [("early_bird", {}), ("forward", {"forward.draw_at": 8})],
)
def test_a_dense_network_that_is_not_trained_to_its_end_has_no_arms(method, changes):
    config = configured(method, {"retraining.levels": (0, 1), **changes})
    with pytest.raises(ValueError, match=r"of tickets.*levels = \(0, 1\); leave 0 out"):
        grounded(config)


def cosine(config, steps=496_600):
    """The ground of a config with half a cosine, and its schedule."""
    config = tiny.changed(config, {"schedule.name": "cosine"})
    ground = grounded(config, PLAN._replace(steps=steps))
    return ground, optimizer.schedule(ground)


def test_fine_tuning_at_the_end_of_a_cosine_needs_a_rate():
    config = configured("one_shot", {"search.restart": "fine_tune"})
    with pytest.raises(ValueError, match=r"above zero.*steps 496600 to.*schedule.tune"):
        rates.check(*cosine(config))
    config = tiny.changed(config, {"schedule.tune": 0.01})
    ground, schedule = cosine(config)
    rates.check(ground, schedule)
    last = ground.plan.steps
    found = [float(schedule(step)) for step in (0, last - 1, last, 10**6)]
    assert found == pytest.approx([0.1, 0.0, 0.01, 0.01])


def test_a_schedule_that_ends_above_zero_is_held_at_its_last_rate():
    schedule = optimizers.piecewise(1.0, steps=10, drops=(4,), factor=0.5)
    assert float(optimizers.held(schedule, 10)(99)) == 0.5
    assert float(optimizers.held(schedule, 10, 0.25)(9)) == 0.5
    assert float(optimizers.held(schedule, 10, 0.25)(10)) == 0.25


@pytest.mark.parametrize(
    "method, changes, message",
    [
        # From step 4 on the rate is zero: whatever starts there would not train.
        ("iterative", {}, "steps 4 to 12 of level 1 .ticket."),
        ("early_bird", {"search.rewind_to": 0}, "steps 8 to 12 of level 1"),
    ],
)
def test_no_training_has_a_rate_of_zero_throughout(method, changes, message):
    config = configured(method, changes)
    schedule = optimizers.piecewise(1.0, steps=12, drops=(4,), factor=0.0)
    with pytest.raises(ValueError, match=message):
        rates.check(grounded(config), schedule)


def test_a_rate_that_hardly_trains_is_said(caplog):
    config = configured("one_shot", {"search.restart": "fine_tune"})
    rates.check(*cosine(config, steps=400))
    assert "is at most 1.54078e-06" in caplog.text  # 0.1 (pi / 800)^2
    assert "schedule.tune" in caplog.text


def test_a_rate_of_fine_tuning_that_nothing_reads_is_refused():
    config = configured("iterative", {"schedule.tune": 0.1})
    with pytest.raises(ValueError, match="schedule.tune = 0.1 with .*'weights'"):
        rates.check(*cosine(config, 12))


WINDOWS = [
    ("gradual", {"dynamic.end": 1.0}, (0, 11)),
    ("straight_through", {"dynamic.end": 0.99}, (0, 11)),
    ("gradual", {"dynamic.begin": 0.5, "dynamic.end": 0.6}, (6, 7)),
    ("rigl", {"dynamic.end": 1.0}, (0, 11)),
    ("wirings", {"dynamic.every": 100}, (0, 9)),
]


@pytest.mark.parametrize("method, changes, expected", WINDOWS)
def test_the_last_change_is_one_of_the_training(method, changes, expected):
    config = configured(method, {"dynamic.every": 1, **changes})
    assert by_dynamics.window(method, config, 12) == expected


@pytest.mark.parametrize(
    "method, changes, often",
    [
        # steps 0 to 9: one cut, not gradual
        ("gradual", {"dynamic.every": 10}, "more than once"),
        ("gradual", {"dynamic.begin": 0.97, "dynamic.end": 1.0}, "more than once"),
        ("straight_through", {"dynamic.end": 0.02}, "more than once"),
        ("set", {"dynamic.every": 9}, "at least once"),  # changes come before step 9
        ("rigl", {"dynamic.end": 0.1}, "at least once"),
    ],
)
def test_a_window_without_a_change_is_refused(method, changes, often):
    config = configured(method, {"dynamic.every": 1, **changes})
    words = f"search.method = '{method}' .*masks {often} in .*got dynamic.begin ="
    with pytest.raises(ValueError, match=words):
        by_dynamics.window(method, config, 12)


@pytest.mark.parametrize("method", by_dynamics.GROWING)
def test_one_change_is_enough_where_weights_move(method):
    config = configured(method, {"dynamic.every": 8})
    assert by_dynamics.window(method, config, 12) == (0, 9)  # it changes at step 8


def test_a_dry_run_says_which_steps_are_trained():
    (text,) = dry_run._steps(grounded(configured("continued", {})).plan)
    assert text == "tickets, their controls and arms train steps 0 to 12"
    (text,) = dry_run._steps(grounded(configured("early_bird", {})).plan)
    assert "after 4 steps at the earliest" in text and "to step 12" in text
