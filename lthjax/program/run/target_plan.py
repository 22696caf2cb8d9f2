"""What a config would do on devices that are not here: does it fit, and how long."""

import copy
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import rich.console
import rich.table

from lthjax.devices import meshes, targets
from lthjax.program import progress
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import spans
from lthjax.program.run import check, dry_run, target_step

CACHE = "~/.cache/lthjax/targets"
_FORWARD = 1 / 3  # of a training step's time, an image evaluated: forward alone


class Found(NamedTuple):
    """A config on a target.

    Attributes:
      target: The devices.
      plan: The numbers of the run.
      step: One step of it; of two kinds, tickets' and rounds', that which holds more.
      report: What the compiler says of that.
      seconds: Of that step.
      source: Whose estimate that is.
      rows: [(arm, level, steps, seconds of all members)] of every training.
    """

    target: targets.Target
    plan: Any
    step: target_step.Step
    report: targets.Report
    seconds: float
    source: str
    rows: list[tuple[str, int, int, float]]

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return sum(row[-1] for row in self.rows)


def show(config, name: str) -> None:
    """Prints the plan of a config on a target.

    Args:
      config: A config.
      name: Of the target: "v5e:4x4".

    Raises:
      ValueError: What a run of it would refuse before it trains; the target or its
        compiler is not there; the config does not fit, with what would.
    """
    target = targets.named(name)
    targets.devices(target)  # refused before anything is printed
    config, said = spread(config, target)
    facts, held_out, ground = check.check(config)
    console = rich.console.Console(soft_wrap=True, markup=False, emoji=False)
    dry_run.describe(console, config, facts, ground)
    found = plan(config, target, (facts, held_out, ground))
    for text in (*said, *_sentences(found)):
        console.print(text)
    console.print(_table(found))
    console.print(_whole(found))


def spread(config, target: targets.Target) -> tuple[Any, list[str]]:
    """Returns a config whose mesh has all devices of a target, and what was changed.

    A mesh that the config asks for is left alone.

    Args:
      config: A config; it is not changed.
      target: The target.
    """
    mesh = config.mesh
    if target.count == 1 or (mesh.ticket, mesh.data) != (1, 1):
        return config, []
    config = copy.deepcopy(config)
    config.mesh.data, flags = -1, "--config.mesh.data=-1"
    if more := -config.eval_batch % target.count:
        config.eval_batch += more
        flags += f" --config.eval_batch={config.eval_batch}"
    return config, [
        f"one device is asked for: planned with {flags}, a batch over all "
        f"{target.count}; the run needs these flags too"
    ]


def plan(config, target: targets.Target, checked: tuple | None = None) -> Found:
    """Returns the plan of a config on a target.

    Args:
      config: A config.
      target: The target.
      checked: What `check.check` has said of it, where it was asked already.

    Raises:
      ValueError: As `show`.
    """
    facts, held_out, ground = checked or check.check(config)
    found = _reported(config, target, facts, held_out, ground.plan)
    step, report = _largest(found)
    if not report.fits:
        given = config, target, report
        raise ValueError(_refusal(*given, *_remedy(config, target)))
    seconds_of_image = {
        kind: targets.seconds(target, own)[0] / one.images
        for kind, (one, own) in found.items()
    }
    seconds, source = targets.seconds(target, report)
    rows = list(_rows(config, ground, held_out, seconds_of_image))
    return Found(target, ground.plan, step, report, seconds, source, rows)


def _reported(config, target, facts, held_out, numbers):
    """Returns {whether of a search's rounds: (a step, what its compiler says)}."""
    found = {}
    for searching in spans.by_kind(numbers):
        with targets.aimed(target):
            given = config, facts, held_out, numbers
            step = target_step.of(*given, searching=searching)
            cache = pathlib.Path(CACHE).expanduser()
            report = targets.compile(target, step.program, step.shapes, cache=cache)
        report = report._replace(arguments=report.arguments + step.beside)
        found[searching] = step, report
    return found


def _largest(found):
    """Returns the step, and its report, that needs most of a device."""
    return max(found.values(), key=lambda pair: pair[1].total)


def _remedy(config, target):
    """Returns the first of the ways to need less that fits, and its report."""
    for text, changed in _ways(config, target):
        try:
            facts, held_out, ground = check.check(changed)
            found = _reported(changed, target, facts, held_out, ground.plan)
            _, report = _largest(found)
        except ValueError:  # not for this network, or not divided by the mesh
            continue
        if report.fits:
            return text, report
    return None, None


def _ways(config, target) -> Iterator[tuple[str, Any]]:
    """Yields ways to need less memory: batch, mesh, remat, dtype, in that order."""
    for share in (2, 4, 8):
        size = config.train.batch_size // share
        if size:
            yield _changed(config, f"train.batch_size={size}", "train", batch_size=size)
    sides = config.mesh.ticket * config.mesh.data
    if 0 < sides < target.count:
        many = len(config.seeds) > 1
        axis = meshes.TICKET if many else meshes.DATA
        yield _changed(config, f"mesh.{axis}=-1", "mesh", **{axis: -1})
    if not config.model.remat:
        yield _changed(config, "model.remat=True", "model", remat=True)
    if config.model.dtype == "float32":
        yield _changed(config, "model.dtype=bfloat16", "model", dtype="bfloat16")


def _changed(config, text, section, **values):
    config = copy.deepcopy(config)
    config[section].update(values)
    return f"--config.{text}", config


