"""The examples and the notebook run as they are, and stay short."""

import ast
import json
import os
import subprocess
import sys

import pytest
from paths import ROOT

FOLDER = ROOT / "examples"
FILES = sorted(path.name for path in FOLDER.glob("*.py"))
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def cells(name):
    """Returns the code of the cells of a notebook, in the format that jupyter reads."""
    book = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    assert (book["nbformat"], book["metadata"]["language_info"]["name"]) == (
        4,
        "python",
    )
    assert {cell["cell_type"] for cell in book["cells"]} == {"markdown", "code"}
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    return ["".join(cell["source"]) for cell in code]


def test_there_are_examples_and_each_says_how_it_is_run():
    assert len(FILES) >= 3 and len(NOTEBOOKS) == 1
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) < 80, name
        assert f"\n    python examples/{name}\n" in ast.get_docstring(
            ast.parse(text), 0
        )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_one_that_can_be_compiled(name):
    for code in cells(name):
        compile(code, name, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_an_example_runs(name):
    found = subprocess.run(
        [sys.executable, FOLDER / name],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("%") >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_cells_of_a_notebook_run_one_after_the_other(name, capsys):
    names = {}
    for code in cells(name):
        exec(compile(code, name, "exec"), names)
    assert capsys.readouterr().out.count("at random") == 5
