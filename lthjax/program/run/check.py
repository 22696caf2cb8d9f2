"""What a run refuses before it reads data, trains or writes anything."""

import importlib.util
import itertools
import logging
import pathlib

import jax

from lthjax import registry
from lthjax.data import in_memory, on_disk, splits
from lthjax.forward_selection import channels
from lthjax.gates import sigmoid
from lthjax.program.build import (
    arm_checks,
    arm_settings,
    assemble,
    by_channels,
    by_transplant,
    criterion,
    examples,
    methods,
    network,
    objective,
    pools,
    unread,
)
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.build.parts import DataKind, Ground, kind
from lthjax.program.config import validate
from lthjax.program.report.studies import study
from lthjax.program.run import writers
from lthjax.pruning import pattern_names
from lthjax.pruning.targets import Target
from lthjax.retraining import arms, fades, ghosts
from lthjax.tickets import block_maps, stability
from lthjax.training import losses
from lthjax.values import LARGEST

log = logging.getLogger(__name__)

# Names that keys may have, those too that a run does not read.
CHOICES = {
    "model.norms": network.NORMS,
    "search.norms": criterion.NORMS,
    "search.gates.reset": sigmoid.RESETS,
    "search.gates.start": ("zero", "rewind_to"),
    "search.gates.gradient": ("sigmoid", "identity"),
    "search.gates.output": ("threshold", "sample"),
    "early_bird.watch": by_channels.WATCHED,
    "elastic.order": block_maps.ORDERS,
    "transplant.way": by_transplant.WAYS,
    "early_bird.rule": stability.RULES,
    "retraining.convention": losses.CONVENTIONS,
    "retraining.pools.statistics": pools.STATISTICS,
}
# The same, and a user's own.
OPEN_CHOICES = {
    "forward.candidates": channels.CANDIDATES,
    "forward.objective": channels.OBJECTIVES,
    "retraining.law": fades.LAWS,
    "retraining.neurons.kind": ghosts.NEURONS,
    "retraining.skips.start": ghosts.STARTS,
}
POINTS = 10**6  # validations of a training: its curve is held by the device


def check(
    config, source: in_memory.Source | None = None
) -> tuple[in_memory.Facts | DataKind, int, Ground]:
    """Checks all that goes without the images, and warns of keys that nothing reads.

    Args:
      config: A config.
      source: The data set, where it is loaded already; `None` to go by what is known of
        it, for which a user's own set is loaded.

    Returns:
      What is known of its data set, with the training images that are left of it; how
      many images are held out; and what its method is built on.

    Raises:
      ValueError: What a run of it would refuse before it trains.
    """
    validate.validate(config)
    _check_choices(config)
    _check_events(config)
    _check_size(config.data)
    study.check(config.studies)
    arms.check_arms(config.retraining.arms)
    arm_settings.check(config, (validate.validate, _check_choices))
    facts, train, held_out = _facts(config) if source is None else _measured(source)
    ground = plan_lib.ground(config, facts, train)
    plan = ground.plan
    _check_images(config.data, facts)
    _check_times(config, plan)
    _check_levels(config, plan)
    assemble.check(ground)
    unread.warn(config)
    _check_read(config, train)
    arm_checks.check(ground)
    pools.check(ground)
    return facts, held_out, ground


def _check_events(config):
    """Refuses events that nothing is there to write."""
    if config.logging.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            "logging.tensorboard must be False where tensorboardX is not installed, "
            "got logging.tensorboard = True; give False, or pip install tensorboardX"
        )
    writers.check(config.logging.writer)


def _check_choices(config):
    """Refuses names that there are not, in keys that nothing may read."""
    found = validate.flat(config)
    for name, choices in {**CHOICES, **OPEN_CHOICES}.items():
        value, own = found[name], name in OPEN_CHOICES
        if value not in choices and not (own and ":" in value):
            raise ValueError(
                f"{name} must be one of {', '.join(choices)}, got {name} = {value!r}"
                f"{registry.suggestion(value, choices)}"
            )


def _facts(config):
    """Returns the set's facts, what is left of train, and how much is held out."""
    data = config.data
    where, options = config.data_dir or None, source_lib.options(config)
    if data.stream:
        facts = on_disk.facts(
            data.name, data_dir=where, side=data.size, options=options
        )
    else:
        facts = in_memory.facts(data.name, data_dir=where, options=options)
    own = facts.validation
    if own and data.validation not in (0, own):
        raise ValueError(
            f"validation must be {own}, as {data.name!r} brings its own, got "
            f"data.validation = {data.validation}"
        )
    left = facts.train - (0 if own else data.validation)
    if left <= 0:
        raise ValueError(
            f"validation must be below the {facts.train} training images, got "
            f"data.validation = {data.validation}"
        )
    if data.limit > left:
        raise ValueError(
            f"limit must be from 1 to the {left} training images that validation "
            f"leaves, got data.limit = {data.limit}"
        )
    train, held_out = data.limit or left, own or data.validation
    assemble.check_held_out(held_out, facts.test)
    return facts._replace(train=train), train, held_out + facts.test