def _refusal(config, target, report, text, other):
    needed, limit = _size(report.total), _size(report.limit)
    if text is None:
        remedy = "no smaller batch, wider mesh, model.remat or bfloat16 alone would fit"
    else:
        remedy = f"{text} fits, with {_size(other.total)}"
    return (
        f"a step must fit into the {limit} of a device of {target.name}, got "
        f"{needed} by its compiler, with train.batch_size = "
        f"{config.train.batch_size}; {remedy}"
    )


def _rows(config, ground, held_out, seconds_of_image):
    """Yields (arm, level, steps, seconds) of every training, its validations too.

    `seconds_of_image` are those of rounds (True) and of others.
    """
    numbers = ground.plan
    chains = len(plan_lib.options(ground).members)
    for row in numbers.trainings:
        steps = (row.until or spans.dense(numbers)) - row.start
        points = math.ceil(steps / numbers.eval_every)
        images = steps * config.train.batch_size + points * held_out * _FORWARD
        image = seconds_of_image[row.arm == "search"]
        yield row.arm, row.level, steps, chains * images * image


def _size(count):
    """Returns bytes as MiB, or as GiB from one of them on."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.2f} MiB"


def _many(count, what):
    return f"{count} {what}{'s' * (count > 1)}"


def _sentences(found):
    """Yields what the compiler says of a step."""
    target, report, step = found.target, found.report, found.step
    chip, read = target.chip, report.read
    yield (
        f"on {target.name}, {_many(target.count, 'device')}, by its compiler: a step "
        f"fits, {_size(report.total)} of {_size(chip.memory)} a device (arguments "
        f"{_size(report.arguments)}, temporaries {_size(report.temporaries)})"
    )
    share = ""
    if read.cycles:  # of a bound a share of the peak says nothing
        rate = report.flops / found.seconds
        share = f", {read.cycles:,} cycles; {rate / 1e12:.1f} TFLOP/s, "
        share += f"{100 * rate / chip.flops:.1f} % of the peak in bfloat16"
    yield (
        f"a step of {_many(step.members, 'network')}: {1000 * found.seconds:.3f} ms "
        f"{found.source}{share}, collectives not counted; a device does "
        f"{report.flops / 1e9:,.1f} GFLOP of products, and reads and writes "
        f"{report.accessed / 1e9:.2f} GB"
    )
    yield from (_of_loop(loop, step) for loop in read.loops)
    talk = ", ".join(
        f"{row.count} {row.kind} of {row.bytes / 2**20:.2f} MiB in all"
        for row in read.collectives
    )
    yield f"collectives a step: {talk or 'none'}"
    if chip.platform == "gpu":
        counts = sorted(read.kernels.items(), key=lambda pair: -pair[1])
        listed = ", ".join(f"{count} {name}" for name, count in counts[:4])
        total = sum(read.kernels.values())
        yield f"kernels a step: {total} ({listed}); starting them is not counted"
    if step.fed:
        yield (
            f"the hosts must bring {step.fed / found.seconds:,.0f} images a second in "
            "all to keep up"
        )


def _of_loop(loop, step):
    """Says what a loop is: the members one by one (`lax.map`), or one that costs."""
    turns = "as many as the data decide" if loop.turns is None else loop.turns
    cycles = f", {loop.cycles:,} cycles each" * bool(loop.cycles)
    whole = loop.turns and step.members % loop.turns == 0
    if whole and loop.origin.endswith(")/while"):
        return f"its networks go one after the other, {turns} on a device{cycles}"
    return f"a serial loop inside the step: {turns} turns, {loop.origin}{cycles}"


def _table(found):
    shown = rich.table.Table("level", "trainings", "steps", "time", "chip-hours")
    for level in dict.fromkeys(row[1] for row in found.rows):
        rows = [row for row in found.rows if row[1] == level]
        arms = ", ".join(dict.fromkeys(row[0] for row in rows))
        steps, seconds = (sum(row[i] for row in rows) for i in (2, 3))
        hours = f"{seconds * found.target.count / 3600:.3g}"
        times = f"{steps:,}", progress.duration(seconds), hours
        shown.add_row(str(level), arms, *times)
    return shown


def _whole(found):
    hours = found.total * found.target.count / 3600
    return (
        f"estimated time on {found.target.name}: {progress.duration(found.total)}, "
        f"{hours:.3g} chip-hours, {found.source}; validation taken as a third of a "
        "training step an image (our estimate); collectives, pruning, tweaks of arms, "
        "reading and writing not counted"
    )


def summed(configs: dict[str, Any], name: str) -> None:
    """Prints the plans of a sweep's runs on a target, and their sum.

    Args:
      configs: {folder: config}.
      name: Of the target.

    Raises:
      ValueError: As `show`, of the first run that does not go.
    """
    target = targets.named(name)
    shown = rich.table.Table("run", "a device", "step, ms", "time", "chip-hours")
    total = 0.0
    for folder, config in configs.items():
        found = plan(spread(config, target)[0], target)
        total += found.total
        row = _size(found.report.total), f"{1000 * found.seconds:.3f}"
        hours = f"{found.total * target.count / 3600:.3g}"
        shown.add_row(folder, *row, progress.duration(found.total), hours)
    console = rich.console.Console(soft_wrap=True, markup=False, emoji=False)
    console.print(shown)
    console.print(
        f"{len(configs)} runs, one after the other on {name}: "
        f"{progress.duration(total)}, {total * target.count / 3600:.3g} chip-hours"
    )
