"""Rounds and their tickets: what goes on, what is rewound, what is reset."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import trails
from trails import fresh

from lthjax.pruning import masks
from lthjax.tickets import Trained, continuous
from lthjax.tickets.rounds import Rounds, continued

LEVELS, STEPS, LATE = 3, 6, 2
PARAMS = {"kernel": jnp.arange(8.0), "bias": jnp.zeros(1)}
NOTHING = {"kernel": jnp.zeros(8, bool), "bias": None}


def halves(key, trained, level):
    """Keeps the 8 / 2^level highest."""
    del key
    tree = {"kernel": jnp.arange(8) >= 8 - 8 // 2**level, "bias": None}
    params = masks.apply(trained.params, tree)
    return Trained(params, trained.model_state, tree)


ROUNDS = Rounds(
    open=lambda key, *network: fresh(*network),
    again=lambda key, trained, level: trained,
    weights=lambda trained: (trained.params, trained.model_state),
    harvest=halves,
)


def search_of(**options):
    options = {"levels": LEVELS, "steps": STEPS, "rewind_to": LATE} | options
    return continuous(ROUNDS, **options)


def test_every_level_is_a_round_and_then_a_ticket_and_the_first_is_dense():
    found = trails.trail(search_of(), PARAMS)
    rows = [(t.level, t.arm, t.step, t.until) for _, t, _ in found]
    assert rows == [
        (0, "ticket", 0, STEPS),
        (1, "search", 0, LATE),
        (1, "search", LATE, STEPS),
        (1, "ticket", 0, STEPS),
        (2, "search", 0, STEPS),
        (2, "ticket", 0, STEPS),
        (3, "search", 0, STEPS),
        (3, "ticket", 0, STEPS),
    ]


def test_rounds_go_on_with_weights_statistics_and_momentum_and_are_not_rewound():
    rounds = [row for row in trails.trail(search_of(), PARAMS) if row[1].searching]
    for i, ((_, _, before), (_, ticket, _)) in enumerate(itertools.pairwise(rounds)):
        np.testing.assert_array_equal(ticket.params["kernel"], before.params["kernel"])
        assert ticket.model_state["seen"] == before.model_state["seen"]
        assert ticket.opt_state["steps"] == before.opt_state["steps"] > i


@pytest.mark.parametrize("rewind_to", [0, LATE])
def test_a_ticket_starts_from_the_early_iterate_and_ends_where_its_masks_say(rewind_to):
    for state, ticket, _ in trails.trail(search_of(rewind_to=rewind_to), PARAMS):
        if ticket.searching or not ticket.level:
            continue
        early = PARAMS["kernel"] + rewind_to
        np.testing.assert_array_equal(ticket.params["kernel"], early)
        assert ticket.model_state["seen"] == rewind_to
        assert ticket.opt_state is None
        assert masks.count(ticket.masks)[0] == 8 // 2**ticket.level
        assert state.round.opt_state["steps"] == STEPS * ticket.level


RESTARTS = {
    ("weights", "zero"): (0, STEPS),
    ("weights", "rewind_to"): (LATE, STEPS),
    ("learning_rate", "zero"): (LATE, STEPS),
    ("fine_tune", "zero"): (STEPS, 2 * STEPS - LATE),
}


@pytest.mark.parametrize("restart, start", RESTARTS)
def test_a_ticket_trains_over_the_steps_of_its_restart(restart, start):
    rows = trails.trail(search_of(restart=restart, start=start), PARAMS)
    found = [(ticket, state) for state, ticket, _ in rows if ticket.level]
    for ticket, state in found:
        if ticket.searching:
            continue
        assert (ticket.step, ticket.until) == RESTARTS[restart, start]
        if restart != "weights":
            pruned = masks.apply(state.round.params, ticket.masks)
            np.testing.assert_array_equal(ticket.params["kernel"], pruned["kernel"])


def test_a_round_that_prunes_everything_is_the_last():
    def nothing_at_two(key, trained, level):
        found = halves(key, trained, level)
        return found if level == 1 else found._replace(masks=NOTHING)

    rounds = ROUNDS._replace(harvest=nothing_at_two)
    search = continuous(rounds, levels=LEVELS, steps=STEPS, rewind_to=0)
    rows = trails.trail(search, PARAMS)
    assert [(t.level, t.searching) for _, t, _ in rows] == [
        (0, 0),
        (1, 1),
        (1, 0),
        (2, 1),
    ]


def test_pruning_without_rewinding_prunes_what_the_last_round_left():
    def prune(key, trained, level):
        return halves(key, trained, level).masks

    def optimizer(params):
        return {"steps": jnp.int32(0)}

    search = continuous(continued(prune, optimizer), levels=LEVELS, steps=STEPS)
    rows = trails.trail(search, PARAMS)
    rounds = [(ticket, trained) for _, ticket, trained in rows if ticket.searching]
    for (_, before), (ticket, _) in itertools.pairwise(rounds):
        expected = masks.apply(before.params, ticket.masks)
        np.testing.assert_array_equal(ticket.params["kernel"], expected["kernel"])
        assert ticket.opt_state["steps"] == 0
    left = [int(masks.count(ticket.masks)[0]) for _, ticket, _ in rows]
    assert left == [8, 8, 4, 4, 2, 2, 1]


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 6\), .* got rewind_to = 6"):
        search_of(rewind_to=STEPS)
    with pytest.raises(ValueError, match="weights, .* got restart = 'continue'"):
        search_of(restart="continue")
    with pytest.raises(ValueError, match="zero, rewind_to, got start = 'k'"):
        search_of(start="k")
