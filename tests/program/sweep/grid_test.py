"""A grid: what is one run, where it lies, what is refused, and the table of all."""

import csv
import itertools
import json
import math

import numpy as np
import pytest
import tiny

from lthjax.data import balance
from lthjax.program.config import files, ranges, validate
from lthjax.program.report import run_report
from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import jobs, marks, table
from lthjax.program.sweep.grid import Cell
from lthjax.program.workdir import notes, origin, results, text_files

RATE = "optimizer.learning_rate"
LOGITS = "search.gates.initial"


def base(changes=None):
    return tiny.config({"seeds": (5,), "search.levels": 1, **(changes or {})})


def test_combinations_that_differ_in_seeds_are_one_run():
    grid = grid_lib.axes(base(), ["seeds=2,0,1", f"{RATE}=0.1,0.2"])
    found = grid_lib.cells(base(), grid)
    members = [(c.config.optimizer.learning_rate, c.config.seeds) for c in found]
    assert members == [(0.1, (0, 1, 2)), (0.2, (0, 1, 2))]


def test_first_logits_are_one_run_where_there_are_gates_and_nothing_elsewhere():
    grid = {"search.method": ["iterative", "continuous"], LOGITS: [(0.3,), (-0.1,)]}
    plain, gated = (cell.config for cell in grid_lib.cells(base(), grid))
    assert (plain.search.method, gated.search.method) == ("iterative", "continuous")
    assert gated.search.gates.initial == (-0.1, 0.3)
    assert plain.search.gates.initial == files.default().search.gates.initial


def test_a_grid_of_nothing_is_the_config_itself():
    (only,) = grid_lib.cells(base(), {})
    assert only.config.to_dict() == base().to_dict()


SAME = [
    {"seeds": (1, 2)},
    {"data_dir": "elsewhere"},
    {"logging.tensorboard": True},
    {"mesh.data": 4},
    {RATE: 1},
    {"search.sparsities": []},
]
OTHER = [
    {RATE: 0.5},
    {"controls": ("reinit",)},
    {"search.levels": 2},
    {"model.options": {"hidden": (9,)}},
    {"model.options": {"hidden": (8, 8)}},
    {"data.options": {"train": 48, "test": 17}},
    {"deterministic": True},
]


def test_a_run_lies_where_its_config_says_and_seeds_share_a_folder():
    config = base({RATE: 1.0})
    folders = [grid_lib.folder(tiny.changed(config, changes)) for changes in SAME]
    assert set(folders) == {grid_lib.folder(config)}
    others = [grid_lib.folder(tiny.changed(config, changes)) for changes in OTHER]
    assert len({*others, *folders}) == len(OTHER) + 1
    assert all(name.startswith("synthetic_mlp_iterative-") for name in others)


def test_a_run_is_found_again_whatever_the_grid_it_is_in_and_after_json():
    (first,) = grid_lib.cells(base(), {RATE: [0.2]})
    grid = {"seeds": [(3,)], "search.rate": [0.1, 0.2], RATE: [0.1, 0.2]}
    again = [cell.folder for cell in grid_lib.cells(base(), grid)]
    assert again.count(first.folder) == 1
    text = files.to_json(first.config)
    assert grid_lib.folder(files.from_json(text)) == first.folder


def test_a_key_that_a_later_version_adds_moves_no_folder(monkeypatch):
    before, default = grid_lib.folder(base()), files.default()
    with default.unlocked():
        default.search.more = 1
    monkeypatch.setattr(files, "default", lambda: default)
    later = base()
    assert later.search.more == 1 and grid_lib.folder(later) == before


@pytest.mark.parametrize(
    "text, values",
    [
        (f"{RATE}=0.1,1e-2,1", [0.1, 0.01, 1.0]),
        ("seeds=0,1", [(0,), (1,)]),
        ("seeds=(0,1),(2,)", [(0, 1), (2,)]),
        ("controls=reinit,shuffle", [("reinit",), ("shuffle",)]),
        ("controls=()", [()]),
        ("search.pattern=4x4,2:4", ["4x4", "2:4"]),
        ("search.invert=True,False", [True, False]),
        ("model.options.hidden=(8,),(4,4)", [(8,), (4, 4)]),
        ("model.options.new=1", [1]),
    ],
)
def test_values_are_read_as_their_key_holds_them(text, values):
    key, found = grid_lib.axis(base(), text)
    assert key == text.partition("=")[0]
    assert found == values and list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    "text, value",
    [
        ("seeds=0,1", (0, 1)),
        ("seeds=4", (4,)),
        ("controls=()", ()),
        ("search.layer_rates=(('^head/', 0.1),)", (("^head/", 0.1),)),
        ("data_dir=/a,b", "/a,b"),
        ("train.steps=7", 7),
    ],
)
def test_a_key_of_all_runs_is_set(text, value):
    found = grid_lib.changed(base(), text)
    assert validate.flat(found)[text.partition("=")[0]] == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("search.exclude=conv[0-9]{1,2}/kernel$", ("conv[0-9]{1,2}/kernel$",)),
        ("search.exclude=(a|b){1,2},head", ("(a|b){1,2}", "head")),
        ("search.include=", ""),
        ("data_dir=", ""),
    ],
)
def test_a_key_is_set_as_the_command_of_a_run_sets_it(text, value):
    found = validate.flat(grid_lib.changed(files.default(), text))
    assert found[text.partition("=")[0]] == value


def test_a_regular_expression_of_an_axis_is_one_run():
    key, found = grid_lib.axis(files.default(), "search.include=conv[0-9]{1,2},head")
    assert (key, found) == ("search.include", ["conv[0-9]{1,2}", "head"])


