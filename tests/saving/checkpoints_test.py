"""A checkpoint is whole or refused; the newest whole one is found."""

import errno
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import types
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from faulty_disk import files_of_at_most, flip, halve
from trees import assert_same

from lthjax.saving import checkpoints


class Pair(NamedTuple):
    one: Any
    other: Any


def tree(seed=0):
    """Bits, integers, floats, an empty dict, a `None` and a NamedTuple."""
    rng = np.random.default_rng(seed)
    masks = {"kernel": rng.random((3, 5)) < 0.5, "bias": None}
    return Pair(masks, {"a": rng.normal(size=(4, 2)), "b": np.int32(seed), "none": {}})


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


def test_a_tree_comes_back_with_its_metadata(tmp_path):
    checkpoints.save(tmp_path / "x", tree(), {"n": 3, "members": [["a", 0]]})
    found, metadata = checkpoints.restore(tmp_path / "x", tree(1))
    assert_same(found, tree())
    assert metadata == {"n": 3, "members": [["a", 0]]}
    as_dicts, _ = checkpoints.restore(tmp_path / "x")
    assert_same(as_dicts, tree()._asdict())


def test_bytes_in_the_other_order_are_saved_as_the_numbers_they_are(tmp_path):
    own = {"a": np.arange(6, dtype=">f4"), "b": np.arange(3, dtype=">i2")}
    checkpoints.save(tmp_path / "saved", own)
    found, _ = checkpoints.restore(tmp_path / "saved")
    assert_same(found, own)
    assert all(leaf.dtype.isnative for leaf in found.values())


def test_what_stood_there_is_replaced(tmp_path):
    for seed in (0, 1):
        checkpoints.save(tmp_path / "x", tree(seed))
    assert_same(checkpoints.restore(tmp_path / "x", tree())[0], tree(1))


def test_nothing_is_not_a_checkpoint(tmp_path):
    assert checkpoints.newest(tmp_path / "nowhere") is None
    with pytest.raises(checkpoints.DamagedError, match="nowhere cannot be read"):
        checkpoints.restore(tmp_path / "nowhere")


def test_another_structure_is_refused(tmp_path):
    checkpoints.save(tmp_path / "x", tree())
    with pytest.raises(checkpoints.DamagedError):
        checkpoints.restore(tmp_path / "x", {"another": np.zeros(2)})


def test_the_two_newest_stay_and_the_newest_is_read(tmp_path):
    for seed in range(4):
        checkpoints.roll(tmp_path, tree(seed), {"seed": seed})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    found, metadata = checkpoints.newest(tmp_path, tree())
    assert_same(found, tree(3))
    assert metadata == {"seed": 3}


