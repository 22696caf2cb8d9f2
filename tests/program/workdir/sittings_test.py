"""A workdir says by which command, versions and devices it was trained."""

import jax
import tiny

from lthjax.program.report import page
from lthjax.program.run import experiment
from lthjax.program.workdir import sittings


def test_each_sitting_that_trains_is_noted_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", "--config=a b.py"])
    config = tiny.config({"search.levels": 1, "seeds": (0,)})
    for _ in range(2):  # the second one finds nothing to do
        experiment.run(config, tmp_path)
    (found,) = sittings.read(tmp_path)
    assert found["command"] == "main.py '--config=a b.py'"
    assert found["versions"]["jax"] == jax.__version__
    assert sum(found["devices"].values()) == jax.device_count()
    shown = page.of([page.read(tmp_path)])
    assert "main.py &#39;--config=a b.py&#39;" in shown
    assert f"jax {jax.__version__}" in shown


def test_a_workdir_of_an_earlier_version_has_none(tmp_path):
    assert sittings.read(tmp_path) == []
