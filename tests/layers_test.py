"""The architecture: what each module may import of ours, and nothing else."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# From the bottom up: a module may import what is named here, all of it above itself.
TABLE = {
    "names": "",
    "values": "",
    "axes": "",
    "cpu": "",
    "memory": "",
    "meshes": "",
    "processes": "",
    "data": "",
    "data.pixels": "",
    "data.files": "data.pixels",
    "data.known": "names",
    "data.photographs": "data.pixels",
    "data.splits": "data.known",
    "data.balance": "data.splits",
    "data.checks": "data.known data.splits",
    "data.folders": "data.files",
    "data.sources": "names data.files data.known data.splits data.checks data.folders",
    "data.lazy": "names data.pixels data.files data.known data.photographs "
    "data.splits data.folders data.sources",
    "data.augment": "meshes",
    "data.batches": "data.splits",
    "data.streams": "data.splits data.batches",
    "models.layers": "names",
    "models.mlp": "models.layers",
    "models.vgg": "models.layers",
    "models.resnet": "names models.layers",
    "models.mobilenet": "names models.layers",
    "models.ghosts": "names models.layers",
    "models.applying": "models.layers",
    "models.catalogue": "names values models.mlp models.vgg models.resnet "
    "models.mobilenet models.applying",
    "models": "models.applying models.catalogue",
    "masks": "",
    "views": "axes masks",
    "models.pytorch": "models.mlp models.vgg models.resnet models.mobilenet "
    "models.applying masks views",
    "scaled": "",
    "gates": "masks",
    "concrete": "gates",
    "slimming": "masks",
    "cuts": "masks",
    "flows": "masks scaled cuts",
    "scores": "masks cuts flows",
    "pruning": "masks cuts",
    "patterns": "masks views pruning",
    "sparsities": "views pruning",
    "losses": "",
    "dynamic.amounts": "masks pruning",
    "schedules": "",
    "zeros": "masks",
    "dynamic.base": "masks dynamic.amounts schedules zeros",
    "dynamic.growing": "masks views scores pruning sparsities dynamic.amounts "
    "dynamic.base",
    "dynamic.shrinking": "masks scores pruning dynamic.amounts dynamic.base",
    "dynamic": "dynamic.base dynamic.growing dynamic.shrinking",
    "analysis": "masks",
    "origins": "",
    "costs": "masks origins",
    "rescaling": "masks",
    "curvature": "masks views",
    "optimizers": "names masks schedules zeros",
    "training": "meshes data.batches masks losses optimizers",
    "streaming": "meshes data.splits data.streams training",
    "fades": "names",
    "retraining": "names models.ghosts models masks losses rescaling training fades",
    "channels": "models.mlp models.vgg models.resnet models.mobilenet masks pruning",
    "timing": "",
    "compact": "models masks channels timing",
    "gram": "",
    "forward": "names losses gram",
    "two_layer": "losses gram",
    "hull": "gram",
    "thresholds": "names",
    "progress": "processes",
    "commands": "names cpu processes progress",
    "bound": "values thresholds commands",
    "grafts": "models masks channels",
    "layerwise": "names masks losses channels forward grafts",
    "checkpoints": "meshes processes masks",
    "defaults": "",
    "checksums": "",
    "validate": "names values defaults",
    "config": "defaults checksums validate",
    "origin": "checksums config",
    "results": "processes checksums config origin",
    "tickets.base": "masks",
    "tickets.iterative": "masks tickets.base",
    "tickets.changing": "masks tickets.base",
    "tickets.continuous": "masks tickets.base",
    "tickets.detection": "",
    "tickets.early_bird": "masks tickets.base tickets.detection",
    "tickets.forward": "tickets.base",
    "tickets.controls": "masks scores pruning tickets.base",
    "tickets.storage": "masks checkpoints tickets.base",
    "tickets.travel": "checkpoints tickets.base",
    "tickets": "tickets.base tickets.iterative tickets.continuous "
    "tickets.early_bird tickets.storage tickets.travel",
    "gating": "masks gates concrete optimizers",
    "soft_threshold": "masks gating",
    "learnt": "masks gates concrete slimming pruning optimizers defaults "
    "tickets.continuous tickets gating soft_threshold",
    "examining": "masks gates gating learnt",
    "structured": "names data.splits data.augment data.batches models masks scores "
    "pruning losses channels layerwise defaults tickets.detection "
    "tickets.early_bird tickets.forward tickets",
    "models.checking": "names models.applying masks",
    "spans": "dynamic tickets.iterative tickets.continuous learnt",
    "planning": "data.splits data.sources data.batches models masks views "
    "sparsities learnt structured models.checking spans",
    "examples": "names data.splits data.augment data.batches",
    "flowing": "data.splits data.sources models.layers models masks cuts flows "
    "planning",
    "pattern_names": "masks views cuts pruning patterns",
    "criteria": "names data.splits data.sources masks views cuts scores pruning "
    "sparsities losses examples flowing pattern_names",
    "programs": "cpu meshes data.splits data.augment data.batches models dynamic "
    "training streaming planning",
    "rehearsal": "names data.splits data.sources models cuts tickets planning criteria",
    "rates": "spans",
    "update_rule": "names dynamic optimizers learnt rates",
    "assembly": "names data.splits masks scores pruning dynamic optimizers "
    "training defaults tickets.iterative tickets.changing tickets.controls tickets "
    "learnt examining structured models.checking spans planning criteria programs "
    "rehearsal rates update_rule",
    "recipes": "losses rescaling retraining",
    "arms": "cpu data.splits data.batches models.ghosts models masks dynamic costs "
    "training retraining tickets.storage tickets spans planning programs "
    "update_rule assembly recipes",
    "member": "results",
    "workdir": "processes progress checkpoints config origin results tickets member",
    "chains": "masks results tickets learnt assembly member workdir",
    "missing": "dynamic training checkpoints results tickets learnt structured "
    "member workdir chains",
    "palette": "",
    "figures": "results palette",
    "findings": "models masks analysis costs results tickets.storage workdir",
    "studies": "names processes data.splits data.sources data.batches models masks "
    "analysis costs training progress results tickets.storage tickets figures "
    "findings",
    "records": "masks training",
    "populations": "meshes processes dynamic training progress tickets assembly "
    "member workdir records",
    "gains": "results palette figures",
    "report": "processes commands results palette figures gains",
    "checks": "names values data.splits data.sources data.lazy models.ghosts gates "
    "pruning losses optimizers retraining layerwise config tickets.detection "
    "structured spans planning pattern_names criteria assembly recipes studies",
    "data.fingerprints": "data.splits",
    "source": "data.known data.splits data.balance data.sources data.lazy",
    "experiment": "memory meshes training retraining progress config results "
    "tickets.storage learnt examining planning programs assembly arms member "
    "workdir chains missing studies records populations report checks "
    "data.fingerprints source",
    "dry_run": "data.sources training progress learnt spans planning programs "
    "assembly checks experiment",
    "marks": "checksums results",
    "sweeps": "names config results learnt checks experiment marks",
    "merged": "results sweeps",
    "launching": "progress commands config sweeps",
    "export": "names data.sources masks views models.pytorch commands config "
    "origin tickets.storage tickets.travel tickets planning member workdir findings",
    "main": "commands config report experiment dry_run",
    "sweep": "commands config sweeps merged launching",
    "lthjax": "cpu models masks views gates scores pruning patterns sparsities "
    "losses dynamic analysis costs optimizers training channels compact forward "
    "two_layer hull thresholds layerwise results tickets",
}


def dotted(path):
    """Returns "data.sources" for lthjax/data/sources.py, "data" for its package."""
    parts = path.relative_to(ROOT / "lthjax").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "lthjax"


FILES = {dotted(path): path for path in (ROOT / "lthjax").rglob("*.py")}


def imports(source):
    """Yields every dotted name that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def ours(source):
    """Returns the modules of ours that a source imports, relative imports as they are.

    What is no module itself, the `apply` of `from lthjax.masks import apply`, is of the
    module before it; `import lthjax` is an import of everything.
    """
    names = [n for n in imports(source) if n.split(".")[0] in ("lthjax", "")]
    short = [name.removeprefix("lthjax.") for name in names]
    return {n if n in FILES or n[0] == "." else _parent(n) for n in short}


