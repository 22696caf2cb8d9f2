"""Names of the version before, and where they are now: kept for one version."""

import importlib
import importlib.machinery
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lazy_loader

PLACES = {
    "lthjax": {
        "arms": "lthjax.program.build.retraining",
        "assembly": "lthjax.program.build.assemble",
        "axes": "lthjax.pruning.layer_axes",
        "chains": "lthjax.program.run.search_progress",
        "checkpoints": "lthjax.saving.checkpoints",
        "checks": "lthjax.program.run.check",
        "checksums": "lthjax.program.config.checksums",
        "commands": "lthjax.program.command_line",
        "compact": "lthjax.channels.smaller",
        "concrete": "lthjax.gates.hard_concrete",
        "config": "lthjax.program.config.files",
        "costs": "lthjax.analysis.costs",
        "cpu": "lthjax.devices.cpu_convolutions",
        "criteria": "lthjax.program.build.criterion",
        "curvature": "lthjax.analysis.curvature",
        "cuts": "lthjax.pruning.cuts",
        "defaults": "lthjax.program.config.defaults",
        "dry_run": "lthjax.program.run.dry_run",
        "examining": "lthjax.program.build.round_columns",
        "examples": "lthjax.program.build.examples",
        "experiment": "lthjax.program.run.experiment",
        "figures": "lthjax.program.report.axes",
        "findings": "lthjax.program.report.studies.ticket_rows",
        "flowing": "lthjax.program.build.linear",
        "flows": "lthjax.pruning.flows",
        "forward": "lthjax.forward_selection.neurons",
        "gains": "lthjax.program.report.gains",
        "gating": "lthjax.gates.gated",
        "grafts": "lthjax.forward_selection.cut_network",
        "gram": "lthjax.forward_selection.gram",
        "hull": "lthjax.forward_selection.convex_hull",
        "launching": "lthjax.program.sweep.jobs",
        "layerwise": "lthjax.forward_selection.channels",
        "learnt": "lthjax.program.build.by_gates",
        "marks": "lthjax.program.sweep.marks",
        "memory": "lthjax.devices.memory",
        "merged": "lthjax.program.sweep.table",
        "meshes": "lthjax.devices.meshes",
        "missing": "lthjax.program.run.missing",
        "names": "lthjax.registry",
        "optimizers": "lthjax.training.optimizers",
        "origin": "lthjax.program.workdir.origin",
        "origins": "lthjax.analysis.origins",
        "palette": "lthjax.program.report.palette",
        "pattern_names": "lthjax.pruning.pattern_names",
        "planning": "lthjax.program.build.plan",
        "populations": "lthjax.program.run.population",
        "processes": "lthjax.devices.processes",
        "programs": "lthjax.program.build.data",
        "progress": "lthjax.program.progress",
        "rates": "lthjax.program.build.rates",
        "recipes": "lthjax.program.build.recipes",
        "records": "lthjax.program.run.recording",
        "rehearsal": "lthjax.program.build.own_parts",
        "rescaling": "lthjax.retraining.rescaling",
        "results": "lthjax.program.workdir.results",
        "scaled": "lthjax.pruning.overflow_free",
        "schedules": "lthjax.training.schedules",
        "slimming": "lthjax.channels.slimming",
        "soft_threshold": "lthjax.gates.soft_threshold",
        "source": "lthjax.program.build.source",
        "spans": "lthjax.program.build.spans",
        "streaming": "lthjax.training.streamed",
        "structured": "lthjax.program.build.by_channels",
        "studies": "lthjax.program.report.studies.study",
        "sweeps": "lthjax.program.sweep.grid",
        "thresholds": "lthjax.forward_selection.pretraining_bound",
        "timing": "lthjax.devices.measure",
        "two_layer": "lthjax.forward_selection.two_layer",
        "validate": "lthjax.program.config.validate",
        "views": "lthjax.pruning.views",
        "workdir": "lthjax.program.workdir.layout",
        "zeros": "lthjax.training.zeros",
    },
    "lthjax.channels": {
        "RULES": "lthjax.channels.layers_of:RULES",
    },
    "lthjax.data": {
        "known": "lthjax.data.facts",
        "lazy": "lthjax.data.on_disk",
        "sources": "lthjax.data.in_memory",
        "streams": "lthjax.data.read_ahead",
    },
    "lthjax.dynamic": {
        "State": "lthjax.dynamic.carrying:CarryingState",
        "base": "lthjax.dynamic.carrying",
        "growing": "lthjax.dynamic.sparse_to_sparse",
        "shrinking": "lthjax.dynamic.dense_to_sparse",
    },
    "lthjax.dynamic.carrying": {"State": "lthjax.dynamic.carrying:CarryingState"},
    "lthjax.forward_selection.channels": {
        name: f"lthjax.forward_selection.layer_growth:{name}"
        for name in ("grow", "growth", "weights")
    },
    "lthjax.gates": {
        "LOWEST": "lthjax.gates.sigmoid:LOWEST",
        "RESETS": "lthjax.gates.sigmoid:RESETS",
    },
    "lthjax.gates.gated": {
        name: f"lthjax.gates.families:{name}"
        for name in ("continuous", "hard_concrete", "stochastic")
    },
    "lthjax.gates.soft_threshold": {"kind": "lthjax.gates.families:soft_threshold"},
    "lthjax.models": {
        "applying": "lthjax.models.functions",
        "catalogue": "lthjax.models.by_name",
        "checking": "lthjax.models.checks",
        "ghosts": "lthjax.retraining.ghosts",
        "pytorch": "lthjax.saving.pytorch",
    },
    "lthjax.program.config.files": {
        name: f"lthjax.program.config.validate:{name}"
        for name in ("check_seeds", "validate")
    },
    "lthjax.program.config.validate": {
        name: f"lthjax.program.config.ranges:{name}"
        for name in ("COUNT", "DIFFERENT", "ELEMENTS", "EXPRESSIONS", "OPTIONS")
        + ("RANGES", "SIZE")
    },
    "lthjax.program.run.experiment": {"load": "lthjax.program.build.source:load"},
    "lthjax.program.workdir.results": {
        "load": "lthjax.program.workdir.runs:load",
        "warn_of_lacking": "lthjax.program.workdir.runs:warn_of_lacking",
        "write": "lthjax.program.workdir.text_files:write",
        **{
            name: f"lthjax.program.workdir.spreads:{name}"
            for name in ("Spread", "aggregate", "shown", "spread")
        },
    },
    "lthjax.pruning": {
        name: f"lthjax.pruning.choose:{name}" for name in ("pairs", "ranked", "rounds")
    },
    "lthjax.pruning.scores": {"degree": "lthjax.pruning.flows:degree"},
    "lthjax.retraining": {
        "LAWS": "lthjax.retraining.fades:LAWS",
        "PRESETS": "lthjax.retraining.arms:PRESETS",
        "TWEAKS": "lthjax.retraining.arms:TWEAKS",
        "check": "lthjax.retraining.steps:check",
        "check_arms": "lthjax.retraining.arms:check_arms",
        "timed": "lthjax.retraining.steps:timed",
        "times": "lthjax.retraining.steps:times",
    },
    "lthjax.tickets": {
        "base": "lthjax.tickets.ticket",
        "changing": "lthjax.tickets.dynamic",
        "continuous": "lthjax.tickets.rounds",
        "detection": "lthjax.tickets.stability",
        "forward": "lthjax.tickets.forward_selection",
        "storage": "lthjax.saving.tickets",
        "travel": "lthjax.saving.safetensors",
        "load": "lthjax.saving.tickets:load",
        "save": "lthjax.saving.tickets:save",
        "load_trained": "lthjax.saving.tickets:load_trained",
        "save_trained": "lthjax.saving.tickets:save_trained",
    },
    "lthjax.training": {
        "CACHE": "lthjax.training.members:CACHE",
        "METRICS": "lthjax.training.steps:COLUMNS",
        "starter": "lthjax.training.steps:starter",
    },
    "lthjax.training.optimizers": {
        "at_step": "lthjax.training.schedules:at_step",
        "keep": "lthjax.training.zeros:keep",
    },
}
# Modules that are imported by another name now; as attributes they are short cuts.
SHOWN = {
    "lthjax.losses": "lthjax.training.losses",
    "lthjax.masks": "lthjax.pruning.masks",
    "lthjax.patterns": "lthjax.pruning.patterns",
    "lthjax.scores": "lthjax.pruning.scores",
    "lthjax.sparsities": "lthjax.pruning.sparsities",
}
MODULES = SHOWN | {
    f"{chapter}.{name}": place
    for chapter, names in PLACES.items()
    for name, place in names.items()
    if ":" not in place
}
# What is not answered under its old name, and why.
REFUSED = {
    "lthjax.launching": "a job that was queued by the version before must be queued "
    "again, which goes on from what is saved",
    "lthjax.tickets.continuous": "lthjax.tickets.continuous is a function",
}


