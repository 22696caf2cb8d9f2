"""A grid of values becomes runs, a workdir each; what trains together is one run."""

import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from lthjax.program.config import files, ranges, shrink, typed, validate
from lthjax.program.run import check, experiment
from lthjax.program.sweep import marks, members
from lthjax.program.sweep.members import LOGITS, SEEDS
from lthjax.program.workdir import claim, origin
from lthjax.registry import suggestion

(SWEEP,) = claim.MARKS[claim.SWEEP]
FINISHED = marks.FINISHED
# What no training depends on, and the seeds, each of which is trained once.
FREE = (SEEDS, "data_dir", "logging", "mesh", "data.workers")
OPTIONS = tuple(f"{name}." for name in ranges.OPTIONS)


class Cell(NamedTuple):
    """A run of a sweep.

    Attributes:
      folder: The name of its workdir.
      config: Its config, whose members are trained as one population.
    """

    folder: str
    config: ConfigDict


def run(configs: Mapping[str, Any], root: str | pathlib.Path) -> list[dict]:
    """Runs what is missing of each config in `root/name`, one after the other.

    Args:
      configs: {name: config}.
      root: The folder of the workdirs.

    Returns:
      The records of all, each with its `run`, the name; those of seeds that the config
      no longer asks for are left out.
    """
    found = []
    for name, config in configs.items():
        rows = finish(config, pathlib.Path(root) / name)
        found += [{"run": name, **row} for row in rows if row["seed"] in config.seeds]
    return found


def finish(config, folder: str | pathlib.Path) -> list[dict]:
    """Runs what is missing of one config, marks it as finished, returns its records.

    Args:
      config: The config.
      folder: Its workdir.
    """
    rows = experiment.run(config, folder)
    marks.finish(pathlib.Path(folder), config.seeds)
    return rows


def finished(root: str | pathlib.Path, cell: Cell) -> bool:
    """Says whether a run of a sweep was finished, with all its seeds and records.

    One whose data are sought in another place is not: it may be other data, which the
    run itself tells apart.

    Args:
      root: The folder of the sweep.
      cell: The run.
    """
    where = pathlib.Path(root) / cell.folder
    held = origin.copy(where).get("config", {}).get("data_dir", cell.config.data_dir)
    same = held == cell.config.data_dir
    return same and marks.finished(where, cell.config.seeds)


def axes(config, texts: Iterable[str]) -> dict[str, list]:
    """Returns {key: values} of texts such as "optimizer.learning_rate=0.1,0.03".

    Args:
      config: The config whose keys they are.
      texts: As for `axis`.

    Raises:
      ValueError: One of them is wrong, two are of one key, or no result depends on a
        key; all are listed.
    """
    found, wrong = {}, []
    for text in texts:
        try:
            key, values = axis(config, text)
            wrong += _not_of_a_grid(config, key, found)
            found[key] = values
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def _not_of_a_grid(config, key, found):
    """Returns what is wrong with a key, if anything is."""
    if key in found:
        return [f"every key of a grid must come once, got {key} twice"]
    if key != SEEDS and _free(key, config.model.norms):
        remedy = "; sets below one folder are data.options.path" * (key == "data_dir")
        return [f"results must depend on every key of a grid, got {key}{remedy}"]
    return []


def _free(key, norms):
    """Says whether no result depends on a key: over how many devices norms are does."""
    if key == "mesh.data" and norms == "device":
        return False
    return key in FREE or key.split(".")[0] in FREE


def axis(config, text: str) -> tuple[str, list]:
    """Returns (key, values) of "optimizer.learning_rate=0.1,0.03".

    Args:
      config: The config whose key it is.
      text: A key, "=", and Python values or words with commas between them. Where the
        key holds a tuple, a value that is none stands for a tuple of one.

    Raises:
      ValueError: There is no such key, or no value.
    """
    key, example, given = _parted(config, text)
    found = typed.literals(given)
    if not found:
        raise ValueError(f"a grid must be key=value,value,..., got {text!r}")
    return key, [typed.like(example, value) for value in found]


def _parted(config, text):
    """Returns the key of "key=value", its value so far, and what is typed for it."""
    key, sign, given = text.partition("=")
    known = validate.flat(files.default()) | validate.flat(config)
    if key not in known and not key.startswith(OPTIONS):
        raise ValueError(
            f"a grid must be of known config keys, got {key}{suggestion(key, known)}"
        )
    if not sign:
        raise ValueError(f"a config key must be given a value, got {text!r}")
    return key, known.get(key), given


def changed(config, text: str) -> ConfigDict:
    """Returns a copy of a config with the one value of "train.steps=100".

    Args:
      config: The config.
      text: As for `axis`; where the key holds a tuple, all values are its elements.

    Raises:
      ValueError: There is no such key, or not one value.
    """
    key, example, given = _parted(config, text)
    if isinstance(example, str):
        found = [given]
    elif isinstance(example, tuple | list):
        elements = typed.literals(given)
        nested = len(elements) == 1 and isinstance(elements[0], tuple | list)
        found = [elements[0] if nested else tuple(elements)]
    else:
        _, found = axis(config, text)
    if len(found) > 1:
        raise ValueError(f"a config key must be given one value, got {text!r}")
    return shrink.changed(config, {key: found[0]})


