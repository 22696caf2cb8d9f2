"""A workdir says by which command, versions and devices it was trained."""

import os
import shlex

import jax
import pytest
import tiny
from paths import ROOT

from lthjax.program.report import page
from lthjax.program.run import experiment
from lthjax.program.workdir import sittings


def test_each_sitting_that_trains_is_noted_and_shown(tmp_path, monkeypatch):
    given = ["--config=a b.py", "--x=('a',)", "--y='$"]
    monkeypatch.setattr("sys.argv", ["main.py", *given])
    config = tiny.config({"search.levels": 1, "seeds": (0,)})
    for _ in range(2):  # the second one finds nothing to do
        experiment.run(config, tmp_path)
    (found,) = sittings.read(tmp_path)
    own = "--x=('a',)"  # single quotes alone: readable in double ones
    expected = f"main.py '--config=a b.py' \"{own}\""
    assert found["command"].startswith(expected)
    assert shlex.split(found["command"])[1:] == given
    assert found["versions"]["jax"] == jax.__version__
    assert sum(found["devices"].values()) == jax.device_count()
    shown = page.of([page.read(tmp_path)])
    assert "main.py &#39;--config=a b.py&#39;" in shown
    assert f"jax {jax.__version__}" in shown


def test_a_workdir_of_an_earlier_version_has_none(tmp_path):
    assert sittings.read(tmp_path) == []


@pytest.mark.parametrize(
    "file, expected",
    [
        ("main.py", "python -m lthjax.main --x=1"),
        ("__main__.py", "python -m lthjax --x=1"),
        ("../own.py", f"{ROOT / 'own.py'} --x=1"),
    ],
)
def test_a_module_of_ours_is_named_as_it_is_typed(
    file, expected, monkeypatch, tmp_path
):
    path = os.path.normpath(ROOT / "lthjax" / file)
    monkeypatch.setattr("sys.argv", [path, "--x=1"])
    sittings.note(tmp_path, "0123456789abcdef")
    assert sittings.read(tmp_path)[0]["command"] == expected


def test_lines_of_something_else_are_left_alone(tmp_path):
    (tmp_path / sittings.SITTINGS).write_text("{}\n")
    assert sittings.read(tmp_path) == []
    sittings.note(tmp_path, "")
    assert len(sittings.read(tmp_path)) == 1
