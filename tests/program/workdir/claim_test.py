"""A workdir belongs to one config and one process at a time."""

import json

import pytest
import tiny

from lthjax import registry
from lthjax.program.config import checksums, files
from lthjax.program.workdir import claim, layout, origin, results

# The data may move, what is shown may change, and there may be more to train.
FREE = {"data_dir": "elsewhere", "logging.line_seconds": 1.0, "seeds": (0, 5)}
RECORD = {"level": 0, "seed": 0, "arm": "ticket", "test_accuracy": 0.5}


def test_a_claimed_folder_holds_the_config(tmp_path):
    config, root = tiny.config(), tmp_path / "a" / "b"
    with claim.claimed(root, config):
        saved = json.loads((root / layout.CONFIG).read_text())
    assert files.changed(saved, config) == {}


def test_a_folder_says_what_it_said_where_what_is_asked_is_refused(tmp_path):
    config, more = tiny.config(), tiny.config({"controls": ("trained",)})
    with claim.claimed(tmp_path, config), claim.put_back(claim.said(tmp_path / "new")):
        pass
    held = claim.said(tmp_path)
    assert {path.name for path in held} == {origin.COPY, origin.CONFIG}
    with pytest.raises(ValueError, match="no"), claim.claimed(tmp_path, more):
        assert origin.config(tmp_path)["controls"] == ["trained"]
        with claim.put_back(held):
            raise ValueError("no")
    assert claim.said(tmp_path) == held


def test_one_process_at_a_time_has_a_folder(tmp_path):
    config = tiny.config()
    with (
        claim.claimed(tmp_path, config),
        pytest.raises(ValueError, match="one process .* another one is") as caught,
        claim.claimed(tmp_path, config),
    ):
        pass
    cause = caught.value.__cause__
    assert cause and registry.own_traceback(cause) == ""  # no lines of the lock's
    with claim.claimed(tmp_path, config):
        pass


def test_keys_that_are_new_and_at_their_default_are_no_change(tmp_path):
    config = tiny.config()
    with claim.claimed(tmp_path, config):
        saved = json.loads((tmp_path / layout.CONFIG).read_text())
    del saved["best_by"], saved["schedule"]
    (tmp_path / layout.CONFIG).write_text(json.dumps(saved))
    with claim.claimed(tmp_path, tiny.changed(config, FREE)):
        now = json.loads((tmp_path / layout.CONFIG).read_text())
    assert (now["best_by"], now["seeds"]) == ("", [0, 5])
    with (
        pytest.raises(ValueError, match="best_by: '' -> 'loss'; take another"),
        claim.claimed(tmp_path, tiny.changed(config, {"best_by": "loss"})),
    ):
        pass


def test_room_that_is_there_is_no_error(tmp_path):
    claim.check_space(tmp_path, 1)


def test_an_old_folder_keeps_the_cut_of_its_time(tmp_path):
    config = tiny.config()
    assert claim.with_own_cut(tmp_path, config).data.cut == ""
    (tmp_path / layout.CONFIG).write_text('{"data": {"cu')
    assert claim.with_own_cut(tmp_path, config).data.cut == ""
    (tmp_path / layout.CONFIG).unlink()
    with claim.claimed(tmp_path, config):
        saved = json.loads((tmp_path / layout.CONFIG).read_text())
    assert saved["data"]["cut"] == ""
    del saved["data"]["cut"]
    (tmp_path / layout.CONFIG).write_text(json.dumps(saved))
    (tmp_path / origin.COPY).unlink()  # of this version
    for _ in range(2):
        assert claim.with_own_cut(tmp_path, config).data.cut == "first"
        with claim.claimed(tmp_path, config):
            now = json.loads((tmp_path / layout.CONFIG).read_text())
        assert (now["data"]["cut"], config.data.cut) == ("first", "")
    other = tiny.changed(config, {"data.cut": "stratified"})
    with (
        pytest.raises(
            ValueError, match="data.cut: 'first' -> 'stratified'; take anoth"
        ),
        claim.claimed(tmp_path, other),
    ):
        pass
    with claim.claimed(tmp_path, tiny.changed(config, {"data.cut": "first"})):
        pass


@pytest.mark.parametrize("damaged", [None, "{"])
def test_other_sparsities_are_refused_by_what_config_json_still_says(tmp_path, damaged):
    config = tiny.config({"search.sparsities": (0.5, 0.8)})
    with claim.claimed(tmp_path, config) as mark:
        results.append(tmp_path / results.RESULTS, [RECORD], run=mark)
    copy = tmp_path / origin.COPY
    copy.unlink() if damaged is None else copy.write_text(damaged)
    other = tiny.changed(config, {"search.sparsities": (0.5, 0.95)})
    with (
        pytest.raises(ValueError, match=r"search.sparsities: \[0.5, 0.8\] -> "),
        claim.claimed(tmp_path, other),
    ):
        pass
    with claim.claimed(tmp_path, config):
        pass


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ValueError, match="must be a folder, got .*run, a file; take"):
        claim.folder(tmp_path / "run")
    assert claim.folder(tmp_path / "new") == tmp_path / "new"


@pytest.mark.parametrize("kind", claim.MARKS)
def test_nor_is_what_lies_below_a_file_or_holds_folders_for_files(tmp_path, kind):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ValueError, match="a folder, got .* below the file .*run; take"):
        claim.folder(tmp_path / "run" / "a" / "b", kind)
    (tmp_path / claim.MARKS[kind][0]).mkdir()
    with pytest.raises(ValueError, match="of a workdir must be a file, got .*, a fold"):
        claim.folder(tmp_path, kind)


PAIRS = [(kind, other) for kind in claim.MARKS for other in claim.MARKS]


@pytest.mark.parametrize("kind, other", PAIRS)
def test_a_folder_is_of_one_kind(tmp_path, kind, other):
    name = claim.MARKS[other][-1]
    (tmp_path / name).write_text("{}")
    if kind == other:
        assert claim.folder(tmp_path, kind) == tmp_path
        return
    words = f"new or of a {kind}, got .* with the {name} of a {other}; take another"
    with pytest.raises(ValueError, match=words):
        claim.folder(tmp_path, kind)


@pytest.mark.parametrize(
    "name, text",
    [
        (origin.COPY, '{"precious": [1, 2, 3]}'),
        (origin.COPY, json.dumps(checksums.sealed({"precious": 1}))),
        (origin.COPY, "[1]"),
        (origin.COPY, '{"preci'),
        (layout.CONFIG, '{"preci'),
        (layout.CONFIG, "[1]"),
        (layout.CONFIG, '{"data": 3}'),
    ],
)
def test_what_another_program_wrote_is_refused_and_kept(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    refused = pytest.raises(ValueError, match=f"with a {name} that no run wrote; take")
    with refused, claim.claimed(tmp_path, tiny.config()):
        pass
    assert (tmp_path / name).read_text() == text


def test_a_whole_file_in_place_of_the_copy_is_refused_in_a_run_of_ours(tmp_path):
    with claim.claimed(tmp_path, tiny.config()):
        (tmp_path / origin.COPY).write_text('{"precious": [1]}')
    refused = pytest.raises(ValueError, match="with a run.json that no run wrote")
    with refused, claim.claimed(tmp_path, tiny.config()):
        pass
