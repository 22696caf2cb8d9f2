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
from lthjax.data import batches
from lthjax.data import splits as splits_lib
from lthjax.devices import cpu_convolutions
from lthjax.program.build import assemble, compiled, optimizer, recipes, spans
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.assemble import Parts
from lthjax.pruning import masks
from lthjax.retraining import ghosts
from lthjax.retraining import steps as retraining_steps
from lthjax.retraining.ghosts import Knobs
from lthjax.retraining.steps import Handed, Recipe
from lthjax.saving.tickets import load_trained
from lthjax.tickets import Trained
from lthjax.training import steps as training_steps

USES = ("ghosts", "search")  # of a seed's keys, in dressing a ticket


def build(config, source, parts: Parts) -> tuple[Parts, dict[tuple[str, int], Parts]]:
    """Returns the run's functions, and those of every (arm, level) that is retrained.

    Arms and levels that can be trained together have one and the same functions.

    Args:
      config: A validated config.
      source: The data set.
      parts: The functions of the search, and of vanilla training.

    Raises:
      ValueError: An arm is unknown, does not go with the network, or its times or its
        teacher are wrong; nothing has been trained.
    """
    asked = config.retraining
    if not asked.arms:
        return parts, {}
    network = plan_lib.model(config, plan_lib.kind(source))
    counted = parts._replace(describe=_describer(config, source, Recipe()))
    chosen = {
        (arm, level): recipes.recipe(
            config, spans.span(config, parts.plan, level), source.num_classes, arm
        )
        for arm in asked.arms
        for level in spans.levels(config, parts.plan)
    }
    groups = {}
    for found in chosen.values():
        _check_network(network, found, source)
        groups.setdefault(_form(config, found), None)
    if asked.distillation.teacher:
        teacher(asked.distillation.teacher, parts)
    for form in groups:
        own = {
            row: found for row, found in chosen.items() if _form(config, found) == form
        }
        groups[form] = _group(config, source, counted, form, own)
    return counted, {row: groups[_form(config, found)] for row, found in chosen.items()}


def teacher(path: str, parts: Parts) -> tuple[Any, Any]:
    """Returns the (params, model_state) that a training left, as a teacher.

    Args:
      path: What `tickets.save_trained` wrote.
      parts: Of the students.

    Raises:
      ValueError: It is of another network, or of other classes.
    """
    found = load_trained(path)
    wanted = jax.eval_shape(parts.init_fn, jax.random.key(0))
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
    carried = dynamic.masks(state.opt_state)
    kept = job.ticket.masks if carried is None else carried
    params = dynamic.forward(state.params, state.opt_state)
    found = Trained(params, state.model_state, kept)
    stays = job.arm != "ticket" and "kept" in retraining_steps.tweaks(job.arm)
    return found if stays else ghosts.strip(found)


def _form(config, found):
    """Returns what decides a recipe's program; the rest of it is data.

    So are its times, where the data decide when a ticket is drawn.
    """
    taught = () if found.distillation else None
    if spans.drawn(config):
        found = retraining_steps.timed(found, ((0, 1), (0, 1)))
    return found._replace(
        rescaling=None, smoothing=0.0, distillation=taught, taught_until=0
    )


def _check_network(network, found, source):
    """Checks that there is a place for the ghosts."""
    haunted = retraining_steps.haunted(network, found, 0)
    images = jnp.zeros((1, *splits_lib.image_shape(source.train)))
    key = jax.random.key(0)
    shapes, _ = jax.eval_shape(lambda: models.initialise(haunted, key, images))
    paths = jax.tree_util.tree_leaves_with_path(shapes)
    if found.skips and not any(ghosts.is_ghost(path) for path, _ in paths):
        raise ValueError(
            "a network with ghost skips must have 3x3 convolutions with norms beside "
            f"its stem, got {type(network).__name__}, which has none"
        )


def _group(config, source, parts, form, chosen):
    """Returns the functions of all arms of one form."""
    network = plan_lib.model(config, plan_lib.kind(source))
    tx = optimizer.optimizer(_sparing(config, form), parts.plan)
    haunted = retraining_steps.haunted(network, form, 0)
    images = jnp.zeros((1, *splits_lib.image_shape(source.train)))
    init = jax.jit(lambda key: models.initialise(haunted, key, images))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    shared = {"axis_name": compiled.axis(config)}
    mapped = plan_lib.model(config, plan_lib.kind(source), **shared)
    step = retraining_steps.step(
        mapped, form, tx, forward_fn=compiled.forward, **shared
    )
    every = parts.plan.eval_every
    room = spans.longest(config, parts.plan) // every + 2
    return parts._replace(
        tx=tx,
        begin=training_steps.starter(tx, points=room),
        run=compiled.trainer(
            config,
            source,
            parts.splits,
            (step, _deployed(network, form)),
            every=every,
            shapes=shapes,
        ),
        control=_dresser(config, parts.plan, init, tx),
        prepare=_preparer(config, source, parts, form, chosen),
        handed=lambda job: _handed(config, source, job),
        describe=_describer(config, source, form, retrained=True),
    )


