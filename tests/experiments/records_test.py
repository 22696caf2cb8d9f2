"""What experiments do with their records, and what they leave."""

import importlib
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from lthjax.program.config import files
from lthjax.program.workdir import results, spreads

pytestmark = pytest.mark.usefixtures("beside")
ROWS = [
    {"run": "a", "level": level, "seed": seed, "test_accuracy": 0.5 + level / 4}
    for level in (0, 1)
    for seed in (0, 1)
]


def test_records_are_chosen_by_their_columns_and_shown_in_per_cent():
    records = importlib.import_module("measures.records")
    assert records.of(ROWS, run="a", level=1) == ROWS[2:]
    assert records.of(ROWS) == ROWS and records.of(ROWS, run="b") == []
    assert records.accuracies(ROWS, level=1, seed=0) == [75.0]
    assert records.shown(records.accuracies(ROWS, seed=0), ".1f") == "62.5 ± 17.7"
    assert records.shown(x for x in (1.0,)) == "1.00"
    assert records.shown([], nothing="not run") == "not run"
    found = records.bars(spreads.spread(x) for x in ((1.0, 3.0), (2.0,)))
    assert found == ([2.0, 2.0], [pytest.approx(2**0.5), 0.0])


def test_of_a_workdir_s_records_those_are_told_that_are_asked_for():
    asked = importlib.import_module("measures.records").asked
    config = files.default()
    config.seeds, config.search.levels = (0, 1), 2
    config.retraining.arms = ("skips",)
    rows = [
        {"seed": seed, "level": level, "arm": arm}
        for seed in (0, 1, 2)
        for level in (0, 1, 2, 3)
        for arm in ("ticket", "reinit", "skips", "smoothing", "search")
    ]
    found = asked(rows, config)
    assert {row["seed"] for row in found} == {0, 1}
    assert {row["level"] for row in found} == {0, 1, 2}
    assert {row["arm"] for row in found} == {"ticket", "skips", "search"}
    assert len(found) == 2 * 3 * 3
    config.search.sparsities = (0.5,)
    assert {row["level"] for row in asked(rows, config)} == {0, 1}


def test_records_are_read_of_runs_that_are_not_ended_and_of_none(tmp_path):
    there, config = importlib.import_module("measures.records").there, files.default()
    (tmp_path / "a").mkdir()
    row = {"level": 0, "seed": config.seeds[0], "arm": "ticket"}
    results.append(tmp_path / "a" / results.RESULTS, [row, {**row, "seed": 99}])
    assert there({"a": config, "b": config}, tmp_path) == [{"run": "a", **row}]


@pytest.mark.parametrize("published", [True, False])
def test_what_is_left_has_a_figure_and_rows_where_there_are_any(tmp_path, published):
    page, claims = map(importlib.import_module, ("measures.page", "measures.claims"))
    options = SimpleNamespace(workdir=tmp_path, size="toy", smoke=False)
    found = [(claims.Claim("dense", 50.0), [49.0, 50.0])] if published else None
    page.write(options, "own", "text\n", Figure() if published else None, found)
    assert (tmp_path / "own.md").read_text().endswith("--size=toy`\n\ntext\n")
    left = {"own.md", "own.png", "own.json"} if published else {"own.md"}
    assert {path.name for path in tmp_path.iterdir()} == left
    if published:
        (row,) = claims.read(tmp_path / "own.json")
        assert (row.ours, row.n, row.size) == (49.5, 2, "toy")
