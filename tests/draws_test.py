"""What a network draws is by the number of the step that it is at."""

import flax
import jax
import jax.numpy as jnp
import pytest
from small_training import TX, ticket
from trees import assert_same

from lthjax import draws
from lthjax.gates.gated import GatedState, Progress
from lthjax.tickets import Trained, controls
from lthjax.training import steps

FULL = {"batch_stats": jnp.zeros(2), "draws": {"key": jnp.arange(2), "step": 3}}
OWN = {"batch_stats": jnp.ones(2), "draws": {"key": jnp.arange(2) + 5, "step": 9}}


def test_a_state_is_moved_to_a_step_and_so_is_the_network_s_in_a_round():
    moved = {**FULL, "draws": {**FULL["draws"], "step": 8}}
    assert_same(draws.at_step(FULL, 8), moved)
    progress = Progress(jnp.int32(1), jnp.float32(0), jnp.arange(2))
    assert_same(
        draws.at_step(GatedState(FULL, progress), 8), GatedState(moved, progress)
    )
    assert_same(draws.at_step(flax.core.freeze(FULL), 8), flax.core.freeze(moved))
    for state in ({}, {"batch_stats": jnp.ones(2)}):
        assert draws.at_step(state, 8) is state


@pytest.mark.parametrize("opt_state", [None, (jnp.zeros(2),)])
@pytest.mark.parametrize("step", [0, 7])
def test_a_training_begins_to_draw_at_its_step_wherever_its_state_is_from(
    step, opt_state
):
    begun = ticket(step=step, model_state=FULL, opt_state=opt_state)
    for parts in (1, 2):
        moved = {**FULL, "draws": {**FULL["draws"], "step": parts * step}}
        assert_same(steps.begin(TX, begun, parts=parts).model_state, moved)
        start = steps.starter(TX, points=1, parts=parts)
        assert_same(start(begun).model_state, moved)


@pytest.mark.parametrize("arm", ["reinit", "shuffle_reinit"])
def test_a_control_of_fresh_weights_draws_what_its_ticket_does(arm):
    own = ticket(model_state=FULL)
    found = controls.CONTROLS[arm](
        jax.random.key(1), own, lambda key: (own.params, OWN)
    )
    assert_same(found.model_state, {**OWN, "draws": FULL["draws"]})


def test_a_control_of_another_start_does_too_and_one_of_no_draws_stays_without():
    own, start = ticket(model_state=FULL), Trained({}, OWN, {})
    found = controls.started(own, start).model_state
    assert_same(found, {**OWN, "draws": FULL["draws"]})
    plain = {"batch_stats": jnp.ones(2)}
    found = controls.started(ticket(model_state={}), Trained({}, plain, {}))
    assert found.model_state is plain