def _parent(name):
    return name.rpartition(".")[0] or "lthjax"


@pytest.mark.parametrize(
    "source, found",
    [
        ("from lthjax import masks", {"masks"}),
        ("from lthjax import masks as m, scores", {"masks", "scores"}),
        ("from lthjax.data import sources", {"data.sources"}),
        ("from lthjax.data.sources import Split", {"data.sources"}),
        ("from lthjax.tickets import Ticket", {"tickets"}),
        ("import lthjax.masks as m", {"masks"}),
        ("import lthjax", {"lthjax"}),
        ("from lthjax import *", {"lthjax"}),
        ("def f():\n  if f:\n    from lthjax import masks", {"masks"}),
        ("from . import masks", {"..masks"}),
        ("from .masks import apply", {".masks.apply"}),
        ("import jax, optax\nfrom masks import apply", set()),
    ],
)
def test_an_import_is_seen_in_every_form_and_place(source, found):
    assert ours(source) == found


def test_every_module_has_its_line_in_the_table():
    assert set(FILES) == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_module_imports_only_what_the_table_allows(name):
    assert ours(FILES[name].read_text()) <= set(TABLE[name].split())


def test_no_module_may_import_one_that_comes_later():
    above = []
    for name, allowed in TABLE.items():
        assert set(allowed.split()) <= set(above), name
        above.append(name)


def test_configs_import_the_default_config_only():
    for path in (ROOT / "configs").glob("*.py"):
        assert ours(path.read_text()) <= {"config"}, path


def test_experiments_never_import_each_other():
    paths = list((ROOT / "experiments").glob("*.py"))
    others = {"experiments", *(path.stem for path in paths)}
    for path in paths:
        parts = {name.split(".")[0] for name in imports(path.read_text())}
        assert not parts & others and "" not in parts, path