def _sparing(config, form):
    """Returns a config whose optimizer never prunes the branches."""
    if not form.skips or config.search.method not in dynamic.METHODS:
        return config
    own = config.copy_and_resolve_references()
    own.search.exclude = (*config.search.exclude, f"{ghosts.SUFFIX}/kernel$")
    return own


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


def _dresser(config, plan, init, tx):
    """Returns (arm, root, ticket) -> ticket, with ghosts and an optimizer for them.

    `root` is the key of a seed, from which all its uses are drawn.
    """

    def dress(arm, root, ticket):
        del arm
        keys = [jax.random.fold_in(root, assemble.STREAMS[s]) for s in USES]
        plain = ticket.params, ticket.model_state
        params, state = (
            ghosts.graft(*pair) for pair in zip(init(keys[0]), plain, strict=True)
        )
        kept = ghosts.spare(params, ticket.masks)
        start, until = ticket.step, ticket.until
        if ticket.level == 0:  # what is saved of it is its beginning
            start, until = spans.span(config, plan, 0)
        dressed = ticket._replace(
            step=start, until=until, params=params, model_state=state, masks=kept
        )
        return dressed._replace(opt_state=_moving(config, plan, tx, dressed, keys[1]))

    return dress


def _moving(config, plan, tx, ticket, key):
    """Returns the optimizer's state where that carries the masks, else `None`."""
    if config.search.method not in dynamic.METHODS:
        return None
    sizes = [int(mask.size) for mask in jax.tree.leaves(ticket.masks)]
    layered = plan.targets and isinstance(plan.targets[0], list)
    full = sizes if layered else sum(sizes)
    kept = plan.targets[ticket.level - 1] if ticket.level else full
    state = tx.init(masks.apply(ticket.params, ticket.masks))
    return dynamic.start(state, ticket.masks, kept, key)


def _preparer(config, source, parts, form, chosen):
    """Returns job -> ticket, with its weights re-scaled if its arm asks for that."""
    network = plan_lib.model(config, plan_lib.kind(source))
    shapes, _ = jax.eval_shape(parts.init_fn, jax.random.key(0))
    batch_fn = _batches(config, source)
    data = compiled.resident(parts.splits)
    options = next((r.rescaling for r in chosen.values() if r.rescaling), None)
    asked = form._replace(rescaling=options)
    rescale = jax.jit(
        lambda key, ticket, data, times: retraining_steps.rescaled(
            network,
            retraining_steps.timed(asked, times),
            ticket,
            lambda i: batch_fn(key, data, i),
        ),
        compiler_options=cpu_convolutions.compiler_options(shapes) or None,
    )

    def prepare(job):
        if chosen[job.arm, job.ticket.level].rescaling is None:
            return job.ticket
        key = assemble.key(job.seed, "rescaling")
        ticket, times = job.ticket._replace(opt_state=None), _times(config, source, job)
        params, _ = rescale(key, ticket, data, times)
        return job.ticket._replace(params=params)

    return prepare


def _batches(config, source):
    """Returns (key, data, i) -> (S, S~) of re-scaling: two batches each, one shared."""
    size, batch = splits_lib.size(source.train), config.train.batch_size
    _, fetch = compiled.pipeline(config, source)

    def pair(key, data, i):
        order = batches.permutation(key, i, size)
        indices = jnp.resize(order, 3 * batch)
        drawn = fetch(jax.random.fold_in(key, i), data, indices)
        thirds = [jnp.split(x, 3) for x in drawn]
        return tuple(
            tuple(jnp.concatenate([x[0], x[other]]) for x in thirds) for other in (1, 2)
        )

    return pair


def _handed(config, source, job):
    """Returns what the steps of a job are handed."""
    numbers = retraining_steps.numbers(_recipe(config, source, job))
    times = jax.tree.map(jnp.int32, _times(config, source, job))
    return Handed(job.ticket.masks, numbers, job.teacher, times)


def _recipe(config, source, job):
    """Returns the recipe of a job, in the steps of its ticket."""
    span = job.ticket.step, job.ticket.until
    return recipes.recipe(config, span, source.num_classes, job.arm)


def _times(config, source, job):
    """Returns the times of a job's recipe where the data decide on them, or `None`."""
    found = retraining_steps.times(_recipe(config, source, job))
    return found if spans.drawn(config) else None


def _describer(config, source, form, *, retrained=False) -> Callable:
    """Returns (job, masks) -> what is deployed and what its training cost more.

    Operations are of a forward pass over one image: a multiply and an add a use.
    """
    network = plan_lib.model(config, plan_lib.kind(source))
    haunted = retraining_steps.haunted(network, form, 0)
    shape = splits_lib.image_shape(source.train)
    images = jnp.zeros((1, *shape))
    params, state = jax.eval_shape(
        lambda: models.initialise(haunted, jax.random.key(0), images)
    )

    def forward(params, images):
        return models.apply(haunted, params, state_like, images, train=False)[0]

    state_like = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state)
    used = costs.uses(forward, params, shape)

    def describe(job, kept):
        own = retrained and spans.drawn(config)
        end = retraining_steps.ends(_recipe(config, source, job) if own else form)
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
