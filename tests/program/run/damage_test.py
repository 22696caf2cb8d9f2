"""Whatever is damaged in a finished workdir is said, and made again or named."""

import contextlib
import json
import logging
import os
import re
import shutil

import on_disk
import pytest
import tiny
from faulty_disk import flip, halve

from lthjax.data import fingerprints
from lthjax.data import on_disk as on_disk_lib
from lthjax.program.build import source as source_lib
from lthjax.program.config import files
from lthjax.program.run import experiment
from lthjax.program.workdir import claim, layout, origin, results, runs
from lthjax.saving import checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once")

MLP = {"search.rewind_to": 1, "controls": ("shuffle",)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, MLP)


@pytest.fixture
def copied(whole, tmp_path):
    """Returns the config, a copy of the workdir, and the workdir."""
    config, root = whole
    config = tiny.changed(config, {"logging.checkpoint_seconds": 1e6})
    shutil.copytree(root, tmp_path / "run")
    return config, tmp_path / "run", root


def rewrite(path, change):
    """Has the lines of a file be others."""
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(rows)))


def empty(path):
    os.truncate(path, 0)


def flip_digit(path):
    def change(rows):
        rows[3] = re.sub(
            rb"(accuracy\": \[?\d\.)(\d)", rb"\g<1>9\g<2>", rows[3], count=1
        )
        return rows

    rewrite(path, change)


def first_part(path):
    """Loses the curve up to where tickets are rewound to, and all records."""
    empty(path.with_name(results.RESULTS))
    rewrite(path, lambda rows: [row for row in rows if b'"start": 0' not in row])


LOSSES = [
    (results.RESULTS, empty),
    (results.CURVES, halve),
    (results.RESULTS, lambda path: rewrite(path, lambda rows: rows[1:])),
    (results.RESULTS, flip_digit),
    (results.CURVES, lambda path: path.unlink()),
    (results.CURVES, first_part),
]


@pytest.mark.parametrize("name, damage", LOSSES)
def test_records_that_are_lost_are_made_again(copied, caplog, name, damage):
    config, root, expected = copied
    damage(root / name)
    caplog.set_level(logging.INFO)
    experiment.run(config, root)
    assert re.search("damaged lines of|have lost is trained again: lev", caplog.text)
    assert "finished" not in caplog.text
    assert tiny.outcome(root) == tiny.outcome(expected)
    caplog.clear()
    experiment.run(config, root)
    assert "finished" in caplog.text


def test_a_curve_that_is_lost_inside_a_training_is_made_again(
    whole, tmp_path, monkeypatch
):
    config, root = whole
    append = results.append

    class Killed(BaseException):
        pass

    def dying(path, *args, **options):
        if path.name == results.RESULTS:
            raise Killed
        append(path, *args, **options)

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(results, "append", dying)
        experiment.run(config, tmp_path)
    # The dense network went on from the step that is rewound to.
    assert {key[3] for key in tiny.curves(tmp_path)} == {0, 1}
    empty(tmp_path / results.CURVES)
    experiment.run(config, tmp_path)
    assert {row["steps"] for row in tiny.records(tmp_path).values()} == {3, 4}
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_lines_of_an_earlier_version_are_used_and_counted(copied, caplog):
    config, root, expected = copied
    for name in results.KEYS:
        rows = results.read(root / name)
        (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / origin.COPY).unlink()
    caplog.set_level(logging.INFO)
    experiment.run(config, root)
    said = "10 lines of results.jsonl and 12 lines of curves.jsonl, of an earlier versi"
    assert caplog.text.count(said) == 1 and "finished" in caplog.text
    assert tiny.outcome(root) == tiny.outcome(expected)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def gone(path):
    path.unlink()


def edited(path):
    text = path.read_text()
    path.write_text(re.sub(r'("batch_size": )\d+', r"\g<1>13", text))


OTHER = {"train.batch_size": 16}


@pytest.mark.parametrize("damage", [cut, gone, edited, empty])
@pytest.mark.parametrize("name", [layout.CONFIG, origin.COPY])
def test_a_config_that_is_damaged_is_written_again_and_still_checked(
    copied, caplog, name, damage
):
    config, root, expected = copied
    damage(root / name)
    refused = pytest.raises(ValueError, match="config|records .* of another one")
    with refused, claim.claimed(root, tiny.changed(config, OTHER)):
        pass
    with claim.claimed(root, config):
        assert "not what the run wrote" in caplog.text or "not whole" in caplog.text
    for each in (layout.CONFIG, origin.COPY):
        now, before = (json.loads((r / each).read_text()) for r in (root, expected))
        changes = {"config": None, "data": None, "logging": None, "checksum": None}
        assert now | changes == before | changes


@pytest.mark.parametrize("damage", [cut, gone])
def test_a_config_that_is_gone_with_its_copy_is_known_by_the_records(copied, damage):
    config, root, _ = copied
    damage(root / layout.CONFIG)
    damage(root / origin.COPY)
    other = tiny.changed(config, OTHER)
    refused = pytest.raises(ValueError, match="records are of another one, and no who")
    with refused, claim.claimed(root, other):
        pass
    with claim.claimed(root, config):
        pass


