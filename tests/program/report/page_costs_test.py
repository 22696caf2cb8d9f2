"""What a page shows of costs without a study: the numbers that the study has."""

import jax.numpy as jnp
import pytest
import tiny

from lthjax.program.report import page, page_costs, page_figures, run_report
from lthjax.program.run import experiment
from lthjax.program.workdir import notes, results
from lthjax.program.workdir.measures import ACCURACY

TITLE = "operations and parameters"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    experiment.run(tiny.config({"studies": ("flops",), "controls": ("random",)}), root)
    return root


def test_costs_by_layers_are_those_of_the_study(root):
    leaves = notes.read(root / run_report.COSTS)
    dense = tiny.records(root)[0, 0, "ticket"]
    assert sum(size for size, uses in leaves.values() if uses) == dense["prunable"]
    rows = [r for r in tiny.records(root).values() if r["arm"] == "ticket"]
    found = page_costs.rows_of(root, rows, ACCURACY)
    study = results.read(root / "studies" / "flops.jsonl")
    for row in study:
        (own,) = [r for r in found if all(r[k] == row[k] for k in ("level", "seed"))]
        shared = (own.keys() & row.keys()) - {"other"}
        assert {k: own[k] for k in shared} == {k: row[k] for k in shared}
        assert {"flops", "parameters", "test_accuracy"} <= shared


def test_leaves_are_noted_in_the_order_of_their_use():
    params = {"a": jnp.ones((2, 3)), "z": jnp.ones(4)}
    found = page_costs.noted({"z": 1.0, "a": 0.0}, params)
    assert list(found.items()) == [("z", [4, 1.0]), ("a", [6, 0.0])]


def test_a_page_has_one_figure_of_costs(root):
    run = page.read(root)
    titles = [title for title, _ in page_figures.of(run)]
    assert "study: flops" in titles and TITLE not in titles
    (root / "studies" / "flops.jsonl").rename(root / "flops.jsonl")
    titles = [title for title, _ in page_figures.of(run)]
    (root / "flops.jsonl").rename(root / "studies" / "flops.jsonl")
    assert "study: flops" not in titles and titles.count(TITLE) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"else": [3, 1.0]}'])
def test_without_a_whole_note_there_is_no_figure(root, tmp_path, text):
    (tmp_path / run_report.COSTS).write_text(text)
    rows = list(tiny.records(root).values())
    assert not list(page_costs.of(tmp_path, rows, ACCURACY))
