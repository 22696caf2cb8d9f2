"""Whatever is damaged in a finished workdir is said, and made again or named."""

import logging
import re
import shutil

import pytest
import tiny
from checkpoints_test import pytestmark  # noqa: F401

from lthjax import assembly, experiment, results

MLP = {"search.rewind_to": 1, "controls": ("shuffle",)}


@pytest.fixture(autouse=True)
def _compiled_once(monkeypatch):
    monkeypatch.setattr(assembly, "build", tiny.build)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, MLP)


@pytest.fixture
def copied(whole, tmp_path):
    config, root = whole
    config = tiny.changed(config, {"logging.checkpoint_seconds": 1e6})
    shutil.copytree(root, tmp_path / "run")
    return config, tmp_path / "run", root


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path):
    path.write_bytes(b"")


def without(number):
    def remove(path):
        rows = lines(path)
        del rows[number]
        path.write_bytes(b"".join(rows))

    return remove


def flipped(pattern, number=1):
    """Changes one digit of a line by one bit."""

    def flip(path):
        rows = lines(path)
        at = re.search(pattern, rows[number]).end() - 1
        rows[number] = (
            rows[number][:at] + b"%c" % (rows[number][at] ^ 1) + rows[number][at + 1 :]
        )
        path.write_bytes(b"".join(rows))

    return flip


def latin(path):
    rows = lines(path)
    rows[2] = rows[2].replace(b"ticket", b"tick\xe9t")
    path.write_bytes(b"".join(rows))


def unended(path):
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "emptied": emptied,
    "halved": halved,
    "deleted": lambda path: path.unlink(),
    "without the first line": without(0),
    "without a line inside": without(3),
    "without the last line": without(-1),
    "without the last line end": unended,
    "a digit of a number": flipped(rb'accuracy": .*?\d\.\d'),
    "a digit of the level": flipped(rb'"level": \d'),
    "a letter of the checksum's name": flipped(rb'"ch'),
    "a digit of the checksum": flipped(rb'"checksum": "[0-9a-f]{4}'),
    "no UTF-8": latin,
    "two lines in one": lambda p: p.write_bytes(p.read_bytes().replace(b"\n", b" ", 1)),
}


@pytest.mark.parametrize("name", [results.RESULTS, results.CURVES])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_records_are_made_again_with_the_same_bits(
    copied, caplog, name, damage
):
    config, root, expected = copied
    damage(root / name)
    caplog.set_level(logging.INFO)
    experiment.run(config, root)
    assert tiny.outcome(root) == tiny.outcome(expected)
    assert "finished" not in caplog.text
    caplog.clear()
    experiment.run(config, root)
    assert "finished" in caplog.text
