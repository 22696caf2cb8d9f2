"""The architecture: what each module may import of ours, and nothing else."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# From the bottom up: a module may import what is named here, all of it above itself.
TABLE = {
    "names": "",
    "cpu": "",
    "memory": "",
    "meshes": "",
    "processes": "",
    "data": "",
    "data.files": "",
    "data.known": "names",
    "data.photographs": "data.files",
    "data.splits": "data.known",
    "data.sources": "names data.files data.known data.splits",
    "data.lazy": "names data.files data.known data.photographs data.sources "
    "data.splits",
    "data.augment": "meshes",
    "data.batches": "data.splits",
    "data.streams": "data.batches data.splits",
    "models.layers": "names",
    "models.mlp": "models.layers",
    "models.vgg": "models.layers",
    "models.resnet": "names models.layers",
    "models.mobilenet": "names models.layers",
    "models.ghosts": "names models.layers",
    "models.applying": "models.layers",
    "models.catalogue": "names models.mlp models.vgg models.resnet models.mobilenet",
    "models": "models.applying models.catalogue",
    "masks": "",
    "axes": "",
    "views": "axes masks",
    "models.pytorch": "masks views "
    "models.mlp models.mobilenet models.resnet models.vgg",
    "scaled": "",
    "gates": "masks",
    "concrete": "gates",
    "slimming": "masks",
    "scores": "masks scaled",
    "pruning": "masks scores",
    "patterns": "masks pruning views",
    "sparsities": "pruning views",
    "losses": "",
    "dynamic.amounts": "masks pruning",
    "dynamic.base": "masks dynamic.amounts",
    "dynamic.growing": "masks pruning scores sparsities views dynamic.amounts "
    "dynamic.base",
    "dynamic.shrinking": "masks pruning scores dynamic.amounts dynamic.base",
    "dynamic": "dynamic.base dynamic.growing dynamic.shrinking",
    "analysis": "masks",
    "origins": "",
    "costs": "masks origins",
    "rescaling": "masks",
    "curvature": "masks views",
    "optimizers": "masks names",
    "training": "masks losses meshes optimizers data.batches",
    "streaming": "data.splits data.streams meshes training",
    "retraining": "losses masks models models.ghosts names rescaling training",
    "channels": "masks pruning models.mlp models.mobilenet models.resnet models.vgg",
    "timing": "",
    "compact": "channels masks models timing",
    "gram": "",
    "forward": "gram names losses",
    "two_layer": "gram losses",
    "hull": "gram",
    "thresholds": "names",
    "bound": "thresholds",
    "grafts": "channels masks models",
    "layerwise": "channels forward grafts losses masks names",
    "checkpoints": "masks meshes processes",
    "defaults": "",
    "config": "defaults names",
    "results": "config processes",
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
    "tickets": "tickets.base tickets.continuous tickets.early_bird "
    "tickets.iterative tickets.storage tickets.travel",
    "gating": "concrete gates masks optimizers",
    "soft_threshold": "gating masks",
    "learnt": "concrete defaults gates gating masks optimizers pruning slimming "
    "soft_threshold tickets tickets.continuous",
    "examining": "gates gating learnt masks",
    "progress": "processes",
    "structured": "data.splits "
    "channels defaults layerwise losses masks models names pruning scores "
    "data.augment data.batches tickets tickets.detection tickets.early_bird "
    "tickets.forward",
    "planning": "data.splits "
    "structured data.batches data.sources models masks sparsities learnt views",
    "criteria": "data.splits "
    "names data.augment data.batches data.sources losses masks scores "
    "pruning patterns sparsities views",
    "programs": "data.splits streaming "
    "cpu meshes data.augment data.batches models dynamic training planning",
    "assembly": "data.splits "
    "names masks scores pruning dynamic optimizers training tickets "
    "tickets.iterative tickets.controls tickets.changing planning criteria programs "
    "learnt examining structured",
    "recipes": "dynamic losses retraining rescaling tickets.iterative",
    "arms": "data.splits "
    "assembly planning programs costs dynamic masks models models.ghosts "
    "retraining recipes training cpu data.batches tickets tickets.storage",
    "workdir": "checkpoints processes progress results tickets config",
    "figures": "results",
    "findings": "masks analysis costs results tickets.storage workdir",
    "studies": "data.splits "
    "names data.batches data.sources masks analysis costs training results "
    "tickets tickets.storage processes progress figures findings",
    "records": "masks training",
    "populations": "meshes processes dynamic training tickets progress assembly "
    "records workdir",
    "gains": "results",
    "report": "processes results gains",
    "chains": "assembly learnt masks results tickets workdir",
    "experiment": "data.lazy "
    "memory meshes data.sources training results tickets config progress "
    "planning assembly workdir records populations report programs studies arms "
    "retraining tickets.storage learnt examining chains",
    "dry_run": "data.lazy "
    "data.sources training config progress planning assembly studies "
    "recipes experiment learnt",
    "sweeps": "config dry_run experiment learnt names results",
    "merged": "results sweeps",
    "commands": "cpu processes progress",
    "launching": "commands config progress sweeps",
    "export": "config data.sources findings masks models.pytorch planning tickets "
    "views "
    "tickets.storage tickets.travel workdir",
    # The doors.
    "main": "report experiment dry_run commands",
    "sweep": "commands config launching merged sweeps",
    "lthjax": "analysis channels compact costs cpu dynamic forward gates hull "
    "layerwise losses masks models optimizers patterns pruning results scores "
    "sparsities thresholds tickets training two_layer views",
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
