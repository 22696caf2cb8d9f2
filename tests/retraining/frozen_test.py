"""Frozen ghosts: branches that fade as drawn, in a network that is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax import models
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import Fade, Handed, Recipe, ghosts, steps
from lthjax.tickets import Ticket
from lthjax.training import optimizers
from lthjax.training import steps as training_steps

RECIPE = Recipe(skips="he", skips_fade=Fade(hold=1, end=4), frozen=True)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_branches_stay_and_all_else_moves(frozen):
    model = models.build("resnet8", 10, width=0.25, options={"blocks": (1,)})
    images, labels = jnp.ones((4, 8, 8, 3)), jnp.arange(4)
    recipe = RECIPE._replace(frozen=frozen)
    haunted = steps.haunted(model, recipe, 0)
    init = jax.jit(lambda key: models.initialise(haunted, key, images))
    params, state = init(jax.random.key(0))
    full = ghosts.spare(params, masks_lib.full(ghosts.strip(params)))
    tx = optimizers.keep(
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9))
    )
    handed = Handed(full, steps.numbers(recipe))
    one = jax.jit(steps.step(model, recipe, tx))
    carry = training_steps.begin(tx, Ticket(1, 0, 6, params, state, full))
    for at in range(3):  # ghosts live until step 4
        carry = one(carry, handed, images, labels, at)
    rows = zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(carry.params),
        strict=True,
    )
    for (path, before), after in rows:
        stays = frozen and ghosts.is_ghost(path)
        assert np.array_equal(before, after) == stays, path
