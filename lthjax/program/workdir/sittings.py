"""Under what a run was trained: command, versions and devices of each sitting."""

import datetime
import pathlib
import platform
import shlex
import sys

import jax

from lthjax import packages
from lthjax.devices import backend, onednn
from lthjax.program.workdir import results

SITTINGS = "sittings.jsonl"
KEY = ("began",)
PACKAGE = pathlib.Path(__file__).resolve().parents[2]
LIBRARIES = ("lthjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def note(root: pathlib.Path, run: str) -> None:
    """Adds the sitting that begins: `began`, `command`, `versions`, `devices`.

    Args:
      root: The workdir.
      run: The digest of its run.
    """
    results.append(root / SITTINGS, [_now()], KEY, run)


def read(root: pathlib.Path) -> list[dict]:
    """Returns the sittings of a workdir, none where it is of a version without them."""
    path = root / SITTINGS
    return results.read(path) if path.exists() else []


def _quoted(word):
    """Returns a word for a shell; in double quotes where it has single ones alone."""
    plain = "'" in word and not set(word) & set('"$`\\!\n')
    return f'"{word}"' if plain else shlex.quote(word)


def _now() -> dict:
    kinds = [device.device_kind for device in jax.devices()]
    versions = {name: packages.version(name) for name in LIBRARIES}
    if backend.platform() == "cpu" and onednn.version():
        versions["oneDNN"] = onednn.version()
    return {
        "began": f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z}",
        "command": " ".join([_program(sys.argv[0]), *map(_quoted, sys.argv[1:])]),
        "versions": {"python": platform.python_version(), **versions},
        "devices": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
    }


def _program(path):
    """Returns what was typed for a program: a module of ours by its name."""
    found = pathlib.Path(path)
    if not found.is_relative_to(PACKAGE):
        return path
    parts = found.relative_to(PACKAGE.parent).with_suffix("").parts
    return f"python -m {'.'.join(parts).removesuffix('.__main__')}"
