"""A folder that is read runs no code that it names: one walk over all that reads."""

import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from bound_runs import RUN, written
from rows import ROWS

from lthjax import bound, export, registry
from lthjax.program.build import arm_checks
from lthjax.program.config import files, validate
from lthjax.program.report import run_report
from lthjax.program.sweep import grid, table
from lthjax.program.workdir import claim, layout, results, runs
from lthjax.pruning import masks
from lthjax.saving import safetensors, tickets
from lthjax.saving.tickets import load_trained, save_trained
from lthjax.tickets import Ticket, Trained

TRAP = "trap:spring"
OPTIONS = {"variant": TRAP, "norm_scale": TRAP, "initialiser": TRAP}
CONFIG = tiny.config()
EVERYWHERE = {k: TRAP for k, x in validate.flat(CONFIG).items() if isinstance(x, str)}
EVERYWHERE |= {key: (TRAP,) for key in ("controls", "studies", "retraining.arms")}


@pytest.fixture(autouse=True)
def trap(tmp_path, monkeypatch):
    """A module that no reading command may import."""
    source = (
        "from lthjax import models\ndef spring(**options):\n  SPRUNG.append(options)\n"
    )
    source += "  return models.build('mlp', 10)\n"
    (tmp_path / "trap.py").write_text(f"SPRUNG = []\n{source}")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("trap", None)


def initialise():
    sizes = {"dense1": (64, 8), "head": (8, 10)}
    return {
        n: {"kernel": np.ones(s), "bias": np.ones(s[1])} for n, s in sizes.items()
    }, {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run with parts of its own leaves: records, a ticket, a trained network."""
    root = tmp_path_factory.mktemp("whole") / "run"
    params, model_state = initialise()
    kept = masks.full(params)
    tickets.save(
        layout.ticket_path(root, 0, 1),
        Ticket(1, 0, 4, params, model_state, kept),
    )
    trained = layout.trained_path(root, "ticket", 0, 1)
    save_trained(trained, Trained(params, model_state, kept), level=1)
    # Of a checkpoint, too, what names a class is not believed.
    text = (trained / "_CHECKPOINT_METADATA").read_text()
    assert "PyTreeCheckpointHandler" in text
    text = text.replace("orbax.checkpoint", "trap").replace(
        "PyTreeCh", "spring.PyTreeCh"
    )
    (trained / "_CHECKPOINT_METADATA").write_text(text)
    rows = [{**row, "arm": TRAP if row["level"] else "ticket"} for row in ROWS]
    results.append(root / results.RESULTS, rows)
    return root


@pytest.fixture
def folder(tmp_path, whole):
    return shutil.copytree(whole, tmp_path / "run")


def put(folder, changes):
    """Writes a config as whoever made the folder likes it."""
    text = files.to_json(tiny.changed(CONFIG, changes))
    (folder / layout.CONFIG).write_text(text)


def exported(folder, *flags):
    to = folder.parent / "out.safetensors"
    export.main([str(folder), f"--to={to}", "--level=1", "--seed=0", *flags])
    return safetensors.read(to) if "--layout=torch" not in flags else to


def swept(folder):
    config = tiny.changed(CONFIG, EVERYWHERE)
    grid.write(folder.parent, ["model.name"], [grid.Cell("run", config)])
    return table.write(folder.parent)


def bounded(folder):
    setting = RUN["setting"] | {"activation": TRAP}
    bound.main([written(folder, setting=setting)])


def taught(folder):
    path = layout.trained_path(folder, "ticket", 0, 1)
    return arm_checks.teacher(path, SimpleNamespace(init_fn=lambda key: initialise()))


def continued(folder):
    refused = pytest.raises(ValueError, match="must stay what it was")
    with refused, claim.claimed(folder, CONFIG):
        pass


READING = {
    "report": lambda root: run_report.show(root, run_report.write(root)),
    "results": runs.load,
    "ticket": lambda root: tickets.load(layout.ticket_path(root, 0, 1)),
    "trained": lambda root: load_trained(layout.trained_path(root, "ticket", 0, 1)),
    "export": exported,
    "export_trained": lambda root: exported(root, "--trained"),
    "flattened": lambda root: exported(root, "--layout=torch", "--flattened", "none"),
    "sweep": swept,
    "bound": bounded,
    "teacher": taught,
    "workdir": continued,
}


@pytest.mark.parametrize("name", READING)
def test_what_reads_a_folder_imports_nothing_that_it_names(folder, name):
    put(folder, EVERYWHERE)
    READING[name](folder)
    assert "trap" not in sys.modules


OWN = [
    {"data.name": TRAP, "data.options": {"command": "touch sprung"}},
    {"model.name": TRAP},
    {"data.name": "os:system", "data.options": {"command": "touch sprung"}},
    EVERYWHERE,
]


@pytest.mark.parametrize("changes", OWN)
def test_what_needs_a_part_that_is_not_built_in_refuses_it_by_its_name(
    folder, changes, monkeypatch
):
    monkeypatch.chdir(folder.parent)
    put(folder, changes)
    expected = "error: .*built-in parts only: .*'(trap:spring|os:system)' in .*--trust"
    with pytest.raises(SystemExit, match=expected):
        exported(folder, "--layout=torch")
    assert "trap" not in sys.modules
    assert not list(folder.parent.glob("sprung"))
    assert not list(folder.parent.glob("out*"))


def test_options_of_a_built_in_network_are_not_imported_either(folder):
    for option in OPTIONS:
        put(folder, {"model.name": "resnet20", "model.options": {option: TRAP}})
        with pytest.raises(SystemExit, match="built-in parts only"):
            exported(folder, "--layout=torch")
        assert "trap" not in sys.modules


def test_trust_imports_what_is_named_and_says_so(folder, caplog):
    put(folder, {"model.name": TRAP, "model.options": {}})
    exported(folder, "--layout=torch", "--trust")
    assert "importing trap:spring, the model of" in caplog.text
    assert sys.modules["trap"].SPRUNG


def test_trust_ends_with_its_folder_and_ones_own_names_are_imported(folder):
    def refused():
        return pytest.raises(ValueError, match="built-in parts only")

    with registry.read_in(folder), refused():
        registry.resolve(TRAP, {}, "model")
    with registry.read_in(folder, trust=True), registry.read_in(folder), refused():
        registry.resolve(TRAP, {}, "model")
    assert callable(registry.resolve(TRAP, {}, "model"))