def face(
    module: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns `__getattr__`, `__dir__` and `__all__` of a chapter, from its stub.

    Args:
      module: Its `__name__`.
      file: Its `__file__`; what it shows is in the stub beside it.
    """
    shown, names, every = lazy_loader.attach_stub(module, file)

    def attribute(name: str):
        return shown(name) if name in every else answer(module, name)

    return attribute, names, every


def answers(module: str) -> None:
    """Has a module answer, with a warning, for what it had in the version before.

    Args:
      module: Its `__name__`.
    """
    vars(sys.modules[module])["__getattr__"] = lambda name: answer(module, name)


def answer(module: str, name: str):
    """Returns what `module` called `name` in the version before, with a warning.

    Args:
      module: "lthjax", a chapter, or a module that was parted.
      name: The attribute that it lacks.

    Raises:
      AttributeError: It never had one of that name.
    """
    place = PLACES.get(module, {}).get(name)
    if place is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    _warn(f"{module}.{name}", place.replace(":", "."), stacklevel=4)
    source, _, attribute = place.partition(":")
    found = importlib.import_module(source)
    return getattr(found, attribute) if attribute else found


def now(text: str) -> str:
    """Returns "module:name" as it is written now, "" where nothing of it has moved.

    Args:
      text: What a config names; its module may be one of the version before.
    """
    module, colon, name = text.partition(":")
    return f"{MODULES[module]}:{name}" if colon and module in MODULES else ""


def _warn(before, after, stacklevel):
    warnings.warn(
        f"{before} is {after} now; the old name goes with the next version",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


# This module is itself what Python asks for `import lthjax.cpu`, after all others.


def install() -> None:
    """Has Python ask here for modules that nobody else finds."""
    here = sys.modules[__name__]
    if here not in sys.meta_path:
        sys.meta_path.append(here)


def find_spec(name: str, path=None, target=None):
    """Returns a spec for a module of the version before, else `None`."""
    del path, target
    known = name in MODULES
    return (
        importlib.machinery.ModuleSpec(name, sys.modules[__name__]) if known else None
    )


def create_module(spec) -> None:
    """Leaves to Python what `exec_module` replaces."""
    del spec


def exec_module(module) -> None:
    """Puts the module of now in the place of one of the version before.

    Raises:
      ImportError: It is one of `REFUSED`.
    """
    before = module.__name__
    if before in REFUSED:
        raise ImportError(f"{REFUSED[before]}; {before} is {MODULES[before]} now")
    _warn(before, MODULES[before], stacklevel=3)
    sys.modules[before] = importlib.import_module(MODULES[before])
