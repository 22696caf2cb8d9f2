"""What every search owes its caller, whatever it does between trainings."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest
import trails
from trails import KEY, SEEN, fresh
from trees import assert_same

from lthjax import tickets
from lthjax.pruning import masks
from lthjax.saving import checkpoints
from lthjax.tickets import Ticket, Trained
from lthjax.tickets.dynamic import changing
from lthjax.tickets.early_bird import early_bird
from lthjax.tickets.forward_selection import Selection, forward
from lthjax.tickets.forward_selection import State as Chosen
from lthjax.tickets.iterative import SEARCHES as BY_LEVEL
from lthjax.tickets.outside import outside
from lthjax.tickets.rounds import Rounds, continuous, from_dense

LEVELS, STEPS, LATE = 3, 6, 2
PARAMS = {"kernel": jnp.arange(1.0, 9.0), "bias": jnp.zeros(1)}
FULL = masks.full(PARAMS)


def highest(count):
    """Returns masks of the `count` last weights."""
    return {"kernel": jnp.arange(8) >= 8 - count, "bias": None}


def harvest(key, trained, level):
    tree = highest(8 // 2**level)
    return Trained(masks.apply(trained.params, tree), trained.model_state, tree)


ROUNDS = Rounds(
    open=lambda key, *network: fresh(*network),
    again=lambda key, trained, level: fresh(*trained[:3]),
    weights=lambda trained: (trained.params, trained.model_state),
    harvest=harvest,
)


def begin(key, params, tree, level):
    count = 8 // 2**level
    return (highest(count) if level else tree), {"steps": jnp.int32(count)}


def handed(key, level):
    return Ticket(level, LATE, STEPS, PARAMS, SEEN, highest(8 - level))


def draw(trained):
    ranked = masks.apply(trained.params, highest(4))["kernel"] > 0
    return ranked, highest(4)


def grow(key, trained, state):
    for layer in range(int(state.layer), 2):
        counts = tuple(leaf + trained.params["kernel"][:2] for leaf in state.counts)
        state = Chosen(jnp.int32(layer + 1), counts)
        yield state


SELECTION = Selection(
    begin=lambda params: Chosen(jnp.int32(0), (jnp.zeros(2),)),
    grow=grow,
    end=lambda trained, state: (trained.params, highest(5)),
)
RESTARTS = ("weights", "learning_rate", "fine_tune", "continue")
BY_RESTART = {  # a network that is pruned before its training has no other
    name: RESTARTS[: 1 if name == "at_init" else None] for name in BY_LEVEL
}
OPTIONS = {"levels": LEVELS, "steps": STEPS}
SEARCHES = {
    **{
        f"{name}-{restart}": BY_LEVEL[name](
            lambda key, trained, level: highest(8 - level),
            restart=restart,
            rewind_to=LATE,
            **OPTIONS,
        )
        for name, restarts in BY_RESTART.items()
        for restart in restarts
    },
    "continuous": continuous(ROUNDS, rewind_to=LATE, **OPTIONS),
    "from_dense": from_dense(ROUNDS, rewind_to=LATE, **OPTIONS),
    "changing": changing(begin, **OPTIONS),
    "outside": outside(handed, **OPTIONS),
    "early_bird": early_bird(draw, steps=STEPS, epoch=1, queue=2),
    "forward": forward(SELECTION, steps=STEPS, draw_at=LATE, tune=3),
}
every_search = pytest.mark.parametrize("name", SEARCHES)


@functools.cache
def trail(name):
    """Returns [(state, ticket, trained), ...] of a whole search."""
    return trails.trail(SEARCHES[name], PARAMS)


def test_every_search_of_the_chapter_is_here():
    own = pathlib.Path(tickets.__file__).parent.glob("*.py")
    found = re.findall(
        r"^def (\w+)\([^)]*\) -> Search:", "".join(p.read_text() for p in own), re.M
    )
    assert set(found) == {name.partition("-")[0] for name in SEARCHES}


@every_search
def test_a_search_begins_with_the_dense_network_and_goes_level_by_level(name):
    first = trail(name)[0][1]
    assert (first.level, first.step) == (0, 0)
    assert_same((first.params, first.model_state), (PARAMS, SEEN))
    assert masks.count(first.masks) == masks.count(FULL)
    levels = [ticket.level for _, ticket, _ in trail(name)]
    assert levels == sorted(levels)
    assert set(levels) == set(range(levels[-1] + 1)) and levels[-1] > 0


@every_search
def test_every_ticket_is_whole(name):
    for _, ticket, _ in trail(name):
        assert 0 <= ticket.step < ticket.until
        assert jax.tree.structure(ticket.params) == jax.tree.structure(PARAMS)
        masks.compatible(ticket.params, ticket.masks)


@every_search
def test_a_state_keeps_the_structure_that_it_began_with(name):
    def leaf_form(leaf):
        return jnp.shape(leaf), jnp.result_type(leaf)

    def form(state):
        return jax.tree.structure(state), [leaf_form(x) for x in jax.tree.leaves(state)]

    forms = [form(state) for state, ticket, _ in trail(name)]
    assert all(found == forms[0] for found in forms)


@every_search
def test_a_saved_state_finds_the_same_ticket(name, tmp_path):
    search = SEARCHES[name]
    like, _ = search.init(KEY, PARAMS, SEEN, FULL)
    for i, (state, ticket, trained) in enumerate(trail(name)):
        checkpoints.save(tmp_path / str(i), state)
        restored, _ = checkpoints.restore(tmp_path / str(i), like)
        _, expected = search.step(KEY, state, ticket, trained)
        _, found = search.step(KEY, restored, ticket, trained)
        assert_same(found, expected)


@every_search
def test_a_step_goes_on_from_any_state_between_two_trainings(name):
    search = SEARCHES[name]
    for state, ticket, trained in trail(name):
        expected = search.step(KEY, state, ticket, trained)
        for part in search.between(KEY, state, ticket, trained):
            assert_same(search.step(KEY, part, ticket, trained), expected)


def test_the_work_between_two_trainings_is_cut_into_parts():
    assert len(list(SEARCHES["forward"].between(KEY, *trail("forward")[0]))) == 2
