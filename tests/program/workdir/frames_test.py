"""Frames: one row a network, a point, a layer; the dense network is its own arm."""

import sys

import pytest

from lthjax.program.workdir import frames, results, runs

pytest.importorskip("pandas")

RECORD = {"seed": 0, "prunable": 8, "layers": {"a": 0.5, "b": 1.0}, "collapsed": []}
ROWS = [
    {**RECORD, "level": 0, "arm": "ticket", "kept": 8, "test_accuracy": 0.9},
    {**RECORD, "level": 1, "arm": "ticket", "kept": 4, "test_accuracy": 0.8},
    {**RECORD, "level": 1, "arm": "reinit", "kept": 4, "test_accuracy": 0.7},
]
CURVE = {"level": 0, "arm": "ticket", "seed": 0, "start": 0, "seconds": 1.0}
CURVE |= {"step": [2, 4], "test_loss": [0.5, 0.25]}


@pytest.fixture
def root(tmp_path):
    run = tmp_path / "one"
    run.mkdir()
    results.append(run / results.RESULTS, ROWS)
    results.append(run / results.CURVES, [CURVE], (*results.IDENTITY, "start"))
    return tmp_path


def test_there_is_a_row_for_every_network(root):
    found = frames.records(root)
    assert list(found["arm"]) == ["dense", "ticket", "reinit"]
    assert list(found["kept"]) == [8, 4, 4]
    assert not {"layers", "collapsed"} & set(found.columns)
    assert not [name for name in found.columns if name.startswith("config.")]


def test_an_arm_of_the_dense_network_keeps_its_name(root):
    own = {**ROWS[0], "arm": "skips"}
    results.append(root / "one" / results.RESULTS, [own])
    found = frames.records(root)
    assert list(found[found["level"] == 0]["arm"]) == ["dense", "skips"]


def test_layers_are_a_table_of_their_own(root):
    found = frames.layers(root)
    assert len(found) == 6 and set(found["name"]) == {"a", "b"}
    means = found.groupby("name")["kept"].mean()
    assert (means["a"], means["b"]) == (0.5, 1.0)


def test_a_curve_has_a_row_for_every_point(root):
    found = frames.curves(root)
    assert list(found["step"]) == [2, 4]
    assert list(found["test_loss"]) == [0.5, 0.25]
    assert set(found["arm"]) == {"dense"}


def test_where_there_is_nothing_it_is_said(tmp_path):
    for frame in (frames.records, frames.layers, frames.curves):
        with pytest.raises(ValueError, match="root must hold a run's"):
            frame(tmp_path)


def test_without_pandas_the_way_to_have_it_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ValueError, match=r"pip install 'lthjax\[pandas\]'"):
        frames.records(root)


def test_parts_of_a_training_are_in_the_order_of_its_steps(root):
    path = root / "one" / results.CURVES
    path.unlink()
    late = {**CURVE, "start": 4, "step": [6, 8], "test_loss": [0.2, 0.1]}
    results.append(path, [late, CURVE], results.KEYS[results.CURVES])
    assert list(frames.curves(root)["step"]) == [2, 4, 6, 8]


def test_trainings_that_a_study_made_are_no_rows_of_the_run(root):
    inner = root / "one" / results.STUDIES / "rate_0.3"
    inner.mkdir(parents=True)
    results.append(inner / results.RESULTS, ROWS[:1])
    results.append(inner / results.CURVES, [CURVE], results.KEYS[results.CURVES])
    assert len(frames.records(root)) == 3 and len(frames.curves(root)) == 2
    assert len(runs.load(root / "one")) == 3
    other = root / results.STUDIES / "two"  # of a user, beside no records
    other.mkdir(parents=True)
    results.append(other / results.RESULTS, ROWS[:2])
    assert len(runs.load(root)) == 5
    assert len(frames.records(inner)) == 1 and len(frames.curves(inner)) == 2
