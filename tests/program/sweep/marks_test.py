"""What a sweep notes of its runs."""

import concurrent.futures
import time

import tiny

from lthjax.program.sweep import grid as grid_lib
from lthjax.program.sweep import marks


def test_sweeps_that_begin_at_once_lose_none_of_their_runs(tmp_path, monkeypatch):
    (cell,) = grid_lib.cells(tiny.config({"seeds": (5,)}), {})
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
