"""A config's objective: its name resolved, and refused where it does not fit."""

import jax

from lthjax import registry
from lthjax.program.build import network
from lthjax.training import measures
from lthjax.training import objective as objective_lib
from lthjax.training.objective import CLASSIFICATION, OBJECTIVES, Objective


def resolve(config) -> Objective:
    """Returns the objective of a config, with the measures that it asks for.

    Raises:
      ValueError: Its name is unknown, or `best_by` is nothing that it measures; or as
        `training.measures.with_measures`.
    """
    found = registry.resolve(config.objective, OBJECTIVES, "objective")
    objective_lib.check_fields(found, name=config.objective)
    found = measures.with_measures(found, config.measures, name=config.objective)
    objective_lib.check_fields(found, name=config.objective)
    known = objective_lib.names(found)
    if config.best_by and config.best_by not in known:
        raise ValueError(
            f"best_by must be one of {', '.join(known)}, which is what is measured, or "
            f"'', the objective's own, got best_by = {config.best_by!r} with objective "
            f"= {config.objective!r}{registry.suggestion(config.best_by, known)}"
        )
    return found


def check(objective: Objective, config, facts, module) -> None:
    """Refuses labels and outputs that an objective does not take.

    Args:
      objective: The objective.
      config: The config that names it.
      facts: Of the data set: the shapes and types of inputs and labels.
      module: The network.

    Raises:
      ValueError: As `training.objective.check`.
    """
    if objective is CLASSIFICATION and is_of_classes(facts):
        return
    inputs = network.inputs(facts, 2)
    labels = jax.ShapeDtypeStruct((2, *facts.label_shape), facts.label_dtype)
    state = jax.eval_shape(network.initialiser(config, facts), jax.random.key(0))
    apply_fn = network.applied(module)
    outputs, _ = jax.eval_shape(
        lambda w, s, x: apply_fn(w, s, x, False), *state, inputs
    )
    objective_lib.check(objective, outputs, labels, name=config.objective)
    measures.check(objective, outputs, labels, name=config.objective)


def is_of_classes(facts) -> bool:
    """Says whether the labels of a set are one class an example."""
    return facts.label_dtype == "int32" and not facts.label_shape


def are_images(facts) -> bool:
    """Says whether the inputs of a set are images, which are normalised."""
    return bool(facts.mean)
