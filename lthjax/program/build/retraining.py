"""Ways to retrain a ticket become functions: the arms beside "ticket", the vanilla one.

An arm has its ticket's masks, weights, seed and data order. Arms whose networks are the
same share a program and are one population.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import dynamic, models
from lthjax.analysis import costs
from lthjax.callables import InitFn
from lthjax.data import batches
from lthjax.data import splits as splits_lib
from lthjax.devices import cpu_convolutions
from lthjax.program.build import data as data_lib
from lthjax.program.build import network as network_lib
from lthjax.program.build import (
    optimizer,
    own_training,
    pools,
    recipes,
    spans,
    whole_sets,
)
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.method import include
from lthjax.program.build.parts import Ground, Parts, key_of_use
from lthjax.program.build.parts import key as key_of
from lthjax.pruning import bases
from lthjax.retraining import factors, ghosts
from lthjax.retraining import steps as retraining_steps
from lthjax.retraining.arms import control
from lthjax.retraining.ghosts import Knobs
from lthjax.retraining.steps import Handed, Recipe
from lthjax.saving.tickets import load_trained
from lthjax.tickets import Trained
from lthjax.training import extras
from lthjax.training import steps as training_steps

USES = ("ghosts", "search")  # of a seed's keys, in dressing a ticket


def check(ground: Ground) -> None:
    """Refuses arms that do not go with the network.

    Args:
      ground: What the method is built on.

    Raises:
      ValueError: An arm is unknown, there is no place for its ghosts, or its times or
        its teacher are wrong.
    """
    asked = ground.options.retraining
    chosen = recipes.chosen(ground)
    for form in dict.fromkeys(_form(ground, found) for found in chosen.values()):
        _check_network(ground, form)
    if chosen and asked.distillation.teacher:
        teacher(asked.distillation.teacher, ground.init_fn)


def with_arms(ground: Ground, parts: Parts) -> Parts:
    """Returns the run's functions, with those of every (arm, level) that is retrained.

    Arms and levels that can be trained together have one and the same functions.

    Args:
      ground: What the method is built on, its source too.
      parts: The functions of the search, and of vanilla training.

    Raises:
      ValueError: As `check`; nothing has been trained.
    """
    asked = ground.options.retraining
    check(ground)
    if not asked.arms:
        return parts
    counted = parts._replace(describe=_describer(ground, Recipe()))
    if parts.options.pooled:
        described = _describer(ground, Recipe(), retrained=True)
        counted = counted._replace(pools=pools.built(ground, parts, described))
    chosen = recipes.chosen(ground)
    groups = dict.fromkeys(_form(ground, found) for found in chosen.values())
    for form in groups:
        own = {
            row: found for row, found in chosen.items() if _form(ground, found) == form
        }
        groups[form] = _group(ground, counted, form, own)
    arms = {row: groups[_form(ground, found)] for row, found in chosen.items()}
    held = max([parts.held, *(group.held for group in groups.values())])
    return counted._replace(arms=arms, held=held)


def teacher(path: str, init_fn: InitFn) -> tuple[Any, Any]:
    """Returns the (params, model_state) that a training left, as a teacher.

    Args:
      path: What `tickets.save_trained` wrote.
      init_fn: Of the students.

    Raises:
      ValueError: It is of another network, or of other classes.
    """
    found = load_trained(path)
    if bases.COLLECTION in found.model_state:
        raise ValueError(
            "a teacher must be a network of weights, got one of coefficients, by "
            "search.basis, at "
            f"retraining.distillation.teacher = {str(path)!r}"
        )
    wanted = jax.eval_shape(init_fn, jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, (found.params, found.model_state))
    if shapes != jax.tree.map(jnp.shape, tuple(wanted)):
        sizes = [_classes(tree) for tree in (found.params, wanted[0])]
        raise ValueError(
            "a teacher must be the dense network of its students, with their classes, "
            f"got a teacher of {sizes[0]} classes for students of {sizes[1]} at "
            f"retraining.distillation.teacher = {str(path)!r}"
        )
    return found.params, found.model_state


def _classes(params):
    head = params.get("head", {}) if isinstance(params, dict) else {}
    return head["kernel"].shape[-1] if "kernel" in head else "unknown"


def stripped(state: training_steps.State, job) -> Trained:
    """Returns what a job's network is deployed as: plain, but where ghosts are kept."""
    carried = dynamic.masks(extras.inner(state.opt_state))
    kept = job.ticket.masks if carried is None else carried
    found = Trained(*extras.weights(state, data_lib.forward), kept)
    stays = job.arm != "ticket" and "kept" in retraining_steps.tweaks(job.arm)
    return found if stays else ghosts.strip(found)


