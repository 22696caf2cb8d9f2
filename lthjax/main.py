"""The command: `python -m lthjax.main --config=configs/digits.py --workdir=W`.

`--config.a.b=value` sets a key of the config; `python -m lthjax keys` lists them all.
"""

import itertools
import sys

from absl import app, flags
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

from lthjax import registry
from lthjax.program import command_line
from lthjax.program.config import files, ranges, typed, validate

FLAGS = flags.FLAGS
HELP = {"-h", "-help", "--help"}
CONFIG = config_flags.DEFINE_config_file("config", None, "The config file.")
WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")
JOINING = {
    "coordinator": flags.DEFINE_string("coordinator", None, "host:port of process 0."),
    "count": flags.DEFINE_integer("processes", None, "How many processes there are."),
    "index": flags.DEFINE_integer("process", None, "Which of them this is, from 0."),
    "wanted": flags.DEFINE_bool("distributed", False, "Let JAX find the others."),
}
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan and train nothing.")
OPTIONS = tuple(f"{name}." for name in ranges.OPTIONS)  # whose keys are a config's own
PARSERS = {
    bool: flags.BooleanParser(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
}
ON = flags.DEFINE_string("on", None, "Plan for devices not here: v5e:4x4, h100:8.")


def main(argv: list[str]) -> None:
    """Runs what the flags ask for; what is wrong ends it with one sentence."""
    with command_line.plain_errors():
        if ON.value is not None and not DRY_RUN.value:
            raise ValueError(f"--on goes with --dry_run, got on = {ON.value}")
        if ON.value is not None:
            command_line.leave_accelerators()
        command_line.prepare(**{name: flag.value for name, flag in JOINING.items()})
        if len(argv) > 1:
            raise ValueError(f"there must be flags only, got {' '.join(argv[1:])}")
        from lthjax.program.report import run_report  # here: --help needs none of it
        from lthjax.program.run import dry_run, experiment, target_plan

        if ON.value is not None:
            target_plan.show(CONFIG.value, ON.value)
        elif DRY_RUN.value:
            dry_run.show(CONFIG.value)
        elif not WORKDIR.value:
            raise ValueError("--workdir must name the folder of the run, got none")
        else:
            run_report.show(WORKDIR.value, experiment.run(CONFIG.value, WORKDIR.value))


def _config(name):
    """Returns the config of a flag's value, locked; what is wrong ends the process."""
    with command_line.plain_errors():
        return files.named(name).lock()


FLAGS["config"].parser.parse = _config  # ml_collections' would leave a traceback


_tuple = tuple_parser.TupleParser.parse


def _words(parser, argument):
    """Returns the tuple of a flag's value; "a,b" are two words, as "1,2" numbers.

    Of an empty text there are none, as in a sweep.
    """
    if isinstance(argument, str):
        found = typed.words(argument)
        if found or not argument.strip():
            return tuple(found)
    return _tuple(parser, argument)


tuple_parser.TupleParser.parse = _words  # ml_collections' takes them for one text


def _parse(argv):
    """Parses the flags; a config key that does not exist is named with the nearest."""
    if HELP.intersection(argv[1:]):
        told = FLAGS.module_help(FLAGS.find_module_defining_flag("config"))
        print(__doc__ + told.partition(":")[2])
        sys.exit()
    with command_line.plain_errors():
        command_line.check_once(argv[1:])
        _check_given(argv[1:])
        _check_keys(argv[1:])
    try:
        return FLAGS(argv)
    except Exception as reason:  # ml_collections raises what it meets
        sys.exit(
            "error: every flag must be known, its value of the right kind: "
            f"{_told(reason, argv[1:])}"
        )


def _told(reason, words):
    """Returns what ml_collections says; it names an option of a config by its end."""
    while reason.args and isinstance(reason.args[0], Exception):
        reason = reason.args[0]
    text = " ".join(str(reason.args[0] if reason.args else reason).split())
    for name, value in _flags(words):
        end = repr(name.rpartition(".")[2])
        if text.startswith(end):
            text = f"--{name}{text.removeprefix(end)}{_whole(name, value)}"
    return text


def _whole(name, text):
    """Returns how an option is set that its config does not set, if it is one."""
    section, _, option = name.rpartition(".")
    if f"{section.removeprefix('config.')}." not in OPTIONS:
        return ""
    options = {option: typed.literal(text or "value")}
    return f'; one that the config does not set is given by --{section}="{options}"'


def _check_keys(words):
    """Refuses flags of unknown keys, which are named with the nearest, and values."""
    known = files.flat(files.default())
    for name, text in _flags(words):
        inside, key = name.startswith("config."), name.removeprefix("config.")
        if not inside and name in known and name not in FLAGS:
            raise ValueError(
                f"every flag must be known, got --{name}, did you mean "
                f"'--config.{name}'?"
            )
        if inside and not key.startswith(OPTIONS):
            _check_key(key, text, known)


def _flags(words):
    """Yields (name, value) of each flag; the value is `None` where it has none."""
    words = [*itertools.takewhile(lambda word: word != "--", words), None]
    for word, after in itertools.pairwise(words):
        name, sign, text = word.lstrip("-").partition("=")
        if word.startswith("-"):
            plain = name.removeprefix("no") if name.startswith("noconfig.") else name
            follows = None if _complete(word) else after
            yield plain, text if sign else follows


def _check_key(key, text, known):
    """Refuses a key that there is not, or a value that its type does not have."""
    inside = {name for name in known if name.startswith(f"{key}.")}
    own = bool(inside)
    if own and text is not None:
        _check_section(key, text, inside)
    if key not in known and not own:
        raise ValueError(
            "every flag must be known, got "
            f"--config.{key}{registry.suggestion(key, known)}"
        )
    if text is not None and not own:
        _check_text(key, text, known[key])


def _check_section(key, text, inside):
    """Refuses a value of a section, unless it is a dict with all of its keys."""
    found = typed.literal(text)
    if not isinstance(found, dict):
        name = f"{key}.name"
        near = f"did you mean --config.{name}={text}", f"lthjax keys {key} lists them"
        raise ValueError(
            f"a value must be given to a key, got config.{key} = {text!r}, a section "
            f"of keys; {near[name not in inside]}"
        )
    rows = validate.flat(found, f"{key}.")
    if inside - rows.keys():
        flags = [f'--config.{name}="{value}"' for name, value in rows.items()]
        raise ValueError(
            "a section must be given key by key, or with all of its keys, got "
            f"config.{key} = {text!r}; write {' '.join(flags) or 'a flag a key'}"
        )


def _check_text(key, text, example):
    """Refuses what ml_collections would not take for a value, in other words."""
    if isinstance(example, ConfigDict):
        if not isinstance(typed.literal(text), dict):
            raise ValueError(
                f"config.{key} must be a dict of options, got config.{key} = {text!r}; "
                f"write --config.{key}=\"{{'name': value}}\""
            )
    elif parser := PARSERS.get(type(example)):
        try:
            parser.parse(text)
        except ValueError as error:
            kind = type(example).__name__
            raise ValueError(
                f"config.{key} must be of type {kind}, got config.{key} = {text!r}"
            ) from error


def _check_given(words):
    """Refuses a flag that would take the next flag for its value."""
    for word, after in itertools.pairwise(words):
        if after.startswith("--") and not _complete(word):
            raise ValueError(
                f"every flag must have its value, got {word} before {after}; write "
                f"{word}=VALUE"
            )


def _complete(word):
    """Says whether a word is no flag that needs another one: it is, if it is one."""
    name = word.lstrip("-")
    if not word.startswith("-") or "=" in word or not name:
        return True
    known = validate.flat(files.default(), "config.")
    plain = name.removeprefix("no")
    switch = plain in FLAGS and FLAGS[plain].boolean
    return switch or isinstance(known.get(plain), bool)


def start() -> None:
    """Runs the command of this process."""
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=_parse)


if __name__ == "__main__":
    start()
