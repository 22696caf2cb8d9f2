"""Studies of a run: what is written, kept, stopped and gone on with."""

import json
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from matplotlib.figure import Figure
from studied import (
    ALL,
    SEEDS,
    fill,
    members,
    rows,
)

from lthjax.analysis import comparison
from lthjax.program import progress
from lthjax.program.report.studies import study
from lthjax.program.workdir import layout, results
from lthjax.saving import checkpoints
from lthjax.saving import tickets as saving_tickets


def test_own_studies_of_one_module_have_tables_of_their_own(tmp_path):
    rows = [{"level": 0, "x": 1.0}], [{"level": 0, "x": 2.0}]
    for name, own in zip(("mine.one", "mine.two"), rows, strict=True):
        study._show(tmp_path / name, lambda rows: Figure(), own)
    for name, own in zip(("mine.one", "mine.two"), rows, strict=True):
        assert (tmp_path / f"{name}.csv").read_text() == results.to_csv(own)
        assert (tmp_path / f"{name}.png").exists()


def test_what_is_measured_and_drawn_is_not_touched_again(run, network):
    before = tiny.contents(run)
    study.write(run, ALL, network)
    assert tiny.contents(run) == before


def test_a_new_level_adds_its_rows_and_draws_again(tmp_path, network):
    fill(tmp_path, levels=(0, 1), wanted=())
    study.write(tmp_path, ["densities"], network)
    stem = tmp_path / study.FOLDER / "densities"
    before = {p.suffix: p.read_bytes() for p in stem.parent.iterdir()}
    fill(tmp_path, levels=(2,), wanted=())
    study.write(tmp_path, ["densities"], network)
    assert len(rows(tmp_path, "densities")) == 3 * len(SEEDS)
    after = {p.suffix: p.read_bytes() for p in stem.parent.iterdir()}
    assert after.keys() == before.keys() == {".jsonl", ".csv", ".png"}
    assert after[".jsonl"].startswith(before[".jsonl"])
    assert all(after[suffix] != before[suffix] for suffix in after)


def test_a_study_that_was_stopped_goes_on(tmp_path, network, run, monkeypatch):
    fill(tmp_path)
    asked, measured = threading.Event(), []

    def measure(*args):
        measured.append(args)
        if len(measured) == 2:
            asked.set()
        return overlap(*args)

    overlap = comparison.overlap
    monkeypatch.setattr(comparison, "overlap", measure)
    with pytest.raises(progress.Interrupted, match="study overlap; the same command"):
        study.write(tmp_path, ["overlap"], network, asked=asked)
    assert len(rows(tmp_path, "overlap")) == len(measured) == 2
    study.write(tmp_path, ["overlap"], network)
    assert len(measured) == len(rows(tmp_path, "overlap"))
    assert rows(tmp_path, "overlap") == rows(run, "overlap")


def test_only_what_is_trained_to_its_end_is_studied(tmp_path, network):
    fill(tmp_path, seeds=(0,), levels=(0, 1), wanted=())
    layout.save_ticket(tmp_path, 0, members(0, 2)[0])
    study.write(tmp_path, ["overlap", "flops"], network)
    assert set(rows(tmp_path, "overlap")) == {(1, 0, "level 0")}
    assert set(rows(tmp_path, "flops")) == {(0, 0, ""), (1, 0, "")}


def test_the_end_of_a_training_is_kept_where_a_study_reads_it(tmp_path):
    ticket, trained = members(1, 2)
    path = layout.trained_path(tmp_path, "ticket", 1, 2)
    for wanted in ((), ("overlap", "densities", "flops")):
        study.keep(tmp_path, wanted, 1, ticket, trained)
        assert not path.exists()
    study.keep(tmp_path, ("overlap", "signs"), 1, ticket, trained)
    assert path == tmp_path / "deployed" / "ticket" / "seed_1" / "level_02"
    found = saving_tickets.load_trained(path)
    expected = trained._replace(opt_state=None)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_where_training_changes_the_masks_those_of_its_end_are_studied(
    tmp_path, network
):
    fill(tmp_path, seeds=(0,), levels=(0, 1), wanted=())
    ticket, trained = members(0, 1)
    moved = jax.tree.map(jnp.logical_not, trained.masks)
    study.keep(tmp_path, ("overlap",), 0, ticket, trained._replace(masks=moved))
    fill(tmp_path, seeds=(1,), levels=(1,), wanted=())
    study.write(tmp_path, ["overlap"], network)
    # Seed 0 kept what is even and seed 1 what is odd, before seed 0 changed sides.
    assert rows(tmp_path, "overlap")[1, 0, "seed 1"]["overlap"] == 1


def test_a_damaged_end_is_named(tmp_path, network):
    fill(tmp_path)
    path = layout.trained_path(tmp_path, "ticket", 0, 0) / "metadata" / "metadata"
    found = json.loads(path.read_text())
    found["metadata"]["level"] += 1
    path.write_text(json.dumps(found))
    with pytest.raises(checkpoints.DamagedError, match="seed_0/level_00"):
        study.write(tmp_path, ["signs"], network)


def test_what_the_version_before_kept_is_studied_where_it_is(tmp_path, network):
    fill(tmp_path, seeds=(0,), levels=(0, 1))
    (tmp_path / "trained").mkdir()
    place = tmp_path / "deployed" / "ticket" / "seed_0"
    place.rename(tmp_path / "trained" / "seed_0")
    assert layout.trained_path(tmp_path, "ticket", 0, 1).parts[-3] == "trained"
    assert layout.trained_path(tmp_path, "ticket", 0, 2).parts[-4] == "deployed"
    fill(tmp_path, seeds=(0,), levels=(2,))
    assert layout.trained_members(tmp_path, "ticket") == {(0, 0), (0, 1), (0, 2)}
    study.write(tmp_path, ["signs"], network)
    assert set(rows(tmp_path, "signs")) == {(0, 0, ""), (1, 0, ""), (2, 0, "")}


@pytest.mark.parametrize("name", ALL)
def test_where_there_is_nothing_to_show_that_is_said(tmp_path, network, name, caplog):
    study.write(tmp_path, [name], network)
    assert not list(tmp_path.iterdir())
    (line,) = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert "nothing to show" in line
    assert ("end of training" in line) == study.STUDIES[name].needs_trained
