"""A config becomes functions: the only place where names and numbers of it are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import dynamic, registry
from lthjax.data import splits as splits_lib
from lthjax.models import checks
from lthjax.program.build import (
    by_channels,
    by_gates,
    by_score,
    optimizer,
    own_parts,
    rates,
    round_columns,
    spans,
)
from lthjax.program.build import compiled as compiled_lib
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.plan import Plan
from lthjax.program.config import defaults
from lthjax.pruning import choose, scores
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Search
from lthjax.tickets.controls import CONTROLS
from lthjax.tickets.dynamic import changing
from lthjax.tickets.iterative import SEARCHES
from lthjax.training import optimizers, steps

# One number a use, so that adding a use never changes what another one draws.
STREAMS = {"init": 0, "data": 1, "search": 2, "reinit": 3, "shuffle": 4, "random": 5}
STREAMS |= {"ghosts": 6, "rescaling": 7}


class Parts(NamedTuple):
    """The functions and arrays of a run.

    Attributes:
      plan: Its numbers.
      init_fn: key -> (params, model_state) of one network.
      masks_fn: params -> full masks.
      prune_fn: (key, trained, target) -> masks.
      tx: The optimizer.
      begin: ticket -> training.State.
      run: (states, (masks, keys), span, start, stop) -> states, of a population whose
        tickets train over the steps `span`; `states` are given away.
      search: The search, stepped member by member.
      control: (arm, key, ticket) -> ticket.
      mesh: The devices that populations are trained on.
      splits: The data on the device, or what streams them.
      prepare: job -> ticket, what is done once before a job's training.
      handed: job -> what its steps are handed: masks.
      describe: (job, masks) -> more columns of its record.
      examine: (key, trained, level) -> what the record of a round of the search adds;
        `None` for a search without rounds.
    """

    plan: Plan
    init_fn: Callable
    masks_fn: Callable
    prune_fn: Callable
    tx: Any
    begin: Callable
    run: Callable
    search: Search
    control: Callable
    mesh: jax.sharding.Mesh
    splits: Any
    prepare: Callable = lambda job: job.ticket
    handed: Callable = lambda job: job.ticket.masks
    describe: Callable = lambda job, masks: {}
    examine: Callable | None = None


def key(seed: int, stream: str) -> jax.Array:
    """Returns the PRNG key of one use of a seed."""
    return jax.random.fold_in(jax.random.key(seed), STREAMS[stream])


def build(config, source) -> Parts:
    """Returns the functions of a run.

    Args:
      config: A validated config.
      source: The data set, `data.sources.Source`.

    Raises:
      ValueError: As `plan`, and where a search or a control is unknown, or a network or
        a score of a user's own cannot be used (`models.checking`, `rehearsal`).
    """
    held_out = (splits_lib.size(split) for split in source[1:3])
    check_held_out(*held_out)
    facts = plan_lib.kind(source)
    numbers = plan_lib.plan(config, facts, splits_lib.size(source.train))
    plain = compiled_lib.network(config, source)
    init_fn = jax.jit(plan_lib.initialiser(config, facts))
    shapes, _ = jax.eval_shape(init_fn, jax.random.key(0))
    tx = check(config, numbers, shapes)
    prune_fn = _selector(config, plain, source, numbers.views)
    _rehearse(config, source, init_fn, (plain, prune_fn, numbers.targets))
    found = search(config, numbers, prune_fn, tx)
    room = spans.longest(config, numbers) // numbers.eval_every + 2
    splits, every = compiled_lib.on_device(config, source), numbers.eval_every
    mapped = compiled_lib.network(config, source, axis_name=compiled_lib.axis(config))
    network = by_gates.network(config, numbers, mapped)
    objective = by_gates.objective(config, numbers, steps.supervised(network))
    functions = network, objective, tx
    evaluate = compiled_lib.evaluation(config, source, splits, plain)
    return Parts(
        plan=numbers,
        init_fn=init_fn,
        masks_fn=plan_lib.masks_fn(config, facts),
        prune_fn=prune_fn,
        tx=tx,
        begin=steps.starter(tx, points=room),
        run=compiled_lib.program(
            config, source, splits, functions, every=every, shapes=shapes
        ),
        search=found,
        control=_controller(init_fn),
        mesh=compiled_lib.mesh(config),
        splits=splits,
        examine=round_columns.examiner(config, numbers, prune_fn, tx, evaluate),
    )


def _rehearse(config, source, init_fn, functions):
    """Calls what is a user's own, before anything is trained."""
    (apply_fn, prune_fn, targets), facts = functions, plan_lib.kind(source)
    network, frozen = plan_lib.model(config, facts), config.model.frozen_statistics
    checks.values(network, config.model.name, facts, init_fn, frozen=frozen)
    if config.search.method in SEARCHES:
        given = init_fn, plan_lib.masks_fn(config, facts), prune_fn, targets
        own_parts.score(config, apply_fn, source, given)


def _selector(config, network, source, views):
    """Returns what prunes, of weights or of channels."""
    if config.search.method in by_channels.METHODS:
        module = plan_lib.model(config, plan_lib.kind(source))
        return by_channels.selector(config, module, source)
    return by_score.selector(config, network, source, views=views)


