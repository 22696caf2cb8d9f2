"""What is written whole: beside others who write it, and after an error."""

import concurrent.futures
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from paths import ROOT

from lthjax import whole_files
from lthjax.data import in_memory, packed
from lthjax.program.report import axes
from lthjax.program.workdir import text_files
from lthjax.saving import safetensors


def test_two_who_write_one_file_each_write_it_whole(tmp_path):
    path = tmp_path / "a.txt"
    with whole_files.writing(path) as first:
        first.write_text("first, begun before the second")
        with whole_files.writing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first, begun before the second"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with (
        pytest.raises(RuntimeError, match="half way"),
        whole_files.writing(path) as partial,
    ):
        partial.write_text("aft")
        raise RuntimeError("half way")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_name_that_is_written_to_is_hidden_and_ends_as_the_file(tmp_path):
    with whole_files.writing(tmp_path / "a.masks.png") as partial:
        partial.write_bytes(b"")
    assert partial.name.startswith(".") and partial.name.endswith("a.masks.png")


def _figure(path):
    axes.save(Figure(figsize=(1, 1)), path)


def _packed(path):
    few = {"train": 20, "test": 10}
    facts = in_memory.facts("synthetic", **few)
    packed.write(path.parent, "s", in_memory.load("synthetic", **few), facts)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    program = (
        "import os, sys; from lthjax import whole_files\n"
        "with whole_files.writing(sys.argv[1]) as partial:\n"
        "    partial.write_text('half'); os._exit(9)"
    )
    path = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, cwd=ROOT)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".") and left.endswith("a.txt")
    with whole_files.writing(path) as own:
        own.write_text("whole")
        with whole_files.writing(path) as other:  # whose writer lives
            other.write_text("other")
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "whole"


def test_what_writers_of_other_machines_and_files_write_stays(tmp_path):
    host = socket.gethostname()
    others = [
        f".{host}-4194999-{os.getpid()}-0123abcd.partial.a.txt",  # of "host-4194999"
        f".{host}-4194999-0123abcd.partial.b.partial.a.txt",
    ]
    for name in others:
        (tmp_path / name).write_text("half")
    with whole_files.writing(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
    assert set(os.listdir(tmp_path)) == {"a.txt", *others}


def test_what_is_put_aside_takes_no_name_that_is_there(tmp_path):
    path = tmp_path / "a"
    (tmp_path / "a.damaged1").write_text("the first of two, of which one is gone")
    for name in ("a.damaged", "a.damaged2"):
        found = whole_files.aside(path, "damaged")
        assert found == tmp_path / name
        found.mkdir()


WRITERS = {
    "figure": _figure,
    "text": lambda path: text_files.write(path, os.urandom(8).hex()),
    "tensors": lambda path: safetensors.put(path, {"a": np.zeros(3)}, {}),
    "packed": _packed,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_many_who_write_one_file_at_once_do_not_harm_each_other(tmp_path, kind):
    def write(_):
        WRITERS[kind](tmp_path / "one.png")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    assert len(os.listdir(tmp_path)) == 1
