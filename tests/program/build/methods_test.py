"""A method is one record; a user's own is as good as ours."""

import importlib
import re
import sys

import pytest
import tiny
from paths import ROOT
from trees import assert_same

from lthjax.program.build import methods
from lthjax.program.build.method import SECTIONS
from lthjax.program.config import defaults, shrink
from lthjax.program.config.validate import flat
from lthjax.program.run import dry_run, experiment
from lthjax.program.sweep import grid
from lthjax.program.workdir import layout, results
from lthjax.saving import tickets

KEYS = [k for k in flat(defaults.default()) if k.partition(".")[0] in SECTIONS]
OTHER = {  # another value for keys whose default says little of what may stand there
    "search.method": "iterative",
    "search.options": {"a": 1},
    "search.layer_rates": (("^head/", 0.1),),
    "search.basis": (("^head/", "hadamard"),),
    "search.sparsities": (0.5,),
    "search.exclude": ("^head/",),
}


@pytest.fixture(autouse=True)
def own_method(tmp_path_factory, monkeypatch):
    """The module of the page on methods of one's own."""
    folder = tmp_path_factory.mktemp("own")
    text = (ROOT / "docs" / "guides" / "own_method.md").read_text()
    (folder / "own_method.py").write_text(
        re.search("```python\n(.*?)```", text, re.S)[1]
    )
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("own_method")
    del sys.modules["own_method"]


def own(**changes):
    return tiny.config({"search.method": "own_method:NEAREST", **changes})


def test_a_method_of_ones_own_runs_resumes_sweeps_and_is_planned(tmp_path, capsys):
    config = own(**{"search.options": {"invert": True}})
    dry_run.show(config)
    assert "379" in capsys.readouterr().out
    rows = experiment.run(config, tmp_path)
    assert {(r["level"], r["arm"], r["kept"]) for r in rows} == {
        (level, "ticket", kept) for level, kept in enumerate((592, 474, 379))
    }
    dense = tickets.load(layout.ticket_path(tmp_path, 0, 0))
    first = tickets.load(layout.ticket_path(tmp_path, 0, 1))
    ours = experiment.run(tiny.config(), tmp_path / "ours")
    same = {r["level"]: r["test_loss"] for r in ours if r["seed"] == 0}
    found = {r["level"]: r["test_loss"] for r in rows if r["seed"] == 0}
    assert same[0] == found[0] and same[1] != found[1]
    assert_same(dense.params, first.params)
    before = tiny.contents(tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.contents(tmp_path) == before
    (cell,) = grid.cells(config, {})
    assert "own_method_NEAREST" in cell.folder


@pytest.mark.parametrize("name, kind", [("scores", "module"), ("search", "function")])
def test_what_is_no_method_is_refused_by_its_name(name, kind, tmp_path):
    config = tiny.config({"search.method": f"own_method:{name}"})
    with pytest.raises(ValueError, match=f"got search.method = .*:{name}'.* a {kind}"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_key_that_a_method_does_not_read_is_refused_when_it_is_set(method):
    plain = tiny.changed(defaults.default(), {"search.method": method})
    methods.check_keys(plain)
    known = flat(plain)
    for key in KEYS:
        value = OTHER[key] if key in OTHER else _other(known[key])
        changed = shrink.changed(plain, {key: value})
        if key == "search.method":
            continue
        if methods.reads(method, key):
            methods.check_keys(changed)
            continue
        with pytest.raises(ValueError, match=f"{key}.* is not read by .*'{method}'"):
            methods.check_keys(changed)
        assert flat(methods.cleared(changed)) == known


def _other(value):
    if isinstance(value, bool):
        return not value
    return (
        value + "x"
        if isinstance(value, str)
        else ((*value, 1.0) if isinstance(value, tuple) else value + 1)
    )


def test_every_key_of_a_method_is_a_key_of_the_config():
    for name, method in methods.METHODS.items():
        for key in method.keys:
            assert any(k == key or k.startswith(f"{key}.") for k in KEYS), (name, key)


@pytest.mark.parametrize("method", methods.METHODS)
def test_a_config_made_small_has_its_methods_keys_small_and_no_others(method):
    plain = tiny.changed(defaults.default(), {"search.method": method})
    small = methods.shrunk(plain)
    changed = {k for k in KEYS if flat(small)[k] != flat(plain)[k]}
    assert all(methods.reads(method, key) for key in changed - {"search.levels"})
    methods.check_keys(small)


def test_the_options_of_a_method_are_for_ones_own_only():
    config = tiny.config({"search.options": {"invert": True}})
    with pytest.raises(ValueError, match="search.options.* is not read by .*iterative"):
        methods.check_keys(config)
    methods.check_keys(own(**{"search.options": {"invert": True}}))


def test_records_of_ones_own_method_are_reported(tmp_path):
    experiment.run(own(seeds=(0,), **{"search.levels": 1}), tmp_path)
    assert results.RESULTS in {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "curve.png").exists()