def check(config, numbers: Plan, shapes: Any) -> Any:
    """Returns the optimizer, having checked all that goes without the data.

    Args:
      config: A validated config.
      numbers: The plan.
      shapes: The parameters of one network, or their shapes.

    Raises:
      ValueError: A name is unknown, or names and numbers do not go together; a training
        would have a learning rate of zero throughout; the optimizer is none, or cannot
        start where tickets do.
    """
    _check_controls(config)
    targets = [target for target in numbers.targets if target is not None]
    by_score.check(config, numbers.shapes, targets, numbers.views)
    if config.search.method in dynamic.METHODS:
        _check_from_the_start(config)
    tx = optimizer.optimizer(config, numbers)
    search(config, numbers, None, tx)
    rates.check(config, numbers, optimizer.schedule(config, numbers))
    gated = config.search.method in by_gates.GATED
    if config.optimizer.norm_l1 and not gated:
        jax.eval_shape(tx.init, shapes)  # refuses a network without batch norm
    given = {config.optimizer.name, *(config.search.gates.optimizer,) * gated}
    if given - optimizers.OPTIMIZERS.keys():
        again = gated and len(numbers.targets) > 1
        optimizers.check(tx, shapes, spans.starts(config, numbers), again=again)
    return tx


def _check_controls(config):
    controls, method = config.controls, config.search.method
    if controls and method in dynamic.METHODS:
        raise ValueError(
            "controls go with tickets whose masks stay, got controls = "
            f"{tuple(controls)} with search.method = {method!r}; its control is "
            "search.method = 'at_init' with search.score = 'random'"
        )
    for name in controls:
        if name not in CONTROLS:
            raise ValueError(
                f"controls must be among {', '.join(CONTROLS)}, got controls = "
                f"{tuple(controls)}{registry.suggestion(str(name), CONTROLS)}"
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


def search(config, numbers, prune_fn: Callable, tx) -> Search:
    """Returns the search.

    Args:
      config: A validated config.
      numbers: The plan.
      prune_fn: (key, trained, target) -> masks.
      tx: The optimizer.

    Raises:
      ValueError: The method is unknown, or what the config asks of it does not apply.
    """
    method, targets = config.search.method, numbers.targets
    choices = {**SEARCHES, **dynamic.METHODS, **by_gates.METHODS}
    choices |= dict.fromkeys(by_channels.METHODS)
    factory = registry.resolve(method, choices, "search method")
    if method in by_gates.METHODS:
        return by_gates.search(config, numbers, prune_fn, tx)
    if method in dynamic.METHODS:
        _check_from_the_start(config)
        begin_fn = _beginning(method, numbers, tx)
        return changing(begin_fn, levels=len(targets), steps=numbers.steps)
    if method in by_channels.METHODS:
        return by_channels.search(config, numbers, prune_fn)
    return factory(
        lambda key, trained, level: prune_fn(key, trained, targets[level - 1]),
        levels=len(targets),
        steps=numbers.steps,
        rewind_to=config.search.rewind_to,
        restart=config.search.restart,
    )


def _check_from_the_start(config):
    search = config.search
    if search.rewind_to or search.restart != "weights":
        raise ValueError(
            f"search.method = {search.method!r} trains every level from the start, got "
            f"search.rewind_to = {search.rewind_to}, search.restart = "
            f"{search.restart!r}; give 0 and 'weights'"
        )
    for name in ("score", "pattern", "rounds", "minimum", "invert"):
        value = defaults.default().search[name]
        if search[name] != value:
            raise ValueError(
                f"search.{name} is not read by search.method = {search.method!r}, and "
                f"must be its default, {value!r}, got search.{name} = {search[name]!r}"
            )


def _beginning(method, numbers, tx):
    """Returns (key, params, full masks, level) -> (masks, opt_state) of a level."""

    @jax.jit
    def begin(key, params, masks, kept, start):
        if method in ("set", "rigl"):
            drawn = scores.random(jax.random.fold_in(key, 0), params, masks)
            masks = choose.prune(masks, drawn, kept=start)
        state = tx.init(masks_lib.apply(params, masks))
        return masks, dynamic.start(state, masks, kept, key)

    def begin_fn(key, params, masks, level):
        dense = [int(mask.size) for mask in jax.tree.leaves(masks)]
        layered = numbers.targets and isinstance(numbers.targets[0], list)
        full = dense if layered else sum(dense)
        kept = numbers.targets[level - 1] if level else full
        return begin(key, params, masks, *[jax.tree.map(jnp.int32, kept)] * 2)

    return begin_fn


def _controller(init_fn):
    """Returns (arm, key, ticket) -> ticket, compiled; its numbers stay Python's."""
    compiled = {
        arm: jax.jit(lambda key, ticket, fn=fn: fn(key, ticket, init_fn))
        for arm, fn in CONTROLS.items()
    }

    def control(arm, key, ticket):
        drawn = compiled[arm](key, ticket._replace(opt_state=None))
        fields = ("level", "step", "until", "searching")
        numbers = {name: getattr(ticket, name) for name in fields}
        return drawn._replace(**numbers)

    return control
