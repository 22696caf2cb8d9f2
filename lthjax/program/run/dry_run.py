"""What a config would do: levels, counts, steps and the time; nothing is trained."""

import copy
import time

import jax
import numpy as np
import rich.console
import rich.table

from lthjax.data import files, folders, in_memory
from lthjax.devices import meshes
from lthjax.program import progress
from lthjax.program.build import assemble, moved_images, pools, spans
from lthjax.program.build import data as data_lib
from lthjax.program.build import plan as plan_lib
from lthjax.program.config import defaults
from lthjax.program.run import check, target_step
from lthjax.retraining import arms as arms_lib
from lthjax.training import members as members_lib

# A larger batch is timed at these sizes and scaled.
_BATCH, _CHUNK = 64, 100
_NEVER = 2**30


def show(config) -> None:
    """Prints the plan of a config, with the time it would take on this machine.

    Images are not read: where the set is not there, that is the last line.

    Args:
      config: A config.

    Raises:
      ValueError: What a run of it would refuse before it trains.
    """
    facts, held_out, ground = check.check(config)
    data_lib.mesh(config)
    console = rich.console.Console(soft_wrap=True, markup=False, emoji=False)
    describe(console, config, facts, ground)
    seconds = _seconds(config, facts, ground, held_out)
    console.print(
        f"estimated time here ({jax.default_backend()}): {progress.duration(seconds)}"
        + ", reading images from the disk not counted" * config.data.stream
    )
    try:
        folders.check_there(config.data.name, config.data_dir or None)
    except ValueError:
        where = files.root(config.data_dir)
        console.print(
            f"{config.data.name} not found at {where}: a run will refuse, and say what "
            "makes it"
        )


def pace(config) -> float:
    """Returns the seconds that an image of a training takes here, of blank images.

    Args:
      config: A config.

    Raises:
      ValueError: What a run of it would refuse before it trains.
    """
    facts, _, ground = check.check(config)
    return _seconds_per_image(config, facts, ground.plan)[0]


def describe(console, config, facts, ground) -> None:
    """Prints levels, counts and trainings of a config, wherever they are to be.

    Args:
      console: Where to.
      config: A config that `check.check` has passed.
      facts: Of its data set.
      ground: What its method is built on.
    """
    plan, asked = ground.plan, plan_lib.options(ground)
    console.print(_levels(plan))
    console.print(plan_lib.summary(config.model.name, plan))
    console.print(
        f"{config.data.name}: {facts.train:,} training images, batch "
        f"{config.train.batch_size}, {plan.steps_per_epoch:,} steps an epoch, "
        f"{plan.steps:,} steps dense, validated every {plan.eval_every:,}"
    )
    if facts.majority is not None:
        console.print(
            f"always saying the largest class: {100 * facts.majority:.2f} % of the "
            "test images"
        )
    arms, chains = _arms(plan, asked), len(asked.members)
    trainings = chains + chains * arms * len(plan.targets)
    logits = chains // len(config.seeds)
    each = f" of {logits} first logits" if logits > 1 else ""
    tweaked = arms_lib.trained(config.retraining.arms)
    retrained = spans.levels(config.retraining.levels, plan) if tweaked else ()
    more = chains * len(tweaked) * len(retrained)
    with_tweaks = f", {more} of them with tweaks" * bool(more)
    console.print(
        f"{len(config.seeds)} seeds{each}, {arms} arms: {trainings + more} trainings"
        f"{with_tweaks}"
    )
    if asked.pooled:
        count = chains * pools.evaluations(config, plan)
        console.print(
            f"pools: {chains * len(asked.pooled)} averages, at most {count:,} "
            "validations, no step of training"
        )
    if alone := plan_lib.lone_seed(config):
        console.print(alone)
    for text in _steps(plan):
        console.print(text)


def _arms(plan, asked):
    """Returns the trainings of a level: rounds of a search, tickets, controls."""
    return 1 + len(asked.controls) + spans.rounds(plan)


