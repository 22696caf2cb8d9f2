"""A run of seconds, and what it left, for the tests of the program."""

import contextlib
import copy
import functools
import itertools
import json
import pathlib

import jax
import numpy as np
import pytest
from flax import linen as nn

from lthjax.program.build import assemble, plan
from lthjax.program.config import files, validate
from lthjax.program.run import experiment
from lthjax.program.workdir import results
from lthjax.saving import tickets

ALL = ("reinit", "shuffle", "random")
build_anew = assemble.build


def config(changes=None):
    """Returns the config of a run of two levels, four steps each, on made-up digits.

    Args:
      changes: {dotted key: value}.
    """
    start = {
        "seeds": (0, 1),
        "data.name": "synthetic",
        "data.validation": 16,
        "data.options": {"train": 48, "test": 16},
        "model.options": {"hidden": (8,)},
        "train.steps": 4,
        "train.batch_size": 12,
        "search.levels": 2,
        "eval_every": 3,
        "eval_batch": 16,
        "logging.tensorboard": False,
        "logging.checkpoint_seconds": 0.0,
    }
    return changed(files.default(), start | (changes or {}))


def changed(found, changes):
    """Returns a copy of a config with other values, {dotted key: value}."""
    found = copy.deepcopy(found)
    with found.unlocked(), found.ignore_type():
        for key, value in changes.items():
            path, _, name = key.rpartition(".")
            part = functools.reduce(getattr, path.split(".") if path else (), found)
            part[name] = value
    return found


def uninterrupted(tmp_path_factory, changes):
    """Returns a config, and the workdir of a run of it that nothing interrupted."""
    found, root = config(changes), tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "build", build)
        experiment.run(found, root)
    return found, root


def interrupted(config, root, after=(1, 3)):
    """Runs a config that is interrupted after so many writes of records, and goes on.

    Args:
      config: A config.
      root: The workdir.
      after: For each interruption, the write that is the last one.
    """

    def dying(append_fn, number):
        left = itertools.count(number, -1)

        def append(*args, **more):
            append_fn(*args, **more)
            if next(left) == 1:
                raise KeyboardInterrupt

        return append

    for number in after:
        patched, ended = pytest.MonkeyPatch.context(), KeyboardInterrupt
        with patched as patch, contextlib.suppress(ended):
            patch.setattr(results, "append", dying(results.append, number))
            experiment.run(config, root)
    experiment.run(config, root)


class ConvNet(nn.Module):
    """A user's own network: a convolution, batch norm, and a head."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        x = nn.Conv(4, (3, 3), use_bias=False)(images)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


CONV = {
    "model.name": "tiny:ConvNet",
    "model.options": {},
    "data.crop": 1,
    "data.flip": True,
}


def build(config, source):
    """Returns `assemble.build`, compiled once for all configs that compute the same."""
    same = validate.flat(json.loads(files.to_json(config)))
    free = ("seeds", "controls", "data_dir", "search.levels")
    rows = {k: v for k, v in same.items() if k not in free and "logging" not in k}
    text = json.dumps(rows)
    if text not in _BUILT:
        _BUILT[text] = build_anew(config, source)
    return assemble.shared(_BUILT[text], plan.of(config, source))


_BUILT = {}


def records(root, name=results.RESULTS, keys=results.IDENTITY):
    """Returns {(level, seed, arm): record} without the times."""
    rows = results.read(pathlib.Path(root) / name)
    found = {results.identity(row, keys): {**row, "seconds": None} for row in rows}
    assert len(found) == len(rows)
    return found


def curves(root):
    """Returns {(level, seed, arm, start): learning curve} without the times."""
    return records(root, results.CURVES, (*results.IDENTITY, "start"))


def saved_tickets(root):
    """Returns {"seed_0/level_01": the ticket, its arrays as bytes}."""
    folder = pathlib.Path(root) / "tickets"
    return {
        f"{path.parent.name}/{path.name}": jax.tree.map(
            lambda leaf: np.asarray(leaf).tobytes(), tickets.load(path)
        )
        for path in folder.glob("*/*")
    }


def outcome(root):
    """Returns all that must be equal for two runs to have ended the same."""
    return records(root), curves(root), saved_tickets(root)


def contents(root):
    """Returns {path: (bytes, time of change)} of every file of a run but its lock."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in pathlib.Path(root).rglob("*")
        if path.is_file() and path.name != ".lock"
    }