def test_all_keys_that_are_wrong_are_named():
    texts = ["optimizer.learning_rat=1", "seeds=0", "seeds=1", "train.steps="]
    expected = r"did you mean 'optimizer.*seeds twice.*steps=.*depend.* got mesh.data"
    with pytest.raises(ValueError, match=expected):
        grid_lib.axes(base(), [*texts, "mesh.data=1,2"])
    with pytest.raises(ValueError, match="one value, got 'train.steps=1,2'"):
        grid_lib.changed(base(), "train.steps=1,2")


def test_all_combinations_that_are_impossible_are_listed():
    grid = {"train.batch_size": [12, 0, 99], "search.method": ["iterative", "imp"]}
    with pytest.raises(ValueError) as error:
        grid_lib.cells(base(), grid)
    text = str(error.value)
    assert "got 5 that are not; nothing was started" in text
    for size, method in itertools.product(*grid.values()):
        label = f"train.batch_size={size}, search.method={method}:"
        assert (label in text) == ((size, method) != (12, "iterative"))
    assert "32 images, got train.batch_size = 99" in text


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


def test_runs_are_finished_one_after_the_other_and_marked(tmp_path):
    configs = {"a": base(), "b": base({"seeds": (0, 1), RATE: 0.2})}
    rows = grid_lib.run(configs, tmp_path)
    assert [(r["run"], r["seed"]) for r in rows if r["level"] == 1] == [
        ("a", 5),
        ("b", 0),
        ("b", 1),
    ]
    assert grid_lib.finished(tmp_path, Cell("b", configs["b"]))
    assert not grid_lib.finished(tmp_path, Cell("a", base({"seeds": (5, 6)})))


def test_a_mark_forgets_seeds_whose_records_are_gone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    rows = [record(0, seed, "ticket", 0.5) for seed in (0, 1, 2)]
    results.append(folder / results.RESULTS, rows)
    marks.finish(folder, (0, 1, 2))
    results.append(folder / results.RESULTS, [record(0, 3, "ticket", 0.5)])
    marks.finish(folder, (3,))
    assert marks.finished(folder, (0, 1, 2, 3))
    (folder / results.RESULTS).unlink()
    results.append(folder / results.RESULTS, rows[:2])
    marks.finish(folder, (0, 1))
    assert marks.finished(folder, (0, 1)) and not marks.finished(folder, (0, 1, 2))


def test_a_run_of_data_elsewhere_is_not_known_to_be_finished(tmp_path):
    folder, config = tmp_path / "run", base({"data_dir": "here"})
    folder.mkdir()
    results.append(folder / results.RESULTS, [record(0, 5, "ticket", 0.5)])
    marks.finish(folder, (5,))
    text = origin.check(tmp_path, config, None, begun=False, marks=())
    (folder / origin.COPY).write_text(text)
    assert grid_lib.finished(tmp_path, Cell("run", config))
    elsewhere = tiny.changed(config, {"data_dir": "there"})
    assert not grid_lib.finished(tmp_path, Cell("run", elsewhere))


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch):
    done = []

    def finish(config, folder):
        if config.seeds == (1,):
            raise OSError("no space")
        done.append(folder)

    monkeypatch.setattr(grid_lib, "finish", finish)
    texts = [files.to_json(base({"seeds": (seed,)})) for seed in range(3)]
    failed = jobs.finish([(text, str(i)) for i, text in enumerate(texts)])
    assert done == ["0", "2"] and failed == {"1": "OSError: no space"}


@pytest.mark.parametrize("name", ranges.OPTIONS)
def test_every_key_of_options_may_be_an_axis(name):
    assert grid_lib.axis(base(), f"{name}.some=1,2") == (f"{name}.some", [1, 2])


def test_options_as_a_whole_are_shown_and_lines_are_escaped():
    config = tiny.config({"search.include": "(kernel|scale)$"})
    key = "model.options"
    grid_of = grid_lib.axes(config, [f"{key}={{'hidden': (10,)}},{{'hidden': (20,)}}"])
    found = [
        grid_lib.shown(cell.config, [key]) for cell in grid_lib.cells(config, grid_of)
    ]
    assert [x[key] for x in found] == [{"hidden": (10,)}, {"hidden": (20,)}]
    assert table._plain(config.search.include) == r"(kernel\|scale)$"


def test_a_run_is_found_whatever_reads_its_batches():
    one, other = (tiny.config({"data.workers": n}) for n in (0, 4))
    assert grid_lib.folder(one) == grid_lib.folder(other)


def test_results_depend_on_the_devices_that_norms_are_over():
    apart = [
        tiny.config({"model.norms": "device", "mesh.data": n, "train.batch_size": 12})
        for n in (1, 2)
    ]
    assert len({grid_lib.folder(config) for config in apart}) == 2
    assert grid_lib.axes(apart[0], ["mesh.data=1,2"]) == {"mesh.data": [1, 2]}
    with pytest.raises(ValueError, match="results must depend on .* got mesh.data"):
        grid_lib.axes(tiny.config(), ["mesh.data=1,2"])


def test_options_within_options_are_made_and_sections_are_asked_for():
    found = grid_lib.changed(tiny.config(), "model.options.a.b=3")
    assert found.model.options.a.b == 3
    with pytest.raises(ValueError, match="must lie in sections, got model.options.hi"):
        grid_lib.changed(tiny.config(), "model.options.hidden.b=3")


def test_records_of_another_objective_make_a_table_without_its_note(half):
    for file in half.glob(f"*/{results.RESULTS}"):
        rows = results.read(file)
        file.unlink()
        for row in rows:
            row["test_squared_error"] = row.pop("test_accuracy")
        results.append(file, rows)
    assert "unfinished" in table.write(half)