def _levels(plan):
    total = sum(plan.sizes.values())
    shown = rich.table.Table("level", "kept", "% kept", "sparsity")
    for level, kept in enumerate([total, *(target.kept for target in plan.targets)]):
        if kept is None:
            shown.add_row(str(level), "learnt", "", "")
            continue
        share = kept / total
        shown.add_row(str(level), f"{kept:,}", f"{100 * share:.2f}", f"{1 - share:.4f}")
    return shown


def _steps(plan):
    """Yields sentences on the steps that tickets, and what goes with them, train."""
    own = [row for row in plan.trainings if row.level and row.arm != "search"]
    if spans.drawn(plan):
        yield (
            "the dense training ends where the ticket is drawn, after "
            f"{spans.dense(plan):,} "
            f"steps at the earliest; from there all of its level train to step "
            f"{plan.steps:,}"
        )
        return
    for start, until in sorted({row[2:] for row in own}):
        yield f"tickets, their controls and arms train steps {start:,} to {until:,}"


def _seconds(config, facts, ground, held_out):
    """Returns the time of a run, from a few steps and a validation on blank images."""
    plan, chains = ground.plan, len(plan_lib.options(ground).members)
    chosen = pools.evaluations(config, plan) * (held_out - getattr(facts, "test", 0))
    total = 0.0
    for searching, steps in spans.by_kind(plan).items():
        found = _seconds_per_image(config, facts, plan, searching=searching)
        points = sum(-(-n // plan.eval_every) for n in steps)
        validated = points * held_out + (0 if searching else chosen)
        images = sum(steps) * config.train.batch_size, validated
        total += sum(n * seconds for n, seconds in zip(images, found, strict=True))
    return chains * total


def _seconds_per_image(config, facts, plan, *, searching=False):
    """Returns the seconds an image takes in training, and in validation.

    Of the networks, with their controls; or of what rounds of a search train.
    """
    config = copy.deepcopy(config)
    each = data_lib.mesh(config).shape[meshes.DATA]
    given = config.train.batch_size, config.eval_batch
    batch, chunk = (
        min(size, -(-few // each) * each)
        for size, few in zip(given, (_BATCH, _CHUNK), strict=True)
    )
    config.train.update(batch_size=batch, epochs=0, steps=plan.steps)
    config.train.update(accumulate=1, class_weights=())  # of a batch that is not this
    config.train.stop.update(defaults.default().train.stop)  # it would skip steps
    # Scored with: here there are no more.
    config.search.update(batches=1, examples=0, corrupt="none")
    config.eval_every, config.eval_batch = plan.eval_every, chunk
    train, held_out = (_blank(facts, size) for size in (batch, chunk))
    described = facts.num_classes, facts.mean, facts.std
    follow = moved_images.follower(config, facts)
    source = in_memory.Source(train, held_out, held_out, *described, follow)
    ground = plan_lib.of(config, source)._replace(plan=plan)
    parts = assemble.functions(ground)
    members = target_step.population(parts, searching)
    members = min(members, members_lib.together(ground.shapes) or members)
    one = target_step.member(parts, searching)(jax.random.key(0))
    step, validation = _timed(parts.run, *members_lib.stack([one] * members))
    return step / (members * batch), validation / (members * 2 * chunk)


def _blank(facts, size):
    dtype = np.uint8 if facts.mean else facts.dtype
    images = np.zeros((size, *facts.image_shape), dtype)
    labels = np.zeros((size, *facts.label_shape), facts.label_dtype)
    return in_memory.Split(images, labels)


def _timed(run, states, masks, keys):
    """Returns the seconds of a step and of a validation, compilation left out."""
    fixed = masks, keys
    states = run(states, fixed, (0, _NEVER), 0, 0)
    steps, seconds = 1, 0.0
    while seconds < 1:
        began = time.perf_counter()
        states = run(states, fixed, (0, _NEVER), 0, steps)
        states = jax.block_until_ready(states)
        seconds = time.perf_counter() - began
        step, steps = seconds / steps, 4 * steps
    began = time.perf_counter()
    jax.block_until_ready(run(states, fixed, (0, 1), 0, 1))
    return step, max(0.0, time.perf_counter() - began - step)
