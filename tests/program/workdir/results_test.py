"""Records are appended once each, and read whole."""

import csv
import io
import json
import math

import numpy as np
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


@pytest.mark.parametrize(
    "name, line, why",
    [
        (results.RESULTS, row(start=0, step=[3, 4]), "is one of curves.jsonl"),
        (results.CURVES, row(steps=4), "has no start"),
    ],
)
def test_lines_of_the_other_file_are_no_lines_of_this_one(tmp_path, name, line, why):
    results.append(tmp_path / "r.jsonl", [line])
    (tmp_path / "r.jsonl").rename(tmp_path / name)
    assert results.scan(tmp_path / name).damaged == {1: why}


@pytest.mark.parametrize("left", [1, 20, -1])
def test_a_torn_last_line_is_no_record_and_is_cut_off(tmp_path, left):
    path = tmp_path / "r.jsonl"
    results.append(path, [row()])
    line = json.dumps(row(1))
    path.write_text(path.read_text() + line[:left])
    assert results.read(path) == [row()]
    results.append(path, [row(1), row(2)])
    assert results.read(path) == [row(), row(1), row(2)]


def test_a_last_line_that_lost_its_end_alone_is_a_record(tmp_path):
    path = tmp_path / "r.jsonl"
    results.append(path, [row(), row(1)])
    path.write_bytes(path.read_bytes().rstrip())
    assert results.read(path) == [row(), row(1)]
    results.append(path, [row(1), row(2)])
    assert results.read(path) == [row(), row(1), row(2)]


def test_an_infinite_number_is_the_largest_of_32_bits(tmp_path):
    path = tmp_path / "r.jsonl"
    results.append(path, [row(test_perplexity=math.inf, curve=[1.0, {"x": -math.inf}])])
    (found,) = results.read(path)
    largest = float(np.finfo(np.float32).max)
    assert found == row(test_perplexity=largest, curve=[1.0, {"x": -largest}])


def test_what_is_not_a_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float"):
        results.append(tmp_path / "r.jsonl", [row(loss=math.nan)])
    assert results.read(tmp_path / "r.jsonl") == []


def test_csv_holds_what_the_records_hold():
    rows = [row(), row(1, x=0.1, layers={"a,b": 1.0}, collapsed=[])]
    table = list(csv.DictReader(io.StringIO(results.to_csv(rows))))
    columns = ["level", "seed", "arm", "x", "layers", "collapsed"]
    assert [list(found) for found in table] == [columns] * 2
    assert (table[0]["x"], table[0]["layers"]) == ("", "")
    assert float(table[1]["x"]) == 0.1
    assert json.loads(table[1]["layers"]) == {"a,b": 1.0}
