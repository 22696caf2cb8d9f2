"""The face: what it shows, that it is light, and what moved behind it."""

import ast
import importlib
import json
import pickle
import subprocess
import sys
import warnings

import pytest
from paths import ROOT

import lthjax as lth
from lthjax import moved

CHAPTERS = [
    path.parent.name
    for path in sorted((ROOT / "lthjax").glob("*/__init__.py"))
    if path.parent.name != "program"
]
SHORT = (
    "masks, scores, sparsities, patterns, prune, prune_in_rounds, keep, losses, Ticket"
)
# What was promised to stay as `from lthjax import ...`; "*": all public ones.
PROMISED = """
    masks: full apply sparsity count
    scores: magnitude random snip grasp taylor synflow
    pruning: prune in_rounds kept_count
    optimizers: keep at_step
    gates: init apply harden temperature
    tickets: Ticket load travel
    dynamic: rigl set gradual straight_through wirings
    training: step begin
    retraining: step haunted numbers Fade Handed Recipe
    models: build apply initialise ghosts
    results: load
    cpu: lower_convolutions
    compact: compact speed_up
    forward: select select_batches
    costs: uses flops
    analysis: overlap hamming chance_overlap densities sign_agreement by_layer
    analysis: interpolate barrier recomputed Barrier
    patterns: channels blocks n_of_m
    sparsities: by_rate by_list exponential linear uniform erdos_renyi
    curvature: top_eigenvalue trace surface
    rescaling: rescale
    slimming: penalty
    gating: Gated
"""
PROMISES = [
    (module.strip(), name)
    for module, names in (row.split(":") for row in PROMISED.strip().splitlines())
    for name in names.split()
]
FORMER = [
    (chapter, name, place)
    for chapter, names in moved.PLACES.items()
    for name, place in names.items()
]
TOUCH = """
import json, sys
own = {*sys.stdlib_module_names, *sys.modules, "lthjax", "lazy_loader", "__mp_main__"}
packages = lambda: {name.partition(".")[0] for name in sys.modules} - own
import lthjax
rows = {"lthjax": sorted(packages())}
import jax, flax, optax
own |= packages()
for chapter in sys.argv[1:]:
    face = getattr(lthjax, chapter)
    rows[chapter] = sorted(packages())
    if chapter == "saving":
        continue
    shown = [getattr(face, name) for name in dir(face)]
    rows[chapter + ".*"] = sorted(packages())
print(json.dumps(rows))
"""
HELP = """
import runpy, sys
sys.argv = ["lthjax.main", "--help"]
try:
    runpy.run_module("lthjax.main", run_name="__main__")
except SystemExit:
    print(*{name.partition(".")[0] for name in sys.modules})
"""