def test_what_a_killed_process_left_is_no_checkpoint_and_goes(tmp_path):
    checkpoints.roll(tmp_path, tree(0))
    (tmp_path / "1.orbax-checkpoint-tmp").mkdir()
    assert_same(checkpoints.newest(tmp_path, tree())[0], tree(0))
    checkpoints.roll(tmp_path, tree(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1"]


@pytest.mark.parametrize("damage", [flip, halve, os.remove])
def test_damage_to_any_file_gives_what_was_saved_or_what_was_saved_before(
    tmp_path, caplog, damage
):
    whole = tmp_path / "whole"
    for seed in (0, 1):
        checkpoints.roll(whole, tree(seed), {"seed": seed})
    fell_back = 0
    for i, path in enumerate(files(whole / "1")):
        copy = shutil.copytree(whole, tmp_path / str(i))
        damage(copy / path.relative_to(whole))
        caplog.clear()
        found, metadata = checkpoints.newest(copy, tree())
        assert_same(found, tree(metadata["seed"]))
        assert ("falling back" in caplog.text) == (metadata["seed"] == 0), path
        fell_back += metadata["seed"] == 0
    assert fell_back


def test_a_damaged_checkpoint_makes_no_room_for_itself(tmp_path):
    for seed in (0, 1):
        checkpoints.roll(tmp_path, tree(seed), {"seed": seed})
    for path in files(tmp_path / "1"):
        halve(path)
    checkpoints.newest(tmp_path, tree())
    checkpoints.roll(tmp_path, tree(2), {"seed": 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1"]
    assert [checkpoints.restore(tmp_path / n)[1]["seed"] for n in "01"] == [0, 2]


def test_checkpoints_of_which_none_can_be_read_are_not_passed_over(tmp_path):
    for seed in (0, 1):
        checkpoints.roll(tmp_path, tree(seed))
    for path in (*files(tmp_path / "0"), *files(tmp_path / "1")):
        halve(path)
    with pytest.raises(checkpoints.DamagedError, match="remove the folder"):
        checkpoints.newest(tmp_path, tree())


def test_a_write_that_the_system_refuses_leaves_the_earlier_ones(tmp_path):
    for seed in (0, 1):
        checkpoints.roll(tmp_path, tree(seed), {"seed": seed})
    for most in (0, 100, 300):  # bytes a file: each fails at another place
        with files_of_at_most(most), pytest.raises(OSError):
            checkpoints.roll(tmp_path, tree(2))
        assert checkpoints.newest(tmp_path, tree())[1] == {"seed": 1}
    checkpoints.roll(tmp_path, tree(2), {"seed": 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]
    assert checkpoints.newest(tmp_path, tree())[1] == {"seed": 2}


ODD = [
    "lr[0.1]",
    "a\\b",
    "[!a]",
    "a*",
    "a?",
    "gs:",
    "a\nb",
    "\u00fc",
    "\udcff",
    "~",
    "a%b",
]


@pytest.mark.parametrize("name", ODD)
def test_what_is_saved_is_read_whatever_the_path(tmp_path, monkeypatch, name):
    lent, path = tmp_path / "lent", tmp_path / name / name
    lent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(lent))
    for seed in (1, 2):
        checkpoints.save(path, tree(seed), {"seed": seed})
    assert_same(checkpoints.restore(path, tree())[0], tree(2))
    assert [*path.parent.iterdir()] == [path]
    assert not list(lent.iterdir())


def test_a_path_is_no_pattern_for_its_neighbours(tmp_path):
    for name in ("ab", "a*", "[a]b"):
        checkpoints.roll(tmp_path / name, tree(len(name)))
    for name in ("ab", "a*", "[a]b"):
        assert_same(checkpoints.newest(tmp_path / name, tree())[0], tree(len(name)))


def test_a_path_that_cannot_be_lent_another_name_is_refused(tmp_path, monkeypatch):
    lent = tmp_path / "[lent]"
    lent.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(lent))
    checkpoints.save(tmp_path / "x", tree())
    for refused in (checkpoints.save, checkpoints.restore):
        with pytest.raises(ValueError, match=r"or else TMPDIR must be.*\[lent\]"):
            refused(tmp_path / "[x]", tree())
    monkeypatch.setattr(checkpoints.processes, "alone", lambda: False)
    with pytest.raises(ValueError, match="that several processes write to .*x.'"):
        checkpoints.check_path(tmp_path / "[x]")


@pytest.mark.parametrize("damage", [flip, halve, os.remove])
def test_what_cannot_be_read_back_is_no_checkpoint(tmp_path, monkeypatch, damage):
    checkpoints.roll(tmp_path, tree(0))
    write = checkpoints._write

    def faulty(path, arguments):
        write(path, arguments)
        for file in (path / "tree").rglob("d/*"):
            damage(file)

    monkeypatch.setattr(checkpoints, "_write", faulty)
    with pytest.raises(OSError, match="must be read back as it was, got .*at fault"):
        checkpoints.roll(tmp_path, tree(1))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_what_others_raise_where_nobody_can_catch_it_is_still_said(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    checkpoints._hush()
    hook = sys.unraisablehook
    checkpoints._hush()
    assert sys.unraisablehook is hook
    for text in ("Event loop is closed", "another"):
        hook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(found.exc_value) for found in said] == ["another"]


def test_the_checksum_of_a_tree_is_the_one_that_it_ever_had():
    states = (np.int32(1), [np.ones(2, bool), {"value": np.zeros(1)}])
    tree = {"params": {"a": np.arange(3.0)}, "opt": states}
    tree["state"] = optax.TraceState(trace={"k": np.ones(2)})
    # Of what was written before names of leaves lost their brackets.
    assert checkpoints.checksum(tree, {"x": 1}) == "44eba03a8aab18676b0f0ebc59c9e9a0"


@pytest.mark.parametrize(
    "tree, message",
    [
        ({}, "must be of a tree that holds something, got {}"),
        ({"a": {"b": np.zeros((0, 3))}}, r"an element, got a/b of shape \[0, 3\]"),
        ({"a": jax.random.key(0)}, "got keys in a; save jax.random.key_data of them"),
        ({"a": "text"}, "be of numbers, got str in a; keep it in the metadata"),
        ({"a": np.array(["text"])}, "be of numbers, got <U4 in a; keep it in the"),
        ({"a": np.array([None])}, "be of numbers, got object in a"),
        ({"a": np.ones(1, "M8[D]")}, r"got datetime64\[D\] in a; .*, or cast it"),
        ({"a": 1j}, "be of numbers, got complex in a"),
        ({"a.b": np.ones(2), "a": {"b": np.ones(1)}}, "got a/b and a.b; rename one"),
    ],
)
def test_what_cannot_be_written_leaves_what_stands_there(tmp_path, tree, message):
    checkpoints.save(tmp_path / "x", {"a": np.ones(2)})
    with pytest.raises(ValueError, match=message):
        checkpoints.save(tmp_path / "x", tree)
    kept, _ = checkpoints.restore(tmp_path / "x")
    np.testing.assert_array_equal(kept["a"], np.ones(2))


def test_what_is_not_ours_stays_and_a_seal_is_the_checksum(tmp_path):
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "notes").mkdir()
    for seed in range(4):
        checkpoints.roll(tmp_path, tree(seed))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [".DS_Store", "2", "3", "notes"]
    seals = [checkpoints.seal(tmp_path / n) for n in ("2", "3")]
    restored, metadata = checkpoints.restore(tmp_path / "3", tree())
    assert seals[0] != seals[1] == checkpoints.checksum(restored, metadata)
    with pytest.raises(checkpoints.DamagedError, match="cannot be read"):
        checkpoints.seal(tmp_path / "notes")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        ValueError("Error opening file [OS error 23: ENFILE Too many open files]"),
        RuntimeError("RESOURCE_EXHAUSTED: no memory"),
        MemoryError(),
    ],
)
def test_what_the_system_has_no_room_for_is_no_damage(tmp_path, monkeypatch, error):
    checkpoints.roll(tmp_path, tree())

    def metadata(*args):
        raise error

    monkeypatch.setattr(checkpoints, "_metadata", metadata)
    for act in (checkpoints.noted, lambda path: checkpoints.newest(path, lambda _: 0)):
        with pytest.raises(OSError, match="cannot be read now: .* left as it is"):
            act(tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert_same(checkpoints.newest(tmp_path, tree())[0], tree())


def test_what_a_function_of_the_metadata_raises_is_no_damage(tmp_path):
    checkpoints.roll(tmp_path, tree(), {"n": 1})

    def like(metadata):
        raise KeyError(metadata["n"])

    with pytest.raises(KeyError):
        checkpoints.newest(tmp_path, like)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_two_writers_of_other_names_do_not_meet(tmp_path, monkeypatch):
    names = ["é=[0.1]", "é=[0.2]"]
    write = checkpoints._checkpointer
    inside = []

    def checkpointer():
        if not inside:  # while the first one writes, another one does
            inside.append(True)
            checkpoints.save(tmp_path / names[1], tree(1))
        return write()

    monkeypatch.setattr(checkpoints, "_checkpointer", checkpointer)
    checkpoints.save(tmp_path / names[0], tree(0))
    for seed, name in enumerate(names):
        assert_same(checkpoints.restore(tmp_path / name, tree())[0], tree(seed))
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_what_a_killed_writer_of_any_name_left_is_removed(tmp_path):
    host = socket.gethostname()
    here, gone = f"{host}-{os.getpid()}", f"{host}-4194999"  # no such process
    for own in (here, gone, "elsewhere-4194999"):
        (tmp_path / f"lthjax-checkpoint-{own}-0123abcd").mkdir()
    checkpoints.save(tmp_path / "é", tree())
    stay = {f"lthjax-checkpoint-{x}-0123abcd" for x in (here, "elsewhere-4194999")}
    assert {path.name for path in tmp_path.iterdir()} == {"é", *stay}


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://b", "hdfs:/b/c"])
def test_an_address_is_no_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"got the address {address.split(':')[0]}:"):
        checkpoints.save(pathlib.Path(address), tree())
    assert not list(tmp_path.iterdir())
    (tmp_path / "run:").mkdir()  # a name that is there is one
    checkpoints.save(tmp_path / "run:" / "x", tree())
