"""The table of a sweep: its runs, their records, and how far each is."""

import csv
import json
import math

import numpy as np
import pytest
from swept import LOGITS, RATE, base

from lthjax.data import balance
from lthjax.program.report import run_report
from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import table
from lthjax.program.sweep.grid import Cell
from lthjax.program.workdir import notes, results, text_files


def record(level, seed, arm, accuracy):
    accuracies = {"test_accuracy": accuracy, "best_test_accuracy": accuracy + 0.1}
    identity = {"level": level, "seed": seed, "arm": arm}
    return {**identity, **accuracies, "sparsity": 0.5 * level}


@pytest.fixture
def half(tmp_path):
    """The folder of a sweep of three runs: finished, unfinished, not started."""
    config = base({"seeds": (0, 1), "controls": ("reinit",)})
    cells = grid_lib.cells(config, {RATE: [0.1, 0.2, 0.3]})
    grid_lib.write(tmp_path, [RATE, "seeds"], cells)
    first, second = (tmp_path / cell.folder for cell in cells[:2])
    whole = [record(0, 0, "ticket", 0.5), record(0, 1, "ticket", 0.7)]
    whole += [record(1, s, arm, 0.4) for s in (0, 1) for arm in ("ticket", "reinit")]
    for folder, rows in ((first, [*whole, record(0, 7, "ticket", 0)]), (second, whole)):
        folder.mkdir()
        results.append(folder / results.RESULTS, rows[: 1 if folder == second else 9])
    text_files.write(first / grid_lib.FINISHED, json.dumps([0, 1, 7]))
    return tmp_path


HEAD = ("level", "arm", "% kept", "test accuracy", "at best validation", "n", "state")


def test_the_table_of_a_half_finished_sweep_has_every_run_and_its_state(half):
    text = table.write(half)
    lines = [[c.strip() for c in row.split("|")[1:-1]] for row in text.splitlines()]
    assert lines[0] == [RATE, *HEAD]
    # The sample deviation of 50 and 70 is 10 times the root of 2; seed 7 is not asked
    # for.
    std = f"{10 * math.sqrt(2):.2f}"
    assert lines[2:] == [
        ["0.1", "0", "dense", "100", f"60.00 ± {std}", f"70.00 ± {std}", "2"]
        + ["finished"],
        ["0.1", "1", "ticket", "50", "40.00 ± 0.00", "50.00 ± 0.00", "2", "finished"],
        ["0.1", "1", "reinit", "50", "40.00 ± 0.00", "50.00 ± 0.00", "2", "finished"],
        ["0.2", "0", "dense", "100", "50.00", "60.00", "1", "unfinished"],
        ["0.3", "", "", "", "", "", "", "not started"],
    ]
    assert (half / table.MARKDOWN).read_text() == text


def test_what_the_largest_class_is_worth_stands_under_the_table(half):
    plain = table.write(half)
    for number, row in enumerate(table.rows(half)[2:4]):
        counts = {"test": np.array([3, 1 + 2 * number])}
        path = half / row["folder"] / run_report.CLASSES
        notes.write(path, balance.noted(counts))
    foot = "\nalways the largest class: 75.00 %, 50.00 %\n"
    assert table.write(half) == plain + foot


def test_the_table_is_a_csv_file_too(half):
    table.write(half)
    rows = list(csv.DictReader((half / table.CSV).read_text().splitlines()))
    assert [row["state"] for row in rows[-2:]] == ["unfinished", "not started"]
    assert [float(row[RATE]) for row in rows] == [0.1, 0.1, 0.1, 0.2, 0.3]
    assert float(rows[0]["test_accuracy_std"]) == pytest.approx(0.1 * math.sqrt(2))
    assert all((half / row["folder"]).exists() == (row[RATE] != "0.3") for row in rows)


def test_a_second_sweep_adds_its_runs_seeds_and_columns_to_the_first(half):
    cells = grid_lib.cells(base({"controls": ("reinit",)}), {"train.steps": [4, 8]})
    grid_lib.write(half, ["train.steps"], cells)
    grid = {RATE: [0.1], "seeds": [(2,), (1,)]}
    more = grid_lib.cells(base({"controls": ("reinit",)}), grid)
    grid_lib.write(half, grid, more)
    columns, found = grid_lib.read(half)
    assert columns == [RATE, "seeds", "train.steps"]
    seeds = {cell.config.optimizer.learning_rate: cell.config.seeds for cell in found}
    assert len(found) == 4 and seeds[0.2] == (0, 1)
    assert not grid_lib.finished(half, Cell(more[0].folder, more[0].config))
    assert [row["state"] for row in table.rows(half)][0] == "unfinished"


def test_an_arm_of_the_dense_network_is_not_called_dense(half):
    folder = half / table.rows(half)[0]["folder"]
    results.append(folder / results.RESULTS, [record(0, s, "skips", 0) for s in (0, 1)])
    found = [(row["level"], row["arm"], row["n"]) for row in table.rows(half)[:3]]
    assert found == [(0, "dense", 2), (0, "skips", 2), (1, "ticket", 2)]


def test_gates_of_several_first_logits_have_a_row_each(tmp_path):
    config = base({"search.method": "continuous"})
    cells = grid_lib.cells(config, {LOGITS: [(0.1,), (0.2,)]})
    grid_lib.write(tmp_path, [LOGITS], cells)
    (tmp_path / cells[0].folder).mkdir()
    rows = [record(0, 5, "ticket", 0.5) | {"initial": x} for x in (0.1, 0.2)]
    rows[1]["test_accuracy"] = None  # which no mean is of
    results.append(tmp_path / cells[0].folder / results.RESULTS, rows)
    found = [(row[LOGITS], row["n"]) for row in table.rows(tmp_path)]
    assert found == [(0.1, 1), (0.2, 0)]


def test_a_folder_without_a_sweep_has_no_table(tmp_path):
    with pytest.raises(ValueError, match="must hold its sweep.json"):
        table.rows(tmp_path)


def test_lines_of_a_regular_expression_are_escaped():
    assert table._plain("(kernel|scale)$") == r"(kernel\|scale)$"


def test_records_of_another_objective_make_a_table_without_its_note(half):
    for file in half.glob(f"*/{results.RESULTS}"):
        rows = results.read(file)
        file.unlink()
        for row in rows:
            row["test_squared_error"] = row.pop("test_accuracy")
        results.append(file, rows)
    assert "unfinished" in table.write(half)
