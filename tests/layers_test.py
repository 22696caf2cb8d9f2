"""The architecture: which rooms a room may import from, and nothing else.

A room is a folder of `lthjax`; `python tests/layers_test.py` prints what there is.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# A room imports from rows above its own, and from itself.
ROWS = (
    (
        "callables",
        "draws",
        "interceptors",
        "moved",
        "packages",
        "values",
        "whole_files",
    ),
    ("registry", "devices", "pruning"),
    ("data", "models", "analysis", "tickets", "program", "program.config"),
    ("training", "channels", "saving"),
    (
        "dynamic",
        "gates",
        "retraining",
        "forward_selection",
        "federated",
        "program.workdir",
    ),
    ("program.build", "program.report"),
    ("program.run", "program.federated"),
    ("program.sweep",),
    (
        *("main", "sweep", "report", "compare", "export"),
        *("bound", "federate", "__main__"),
    ),
)
FLOOR = {room: floor for floor, row in enumerate(ROWS) for room in row}
COMMANDS = set(ROWS[-1])
# What users find in a module beside its own: all that may be imported as itself.
SHOWN = {
    ("report", "curve"),
    ("report", "layers"),
    ("program.config.files", "default"),
    ("pruning.scores", "synflow"),
}
CHAPTERS = {room.split(".")[0] for room in FLOOR}

IMPORTS = (ast.Import, ast.ImportFrom)


def dotted(path):
    """Returns "data.splits" for lthjax/data/splits.py, "data" for its package."""
    parts = path.relative_to(ROOT / "lthjax").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__") or "lthjax"


FILES = {dotted(path): path for path in (ROOT / "lthjax").rglob("*.py")}


def room(name):
    """Returns the room of a module: the longest name in the rows that begins it."""
    parts = name.split(".")
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in FLOOR), None)


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

    What is no module itself, the `apply` of `from lthjax.pruning.masks import apply`,
    is of the module before it; `import lthjax` is an import of everything.
    """
    names = [n for n in imports(source) if n.split(".")[0] in ("lthjax", "")]
    short = [name.removeprefix("lthjax.") for name in names]
    return {n if n in FILES or n[0] == "." else _parent(n) for n in short}


def _parent(name):
    return name.rpartition(".")[0] or "lthjax"


ARROWS = {name: ours(path.read_text()) - {name} for name, path in FILES.items()}


@pytest.mark.parametrize(
    "source, found",
    [
        ("from lthjax.pruning import masks", {"pruning.masks"}),
        (
            "from lthjax.pruning import masks as m, scores",
            {"pruning.masks", "pruning.scores"},
        ),
        ("from lthjax.data.splits import Split", {"data.splits"}),
        ("from lthjax.tickets import Ticket", {"tickets"}),
        ("import lthjax.pruning.masks as m", {"pruning.masks"}),
        ("import lthjax", {"lthjax"}),
        ("from lthjax import *", {"lthjax"}),
        ("from lthjax import masks", {"lthjax"}),
        ("def f():\n  if f:\n    from lthjax import registry", {"registry"}),
        ("from . import masks", {"..masks"}),
        ("from .masks import apply", {".masks.apply"}),
        ("import jax, optax\nfrom masks import apply", set()),
    ],
)
def test_an_import_is_seen_in_every_form_and_place(source, found):
    assert ours(source) == found


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"lthjax"}))
def test_a_module_imports_from_rows_above_its_own_and_never_the_face(name):
    own = room(name)
    assert own, "every module has a room"
    for other in ARROWS[name]:
        assert other in FILES and other != "lthjax", other
        assert room(other) == own or FLOOR[room(other)] < FLOOR[own], other


def test_the_face_of_a_chapter_names_its_own_chapter_only():
    faces = {name for name in CHAPTERS & FILES.keys() if FILES[name].stem == "__init__"}
    assert len(faces) > 10
    for name in faces:
        own = {room(other) for other in ARROWS[name]}
        assert own <= {name, "moved"}, name


def circle(names):
    """Returns modules of `names` that import each other in a circle, or none."""
    left = {name: ARROWS[name] & set(names) for name in names}
    while left:
        free = {name for name, others in left.items() if not others & left.keys()}
        if not free:
            return sorted(left)
        left = {name: others for name, others in left.items() if name not in free}
    return []


@pytest.mark.parametrize("own", FLOOR)
def test_no_modules_of_a_room_import_each_other_in_a_circle(own):
    assert not circle([name for name in FILES if room(name) == own and name != own])


def test_only_the_program_and_the_commands_know_a_config_or_a_workdir():
    for name, others in ARROWS.items():
        if name.split(".")[0] not in {"program", *COMMANDS}:
            assert not any(other.startswith("program") for other in others), name


def renamed_to_itself(source):
    """Returns what a source imports as itself: from there it has a second address."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, IMPORTS)]
    names = [alias for node in nodes for alias in node.names]
    return {alias.name for alias in names if alias.name == alias.asname}


@pytest.mark.parametrize(
    "source, found",
    [
        ("import jax as jax", {"jax"}),
        ("from lthjax.pruning import masks as masks, scores", {"masks"}),
        ("def f():\n  from lthjax.pruning import masks as masks", {"masks"}),
        ("from lthjax.pruning import masks as m\nimport optax", set()),
    ],
)
def test_an_import_as_itself_is_seen_in_every_form(source, found):
    assert renamed_to_itself(source) == found


def test_nothing_has_a_second_address_but_in_a_face():
    found = {
        (name, one)
        for name, path in FILES.items()
        if path.name != "__init__.py"
        for one in renamed_to_itself(path.read_text())
    }
    assert found == SHOWN
    for folder in ("configs", "examples", "experiments", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not renamed_to_itself(path.read_text()), path


def test_configs_import_the_default_config_only():
    for path in (ROOT / "configs").glob("*.py"):
        assert ours(path.read_text()) <= {"program.config.files"}, path


def test_experiments_never_import_each_other():
    paths = list((ROOT / "experiments").glob("*.py"))
    others = {"experiments", *(path.stem for path in paths)}
    for path in paths:
        parts = {name.split(".")[0] for name in imports(path.read_text())}
        assert not parts & others and "" not in parts, path


def show():
    """Prints the rooms, their modules, and what they import from."""
    pairs = {
        (room(name), room(other))
        for name, others in ARROWS.items()
        for other in others
        if name != "lthjax" and room(name) != room(other)
    }
    for floor, row in enumerate(ROWS, start=1):
        for own in row:
            size = sum(room(name) == own for name in FILES)
            below = ", ".join(sorted(other for one, other in pairs if one == own))
            print(f"{floor}  {own:18} {size:3}  {below}")
    print(f"{len(FLOOR)} rooms, {len(pairs)} arrows, {len(ROWS)} floors")


if __name__ == "__main__":
    show()


# What is heavy and read with by few runs, and what not every system has.
ABSENT = {"array_record", "datasets", "grain", "pandas", "tensorflow_datasets"}
ABSENT |= {"fcntl", "grp", "pwd", "resource", "termios"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_that_may_be_absent_is_imported_at_the_top_of_a_module(name):
    top = ast.parse(FILES[name].read_text()).body  # what is tried is no import there
    plain = [node for node in top if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in plain:
        found = {other.split(".")[0] for other in imports(ast.unparse(node))}
        assert not found & ABSENT, ast.unparse(node)