def _check_size(data):
    """Refuses a size of images where nothing brings them to it."""
    streamed = data.stream and data.name in in_memory.SIZED
    if data.size and not streamed and data.name not in in_memory.STORED:
        raise ValueError(
            "data.size is what images of a user's own folder are brought to, and the "
            "side of a photograph's crop, which goes with data.stream = True, got "
            f"data.size = {data.size} with data.name = {data.name!r}; give 0"
        )


def _measured(source):
    """Returns the same of a set that is loaded."""
    train, *held_out = (splits.size(split) for split in source[:3])
    return kind(source), train, sum(held_out)


def _check_images(data, facts):
    """Checks what is done to images, and that it is done to nothing else."""
    if not objective.are_images(facts):
        given = {"crop": 0, "flip": False, "mean": (), "std": ()}
        asked = [name for name, none in given.items() if data[name] != none]
        if asked:
            raise ValueError(
                "only images are cropped, flipped and normalised, got data."
                f"{asked[0]} = {data[asked[0]]} for inputs of {facts.dtype} "
                f"{list(facts.image_shape)}; give {given[asked[0]]}"
            )
        return
    splits.check_scale(facts.image_shape[-1], data.mean, data.std)
    side = min(facts.image_shape[:2])
    if data.crop >= side:
        raise ValueError(
            f"data.crop, the margin of zeros, must be below the {side} pixels of an "
            f"image, got data.crop = {data.crop}"
        )


def _check_times(config, plan):
    """Checks what is counted in epochs against the steps of the dense training."""
    schedule, epoch, steps = config.schedule, plan.steps_per_epoch, plan.steps
    if max(2 * steps, steps + config.forward.tune) >= LARGEST:
        raise ValueError(
            f"a training and what comes after it must have fewer than {LARGEST:,} "
            f"steps, got {steps:,} of {epoch:,} an epoch; give fewer train.epochs or "
            "train.steps"
        )
    if steps // plan.eval_every > POINTS:
        raise ValueError(
            f"a training must have at most {POINTS:,} validations, got eval_every = "
            f"{plan.eval_every} in {steps:,} steps"
        )
    drops = [round(drop * epoch) for drop in schedule.drops]
    apart = all(a < b for a, b in itertools.pairwise([0, *drops, steps]))
    if schedule.name == "piecewise" and not apart:
        raise ValueError(
            f"schedule.drops must be different steps from 1 to {steps - 1}, an epoch "
            f"having {epoch}, got schedule.drops = {tuple(schedule.drops)}, which are "
            f"the steps {', '.join(map(str, drops))}"
        )
    if schedule.warmup * epoch > steps:
        raise ValueError(
            f"schedule.warmup must end within the {steps} steps of the training, an "
            f"epoch having {epoch}, got schedule.warmup = {schedule.warmup}"
        )


def _check_levels(config, plan):
    """Checks that every level keeps something, and less than the one before."""
    before = sum(plan.sizes.values())
    name = "search.sparsities" if config.search.sparsities else "search.rate"
    value = validate.flat(config)[name]
    if before >= LARGEST:
        raise ValueError(
            f"a network must have fewer than {LARGEST:,} prunable weights, got "
            f"{before:,}; give a lower model.width"
        )
    for level, target in enumerate(plan.targets, start=1):
        if target.kept is None:
            continue
        counts = target.counts
        empty = [n for n, kept in zip(plan.sizes, counts, strict=False) if not kept]
        if not target.kept:
            raise ValueError(
                f"every level must keep a weight, got level {level}, which keeps none, "
                f"with {name} = {value}; give fewer or less sparse levels"
            )
        if empty and target.layers is not None:
            log.warning("level %d keeps no weight of %s", level, ", ".join(empty))
        if target.kept >= before:
            raise ValueError(
                "every level must keep less than the one before, got level "
                f"{level}, which keeps {target.kept:,} weights after {before:,}, with "
                f"{name} = {value}; give fewer levels, or others"
            )
        before = target.kept
    _check_groups(config.search.pattern, plan)


def _check_groups(pattern, plan):
    """Checks the same of channels and blocks, of which levels keep whole ones."""
    leaves = {n: jax.ShapeDtypeStruct(s, bool) for n, s in plan.shapes.items()}
    before = None
    whole = Target(sum(plan.sizes.values()))
    for level, target in enumerate([whole, *plan.targets]):
        if target.kept is None:
            continue
        now = pattern_names.target(pattern, leaves, target, plan.views).kept
        if not level and not now:
            raise ValueError(
                "the blocks of a pattern must fit into a layer, got search.pattern = "
                f"{pattern!r} for {_shapes(plan.shapes)}"
            )
        if now < 1 or now == before:
            raise ValueError(
                "every level must keep a group of weights, and fewer than the one "
                f"before, got level {level}, which keeps {now:,} after {before:,}, "
                f"with search.pattern = {pattern!r}; give fewer levels, or others"
            )
        before = now


def _shapes(shapes):
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())


def _check_read(config, train):
    """Checks what else is read: a score's examples, and a teacher."""
    if methods.reads(config.search.method, "search.batches"):
        examples.check(config, train)
    name = "retraining.distillation.teacher"
    teacher = config.retraining.distillation.teacher
    taught = [arm for arm in config.retraining.arms if "distillation" in arm]
    if taught and teacher and not pathlib.Path(teacher).is_dir():
        raise ValueError(f"{name} must be a folder, got {name} = {teacher!r}")
