"""Of the run that tickets are taken over from: its place, its levels, its seeds."""

import json
import types

import jax
import pytest
import tiny

from lthjax.program.build import parts, source_runs
from lthjax.program.workdir import layout, results

each_name = pytest.mark.parametrize("name", ["elastic", "transplant"])


def ground(name, **changes):
    given = {f"{name}.{key}": value for key, value in changes.items()}
    return types.SimpleNamespace(options=tiny.config(given))


@each_name
def test_a_level_and_a_seed_are_the_same_there_unless_others_are_named(name):
    own, other = ground(name), ground(name, levels=(2, 5), seed=7)
    assert source_runs.levels(own, name) == (1, 2)
    assert source_runs.levels(other, name) == (2, 5)
    assert [source_runs.seed(x, name, 1) for x in (own, other)] == [1, 7]


def test_a_search_s_key_tells_its_seed_and_so_do_its_data():
    seed_of = source_runs.seed_of(ground("elastic"))
    for seed in (0, 1):
        key = parts.key(seed, "search")
        assert seed_of(key) == seed_of(jax.random.key_data(key)) == seed


@each_name
def test_what_is_no_run_or_has_no_such_ticket_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"workdir of a run .* got {name}.source = ''"):
        source_runs.root(ground(name), name)
    found = ground(name, source=str(tmp_path), levels=(4,), seed=3)
    with pytest.raises(ValueError, match="which holds no results.jsonl"):
        source_runs.root(found, name)
    (tmp_path / results.RESULTS).touch()
    (tmp_path / layout.CONFIG).write_text(json.dumps({"search": {"basis": ""}}))
    assert source_runs.root(found, name) == tmp_path
    said = f"got no level 4 of seed 3 in .*; give {name}.levels, {name}.seed or fewer"
    with pytest.raises(ValueError, match=said):
        source_runs.ticket(found, name, 0, 1)
    (tmp_path / layout.CONFIG).write_text(json.dumps({"search": {"basis": "dct"}}))
    with pytest.raises(ValueError, match=f"of weights, got {name}.source = .* coeffic"):
        source_runs.root(found, name)


@each_name
def test_what_is_taken_is_named_by_this_run_and_lies_in_the_other(name, tmp_path):
    (tmp_path / results.RESULTS).touch()
    (tmp_path / layout.CONFIG).write_text(json.dumps({}))
    found = ground(name, source=str(tmp_path), levels=(4,), seed=3)
    place = layout.ticket_path(tmp_path, 3, 4)
    rows = {f"level 1 of seed {seed}": place for seed in (0, 1)}
    assert source_runs.taken(found, name) == rows
    dense = source_runs.taken(found, name, dense=True)
    assert dense.items() > rows.items()
    assert dense["level 0 of seed 1"] == layout.ticket_path(tmp_path, 3, 0)
