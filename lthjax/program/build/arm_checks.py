"""What arms of retraining ask of a network and a teacher, before it is trained."""

import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import models
from lthjax.program.build import network as network_lib
from lthjax.program.build import recipes, spans
from lthjax.program.build.parts import Ground, Parts
from lthjax.pruning import bases
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import arms, ghosts
from lthjax.retraining import steps as retraining_steps
from lthjax.saving.tickets import load_trained

log = logging.getLogger(__name__)


def check(ground: Ground) -> None:
    """Refuses arms that do not go with the network.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: An arm is unknown, there is no place for its ghosts, or its times or
        its teacher are wrong.
    """
    asked = ground.options.retraining
    own = jax.tree_util.tree_leaves_with_path(ground.shapes)
    if named := [path for path, _ in own if ghosts.is_ghost(path)]:
        raise ValueError(
            f"names of layers must not end in {ghosts.SUFFIX!r}, as branches of "
            f"retraining do, got {masks_lib.path_name(named[0])}; call it otherwise"
        )
    chosen = recipes.chosen(ground)
    if asked.arms and not ground.plan.targets and not chosen:
        log.warning(
            "retraining.arms = %s has no ticket to retrain, there being no levels; "
            "retraining.levels = (0,) is the dense network",
            tuple(asked.arms),
        )
    for form in dict.fromkeys(recipes.form(ground, found) for found in chosen.values()):
        _check_network(ground, form)
    rows = chosen.items()
    late = [arm for (arm, level), found in rows if _ends(ground, level, found)]
    for arm in dict.fromkeys(late):
        log.warning("ghosts of %s end with its training: no step is without them", arm)
    if arms.have(asked.arms, "distillation") and asked.distillation.teacher:
        teacher(asked.distillation.teacher, ground)


def teacher(
    path: str | pathlib.Path, students: Ground | Parts, **metadata
) -> tuple[Any, Any]:
    """Returns the (params, model_state) that a training left, as a teacher.

    Args:
      path: What `tickets.save_trained` wrote.
      students: Whose it is to be.
      **metadata: As for `tickets.load_trained`.

    Raises:
      ValueError: It is of another network, or of other classes.
    """
    found = load_trained(path, **metadata)
    if bases.COLLECTION in found.model_state:
        raise ValueError(
            "a teacher must be a network of weights, got one of coefficients, by "
            "search.basis, at "
            f"retraining.distillation.teacher = {str(path)!r}"
        )
    wanted = jax.eval_shape(students.init_fn, jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, (found.params, found.model_state))
    if shapes != jax.tree.map(jnp.shape, tuple(wanted)):
        raise ValueError(
            "a teacher must be the dense network of its students, with their classes, "
            f"got {_apart(found.params, wanted[0])} at retraining.distillation.teacher "
            f"= {str(path)!r}"
        )
    return found.params, found.model_state


def _apart(teacher, students):
    """Returns how a teacher differs: in classes, in a leaf, or in what is no weight."""
    sizes = [_classes(tree) for tree in (teacher, students)]
    if sizes[0] != sizes[1]:
        return f"a teacher of {sizes[0]} classes for students of {sizes[1]}"
    one, other = (
        {n: jnp.shape(w) for n, w in masks_lib.by_name(tree).items()}
        for tree in (teacher, students)
    )
    for name in sorted(one.keys() | other.keys()):
        pair = [tree.get(name, "none") for tree in (one, other)]
        if pair[0] != pair[1]:
            return f"a teacher with {name} {pair[0]} for students with {pair[1]}"
    return "a teacher with other batch statistics"


def _classes(params):
    head = params.get("head", {}) if isinstance(params, dict) else {}
    return head["kernel"].shape[-1] if "kernel" in head else "unknown"


def _ends(ground, level, found):
    """Says whether ghosts end with a training of several steps."""
    start, until = spans.span(ground.plan, level)
    pairs = (found.neurons, found.neurons_fade), (found.skips, found.skips_fade)
    return any(kind and fade.end == until > start + 1 for kind, fade in pairs)


def _check_network(ground, found):
    """Checks that there is a place for the ghosts."""
    haunted = retraining_steps.haunted(ground.module, found, 0)
    images = network_lib.blank(ground.facts, 1)
    key = jax.random.key(0)
    shapes, _ = jax.eval_shape(lambda: models.initialise(haunted, key, images))
    paths = jax.tree_util.tree_leaves_with_path(shapes)
    if found.skips and not any(ghosts.is_ghost(path) for path, _ in paths):
        raise ghosts.no_place(ground.module)
