"""The command: `python -m lthjax.main --config=configs/digits.py --workdir=W`."""

import sys

from absl import app, flags
from ml_collections import config_flags

from lthjax import commands, dry_run, experiment, report

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.")
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")
JOINING = {
    "coordinator": flags.DEFINE_string("coordinator", None, "host:port of process 0."),
    "count": flags.DEFINE_integer("processes", None, "How many processes there are."),
    "index": flags.DEFINE_integer("process", None, "Which of them this is, from 0."),
    "wanted": flags.DEFINE_bool("distributed", False, "Let JAX find the others."),
}
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; what is wrong ends it with one sentence."""
    with commands.plain_errors():
        commands.prepare(**{name: flag.value for name, flag in JOINING.items()})
        if len(argv) > 1:
            raise ValueError(f"there must be flags only, got {' '.join(argv[1:])}")
        if DRY_RUN.value:
            dry_run.show(CONFIG.value)
        elif not WORKDIR.value:
            raise ValueError("--workdir must name the folder of the run, got none")
        else:
            report.show(WORKDIR.value, experiment.run(CONFIG.value, WORKDIR.value))


def _parse(argv):
    """Parses the flags; a config key that does not exist is named with the nearest."""
    try:
        return FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, OSError) as reason:
        while reason.args and isinstance(reason.args[0], Exception):
            reason = reason.args[0]
        text = " ".join(str(reason.args[0] if reason.args else reason).split())
        text = text.rpartition("Error: ")[2]  # of a config file that raised
        sys.exit(f"error: every flag, config file and config key must be known: {text}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse)