def cells(
    config, grid: Mapping[str, Sequence], root: str | pathlib.Path | None = None
) -> list[Cell]:
    """Returns the runs of a grid.

    Combinations that differ only in what a run can hold as a population are one run:
    seeds, and the first logits of gates where the method has gates. A run's folder is
    named by its data, model and method, and by a hash of all that its config has other
    than the defaults, but for what no result depends on (`FREE`): a sweep that asks for
    the same again, or for more seeds, finds it there. (More first logits are another
    population, and another folder.) Where a grid has logits, its methods without gates
    are one run each, with the default.

    Values that are equal are one, however they are spelled (0 and 0.0), and a run that
    the sweep's folder has already keeps its name.

    Args:
      config: What all have in common.
      grid: {dotted key: values}.
      root: The folder of the sweep, which need not be there.

    Raises:
      ValueError: Combinations are refused; all of them are listed. Or the list of the
        folder's runs is damaged.
    """
    refused, groups = {}, {}
    asked = [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*grid.values())
    ]
    combined = [shrink.changed(config, own) for own in asked]
    combined = members.settled(combined) if LOGITS in grid else combined
    for own, found in zip(asked, combined, strict=True):
        try:
            validate.validate(found)
        except ValueError as error:
            refused[_label(own)] = error
            continue
        groups.setdefault(_settings(found, members.keys(found)), []).append(found)
    merged = [members.merged(group) for group in groups.values()]
    for found in merged:
        try:
            check.check(found)
        except ValueError as error:
            own = {key: _value(found, key, "other ones") for key in grid}
            refused[_label(own)] = error
    if refused:
        listing = "\n".join(f"  {label}: {error}" for label, error in refused.items())
        raise ValueError(
            f"every run of a sweep must be possible, got {len(refused)} that are "
            f"not; nothing was started:\n{listing}"
        )
    named = _named(root)
    return [Cell(named(found), found) for found in merged]


def shown(config, columns: Iterable[str]) -> dict:
    """Returns the values of a run's config for the columns of a table.

    Args:
      config: The config; its seeds are not shown, nor logits of gates it has not.
      columns: Keys.
    """
    hidden = (SEEDS,) if members.gated(config) else (SEEDS, LOGITS)
    return {key: _value(config, key) for key in columns if key not in hidden}


def _value(config, key, absent=None):
    """Returns the value of a dotted key, options as a dict."""
    part = config
    for name in key.split("."):
        if not isinstance(part, ConfigDict) or name not in part:
            return absent
        part = part[name]
    return part.to_dict() if isinstance(part, ConfigDict) else part


def folder(config) -> str:
    """Returns the name of a config's workdir, such as "digits_mlp_iterative-0a1b2c3d".

    Args:
      config: A valid config.
    """
    names = config.data.name, config.model.name, config.search.method
    readable = "_".join(re.sub(r"\W+", "_", name) for name in names)
    text = json.dumps(_identity(config), sort_keys=True)
    return f"{readable}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


def write(root: str | pathlib.Path, columns: Iterable[str], found: list[Cell]) -> None:
    """Notes the runs of a sweep in its folder, beside those of sweeps before it.

    Args:
      root: The folder of the sweep.
      columns: The keys of its grid.
      found: Its runs.
    """
    runs = {cell.folder: json.loads(files.to_json(cell.config)) for cell in found}
    pathlib.Path(root).mkdir(parents=True, exist_ok=True)
    marks.add(pathlib.Path(root) / SWEEP, columns, runs)


def read(root: str | pathlib.Path) -> tuple[list[str], list[Cell]]:
    """Returns the keys of the grids of a folder's sweeps, and their runs.

    Args:
      root: The folder of the sweep.

    Raises:
      ValueError: No sweep was started there, or the list of its runs is damaged.
    """
    path = pathlib.Path(root) / SWEEP
    if not path.is_file():
        raise ValueError(f"a sweep's folder must hold its {SWEEP}, got {root}")
    noted = marks.noted(path)
    rows = noted["runs"].items()
    runs = [Cell(n, files.from_json(json.dumps(config))) for n, config in rows]
    return noted["columns"], runs


def _identity(config):
    """Returns {key: value} of all that a config has otherwise, as it is spelled.

    By these folders are named.
    """
    defaults = validate.flat(files.default())
    known = json.loads(json.dumps(defaults, default=list))
    found = validate.flat(json.loads(files.to_json(config)))
    found = {k: typed.like(defaults.get(k), v) for k, v in found.items()}
    return {
        key: value
        for key, value in found.items()
        if (key not in known or known[key] != value)
        and not _free(key, found["model.norms"])
    }


def _settings(config, without=()):
    """Returns a text that configs share which train the same, but for some keys."""
    found = files.settings(config).items()
    rows = {k: x for k, x in found if not _free(k, config.model.norms)}
    own = {k: x for k, x in rows.items() if k not in without}
    return json.dumps(own, sort_keys=True)


def _named(root):
    """Returns config -> its folder: that of the same run in a sweep, or a new one.

    Of several that are spelled otherwise it is the one spelled so, or else the first.
    """
    there = root is not None and (pathlib.Path(root) / SWEEP).is_file()
    noted = read(root)[1] if there else []
    known = {_settings(cell.config): cell.folder for cell in reversed(noted)}
    folders = {cell.folder for cell in noted}

    def name(config):
        own = folder(config)
        return own if own in folders else known.get(_settings(config), own)

    return name


def _label(values):
    return ", ".join(f"{key}={value}" for key, value in values.items()) or "the config"
