"""The numbers of a run, known before data are read; what a method is built on."""

import math
from typing import Any

import jax

from lthjax.data import batches
from lthjax.data import splits as splits_lib
from lthjax.models import checks
from lthjax.program.build import (
    methods,
    moved_images,
    network,
    objective,
    pools,
    spans,
)
from lthjax.program.build.parts import Ground, Options, Plan, kind
from lthjax.program.workdir import measures
from lthjax.program.workdir.member import Member
from lthjax.pruning import masks as masks_lib


def ground(
    config,
    facts,
    train: int,
    source=None,
) -> Ground:
    """Returns what the method of a config is built on, and refuses what cannot work.

    Args:
      config: A validated config.
      facts: Of the data set: image_shape, num_classes.
      train: The number of training images.
      source: The data set, where it is loaded.

    Raises:
      ValueError: The batch is larger than the set, a pattern matches no layer, a
        sparsity or rate is out of range, a name is unknown, a key is set that the
        method does not read; a user's network cannot be trained (`checks.shapes`);
        nothing says what the axes of a layer are, and the config asks for something
        that depends on them; the objective is unknown or does not take the labels; or
        an augmentation is or does.
    """
    batch = config.train.batch_size
    if batch > train:
        raise ValueError(
            f"the batch must not be larger than the training set of {train} images, "
            f"got train.batch_size = {batch}"
        )
    method = methods.of(config)
    methods.check_keys(config)
    epoch = batches.steps_per_epoch(train, batch)
    steps = config.train.steps or config.train.epochs * epoch
    module = network.model(config, facts)
    goal = objective.resolve(config)
    checks.shapes(module, config.model.name, facts, objective.wanted(goal))
    objective.check(goal, config, facts, module)
    objective.check_augmented(goal, config, facts, module)
    if source is not None:
        moved_images.following(config, source)
    shapes, views = network.views(config, facts)
    count = sum(w.size for w in jax.tree.leaves(shapes))
    every = config.eval_every or epoch
    bare = Plan(train, epoch, steps, every, count, {}, {}, views=views)
    functions = jax.jit(network.initialiser(config, facts)), network.applied(module)
    found = Ground(config, method, facts, bare, module, *functions, shapes, source)
    found = found._replace(objective=goal)
    masks = jax.eval_shape(method.masks(found), shapes)
    leaves = masks_lib.by_name(masks)
    sizes = {name: leaf.size for name, leaf in leaves.items()}
    rows = {name: leaf.shape for name, leaf in leaves.items()}
    found = found._replace(plan=bare._replace(sizes=sizes, shapes=rows))
    found = method.ground(found)
    targets = tuple(method.targets(found))
    found = found._replace(plan=found.plan._replace(targets=targets))
    trainings = tuple(spans.trainings(found))
    return found._replace(plan=found.plan._replace(trainings=trainings))


def of(config, source) -> Ground:
    """Returns the ground of a config, on a set that is loaded.

    Args:
      config: A validated config.
      source: The data set.

    Raises:
      ValueError: As `ground`.
    """
    size = splits_lib.size(source.train)
    return ground(config, kind(source), size, source)


def options(found: Ground) -> Options:
    """Returns what the loop is asked for.

    Args:
      found: The ground.
    """
    config, labels = found.options, found.method.members(found)
    return Options(
        members=tuple(Member(s, label) for s in config.seeds for label in labels),
        controls=tuple(config.controls),
        studies=tuple(config.studies),
        measures=measures.of(found.objective, config.best_by),
        teacher=config.retraining.distillation.teacher,
        logging=config.logging,
        pooled=pools.targets(config, found.plan),
    )


def held(ground: Ground, tx: Any) -> float:
    """Returns what a training's state holds beside the weights, in trees of them.

    Momentum is one, Adam's moments are two; rounds of ADMM or of gates hold more.

    Args:
      ground: What the method is built on.
      tx: The optimizer.
    """
    state = jax.tree.leaves(jax.eval_shape(tx.init, ground.shapes))
    weights = jax.tree.leaves(ground.shapes)
    return (
        sum(x.size for x in state) / sum(x.size for x in weights) + ground.method.held
    )


def bytes_to_write(plan: Plan, asked: Options, held: float) -> int:
    """Returns a bound of what a run keeps on the disk: tickets and checkpoints.

    Of a training two checkpoints may lie there at once.

    Args:
      plan: The numbers of the run.
      asked: What the loop is asked for.
      held: What a training's state holds beside the weights, in trees of them.
    """
    kept = 2 if asked.studies else 1
    arms = {row.arm for row in plan.trainings} - {"search", "ticket", *asked.controls}
    per_member = (kept + len(arms)) * len(plan.targets) + 10 + 2 * held
    per_member += 2 * (len(plan.targets) + 1) * bool(asked.pooled)
    per_member += (4 + 2 * held) * (len(asked.controls) + len(arms))
    one = 4 * (plan.params + plan.beside)
    return math.ceil(one * per_member * len(asked.members)) + 10**7


def steps_later(plan: Plan, ticket: Any, share: float) -> int:
    """Returns the steps that come after a training, in those of its population.

    That is a bound where the data decide when a ticket is drawn.

    Args:
      plan: The numbers of the run.
      ticket: What is being trained.
      share: The chains of tickets for every member of the population.
    """
    rest, later = spans.after(plan, ticket)
    return round(rest + later * share)


def summary(name: str, plan: Plan) -> str:
    """Returns a sentence on what is prunable, with the counts.

    Args:
      name: Of the network.
      plan: The numbers of the run.
    """
    layers = ", ".join(f"{name} {size:,}" for name, size in plan.sizes.items())
    return (
        f"{name}: {plan.params:,} parameters, "
        f"{sum(plan.sizes.values()):,} of them prunable in {len(plan.sizes)} "
        f"layers: {layers}"
    )


def lone_seed(config) -> str:
    """Returns a sentence where there is one seed that may be meant as a number of them.

    Args:
      config: A validated config.
    """
    seed, *more = config.seeds
    if more or seed < 2:
        return ""
    several = ",".join(map(str, range(min(seed, 9))))
    dots = ",..." * (seed > 9)
    return f"one seed, called {seed}; {seed} of them are --config.seeds={several}{dots}"
