"""A workdir says by which command, versions and devices it was trained."""

import shlex

import jax
import tiny

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
