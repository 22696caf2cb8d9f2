"""Imports every module of the installed package: `python tests/installed.py TREE`.

Of a wheel, in another directory than its sources: what was not packed is missed there.
"""

import importlib
import pathlib
import sys

import lthjax

PACKED = {".py", ".pyi", ".typed", ".npz", ".md"}


def packed(folder):
    """Returns the paths of what belongs into a package, relative to it."""
    paths = pathlib.Path(folder).rglob("*")
    return {path.relative_to(folder) for path in paths if path.suffix in PACKED}


def dotted(path):
    """Returns "lthjax.data.splits" for data/splits.py."""
    parts = ("lthjax", *path.with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


def main(tree):
    """Ends with a sentence where a file is missing or a module cannot be imported."""
    here, there = pathlib.Path(lthjax.__file__).parent, pathlib.Path(tree) / "lthjax"
    if here.is_relative_to(pathlib.Path(tree).resolve()):
        sys.exit(f"lthjax must be installed outside of {tree}, got {here}")
    if missing := packed(there) - packed(here):
        sys.exit(f"a wheel must have every file of lthjax, got none of {missing}")
    modules = sorted(dotted(p) for p in packed(here) if p.suffix == ".py")
    for name in modules:
        importlib.import_module(name)
    configs = importlib.import_module("lthjax.__main__").configs()
    if missing := {p.stem for p in pathlib.Path(tree, "configs").glob("*.py")} - set(
        configs
    ):
        sys.exit(f"a wheel must have every config, got none of {missing}")
    print(f"{len(modules)} modules of {here} can be imported, {len(configs)} configs")


if __name__ == "__main__":
    main(*sys.argv[1:])