@pytest.mark.parametrize("damage", [cut, gone])
def test_a_config_of_which_nothing_is_left_is_asked_for(copied, damage):
    config, root, _ = copied
    (root / origin.COPY).unlink()
    for name in results.KEYS:
        (root / name).unlink()
    damage(root / layout.CONFIG)
    refused = pytest.raises(ValueError, match="must hold its config.json, .* put it b")
    with refused, claim.claimed(root, config):
        pass


def test_a_table_of_runs_takes_the_config_that_was_checked(copied, caplog):
    _, root, _ = copied
    edited(root / layout.CONFIG)
    rows = runs.load(root)
    assert {row["config.train.batch_size"] for row in rows} == {12}
    assert "its copy in run.json is taken" in caplog.text
    (root / origin.COPY).unlink()
    cut(root / layout.CONFIG)
    with pytest.raises(ValueError, match="must be whole JSON, got a damaged .*config"):
        runs.load(root)


@pytest.mark.parametrize("level", [0, 2])
def test_the_first_and_the_last_ticket_are_made_again(copied, caplog, level):
    config, root, expected = copied
    path = layout.ticket_path(root, 1, level)
    shutil.rmtree(path)
    experiment.run(config, root)
    assert f"{path} is gone; it is made again" in caplog.text
    assert tiny.outcome(root) == tiny.outcome(expected)


def flip_all(path):
    for file in (path / "tree").rglob("d/*"):
        flip(file)


@pytest.mark.parametrize("damage", [shutil.rmtree, flip_all])
def test_a_ticket_that_is_damaged_in_a_finished_run_names_its_cure(copied, damage):
    config, root, expected = copied
    damage(layout.ticket_path(root, 1, 1))
    folder = root / "search" / "seed_1"
    with pytest.raises(checkpoints.DamagedError, match=f"again, remove {folder} and"):
        experiment.run(config, root)
    shutil.rmtree(folder.parent)
    experiment.run(config, root)
    assert tiny.outcome(root) == tiny.outcome(expected)


def test_other_data_are_refused_by_name_and_unknown_ones_are_noted(copied):
    config, root, _ = copied
    source = source_lib.load(config)
    data = fingerprints.fingerprint(source)
    images = source.train.images.copy()
    images[7, 0, 0, 0] ^= 1
    test = source.test._replace(labels=source.test.labels[::-1])
    fewer = type(test)(*(part[:-1] for part in source.validation))
    for change, names in (
        ({"train": source.train._replace(images=images)}, "other train images;"),
        ({"test": test}, "other test labels;"),
        (
            {"validation": fewer},
            r"other validation size \(16, now 15\), validation labels, valid",
        ),
        ({"num_classes": 11}, r"other all classes \(10, now 11\);"),
        ({"mean": (0.1,), "std": (0.9,)}, "other all mean, all std;"),
    ):
        other = fingerprints.fingerprint(source._replace(**change))
        refused = pytest.raises(ValueError, match=f"data of an existing .* {names}")
        with refused, claim.claimed(root, config, other):
            pass
    held = json.loads((root / origin.COPY).read_text())
    assert held["data"] == data
    (root / origin.COPY).unlink()
    for name in results.KEYS:
        (root / name).unlink()
    with claim.claimed(root, config, data):
        assert json.loads((root / origin.COPY).read_text())["data"] == data


def test_the_digest_of_a_config_is_of_what_must_stay():
    config = tiny.config()
    same = {"seeds": (3,), "search.levels": 9, "logging.line_seconds": 3.0}
    same |= {"optimizer.learning_rate": config.optimizer.learning_rate, "controls": ()}
    assert files.digest(tiny.changed(config, same)) == files.digest(config)
    for changes in (OTHER, {"model.options": {"hidden": (9,)}}, {"search.rate": 0.3}):
        other = tiny.changed(config, changes)
        assert files.digest(other) != files.digest(config)


def test_the_data_of_a_stream_have_a_fingerprint_too(tmp_path):
    def found(**options):
        given = {"train": 20, "test": 10, **options}
        source = on_disk_lib.load("synthetic", validation=5, options=given)
        return fingerprints.fingerprint(source)

    assert found() == found()
    assert found()["train"].keys() >= {"size", "shape", "records"}
    for options in ({"seed": 1}, {"train": 21}, {"num_classes": 5}):
        assert found(**options) != found()
    folder = on_disk.photographs(tmp_path / "imagenet")
    listed = fingerprints.fingerprint(on_disk_lib.load("imagenet", data_dir=folder))
    (image, *_) = sorted((folder / "train").rglob("*.JPEG"))
    image.rename(image.with_name(f"a{image.name}"))
    now = fingerprints.fingerprint(on_disk_lib.load("imagenet", data_dir=folder))
    assert now["train"]["files"] != listed["train"]["files"]
    assert now["test"] == listed["test"]
