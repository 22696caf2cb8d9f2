"""A config and its data become the functions of a run."""

import functools
from typing import Any

import jax

from lthjax import registry
from lthjax.data import splits as splits_lib
from lthjax.devices import meshes
from lthjax.models import checks
from lthjax.program.build import data as data_lib
from lthjax.program.build import (
    given_weights,
    methods,
    own_training,
    rates,
    retraining,
    spans,
    whole_sets,
)
from lthjax.program.build import network as network_lib
from lthjax.program.build import objective as objective_lib
from lthjax.program.build import optimizer as optimizer_lib
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.parts import Ground, Parts
from lthjax.retraining import arms
from lthjax.saving import checkpoints
from lthjax.tickets.controls import CONTROLS, STARTS
from lthjax.training import optimizers, steps


def build(config, source) -> Parts:
    """Returns the functions of a run.

    Args:
      config: A validated config.
      source: The data set, `data.in_memory.Source`.

    Raises:
      ValueError: As `plan.ground`, and where a search or a control is unknown, a
        network or a score of a user's own cannot be used (`models.checks`,
        `own_parts`), or an arm cannot be trained (`retraining.arms`).
    """
    check_held_out(*(splits_lib.size(split) for split in source[1:3]))
    ground = plan_lib.of(config, source)
    return retraining.with_arms(ground, functions(ground))


def functions(ground: Ground) -> Parts:
    """Returns the functions of a run's search, and of vanilla training.

    Args:
      ground: What the method is built on, its source too.

    Raises:
      ValueError: As `build`.
    """
    config, plan, method = ground.options, ground.plan, ground.method
    tx, goal = check(ground), ground.objective
    masks_fn, prune_fn = method.masks(ground), method.prune(ground)
    _rehearse(ground, masks_fn, prune_fn)
    data, every = data_lib.run_data(config, ground.source, goal), plan.eval_every
    module = network_lib.model(config, ground.facts, axis_name=data.axis)
    network = method.network(ground, network_lib.applied(module))
    extras, given = own_training.extras(ground), given_weights.check(ground)
    given_weights.say(given)
    objective = steps.supervised(network, own_training.goal(ground))
    objective = steps.penalised(objective, method.penalty(ground))
    step = steps.step(objective, tx, **own_training.step_options(ground, data.axis))
    examine = method.columns(ground, tx, prune_fn)
    return Parts(
        plan=plan,
        options=plan_lib.options(ground),
        init_fn=given_weights.initialiser(ground.init_fn, given),
        given=_given(ground, data, given),
        apply_fn=ground.apply_fn,
        masks_fn=masks_fn,
        prune_fn=prune_fn,
        tx=tx,
        held=plan_lib.held(ground, tx) + (extras.decay > 0),
        begin=own_training.starter(ground, tx),
        run=data.trainer(step, network, every, ground.shapes, extras.rule),
        step=data.stepper(step, ground.shapes),
        search=method.search(ground, tx, prune_fn),
        control=_controller(ground.init_fn, {**CONTROLS, **method.controls(ground)}),
        started=method.started(ground),
        data=data,
        variants=method.members(ground),
        moving=method.carried is not None,
        objective=goal,
        describe=method.counts(ground),
        of_sets=whole_sets.measures(ground, data, network, ground.shapes),
        tables=whole_sets.tables(ground, data, network),
        examine=examine
        and functools.partial(examine, data.evaluation(ground.apply_fn)),
    )


def _given(ground, data, weights):
    """Returns what a workdir goes on with that no config says, but for the data.

    The weights that it begins with, the networks of other runs that are taken over or
    taught by, and over how many devices a batch is, where norms are, or what a network
    draws is, by device.
    """
    config, found = ground.options, given_weights.fingerprint(weights)
    if taken := ground.method.taken(ground):
        found["source"] = {name: checkpoints.seal(path) for name, path in taken.items()}
    taught = arms.have(config.retraining.arms, "distillation")
    if taught and (path := config.retraining.distillation.teacher):
        found["teacher"] = {"network": checkpoints.seal(path)}
    devices = {"of a batch over devices": data.mesh.shape[meshes.DATA]}
    if network_lib.local(config):
        found["norms"] = devices
    if network_lib.drawing(ground.init_fn):
        found["draws"] = devices
    return found


