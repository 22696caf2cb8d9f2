"""A text file is whole, and left alone where nothing changes."""

from lthjax.program.workdir import text_files


def test_a_text_is_written_whole_and_an_equal_one_left_alone(tmp_path):
    path = tmp_path / "x"
    text_files.write(path, "one")
    text_files.write(path, "two")
    before = path.stat()
    text_files.write(path, "two")
    after = path.stat()  # not whole: reading may move the time of the last access
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]
