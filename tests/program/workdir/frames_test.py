"""Frames: one row a network, a point, a layer; the dense network is its own arm."""

import sys

import pytest

from lthjax.program.workdir import frames, results

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
