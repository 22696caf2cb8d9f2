"""Searches by level: what each keeps, and where each kind of restart begins."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.pruning import choose, masks, scores, sparsities
from lthjax.tickets import Trained
from lthjax.tickets.iterative import SEARCHES

LEVELS, STEPS, LATE = 3, 6, 2
KEY = jax.random.key(0)
SHAPES = {"first": (4, 5), "second": (6,)}
TOTAL = 4 * 5 + 6
PARAMS = {
    name: {"kernel": np.random.default_rng(i).normal(size=shape), "bias": np.ones(2)}
    for i, (name, shape) in enumerate(SHAPES.items())
}
PARAMS = jax.tree.map(jnp.float32, PARAMS)
TARGETS = sparsities.by_rate({"all": TOTAL}, 0.2, LEVELS)
RESTARTS = {  # the first step of a level and the step it stops at, as the table has it
    "weights": (LATE, STEPS),
    "learning_rate": (LATE, STEPS),
    "fine_tune": (STEPS, STEPS + (STEPS - LATE)),
    "continue": (0, STEPS),
}
TRAINED = ("iterative", "one_shot")  # those that prune what was trained
KINDS = [*itertools.product(TRAINED, RESTARTS), ("at_init", "weights")]


@jax.jit
def advance(step, w, v, tree):
    v = jax.tree.map(lambda v, w: v / 2 + w - step, v, w)
    v = masks.apply(v, tree)
    return jax.tree.map(lambda w, v: w - v / 8, w, v), v


def train(ticket):
    """Momentum on a quadratic whose minimum moves with the step; batches are counted.

    v = v / 2 + w - step;  w -= v / 8: all of it depends on where a level restarts.
    """
    w = masks.apply(ticket.params, ticket.masks)
    v = ticket.opt_state
    v = jax.tree.map(jnp.zeros_like, w) if v is None else v
    seen = ticket.model_state["seen"]
    for step in range(ticket.step, ticket.until):
        w, v = advance(float(step), w, v, ticket.masks)
        seen = seen + 1
    return Trained(w, {"seen": seen}, ticket.masks, v)


def prune(key, trained, level):
    """Prunes by magnitude to the count of the level."""
    del key
    ranked = scores.magnitude(trained.params, trained.masks)
    return choose.prune(trained.masks, ranked, kept=TARGETS[level - 1])


def search_of(method, restart, rewind_to=LATE):
    options = {"levels": LEVELS, "steps": STEPS, "rewind_to": rewind_to}
    return SEARCHES[method](prune, restart=restart, **options)


def start(search):
    return search.init(KEY, PARAMS, {"seen": jnp.int32(0)}, masks.full(PARAMS))


@functools.cache
def trail(*kind):
    """Returns [(state, ticket, trained), ...] of a whole search."""
    search = search_of(*kind)
    rows, (state, ticket) = [], start(search)
    while ticket is not None:
        assert len(rows) < 10 * LEVELS, "a search must end"
        rows.append((state, ticket, train(ticket)))
        state, ticket = search.step(KEY, *rows[-1])
    return rows


def levels(rows):
    """Returns {level: (ticket, trained)} of the last training of each level."""
    return {ticket.level: (ticket, trained) for _, ticket, trained in rows}


every_kind = pytest.mark.parametrize("method, restart", KINDS)


@every_kind
@pytest.mark.parametrize("rewind_to", [0, LATE])
def test_a_search_ends_and_each_level_keeps_its_count_inside_the_last(
    method, restart, rewind_to
):
    rows = trail(method, restart, rewind_to)
    late = rewind_to > 0 and restart == "weights"
    assert len(rows) == LEVELS + 1 + late
    assert [t.level for _, t, _ in rows] == [0] * late + [*range(LEVELS + 1)]
    found = [masks.count(ticket.masks)[0] for _, ticket, _ in rows]
    assert found == [TOTAL] * late + [TOTAL, *TARGETS]
    for (_, before, _), (_, after, _) in itertools.pairwise(rows):
        inside = jax.tree.map(lambda a, b: ~a | b, after.masks, before.masks)
        assert all(leaf.all() for leaf in jax.tree.leaves(inside))


@every_kind
def test_each_level_trains_over_the_steps_of_its_restart(method, restart):
    found = levels(trail(method, restart))
    for level in range(1, LEVELS + 1):
        ticket, _ = found[level]
        assert (ticket.step, ticket.until) == RESTARTS[restart]
        assert ticket.opt_state is None


@every_kind
def test_what_is_pruned_is_the_last_training_or_the_dense_one(method, restart):
    found = levels(trail(method, restart))
    for level in range(1, LEVELS + 1):
        source = found[0 if method == "one_shot" else level - 1][1]
        if method == "at_init":  # the weights a level starts from, with full masks
            source = Trained(found[level][0].params, None, masks.full(PARAMS))
        expected = prune(KEY, source, level)
        assert_same(found[level][0].masks, expected)


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("rewind_to", [0, LATE])
def test_rewinding_restores_weights_and_statistics_of_the_dense_run(method, rewind_to):
    dense = start(search_of(method, "weights"))[1]
    then = train(dense._replace(until=rewind_to))
    found = levels(trail(method, "weights", rewind_to))
    for level in range(1, LEVELS + 1):
        ticket, _ = found[level]
        assert_same(ticket.params, then.params)
        assert_same(ticket.model_state, {"seen": jnp.int32(rewind_to)})


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("restart", ["learning_rate", "fine_tune", "continue"])
def test_the_other_restarts_go_on_from_the_weights_that_were_pruned(method, restart):
    found = levels(trail(method, restart))
    for level in range(1, LEVELS + 1):
        ticket, _ = found[level]
        source = found[0 if method == "one_shot" else level - 1][1]
        assert_same(ticket.params, source.params)
        assert_same(ticket.model_state, source.model_state)


@every_kind
def test_the_dense_training_is_never_disturbed(method, restart):
    dense = start(search_of(method, restart))[1]
    whole = train(dense._replace(until=STEPS))
    assert_same(levels(trail(method, restart))[0][1], whole)


def test_late_rewinding_passes_its_step_with_live_momentum():
    first, second = trail("iterative", "weights")[:2]
    assert (first[1].step, first[1].until) == (0, LATE)
    assert (second[1].step, second[1].until) == (LATE, STEPS)
    assert_same(second[1].opt_state, first[2].opt_state)
    assert any(leaf.any() for leaf in jax.tree.leaves(second[1].opt_state))


@pytest.mark.parametrize("method", SEARCHES)
@pytest.mark.parametrize("rewind_to", [-1, STEPS, STEPS + 1])
def test_a_rewind_step_outside_the_dense_training_is_refused(method, rewind_to):
    expected = rf"in \[0, {STEPS}\).*got rewind_to = {rewind_to}"
    with pytest.raises(ValueError, match=expected):
        search_of(method, "weights", rewind_to)


@pytest.mark.parametrize("method", TRAINED)
def test_an_unknown_restart_is_refused_with_the_choices(method):
    expected = "weights, learning_rate, fine_tune, continue, got restart = 'rewind'"
    with pytest.raises(ValueError, match=expected):
        search_of(method, "rewind")