def shared(parts: Parts, ground: Ground) -> Parts:
    """Returns the functions of a run from those of another one, compiled as they are.

    Args:
      parts: Of a run that differs in its seeds, controls or number of levels only.
      ground: What the method is built on, of the run wanted.
    """
    search = ground.method.search(ground, parts.tx, parts.prune_fn)
    options = plan_lib.options(ground)
    return parts._replace(plan=ground.plan, options=options, search=search)


def _rehearse(ground, masks_fn, prune_fn):
    """Calls what is a user's own, before anything is trained."""
    name, frozen = ground.options.model.name, ground.options.model.frozen_statistics
    of_weights = network_lib.initialiser(ground.options, ground.facts)
    init_fn = jax.jit(of_weights) if ground.bases else ground.init_fn
    given = ground.module, name, ground.facts, init_fn
    wanted = objective_lib.wanted(ground.objective)
    checks.values(*given, frozen=frozen, wanted=wanted)
    ground.method.rehearse(ground, masks_fn, prune_fn)


def check(ground: Ground) -> Any:
    """Returns the optimizer, having checked all that goes without the data.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: A name is unknown, or names and numbers do not go together; a training
        would have a learning rate of zero throughout; the optimizer is none, or cannot
        start where tickets do.
    """
    config, plan, method = ground.options, ground.plan, ground.method
    method.check(ground)
    own_training.check(ground)
    given_weights.check(ground)
    network_lib.check_local(config, ground.init_fn)
    known = (*CONTROLS, *STARTS, *method.controls(ground))
    _check_controls(config.controls, known)
    _check_dense(ground)
    tx = optimizer_lib.optimizer(ground)
    method.search(ground, tx, None)
    rates.check(ground, optimizer_lib.schedule(ground))
    gated = methods.reads(config.search.method, "search.gates.optimizer")
    if config.optimizer.norm_l1 and not gated:
        jax.eval_shape(tx.init, ground.shapes)  # refuses a network without batch norm
    given = {config.optimizer.name, *(config.search.gates.optimizer,) * gated}
    if given - optimizers.OPTIMIZERS.keys() or config.optimizer.options:
        again = gated and len(plan.targets) > 1
        optimizers.check(tx, ground.shapes, spans.starts(plan), again=again)
    return tx


def _check_controls(controls, known):
    for name in controls:
        if name not in known:
            raise ValueError(
                f"controls must be among {', '.join(known)}, got controls = "
                f"{tuple(controls)}{registry.suggestion(str(name), known)}"
            )


def _check_dense(ground):
    """Refuses what goes by the trained dense network where that is not trained."""
    config, plan = ground.options, ground.plan
    if not spans.drawn(plan) and spans.dense(plan) >= plan.steps:
        return
    ends = f"search.method = {config.search.method!r}, whose dense training ends before"
    if "trained" in config.controls:
        raise ValueError(
            "the control 'trained' starts from a dense network that is trained to its "
            f"end, got controls = {tuple(config.controls)} with {ends}"
        )
    asked = arms.trained(config.retraining.arms)
    taught = tuple(arm for arm in asked if arms.have((arm,), "distillation"))
    if taught and not config.retraining.distillation.teacher:
        raise ValueError(
            "distillation without a teacher is from a dense network that is trained to "
            f"its end, got retraining.arms = {taught} with {ends}; name one by "
            "retraining.distillation.teacher"
        )


def check_held_out(validation: int, test: int) -> None:
    """Checks that there is something to validate and to test on.

    Args:
      validation: The number of images of that split.
      test: The same of the test split.

    Raises:
      ValueError: There is nothing.
    """
    for name, size in (("validation", validation), ("test", test)):
        if not size:
            raise ValueError(
                f"the {name} split must have at least one image, got {size} of them"
                + ("; give data.validation, the images cut from train for it")
                * (name == "validation")
            )


def _controller(init_fn, controls):
    """Returns (arm, key, ticket) -> ticket, compiled; its numbers stay Python's."""
    compiled = {
        arm: jax.jit(lambda key, ticket, fn=fn: fn(key, ticket, init_fn))
        for arm, fn in controls.items()
    }

    def control(arm, key, ticket):
        drawn = compiled[arm](key, ticket._replace(opt_state=None))
        fields = ("level", "step", "until", "searching")
        numbers = {name: getattr(ticket, name) for name in fields}
        return drawn._replace(**numbers)

    return control
