"""The command: `python -m lthjax.federate --workdir=W [--config.key=value ...]`.

Clients draw tickets together, in rounds: `--config.method` is one of `cell` (the
default), `lottery_fl`, `fedavg` and `standalone`. It resumes by itself, records each
round in `rounds.jsonl`, and leaves `summary.md` and `accuracy_traffic.png`. The keys:
`--keys`.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from lthjax.program import command_line
from lthjax.program.config import shrink, typed
from lthjax.program.config.validate import flat
from lthjax.program.federated import experiment, report, settings

OPEN = ("data.options.", "model.options.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the flags ask for; what is wrong ends it with one sentence."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options, more = _parser().parse_known_args(words)
    with command_line.plain_errors():
        command_line.check_once(words)
        config = configured(more)
        if options.keys:
            rows = flat(config.to_dict()).items()
            print("\n".join(f"{key} = {value!r}" for key, value in rows))
            return
        if options.workdir is None:
            raise ValueError("--workdir must name the folder of the run, got none")
        command_line.prepare()
        config = settings.shrunk(config) if options.smoke else config
        rows, final = experiment.run(config, options.workdir)
        print(report.write(options.workdir, rows, final))


def configured(words: Sequence[str]):
    """Returns the config of words "--config.key=value".

    Args:
      words: Such words; the method and the partition decide which keys there are.

    Raises:
      ValueError: A word is none of those, a key is unknown, or a value is.
    """
    given = dict(_pair(word) for word in words)
    heads = {"method": "cell", "clients.partition": "shards"}
    config = settings.default(*(given.get(key, value) for key, value in heads.items()))
    known = flat(config)
    found = {}
    for key, text in given.items():
        if not key.startswith(OPEN):
            settings.check_key(config, key, known)
        found[key] = text if isinstance(known.get(key), str) else typed.literal(text)
    config = shrink.changed(config, found)
    settings.check(config)
    return config


def _pair(word):
    match = re.fullmatch(r"--config\.([^=]+)=(.*)", word, re.DOTALL)
    if match is None:
        raise ValueError(
            f"every flag must be known, got {word}; keys are written as "
            "--config.key=value"
        )
    return match[1], match[2]


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("--workdir", type=command_line.folder)
    parser.add_argument("--keys", action="store_true", help="print all keys, and end")
    parser.add_argument("--smoke", action="store_true", help="made-up data, in seconds")
    return parser


if __name__ == "__main__":
    main()
