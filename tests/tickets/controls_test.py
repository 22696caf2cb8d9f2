"""A control takes one ingredient of the ticket away and leaves all others."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.pruning import choose, masks, scores
from lthjax.tickets import Ticket, controls

KEY = jax.random.key(0)
SHAPES = {"first": (40, 50), "second": (1000,)}
KEPT = (2_400, 1_200, 300)


def init_fn(key):
    keys = dict(zip(SHAPES, jax.random.split(key, 2), strict=True))
    params = {
        name: {"kernel": jax.random.normal(keys[name], shape), "bias": jnp.zeros(3)}
        for name, shape in SHAPES.items()
    }
    return params, {"mean": jax.random.normal(key)}


def tickets():
    """Nested tickets of three levels, their masks by magnitude with uneven layers."""
    params, state = init_fn(jax.random.key(9))  # never one key for two draws
    params["second"]["kernel"] *= 4
    found, kept = [], masks.full(params)
    for level, count in enumerate(KEPT, start=1):
        kept = choose.prune(kept, scores.magnitude(params, kept), kept=count)
        found.append(Ticket(level, 5, 90, params, state, kept, {"momentum": KEY}))
    return found


TICKETS = tickets()


def apply(arm, ticket, key=KEY):
    return controls.CONTROLS[arm](key, ticket, init_fn)


def layers(ticket):
    return [kept for kept, _ in masks.layers(ticket.masks).values()]


def flat(ticket):
    leaves = jax.tree.leaves(ticket.masks)
    return np.concatenate([np.asarray(mask).ravel() for mask in leaves])


@pytest.mark.parametrize("arm", controls.CONTROLS)
def test_a_control_trains_like_its_ticket_with_momentum_from_zero(arm):
    for ticket in TICKETS:
        found = apply(arm, ticket)
        assert found[:3] == ticket[:3]
        assert found.opt_state is None
        assert masks.count(found.masks) == masks.count(ticket.masks)
        masks.compatible(found.params, found.masks)


@pytest.mark.parametrize("arm", controls.CONTROLS)
def test_the_key_decides_and_compiling_changes_nothing(arm):
    ticket = TICKETS[1]._replace(opt_state=None)
    same, other = (apply(arm, ticket, jax.random.key(seed)) for seed in (0, 1))
    compiled = jax.jit(lambda key, ticket: apply(arm, ticket, key))(KEY, ticket)
    assert_same(compiled[3:6], same[3:6])
    part = "params" if arm == "reinit" else "masks"
    changed = jax.tree.map(
        lambda a, b: (a != b).any(), getattr(same, part), getattr(other, part)
    )
    assert changed["first"]["kernel"]


@pytest.mark.parametrize("arm", ["shuffle", "random"])
def test_other_masks_come_on_the_same_weights_and_statistics(arm):
    for ticket in TICKETS:
        found = apply(arm, ticket)
        assert found.params is ticket.params
        assert found.model_state is ticket.model_state
        assert (flat(found) != flat(ticket)).any()


def test_shuffling_keeps_the_count_of_every_layer():
    for ticket in TICKETS:
        assert layers(apply("shuffle", ticket)) == layers(ticket)


def test_random_masks_keep_the_total_and_spread_it_evenly():
    for ticket in TICKETS:
        found, (kept, total) = (
            layers(apply("random", ticket)),
            masks.count(ticket.masks),
        )
        assert sum(found) == kept
        # Five standard deviations of a binomial count, which is more than those of
        # drawing without replacement.
        density, size = int(kept) / total, 40 * 50
        spread = np.sqrt(size * density * (1 - density))
        assert abs(found[0] - density * size) < 5 * spread
        assert abs(layers(ticket)[0] - density * size) > 5 * spread


@pytest.mark.parametrize("arm", ["shuffle", "random"])
def test_with_one_key_the_masks_of_later_levels_lie_inside_earlier_ones(arm):
    drawn = [flat(apply(arm, ticket)) for ticket in TICKETS]
    for before, after in itertools.pairwise(drawn):
        assert (before | ~after).all()


def test_a_shuffled_mask_meets_the_ticket_as_often_as_chance_has_it():
    for ticket in TICKETS:
        pairs = zip(
            jax.tree.leaves(ticket.masks),
            jax.tree.leaves(apply("shuffle", ticket).masks),
            strict=True,
        )
        for mask, drawn in pairs:
            kept, size = int(mask.sum()), mask.size
            density = kept / size
            # Of the kept ones drawn, a share `density` meets the ticket; five standard
            # deviations of the hypergeometric law, at most the binomial's.
            tolerance = 5 * np.sqrt(kept * density * (1 - density))
            assert abs(int((mask & drawn).sum()) - kept * density) <= tolerance


def test_reinitialising_keeps_the_masks_and_draws_weights_anew_at_each_level():
    drawn = [apply("reinit", ticket) for ticket in TICKETS]
    for ticket, found in zip(TICKETS, drawn, strict=True):
        assert found.masks is ticket.masks
        assert found.model_state["mean"] != ticket.model_state["mean"]
    kernels = [t.params["second"]["kernel"] for t in (*drawn, *TICKETS[:1])]
    for a, b in itertools.combinations(kernels, 2):
        assert (a != b).all()
