"""A config's objective: its name resolved, and refused where it does not fit."""

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.data import augmentations
from lthjax.models.checks import Wanted
from lthjax.program.build import network
from lthjax.training import measures, objective_checks
from lthjax.training import objective as objective_lib
from lthjax.training.objective import (
    CLASSIFICATION,
    DETECTION,
    KEYPOINTS,
    OBJECTIVES,
    Objective,
)


def resolve(config) -> Objective:
    """Returns the objective of a config, with the measures that it asks for.

    Raises:
      ValueError: Its name is unknown, or `best_by` is nothing that it measures; or as
        `training.measures.with_measures`.
    """
    found = registry.resolve(config.objective, OBJECTIVES, "objective")
    objective_checks.check_fields(found, name=config.objective)
    found = measures.with_measures(found, config.measures, name=config.objective)
    objective_checks.check_fields(found, name=config.objective)
    known = objective_lib.names(found)
    if config.best_by and config.best_by not in known:
        raise ValueError(
            f"best_by must be one of {', '.join(known)}, which is what is measured, or "
            f"'', the objective's own, got best_by = {config.best_by!r} with objective "
            f"= {config.objective!r}{registry.suggestion(config.best_by, known)}"
        )
    return found


def wanted(objective: Objective) -> Wanted:
    """Returns what the outputs of a network must be for an objective."""
    ours = [own.logits for own in OBJECTIVES.values() if own.loss is objective.loss]
    return Wanted(objective.logits or any(ours), trees=not ours)


def check(objective: Objective, config, facts, module) -> None:
    """Refuses labels and outputs that an objective does not take.

    Args:
      objective: The objective.
      config: The config that names it.
      facts: Of the data set: the shapes and types of inputs and labels.
      module: The network.

    Raises:
      ValueError: As `training.objective_checks.check`; or classes are no whole numbers.
    """
    if objective is CLASSIFICATION and is_of_classes(facts):
        return
    if of_objects(objective) and config.data.name == "npz":
        raise ValueError(
            "rows of objects must come with the number of their classes, which an npz "
            f"file has no place for, got objective = {config.objective!r} with "
            "data.name = 'npz'; store them in COCO's format, or give a Source"
        )
    if objective.logits and jnp.issubdtype(facts.label_dtype, jnp.floating):
        raise ValueError(
            "an objective of classes needs labels that are whole numbers, got "
            f"{facts.label_dtype} with objective = {config.objective!r}; store them as "
            f"integers{' (of one-hot rows labels.argmax(1))' * bool(facts.label_shape)}"
            ", or give an objective of numbers, such as 'regression'"
        )
    whole = jnp.issubdtype(facts.label_dtype, jnp.integer)
    if objective.loss is CLASSIFICATION.loss and whole and facts.label_shape:
        raise ValueError(
            "labels of a classification must be one whole number for each example, got "
            f"{facts.label_dtype} [n, {', '.join(map(str, facts.label_shape))}] with "
            f"objective = {config.objective!r}; of one-hot rows give labels.argmax(1), "
            "of classes by place objective = 'segmentation' or 'next_token'"
        )
    inputs = network.inputs(facts, 2)
    labels = jax.ShapeDtypeStruct((2, *facts.label_shape), facts.label_dtype)
    state = jax.eval_shape(network.initialiser(config, facts), jax.random.key(0))
    apply_fn = network.applied(module)
    outputs, _ = jax.eval_shape(
        lambda w, s, x: apply_fn(w, s, x, False), *state, inputs
    )
    objective_checks.check(objective, outputs, labels, name=config.objective)
    measures.check(objective, outputs, labels, name=config.objective)


def check_augmented(objective: Objective, config, facts, module) -> None:
    """Refuses an augmentation that gives no batch, or labels that the loss cannot take.

    It is called once, on the shapes of a batch.

    Args:
      objective: The objective.
      config: The config, whose data.augment it is.
      facts: Of the data set.
      module: The network.

    Raises:
      ValueError: As `augmentations.chain`; it raises something; what it returns is no
        batch, has other inputs, or labels of which the loss is not one float a row.
    """
    data, batch = config.data, config.train.batch_size
    options = data.augment_options.to_dict()
    functions = augmentations.chain(data.augment, options, facts.num_classes)
    if not functions:
        return
    inputs, key = network.inputs(facts, batch), jax.random.key(0)
    labels = jax.ShapeDtypeStruct((batch, *facts.label_shape), facts.label_dtype)
    if augmentations.mixup in map(_unbound, functions) and of_objects(objective):
        raise ValueError(
            "what is mixed must have labels that are numbers or one class, not rows of "
            f"objects, got objective = {config.objective!r} with data.augment = "
            f"{data.augment!r}; give 'cutout', or a function of your own"
        )
    found = jax.eval_shape(augmentations.applied(functions), key, (inputs, labels))
    given = list(found) if isinstance(found, tuple | list) else [found]
    same = len(given) == 2 and _form(given[0]) == _form(inputs)
    name = f"data.augment = {data.augment!r}"
    if not same:
        shown = " and ".join(map(_form, given))
        raise ValueError(
            f"an augmentation must return (inputs, labels), inputs {_form(inputs)} as "
            f"it was given, got {shown} with {name}"
        )
    state = jax.eval_shape(network.initialiser(config, facts), key)
    outputs = jax.eval_shape(
        lambda w, s, x: network.applied(module)(w, s, x, False)[0], *state, inputs
    )
    must = f"take the labels {_form(given[1])} that {name} gives"
    try:
        with registry.calling("objective", config.objective, must):
            loss = jax.eval_shape(objective.loss, outputs, given[1])
    except ValueError as error:
        if must in str(error):
            raise
        why = str(error).splitlines()[0]  # a loss of ours does not know whose labels
        raise ValueError(f"the objective must {must}: {why}") from error
    if list(loss.shape) != [batch]:
        raise ValueError(
            f"the loss of each of the {batch} examples of a batch must be one float, "
            f"got {_form(loss)} of labels {_form(given[1])} with {name}"
        )


def of_objects(objective: Objective) -> bool:
    """Says whether the labels of an objective of ours are rows of objects."""
    return objective.loss in (DETECTION.loss, KEYPOINTS.loss)


def _unbound(function):
    return getattr(function, "func", function)


def _form(x):
    """Returns "float32 [12, 8, 8, 1]", or the type of what is no array."""
    array = hasattr(x, "shape") and hasattr(x, "dtype")
    return f"{x.dtype} {list(x.shape)}" if array else type(x).__name__


def is_of_classes(facts) -> bool:
    """Says whether the labels of a set are one class an example."""
    return facts.label_dtype == "int32" and not facts.label_shape


def are_images(facts) -> bool:
    """Says whether the inputs of a set are images, which are normalised."""
    return bool(facts.mean)