def run(program, *arguments):
    """Returns the last line that a program prints, in a Python of its own."""
    command = [sys.executable, "-c", program, *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return printed.splitlines()[-1]


def test_nothing_is_loaded_before_it_is_touched_and_no_chapter_loads_more_than_jax():
    rows = json.loads(run(TOUCH, *sorted(CHAPTERS, key="saving".__eq__)))
    assert len(rows) == 2 * len(CHAPTERS)
    assert not any(rows.values()), {
        name: found for name, found in rows.items() if found
    }


def test_help_is_given_before_anything_heavy_is_loaded():
    loaded = run(HELP).split()
    assert "absl" in loaded
    heavy = {"flax", "optax", "orbax", "matplotlib", "scipy", "rich", "tensorboardX"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("name", ["", *CHAPTERS])
def test_a_chapter_shows_all_that_it_says(name):
    face = importlib.import_module(f"lthjax.{name}".rstrip("."))
    assert dir(face) and all(hasattr(face, shown) for shown in dir(face))
    files = {path.stem for path in (ROOT / "lthjax" / name).glob("*.py")}
    modules = type(lth)
    if name not in ("", "tickets"):  # early_bird and iterative are functions there
        shown = {n for n in dir(face) if not isinstance(getattr(face, n), modules)}
        assert not shown & files, "a module would hide the function of its name"


def test_the_face_shows_every_chapter_and_the_short_cuts():
    assert {*CHAPTERS, *SHORT.split(", ")} == set(lth.__all__)
    assert lth.prune_in_rounds is lth.pruning.in_rounds


def test_stub_and_folder_are_one():
    for chapter in CHAPTERS:
        stub = ROOT / "lthjax" / chapter / "__init__.pyi"
        if not stub.exists():
            continue
        nodes = ast.parse(stub.read_text()).body
        shown = {n.names[0].name for n in nodes if n.module is None}
        files = {path.stem for path in stub.parent.glob("*.py")} - {"__init__"}
        assert shown == files, chapter


@pytest.mark.parametrize("module, name", PROMISES)
@pytest.mark.filterwarnings("ignore:lthjax:DeprecationWarning")
def test_what_was_promised_is_there(module, name):
    # As a program of the version before would write it.
    scope = {}
    exec(f"from lthjax import {module} as found", scope)
    assert hasattr(scope["found"], name)


@pytest.mark.parametrize("chapter, name, place", FORMER)
def test_what_moved_answers_and_says_where_it_is(chapter, name, place):
    module, _, attribute = place.partition(":")
    there = importlib.import_module(module)
    there = getattr(there, attribute) if attribute else there
    face = importlib.import_module(chapter)
    with pytest.warns(DeprecationWarning, match=place.replace(":", ".")):
        assert moved.answer(chapter, name) is there
    if name in dir(face):
        return
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert getattr(face, name) is there
    # Python keeps an old module as an attribute once it has been imported by its name.
    assert [w.filename for w in told] in ([__file__], [])


@pytest.mark.parametrize("before", sorted(moved.MODULES.keys() - moved.REFUSED.keys()))
def test_a_module_of_the_version_before_is_imported_with_a_warning(before, monkeypatch):
    monkeypatch.delitem(sys.modules, before, raising=False)
    with pytest.warns(DeprecationWarning, match=f"{before} is {moved.MODULES[before]}"):
        found = importlib.import_module(before)
    assert found is importlib.import_module(moved.MODULES[before])
    assert found.__spec__.name == moved.MODULES[before]


def test_from_an_old_module_is_imported_where_it_stands(monkeypatch):
    monkeypatch.delitem(sys.modules, "lthjax.cpu", raising=False)
    with pytest.warns(DeprecationWarning) as told:
        exec(
            compile("from lthjax.cpu import compiler_options", "theirs.py", "exec"), {}
        )
    assert [warning.filename for warning in told] == ["theirs.py"]


def test_what_never_was_is_missing_as_ever():
    with pytest.raises(ImportError, match="cannot import name 'mask'"):
        exec("from lthjax import mask")
    with pytest.raises(AttributeError, match="'lthjax.gates' has no attribute 'sof'"):
        _ = lth.gates.sof
    with pytest.raises(ModuleNotFoundError, match="No module named 'lthjax.mask'"):
        importlib.import_module("lthjax.mask")


def test_a_module_with_the_name_of_a_function_is_not_put_in_its_place():
    with pytest.raises(ImportError, match="a function; .* is lthjax.tickets.rounds"):
        importlib.import_module("lthjax.tickets.continuous")
    assert callable(lth.tickets.continuous)


def test_a_job_that_the_version_before_queued_is_refused_in_a_sentence():
    job = b"clthjax.launching\nJob\n."  # a class by its name, as pickle writes it
    with pytest.raises(ImportError, match="must be queued again.*program.sweep.jobs"):
        pickle.loads(job)


@pytest.mark.parametrize(
    "text, now",
    [
        ("lthjax.models.applying:apply", "lthjax.models.functions:apply"),
        ("lthjax.masks:full", "lthjax.pruning.masks:full"),
        ("lthjax.launching:Job", "lthjax.program.sweep.jobs:Job"),
        ("lthjax.pruning.masks:full", ""),
        ("theirs.masks:full", ""),
        ("lthjax.masks", ""),
        ("mlp", ""),
    ],
)
def test_what_a_config_names_is_found_by_its_old_module(text, now):
    assert moved.now(text) == now


def test_every_folder_is_a_package():
    folders = {path.parent for path in (ROOT / "lthjax").rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)
