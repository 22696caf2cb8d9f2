"""One command with a face: `lthjax run digits --workdir=runs/digits`.

    lthjax run CONFIG --workdir=W [--config.a.b=value]   train, prune, rewind, retrain
    lthjax plan CONFIG                                   what a run would do; how long
    lthjax report W [W ...]                              its table and figures again
    lthjax compare W V [...] [--page=compare.html]       runs beside each other
    lthjax sweep CONFIG --workdir=W --grid key=a,b       a grid of runs
    lthjax export W ...                                  a ticket as one file
    lthjax bound ...                                     how much pre-training is enough
    lthjax federate --workdir=W [--config.a.b=value]     tickets drawn by many clients
    lthjax keys [WORD]                                   every config key, or some
    lthjax version                                       of this package, and of JAX

CONFIG is a file, or the name of one that comes with the package, as digits, mnist,
cifar10, cifar100 (`lthjax run` lists them); a variant follows a colon: mnist:short.
"""

import difflib
import importlib
import os
import pathlib
import sys
import sysconfig
import textwrap
from collections.abc import Sequence

from lthjax import packages

PACKAGE = pathlib.Path(__file__).parent
# What a word of the command is: the module, and what it puts before what follows.
MODULES = {
    "run": ("main", ()),
    "plan": ("main", ("--dry_run",)),
    "report": ("report", ()),
    "compare": ("compare", ()),
    "sweep": ("sweep", ()),
    "export": ("export", ()),
    "bound": ("bound", ()),
    "federate": ("federate", ()),
}
CONFIGURED = ("run", "plan", "sweep")
OURS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
HELP = ("-h", "--help", "-help", "help")


def main(arguments: Sequence[str] | None = None) -> None:
    """Does what the first word says; without one, shows what there is."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in HELP:
        _show(__doc__)
        return
    word, rest = words[0], words[1:]
    if word in ("version", "--version"):
        _show(versions())
    elif word == "keys":
        _show(keys(*_only_word(rest)))
    elif word in MODULES:
        _hand_over(word, rest)
    else:
        sys.exit(_unknown(word))


def _show(text):
    """Prints a text, of which `| head` may read as much as it likes."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # Python would say so once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def keys(word: str = "") -> str:
    """Returns every config key with its type, default, description and choices.

    Args:
      word: Only those that have it somewhere.

    Raises:
      SystemExit: None has; in one sentence, with the nearest ones.
    """
    from lthjax.program.config import entries  # here: --help needs none of it

    found = entries.matching(word)
    if not found:
        known = [entry.key for entry in entries.entries()]
        near = difflib.get_close_matches(word, known, n=3, cutoff=0.4)
        more = f"; near it are {', '.join(near)}" if near else ""
        sys.exit(f"error: no key of a config has {word!r} in it{more}")
    rows = [(e.key, f"{e.kind} = {e.default}", e.said) for e in found]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    widths = [min(width, 40) for width in widths]
    lines = [
        f"{key:{widths[0]}}  {value:{widths[1]}}  {said}" for key, value, said in rows
    ]
    below = [_choices(entry.choices) for entry in found]
    pairs = zip(lines, below, strict=True)
    return "\n".join(line.rstrip() + more for line, more in pairs)


def _choices(names):
    """Returns the lines of a key's choices below its own, indented."""
    given = {"initial_indent": "    ", "subsequent_indent": "    "}
    lines = textwrap.wrap(" | ".join(names), 88, break_on_hyphens=False, **given)
    return "".join(f"\n{line}" for line in lines)


def _only_word(rest):
    """Returns what `lthjax keys` is given: a word, or nothing."""
    if rest and rest[0] in HELP:
        _show(__doc__)
        sys.exit()
    if len(rest) > 1:
        sys.exit(f"error: keys takes one word at the most, got {' '.join(rest)}")
    return rest


def versions() -> str:
    """Returns the versions of this package, of Python, and of what computes."""
    rows = [f"lthjax {packages.version('lthjax')}", f"python {sys.version.split()[0]}"]
    return "\n".join([*rows, *(f"{name} {packages.version(name)}" for name in OURS)])


def configs() -> dict[str, pathlib.Path]:
    """Returns {name: file} of the configs that come with the package."""
    installed = pathlib.Path(sysconfig.get_path("data")) / "share/lthjax/configs"
    folders = (installed, PACKAGE.parent / "configs")
    found = (path for folder in folders for path in sorted(folder.glob("*.py")))
    return {path.stem: path for path in found}


def config(text: str) -> str:
    """Returns the file, and the variant, that a word names.

    Args:
      text: A path, or a name in `configs`, a variant after a colon.
    """
    name, colon, variant = text.partition(":")
    path = pathlib.Path(name)
    if path.suffix != ".py" and not path.is_file() and name in configs():
        return f"{configs()[name]}{colon}{variant}"
    return text


def _hand_over(word, rest):
    """Calls the module of a word as if it had been the command."""
    module, before = MODULES[word]
    rest = ["--help"] if rest[:1] == ["help"] else rest
    if word in CONFIGURED and rest and not rest[0].startswith("-"):
        rest = [f"--config={_checked(rest[0])}", *rest[1:]]
    elif word in CONFIGURED and not rest:
        sys.exit(f"error: {word} needs a config: a file, or one of {_listed()}")
    sys.argv = [f"lthjax {word}", *before, *rest]
    found = importlib.import_module(f"lthjax.{module}")
    getattr(found, "start", found.main)()


def _checked(text):
    name = text.partition(":")[0]
    found = config(text)
    if not pathlib.Path(found.partition(":")[0]).is_file() and "/" not in name:
        near = difflib.get_close_matches(name, list(configs()), n=1)
        more = f", did you mean {near[0]!r}?" if near else ""
        sys.exit(
            f"error: a config must be a file or one of {_listed()}, got {text!r}{more}"
        )
    return found


def _listed():
    return ", ".join(configs())


def _unknown(word):
    known = [*MODULES, "keys", "version"]
    near = difflib.get_close_matches(word, known, n=1)
    more = f", did you mean {near[0]!r}?" if near else ""
    return (
        f"error: the word after lthjax must be one of {', '.join(known)}, got "
        f"{word!r}{more}"
    )


if __name__ == "__main__":
    main()
