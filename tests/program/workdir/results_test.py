"""Records are appended once each, read whole, and brought together."""

import csv
import io
import json
import math

import pytest

from lthjax.program.workdir import results


def row(level=0, seed=0, arm="ticket", **more):
    return {"level": level, "seed": seed, "arm": arm, **more}


def test_records_come_back_in_order(tmp_path):
    path = tmp_path / "r.jsonl"
    assert results.read(path) == []
    results.append(path, [row(), row(seed=1, layers={"a/kernel": 0.5})])
    results.append(path, [row(1)])
    expected = [row(), row(seed=1, layers={"a/kernel": 0.5}), row(1)]
    assert results.read(path) == expected


def test_a_record_is_appended_once_and_the_first_stays(tmp_path):
    path = tmp_path / "r.jsonl"
    results.append(path, [row(x=1), row(1)])
    before = path.read_bytes()
    results.append(path, [row(x=2), row(1)])
    assert path.read_bytes() == before
    results.append(path, [row(x=2), row(2)])
    assert results.read(path) == [row(x=1), row(1), row(2)]


@pytest.mark.parametrize("left", [1, 20, -1])
def test_a_torn_last_line_is_no_record_and_is_cut_off(tmp_path, left):
    path = tmp_path / "r.jsonl"
    results.append(path, [row()])
    line = json.dumps(row(1))
    path.write_text(path.read_text() + line[:left])
    assert results.read(path) == [row()]
    results.append(path, [row(1), row(2)])
    assert results.read(path) == [row(), row(1), row(2)]


def test_what_is_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        results.append(tmp_path / "r.jsonl", [row(loss=math.nan)])
    assert results.read(tmp_path / "r.jsonl") == []


def test_a_text_is_written_whole_and_an_equal_one_left_alone(tmp_path):
    path = tmp_path / "x"
    results.write(path, "one")
    results.write(path, "two")
    before = path.stat()
    results.write(path, "two")
    after = path.stat()  # not whole: reading may move the time of the last access
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_csv_holds_what_the_records_hold():
    rows = [row(), row(1, x=0.1, layers={"a,b": 1.0}, collapsed=[])]
    table = list(csv.DictReader(io.StringIO(results.to_csv(rows))))
    columns = ["level", "seed", "arm", "x", "layers", "collapsed"]
    assert [list(found) for found in table] == [columns] * 2
    assert (table[0]["x"], table[0]["layers"]) == ("", "")
    assert float(table[1]["x"]) == 0.1
    assert json.loads(table[1]["layers"]) == {"a,b": 1.0}


def test_many_runs_become_one_table(tmp_path):
    for name, rate in (("a", 0.1), ("deep/b", 0.2)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        results.append(folder / results.RESULTS, [row(), row(1)])
        config = {"optimizer": {"learning_rate": rate}, "options": {}}
        (folder / "config.json").write_text(json.dumps(config))
    table = results.load(tmp_path)
    assert [r["workdir"] for r in table] == [str(tmp_path / "a")] * 2 + [
        str(tmp_path / "deep/b")
    ] * 2
    assert [r["config.optimizer.learning_rate"] for r in table] == [0.1, 0.1, 0.2, 0.2]
    assert table[1]["config.options"] == {}
    assert results.load(tmp_path / "a") == table[:2]
    by = ("config.optimizer.learning_rate", "level")
    groups = results.aggregate(table, "level", by=by)
    assert list(groups) == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="must hold a run's results.jsonl, got root"):
        results.load(tmp_path)


def test_mean_and_sample_deviation():
    # (1 + 2 + 6) / 3;  sqrt((2^2 + 1^2 + 3^2) / (3 - 1))
    assert results.spread([1, 2, 6]) == (3, math.sqrt(7), 3)
    assert results.spread([5]) == (5, 0, 1)


def test_groups_leave_out_who_has_no_value():
    rows = [row(x=1), row(seed=1, x=3), row(seed=2), row(1, x=4), row(1, x=None)]
    assert results.aggregate(rows, "x") == {
        ("ticket", 0): (2, math.sqrt(2), 2),
        ("ticket", 1): (4, 0, 1),
    }


@pytest.mark.parametrize(
    "form, beside, text",
    [
        (".2f", "", "1.23 ± 0.35"),
        ("+.1f", "", "+1.2 ± 0.3"),
        (".3g", ".1g", "1.23 ± 0.3"),
    ],
)
def test_a_mean_is_shown_with_its_deviation_where_there_is_one(form, beside, text):
    found = results.Spread(1.234, 0.3451, 2)
    assert results.shown(found, form, beside) == text
    alone = results.spread([1.234])
    assert results.shown(alone, form, beside) == text.partition(" ±")[0]


def test_a_mean_that_rounds_to_zero_has_no_minus():
    assert results.shown(results.spread([-0.001, 0.0]), "+.2f") == "+0.00 ± 0.00"
    assert results.shown(results.spread([-0.001])) == "0.00"
    assert results.shown(results.spread([-1.5]), "+.1f") == "-1.5"


def test_runs_behind_links_are_read_once_each(tmp_path):
    root, disk = tmp_path / "runs", tmp_path / "disk" / "b"
    for folder in (root / "a", disk):
        folder.mkdir(parents=True)
        (folder / results.RESULTS).write_text("")
    (root / "b").symlink_to(disk, target_is_directory=True)
    (root / "again").symlink_to(root, target_is_directory=True)
    found = results.below(root, results.RESULTS)
    assert [path.parent.name for path in found] == ["a", "b"]
