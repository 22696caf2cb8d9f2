"""The command: `python -m lthjax.main --config=configs/digits.py --workdir=W`."""

import logging
import pathlib
import sys

import jax
from absl import app, flags
from ml_collections import config_flags

from lthjax import cpu, dry_run, experiment, progress, report

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.")
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")
STOPPED = 143


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; what is wrong ends it with one sentence."""
    if len(argv) > 1:
        raise app.UsageError(f"flags only, got {argv[1:]}")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    for library in ("absl", "jax"):
        logging.getLogger(library).setLevel(logging.WARNING)
    _prepare_jax()
    try:
        _run(CONFIG.value, WORKDIR.value)
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except progress.Interrupted as stop:
        logging.warning("%s", stop)
        sys.exit(STOPPED)


def _prepare_jax():
    """Keeps compiled programs from run to run, and makes convolutions fast on a CPU."""
    if not jax.config.jax_compilation_cache_dir:
        cache = str(pathlib.Path("~/.cache/lthjax").expanduser())
        jax.config.update("jax_compilation_cache_dir", cache)
    cpu.lower_convolutions()


def _run(config, workdir):
    if DRY_RUN.value:
        dry_run.show(config)
    elif not workdir:
        raise ValueError("--workdir must name the folder of the run, got none")
    else:
        report.show(workdir, experiment.run(config, workdir))


def _parse(argv):
    """Parses the flags; a config key that does not exist is named with the nearest."""
    try:
        return FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, OSError) as reason:
        while reason.args and isinstance(reason.args[0], Exception):
            reason = reason.args[0]
        text = " ".join(str(reason.args[0] if reason.args else reason).split())
        sys.exit(f"error: every flag, config file and config key must be known: {text}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse)
