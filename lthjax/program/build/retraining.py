"""Ways to retrain a ticket become functions: the arms beside "ticket", the vanilla one.

An arm has its ticket's masks, weights, seed and data order. Arms whose networks are the
same share a program and are one population.
"""

import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import dynamic, models
from lthjax.analysis import costs
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
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import arms as arms_lib
from lthjax.retraining import factors, ghosts
from lthjax.retraining import steps as retraining_steps
from lthjax.retraining.arms import control
from lthjax.retraining.ghosts import Knobs
from lthjax.retraining.steps import Handed, Recipe
from lthjax.tickets import Trained
from lthjax.training import extras
from lthjax.training import steps as training_steps

USES = ("ghosts", "search")  # of a seed's keys, in dressing a ticket


def with_arms(ground: Ground, parts: Parts) -> Parts:
    """Returns the run's functions, with those of every (arm, level) that is retrained.

    Arms and levels that can be trained together have one and the same functions.

    Args:
      ground: What the method is built on, its source too.
      parts: The functions of the search, and of vanilla training.

    Raises:
      ValueError: As `arm_checks.check`; nothing has been trained.
    """
    asked = ground.options.retraining
    if not asked.arms:
        return parts
    deploys, counts = _describer(ground, Recipe()), parts.describe
    counted = parts._replace(
        describe=lambda job, kept: deploys(job, kept) | counts(job, kept)
    )
    if parts.options.pooled:
        described = _describer(ground, Recipe(), retrained=True)
        counted = counted._replace(pools=pools.built(ground, parts, described))
    chosen = recipes.chosen(ground)
    forms = {row: recipes.form(ground, found) for row, found in chosen.items()}
    groups = dict.fromkeys(forms.values())
    for form in groups:
        own = {row: found for row, found in chosen.items() if forms[row] == form}
        groups[form] = _group(ground, counted, form, own)
    arms = {row: groups[form] for row, form in forms.items()}
    held = max([parts.held, *(group.held for group in groups.values())])
    return counted._replace(arms=arms, held=held)


def stripped(state: training_steps.State, job) -> Trained:
    """Returns what a job's network is deployed as: plain, but where ghosts are kept."""
    carried = dynamic.masks(extras.inner(state.opt_state))
    kept = job.ticket.masks if carried is None else carried
    found = Trained(*extras.weights(state, data_lib.forward), kept)
    stays = job.arm != "ticket" and "kept" in arms_lib.tweaks(job.arm)
    return found if stays else ghosts.strip(found)


def _group(ground, parts, form, chosen):
    """Returns the functions of all arms of one form."""
    haunted = retraining_steps.haunted(ground.module, form, 0)
    images = network_lib.blank(ground.facts, 1)
    init = jax.jit(lambda key: models.initialise(haunted, key, images))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    tx = _optimizer(ground, form, _branches(ground, shapes))
    axis, every = parts.data.axis, parts.plan.eval_every
    mapped = network_lib.model(ground.options, ground.facts, axis_name=axis)
    options = own_training.step_options(ground, axis)
    options["price"] = ground.method.penalty(ground)
    goal, rule = own_training.goal(ground), own_training.extras(ground).rule
    step = retraining_steps.step(mapped, form, tx, goal=goal, **options)
    deployed = _deployed(ground.module, form)
    whole = ground.shapes if retraining_steps.deployed(form) else shapes
    return parts._replace(
        tx=tx,
        held=max(parts.held, plan_lib.held(ground._replace(shapes=shapes), tx)),
        begin=own_training.starter(ground, tx),
        run=parts.data.trainer(step, deployed, every, shapes, rule),
        step=parts.data.stepper(step, shapes),
        control=_dresser(ground, init, tx, parts.control),
        prepare=_preparer(ground, parts, form, chosen),
        handed=lambda job: _handed(ground, job),
        describe=_describer(ground, form, retrained=True),
        tables=whole_sets.tables(ground, parts.data, deployed),
        of_sets=whole_sets.measures(ground, parts.data, deployed, whole),
    )


def _branches(ground, shapes):
    """Returns the pattern of what would be pruned of ghosts, and is left out."""
    prunable = masks_lib.names(masks_lib.full(shapes, include=include(ground)))
    pattern = f"{ghosts.SUFFIX}(_norm)?/"
    return (pattern,) if any(re.search(pattern, name) for name in prunable) else ()


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

    @functools.partial(
        jax.jit,
        static_argnums=0,
        compiler_options=cpu_convolutions.compiler_options(ground.shapes) or None,
    )
    def rescale(options, key, ticket, data, times):
        asked = form._replace(rescaling=options)
        return retraining_steps.rescaled(
            ground.module,
            retraining_steps.timed(asked, times),
            ticket,
            lambda i: batch_fn(key, data, i),
            goal=goal,
        )

    def prepare(job):
        options = chosen[job.arm, job.ticket.level].rescaling
        if options is None:
            return job.ticket
        key = key_of(job.seed, "rescaling")
        ticket, times = job.ticket._replace(opt_state=None), _times(ground, job)
        params, _ = rescale(options, key, ticket, data, times)
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
    state_like = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)

    def forward(params, images):
        return models.apply(haunted, params, state_like, images, train=False)[0]

    used = costs.uses(forward, params, images.shape[1:], dtype=images.dtype)
    bare = {name: n for name, n in used.items() if ghosts.SUFFIX not in name}

    def describe(job, kept):
        timed = retrained and spans.drawn(ground.plan)
        end = retraining_steps.ends(_recipe(ground, job) if timed else form)
        until = job.ticket.until if end is None else end
        live = until - job.ticket.step if form.neurons or form.skips else 0
        pruned = ghosts.spare(params, kept) if form.skips else kept
        whole = params, pruned, used
        plain = ghosts.strip(params), ghosts.strip(pruned), bare
        deployed = plain if retraining_steps.deployed(form) else whole
        return {
            "deployed_parameters": costs.parameters(*deployed[:2]),
            "deployed_flops": costs.flops(*deployed),
            "ghost_parameters": costs.parameters(params) - costs.parameters(plain[0]),
            "ghost_flops": costs.flops(params, None, used)
            - costs.flops(plain[0], None, bare),
            "ghost_steps": live,
            "plain_from": end or 0,
            "retrained": retrained,
        }

    return describe
