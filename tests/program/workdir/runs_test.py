"""The runs below a folder, brought together."""

import json

import pytest

from lthjax.program.workdir import results, runs, spreads


def row(level=0, seed=0, arm="ticket", **more):
    return {"level": level, "seed": seed, "arm": arm, **more}


def test_many_runs_become_one_table(tmp_path):
    for name, rate in (("a", 0.1), ("deep/b", 0.2)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        results.append(folder / results.RESULTS, [row(), row(1)])
        config = {"optimizer": {"learning_rate": rate}, "options": {}}
        (folder / "config.json").write_text(json.dumps(config))
    table = runs.load(tmp_path)
    assert [r["workdir"] for r in table] == [str(tmp_path / "a")] * 2 + [
        str(tmp_path / "deep/b")
    ] * 2
    assert [r["config.optimizer.learning_rate"] for r in table] == [0.1, 0.1, 0.2, 0.2]
    assert table[1]["config.options"] == {}
    assert runs.load(tmp_path / "a") == table[:2]
    by = ("config.optimizer.learning_rate", "level")
    groups = spreads.aggregate(table, "level", by=by)
    assert list(groups) == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="must hold a run's results.jsonl, got root"):
        runs.load(tmp_path)


def test_runs_behind_links_are_read_once_each(tmp_path):
    root, disk = tmp_path / "runs", tmp_path / "disk" / "b"
    for folder in (root / "a", disk):
        folder.mkdir(parents=True)
        (folder / results.RESULTS).write_text("")
    (root / "b").symlink_to(disk, target_is_directory=True)
    (root / "again").symlink_to(root, target_is_directory=True)
    found = runs.below(root, results.RESULTS)
    assert [path.parent.name for path in found] == ["a", "b"]


def test_a_folder_is_one_by_whatever_path_it_is_found(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    link, a, b = (tmp_path / name for name in ("link", "a", "b"))
    assert runs.once([link, a, b / ".." / "a", b, tmp_path / "none"]) == [
        link,
        b,
        tmp_path / "none",
    ]


def test_folders_that_cannot_be_read_are_said(tmp_path, unreadable, caplog):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / results.RESULTS).write_text("")
    unreadable("b")
    (found,) = runs.below(tmp_path, results.RESULTS)
    assert found.parent.name == "a" and f"denied: '{tmp_path / 'b'}'" in caplog.text
