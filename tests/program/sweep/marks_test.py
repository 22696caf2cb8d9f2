"""What a sweep notes of its runs, and which of them are finished."""

import concurrent.futures
import time

import tiny
from rows import record
from swept import RATE, base

from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import marks
from lthjax.program.sweep.grid import Cell
from lthjax.program.workdir import origin, results


def test_sweeps_that_begin_at_once_lose_none_of_their_runs(tmp_path, monkeypatch):
    (cell,) = grid_lib.cells(base(), {})
    names, read = [f"run {n}" for n in range(6)], marks.noted

    def noted(path):
        found = read(path)
        time.sleep(0.02)  # in which another one might write
        return found

    monkeypatch.setattr(marks, "noted", noted)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        given = [(tmp_path, [n], [cell._replace(folder=n)]) for n in names]
        list(pool.map(lambda row: grid_lib.write(*row), given))
    columns, cells = grid_lib.read(tmp_path)
    assert sorted(columns) == sorted(c.folder for c in cells) == names


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