def _form(ground, found):
    """Returns what decides a recipe's program; the rest of it is data.

    So are its times, where the data decide when a ticket is drawn.
    """
    taught = () if found.distillation else None
    if spans.drawn(ground.plan):
        found = retraining_steps.timed(found, ((0, 1), (0, 1)))
    return found._replace(
        rescaling=None, smoothing=0.0, distillation=taught, taught_until=0
    )


def _check_network(ground, found):
    """Checks that there is a place for the ghosts."""
    haunted = retraining_steps.haunted(ground.module, found, 0)
    images = network_lib.blank(ground.facts, 1)
    key = jax.random.key(0)
    shapes, _ = jax.eval_shape(lambda: models.initialise(haunted, key, images))
    paths = jax.tree_util.tree_leaves_with_path(shapes)
    if found.skips and not any(ghosts.is_ghost(path) for path, _ in paths):
        raise ValueError(
            "a network with ghost skips must have 3x3 convolutions with norms beside "
            f"its stem, got {type(ground.module).__name__}, which has none"
        )


def _group(ground, parts, form, chosen):
    """Returns the functions of all arms of one form."""
    branches = (f"{ghosts.SUFFIX}/kernel$",) if form.skips else ()  # never pruned
    tx = _optimizer(ground, form, branches)
    haunted = retraining_steps.haunted(ground.module, form, 0)
    images = network_lib.blank(ground.facts, 1)
    init = jax.jit(lambda key: models.initialise(haunted, key, images))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    shared = {"axis_name": parts.data.axis}
    goal = {"goal": own_training.goal(ground), "forward_fn": data_lib.forward}
    mapped = network_lib.model(ground.options, ground.facts, **shared)
    own = {"local": network_lib.local(ground.options)}
    own |= own_training.step_options(ground)
    step = retraining_steps.step(mapped, form, tx, **goal, **shared, **own)
    every = parts.plan.eval_every
    room = spans.longest(parts.plan) // every + 2
    beside = own_training.extras(ground)
    begun = {"points": room, "objective": ground.objective, "extras": beside}
    deployed = _deployed(ground.module, form)
    return parts._replace(
        tx=tx,
        held=max(parts.held, plan_lib.held(ground._replace(shapes=shapes), tx)),
        begin=training_steps.starter(tx, **begun),
        run=parts.data.trainer(step, deployed, every, shapes, beside.rule),
        step=parts.data.stepper(step, shapes),
        control=_dresser(ground, init, tx, parts.control),
        prepare=_preparer(ground, parts, form, chosen),
        handed=lambda job: _handed(ground, job),
        describe=_describer(ground, form, retrained=True),
        tables=whole_sets.tables(ground, parts.data, deployed),
    )


def _optimizer(ground, form, branches):
    """Returns the optimizer of a form, of products where its weights are trained so."""
    tx, asked = optimizer.optimizer(ground, branches), form.sign_in
    if asked is None:
        return tx
    exclude = (*ground.options.search.exclude, *branches)
    which = {"exclude": exclude, "include": include(ground)}
    every = asked.every or ground.plan.steps_per_epoch
    return factors.sign_in(tx, asked.beta, every=every, **which)


def _deployed(network, form):
    """Returns (params, state, images, train) -> (logits, state) of what is deployed."""

    def plain(params, model_state, images, train):
        trees = ghosts.strip(params), ghosts.strip(model_state)
        return models.apply(network, *trees, images, train=train)

    def kept(params, model_state, images, train):
        haunted = ghosts.attach(
            network, Knobs(0.0, 1.0), neurons=form.neurons, skips=form.skips
        )
        return models.apply(haunted, params, model_state, images, train=train)

    return plain if retraining_steps.deployed(form) else kept


def _dresser(ground, init, tx, control_fn):
    """Returns (arm, root, ticket) -> ticket, with ghosts and an optimizer for them.

    `root` is the key of a seed, from which all its uses are drawn. Of an arm that
    retrains a control, it is dressed in place of the ticket.
    """

    def dress(arm, root, ticket):
        if name := control(arm):
            ticket = control_fn(name, key_of_use(root, name), ticket)
        keys = [key_of_use(root, use) for use in USES]
        plain = ticket.params, ticket.model_state
        params, state = (
            ghosts.graft(*pair) for pair in zip(init(keys[0]), plain, strict=True)
        )
        kept = ghosts.spare(params, ticket.masks)
        start, until = ticket.step, ticket.until
        if ticket.level == 0:  # what is saved of it is its beginning
            start, until = spans.span(ground.plan, 0)
        dressed = ticket._replace(
            step=start, until=until, params=params, model_state=state, masks=kept
        )
        carried = ground.method.carried
        moving = carried and carried(ground, tx, dressed, keys[1])
        return dressed._replace(opt_state=moving)

    return dress


