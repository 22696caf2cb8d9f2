"""Names of the version before, and where they are now: kept for one version."""

import importlib
import warnings

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
        "criteria": "lthjax.program.build.by_score",
        "curvature": "lthjax.analysis.curvature",
        "cuts": "lthjax.pruning.cuts",
        "defaults": "lthjax.program.config.defaults",
        "dry_run": "lthjax.program.run.dry_run",
        "examining": "lthjax.program.build.round_columns",
        "examples": "lthjax.program.build.examples",
        "experiment": "lthjax.program.run.experiment",
        "fades": "lthjax.retraining.fades",
        "figures": "lthjax.program.report.studies.figures",
        "findings": "lthjax.program.report.studies.findings",
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
        "member": "lthjax.program.workdir.member",
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
        "programs": "lthjax.program.build.compiled",
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
        "soft_threshold": "lthjax.gates.kinds",
        "source": "lthjax.program.build.source",
        "spans": "lthjax.program.build.spans",
        "streaming": "lthjax.training.streamed",
        "structured": "lthjax.program.build.by_channels",
        "studies": "lthjax.program.report.studies.study",
        "sweeps": "lthjax.program.sweep.grid",
        "thresholds": "lthjax.forward_selection.pretraining_bound",
        "timing": "lthjax.devices.measure",
        "two_layer": "lthjax.forward_selection.two_layer",
        "update_rule": "lthjax.program.build.optimizer",
        "validate": "lthjax.program.config.validate",
        "views": "lthjax.pruning.views",
        "workdir": "lthjax.program.workdir.layout",
        "zeros": "lthjax.training.zeros",
    },
    "lthjax.data": {
        "known": "lthjax.data.facts",
        "lazy": "lthjax.data.on_disk",
        "sources": "lthjax.data.in_memory",
        "streams": "lthjax.data.read_ahead",
    },
    "lthjax.dynamic": {
        "base": "lthjax.dynamic.carrying",
        "growing": "lthjax.dynamic.sparse_to_sparse",
        "shrinking": "lthjax.dynamic.dense_to_sparse",
    },
    "lthjax.models": {
        "applying": "lthjax.models.functions",
        "catalogue": "lthjax.models.by_name",
        "checking": "lthjax.models.checks",
        "ghosts": "lthjax.retraining.ghosts",
        "pytorch": "lthjax.saving.pytorch",
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
}


def answer(module: str, name: str):
    """Returns what `module` called `name` in the version before.

    Args:
      module: "lthjax", or a chapter.
      name: The attribute that it lacks.

    Raises:
      AttributeError: It never had one of that name.
    """
    place = PLACES[module].get(name)
    if place is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    source, _, attribute = place.partition(":")
    now = place.replace(":", ".")
    warnings.warn(
        f"{module}.{name} is {now} now; the old name goes with the next version",
        DeprecationWarning,
        stacklevel=3,
    )
    found = importlib.import_module(source)
    return getattr(found, attribute) if attribute else found
