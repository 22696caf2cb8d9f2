"""Bases through the whole program: tickets of coefficients, records, refusals."""

import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lthjax.program.build import assemble, basis_rules, coefficients, plan
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout
from lthjax.pruning import bases, basis_names
from lthjax.pruning import masks as masks_lib

pytestmark = pytest.mark.usefixtures("compiled_once")

TURNED = {
    "search.basis": (
        ("dense1", "dct_pixels"),
        ("head", "random_orthogonal_both"),
    ),
    "search.rewind_to": 1,
    "controls": ("reinit",),
}
LEARNT = {
    "seeds": (0,),
    "search.basis": (("dense1", "svd_rows"), ("head", "hadamard")),
    "search.pattern": "channels",
    "search.score": "energy",
    "search.rewind_to": 1,
    "search.rate": 0.4,
}


def built(changes):
    """Returns the ground and the functions of a run."""
    config = tiny.config(changes)
    source = experiment.load(config)
    return plan.of(config, source), tiny.build(config, source)


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, TURNED)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, LEARNT)


def test_a_ticket_is_of_coefficients_and_its_network_of_weights(turned):
    config, root = turned
    ground, _ = built(TURNED)
    ticket = layout.load_ticket(root, 0, 1)
    assert int(masks_lib.count(ticket.masks)[0]) == 474
    params = masks_lib.apply(ticket.params, ticket.masks)
    images = jax.random.uniform(jax.random.key(0), (3, *ground.facts.image_shape))
    logits, _ = ground.apply_fn(params, ticket.model_state, images, False)
    found = coefficients.weights(params, ticket.model_state, ground.bases)
    plain, _ = ground.module.apply({"params": found}, images), None
    np.testing.assert_allclose(logits, plain, rtol=1e-5, atol=1e-6)
    alive = jnp.mean(found["dense1"]["kernel"] != 0)
    assert alive > jnp.mean(ticket.masks["dense1"]["kernel"])


def test_the_first_network_is_that_of_weights_and_a_seed_has_a_rotation_of_its_own():
    ground, parts = built(TURNED)
    _, plain = built({})
    states = []
    for seed in range(2):
        params, state = parts.init_fn(jax.random.key(seed))
        expected, _ = plain.init_fn(jax.random.key(seed))
        found = coefficients.weights(params, state, ground.bases)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
        )
        states.append(state["basis"]["arrays"]["head"]["kernel"]["inputs"])
    assert np.abs(states[0] - states[1]).max() > 0.1


def test_a_control_draws_other_weights_in_the_basis_of_its_ticket(turned):
    _, root = turned
    ground, parts = built(TURNED)
    ticket = layout.load_ticket(root, 0, 1)
    drawn = parts.control("reinit", jax.random.key(5), ticket)
    own = jax.tree.leaves(ticket.model_state)
    for one, other in zip(jax.tree.leaves(drawn.model_state), own, strict=True):
        np.testing.assert_array_equal(one, other)
    again = coefficients.weights(drawn.params, ticket.model_state, ground.bases)
    _, plain = built({})
    key = jax.random.fold_in(jax.random.key(5), ticket.level)
    expected, _ = plain.init_fn(key)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, expected
    )


def test_a_run_that_was_cut_ends_with_the_same_bits(turned, tmp_path):
    config, root = turned
    shutil.copytree(root, tmp_path / "cut")
    for folder in ("tickets/seed_0/level_02", "tickets/seed_1/level_02"):
        shutil.rmtree(tmp_path / "cut" / folder)
    experiment.run(config, tmp_path / "cut")
    assert tiny.outcome(tmp_path / "cut") == tiny.outcome(root)


@pytest.mark.parametrize("name", ["identity", "groups"])
def test_what_is_no_basis_changes_no_bit(name):
    pattern = "channels" if name == "groups" else "weights"
    changes = {"seeds": (0,), "search.pattern": pattern}
    ground, _ = built({**changes, "search.basis": ((".", name),)})
    assert ground.bases == {}
    assert ground.apply_fn is not None
    assert ground.method.counts(ground)(None, None) == {}
