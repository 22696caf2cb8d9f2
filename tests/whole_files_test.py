"""What is written whole: beside others who write it, and after an error."""

import concurrent.futures
import os
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
