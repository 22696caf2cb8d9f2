r"""A grid of configs: what can be trained together as one run, the rest as jobs.

    python -m lthjax.sweep --config=configs/digits.py --workdir=runs/sweep \
        --grid optimizer.learning_rate=1.2e-3,3e-4 --grid seeds=0,1,2 \
        [--executor=here|local|slurm] [--slurm.partition=NAME] [--jobs=2]

Every run has a workdir named by its config, so that the same command, or one with more
values, does only what is missing. `--config.a.b=value` sets a key for all. `here` does
one run after the other in this process, `local` and `slurm` give them to submitit: a
job each, or `--jobs` jobs in all. `--slurm.x=value` is submitit's parameter of that
name; `time` is in minutes. `--submit_only` does not wait for the jobs. `--table` prints
the table of what there is, at any time. `--dry_run --on=v5e:4x4` trains and writes
nothing, and prints what all runs would take on devices that need not be here.
"""

import argparse
import logging
import re
import signal
import sys
from collections.abc import Sequence

from lthjax.data import folders
from lthjax.program import command_line
from lthjax.program.config import files, typed
from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import jobs, table
from lthjax.program.workdir import claim

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what is missing of a sweep; what is wrong ends it with a sentence."""
    options, more = _parser().parse_known_args(arguments)
    if options.executor != "here" or options.table or options.on:
        command_line.leave_accelerators()
    with command_line.plain_errors():
        command_line.check_once(
            sys.argv[1:] if arguments is None else arguments, ("grid",)
        )
        command_line.prepare()
        _check_alone(options, more)
        planned = options.dry_run or options.on
        act = plan if planned else sweep
        failed = {} if options.table else act(options, more)
        if not planned:
            print(table.write(options.workdir))
    if failed:
        rows = [f"  {folder}: {error}" for folder, error in failed.items()]
        sys.exit("\n".join([f"error: {len(failed)} runs failed:", *rows]))


def _check_alone(options, more):
    """Refuses flags that nothing would read."""
    _settings(more)
    if options.jobs < 0:
        raise ValueError(f"--jobs must be at least 0, got jobs = {options.jobs}")
    if options.table and (options.dry_run or options.on or options.submit_only):
        raise ValueError(
            "--table shows what is there, and goes with no other action, got "
            f"dry_run = {options.dry_run}, on = {options.on}, submit_only = "
            f"{options.submit_only}; leave one out"
        )
    asked = options.jobs or options.submit_only
    if asked and (options.executor == "here" or options.dry_run or options.table):
        raise ValueError(
            "--jobs and --submit_only go with an executor that runs are submitted to, "
            f"got executor = {options.executor}, jobs = {options.jobs}, submit_only = "
            f"{options.submit_only}; give --executor, or leave them out"
        )


def sweep(options: argparse.Namespace, more: Sequence[str]) -> dict[str, str]:
    """Does what is missing of a sweep and returns {workdir: error} of failed runs.

    Args:
      options: The flags.
      more: Further words of the command: `--config.key=value`, `--slurm.key=value`.

    Raises:
      ValueError: A flag, a key, the folder, or one of the runs is impossible; nothing
        was started.
    """
    claim.folder(options.workdir, claim.SWEEP)
    settings, slurm = _settings(more)
    if slurm and options.executor != "slurm":
        raise ValueError(
            f"--slurm.{next(iter(slurm))} goes with --executor=slurm, got "
            f"executor = {options.executor}"
        )
    config = _config(options.config, settings)
    grid = grid_lib.axes(config, options.grid)
    cells = grid_lib.cells(config, grid, options.workdir)
    root = options.workdir.absolute()
    left = [cell for cell in cells if not grid_lib.finished(root, cell)]
    if options.executor != "slurm":  # whose machines may have other disks
        _check_data(left)
    grid_lib.write(options.workdir, grid, cells)
    log.info("%d runs, %d of them finished", len(cells), len(cells) - len(left))
    runs = [(files.to_json(c.config), str(root / c.folder)) for c in left]
    if not runs or options.executor == "here":
        return jobs.finish(runs)
    started = jobs.submit(
        options.executor, root, runs, jobs=options.jobs, options=slurm
    )
    ids = ", ".join(job.job_id for _, job in started)
    log.info("submitted %s; logs are in %s", ids, root / jobs.JOBS)
    return {} if options.submit_only else _wait(started)


def _check_data(cells):
    """Refuses runs whose data are not there, before one is started."""
    own = {(cell.config.data.name, cell.config.data_dir) for cell in cells}
    for name, data_dir in sorted(own):
        folders.check_there(name, data_dir or None)


def plan(options: argparse.Namespace, more: Sequence[str]) -> dict[str, str]:
    """Prints what all runs of a sweep take on devices that need not be here.

    Args:
      options: The flags.
      more: Further words of the command: `--config.key=value`.

    Returns:
      {}: no run has failed.

    Raises:
      ValueError: As `sweep`; `--dry_run` and `--on` are not given together; a run does
        not fit.
    """
    if not (options.dry_run and options.on):
        raise ValueError(
            "--dry_run and --on=TARGET, such as v5e:4x4, go together, got dry_run = "
            f"{options.dry_run}, on = {options.on}"
        )
    from lthjax.program.run import target_plan  # here: a sweep needs none of it

    settings, _ = _settings(more)
    config = _config(options.config, settings)
    grid = grid_lib.axes(config, options.grid)
    cells = grid_lib.cells(config, grid, options.workdir)
    target_plan.summed({cell.folder: cell.config for cell in cells}, options.on)
    return {}


def _wait(started):
    try:
        return jobs.wait(started)
    except KeyboardInterrupt:
        log.warning("no longer waiting; the jobs of SLURM go on, --table shows them")
        sys.exit(128 + signal.SIGINT)


def _settings(words) -> tuple[list[str], dict]:
    """Returns ["a.b=value"] for the config, and {parameter: value} for SLURM."""
    found = {"config": [], "slurm": []}
    for word in words:
        match = re.fullmatch(r"--(config|slurm)\.([^=]+=.*)", word, re.DOTALL)
        if match is None:
            raise ValueError(
                f"every flag must be known, got {word}; --config.key=value and "
                "--slurm.key=value are written with ="
            )
        found[match[1]].append(match[2])
    pairs = [text.split("=", 1) for text in found["slurm"]]
    return found["config"], {key: typed.literal(value) for key, value in pairs}


def _config(name, settings):
    """Returns the config of "configs/mnist.py:short", with other values."""
    if name is None:
        raise ValueError("--config must name a config file, got none")
    config = files.named(name)
    for text in settings:
        config = grid_lib.changed(config, text)
    return config


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("--workdir", type=command_line.folder, required=True)
    parser.add_argument("--config", help="the config file")
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=A,B,...")
    executors = ("here", "local", "slurm")
    parser.add_argument("--executor", choices=executors, default="here")
    parser.add_argument("--jobs", type=int, default=0, help="that share the runs")
    parser.add_argument("--submit_only", action="store_true", help="do not wait")
    parser.add_argument("--dry_run", action="store_true", help="plan, with --on")
    parser.add_argument("--on", default="", metavar="TARGET", help="v5e:4x4, h100:8")
    parser.add_argument("--table", action="store_true", help="print the table only")
    return parser


if __name__ == "__main__":
    main()
