"""A data set and wheels for a machine that reaches no network.

    python experiments/measures/pack.py --set=cifar100 --data_dir=DIR --out=DIR
    pip list --format=freeze > INSTALLED      # there
    python experiments/measures/pack.py --installed=INSTALLED --wheels=DIR   # here

The set is written as parts of at most 60 MB, which `--config.data.name=packed
--config.data.options="{'set': 'cifar100'}" --config.data_dir=DIR` reads with numpy and
pillow alone. The
wheels are those, in the versions of this environment, of what lthjax needs and the list
does not name; without `--wheels` they are only named. What a run on packed data or
digits does not need is left out: `--all` takes it too.
"""

import argparse
import importlib.metadata
import pathlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Sequence

from packaging import markers, requirements, utils

from lthjax.data import in_memory, packed
from lthjax.program import command_line

ROOT = pathlib.Path(__file__).parent.parent.parent
PYTHON = "3.12"
# What only prepared and streamed sets, and files of others, are read and written by.
SPARED = ("array-record", "grain", "safetensors", "tensorflow-datasets")


def missing(
    wanted: Sequence[str], installed: Collection[str], python: str = PYTHON
) -> list[str]:
    """Returns what is wanted, and needed by that, but not there, as "name==version".

    Args:
      wanted: Requirements, as in pyproject.toml.
      installed: Names of distributions, as pip writes them.
      python: The version of Python that they are for.
    """
    there = {utils.canonicalize_name(name) for name in installed}
    found, queue = {}, [requirements.Requirement(text) for text in wanted]
    while queue:
        one = queue.pop()
        name = utils.canonicalize_name(one.name)
        if name in there or name in found or not _applies(one, python):
            continue
        found[name] = importlib.metadata.version(name)
        needed = importlib.metadata.requires(name) or ()
        queue += [requirements.Requirement(text) for text in needed]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _applies(one, python):
    """Says whether a requirement is one on Linux, without extras."""
    environment = markers.default_environment() | {
        "extra": "",
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    return one.marker is None or one.marker.evaluate(environment)


def names(text: str) -> list[str]:
    """Returns the names in what `pip list`, in any format, or `pip freeze` prints."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [x for x in lines if x and not x.startswith(("#", "-", "Package "))]
    return [re.split(r"[\s=@<>~!\[;]", line, maxsplit=1)[0] for line in lines]


def needs(every: bool) -> list[str]:
    """Returns the requirements of lthjax, less those that such a run does not have."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["project"]["dependencies"]
    spared = () if every else SPARED
    return [x for x in listed if requirements.Requirement(x).name not in spared]


def download(wheels: Sequence[str], folder: pathlib.Path, python: str) -> None:
    """Downloads wheels for Linux into a folder."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary=:all:", f"--python-version={python}"]
    command += ["--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64"]
    subprocess.run([*command, f"--dest={folder}", *wheels], check=True)


def main() -> None:
    """Does what the flags ask for."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--set", help="the name of a data set, to be packed")
    parser.add_argument("--data_dir", help="where it lies; else TFDS's folder")
    parser.add_argument("--out", type=command_line.folder, help="where parts go")
    parser.add_argument("--installed", type=pathlib.Path, help="what pip listed there")
    parser.add_argument("--wheels", type=command_line.folder, help="where wheels go")
    parser.add_argument("--python", default=PYTHON, help="the version there")
    parser.add_argument("--all", action="store_true", help="spare no requirement")
    options = parser.parse_args()
    with command_line.plain_errors():
        if bool(options.set) != bool(options.out) or not (
            options.set or options.installed
        ):
            raise ValueError(
                "there must be --set with --out, or --installed, got "
                f"{' '.join(sys.argv[1:]) or 'nothing'}"
            )
        if options.wheels and not options.installed:
            raise ValueError(
                "--wheels takes those that a list lacks: it must stand with "
                f"--installed, got --wheels={options.wheels}"
            )
        _pack(options)
    if options.installed:
        listed = names(options.installed.read_text(encoding="utf-8"))
        wheels = missing(needs(options.all), listed, options.python)
        print("\n".join(wheels) or "nothing is missing")
        if options.wheels and wheels:
            download(wheels, options.wheels, options.python)


def _pack(options):
    """Writes the set that is asked for, if any, and says what it became."""
    if not options.set:
        return
    source = in_memory.load(options.set, data_dir=options.data_dir)
    facts = in_memory.facts(options.set, data_dir=options.data_dir)
    paths = packed.write(options.out, options.set, source, facts)
    packed.packed(set=options.set, data_dir=options.out)  # read back, by its digest
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
