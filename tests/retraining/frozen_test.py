"""Frozen ghosts: branches that fade as drawn, in a network that is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax import models
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import Fade, Handed, Recipe, ghosts, steps
from lthjax.retraining.rescaling import Options
from lthjax.tickets import Ticket
from lthjax.training import steps as training_steps
from lthjax.training import zeros

RECIPE = Recipe(skips="he", skips_fade=Fade(hold=1, end=4), frozen=True)
MODEL = models.build("resnet8", 10, width=0.25, options={"blocks": (1,)})
IMAGES, LABELS = jax.random.normal(jax.random.key(1), (4, 8, 8, 3)), jnp.arange(4)


def begun():
    """Returns parameters with branches, statistics and full masks."""
    haunted = steps.haunted(MODEL, RECIPE, 0)
    init = jax.jit(lambda key: models.initialise(haunted, key, IMAGES))
    params, state = init(jax.random.key(0))
    return params, state, ghosts.spare(params, masks_lib.full(ghosts.strip(params)))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_branches_stay_and_all_else_moves(frozen):
    recipe = RECIPE._replace(frozen=frozen)
    params, state, full = begun()
    tx = zeros.keep(
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    )
    handed = Handed(full, steps.numbers(recipe))
    one = jax.jit(steps.step(MODEL, recipe, tx))
    carry = training_steps.begin(tx, Ticket(1, 0, 6, params, state, full))
    for at in range(3):  # ghosts live until step 4
        carry = one(carry, handed, IMAGES, LABELS, at)
    rows = zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(carry.params),
        strict=True,
    )
    for (path, before), after in rows:
        stays = frozen and ghosts.is_ghost(path)
        assert np.array_equal(before, after) == stays, path


def test_frozen_branches_are_not_rescaled_and_all_else_is():
    recipe = RECIPE._replace(rescaling=Options(iterations=3, rate=0.05))
    params, state, full = begun()
    ticket, batch = Ticket(1, 0, 6, params, state, full), (IMAGES, LABELS)
    search = jax.jit(lambda t: steps.rescaled(MODEL, recipe, t, lambda i: 2 * (batch,)))
    found, report = search(ticket)
    rows = zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(found),
        jax.tree.leaves(report.factors),
        strict=True,
    )
    for (path, before), after, factor in rows:
        stays = ghosts.is_ghost(path) or not np.any(before)
        assert np.array_equal(before, after) == (factor == 1) == stays, path