def _preparer(ground, parts, form, chosen):
    """Returns job -> ticket, with its weights re-scaled if its arm asks for that."""
    batch_fn, data = _batches(ground, parts.data.fetch), parts.data.lying
    goal = own_training.goal(ground)
    options = next((r.rescaling for r in chosen.values() if r.rescaling), None)
    asked = form._replace(rescaling=options)
    rescale = jax.jit(
        lambda key, ticket, data, times: retraining_steps.rescaled(
            ground.module,
            retraining_steps.timed(asked, times),
            ticket,
            lambda i: batch_fn(key, data, i),
            goal=goal,
        ),
        compiler_options=cpu_convolutions.compiler_options(ground.shapes) or None,
    )

    def prepare(job):
        if chosen[job.arm, job.ticket.level].rescaling is None:
            return job.ticket
        key = key_of(job.seed, "rescaling")
        ticket, times = job.ticket._replace(opt_state=None), _times(ground, job)
        params, _ = rescale(key, ticket, data, times)
        return job.ticket._replace(params=params)

    return prepare


def _batches(ground, fetch):
    """Returns (key, data, i) -> (S, S~) of re-scaling: two batches each, one shared."""
    size = splits_lib.size(ground.source.train)
    batch = ground.options.train.batch_size

    def pair(key, data, i):
        order = batches.permutation(key, i, size)
        indices = jnp.resize(order, 3 * batch)
        drawn = fetch(jax.random.fold_in(key, i), data, indices)
        thirds = [jnp.split(x, 3) for x in drawn]
        return tuple(
            tuple(jnp.concatenate([x[0], x[other]]) for x in thirds) for other in (1, 2)
        )

    return pair


def _handed(ground, job):
    """Returns what the steps of a job are handed."""
    numbers = retraining_steps.numbers(_recipe(ground, job))
    times = jax.tree.map(jnp.int32, _times(ground, job))
    return Handed(job.ticket.masks, numbers, job.teacher, times)


def _recipe(ground, job):
    """Returns the recipe of a job, in the steps of its ticket."""
    span = job.ticket.step, job.ticket.until
    return recipes.recipe(ground.options, span, ground.facts.num_classes, job.arm)


def _times(ground, job):
    """Returns the times of a job's recipe where the data decide on them, or `None`."""
    found = retraining_steps.times(_recipe(ground, job))
    return found if spans.drawn(ground.plan) else None


def _describer(ground, form, *, retrained=False) -> Callable:
    """Returns (job, masks) -> what is deployed and what its training cost more.

    Operations are of a forward pass over one image: a multiply and an add a use.
    """
    haunted = retraining_steps.haunted(ground.module, form, 0)
    images = network_lib.blank(ground.facts, 1)
    params, state = jax.eval_shape(
        lambda: models.initialise(haunted, jax.random.key(0), images)
    )

    def forward(params, images):
        return models.apply(haunted, params, state_like, images, train=False)[0]

    state_like = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    used = costs.uses(forward, params, images.shape[1:], dtype=images.dtype)

    def describe(job, kept):
        own = retrained and spans.drawn(ground.plan)
        end = retraining_steps.ends(_recipe(ground, job) if own else form)
        pruned = ghosts.spare(params, kept) if form.skips else kept
        plain = ghosts.strip(params), ghosts.strip(pruned)
        bare = {name: n for name, n in used.items() if ghosts.SUFFIX not in name}
        deployed = (
            (*plain, bare)
            if retraining_steps.deployed(form)
            else (params, pruned, used)
        )
        row = {
            "deployed_parameters": costs.parameters(*deployed[:2]),
            "deployed_flops": costs.flops(*deployed),
        }
        whole = costs.parameters(params), costs.flops(params, None, used)
        own = costs.parameters(plain[0]), costs.flops(plain[0], None, bare)
        until = job.ticket.until if end is None else end
        live = until - job.ticket.step if form.neurons or form.skips else 0
        row |= {"ghost_parameters": whole[0] - own[0], "ghost_flops": whole[1] - own[1]}
        row |= {"ghost_steps": live, "plain_from": end or 0}
        return row | {"retrained": retrained}

    return describe
