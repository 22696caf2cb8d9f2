"""A note is what was written, or nothing."""

import json

from lthjax.program.config import checksums
from lthjax.program.workdir import notes

NOTE = {"images": {"train": [3, 4]}, "classes": ["ä", "b"]}


def test_a_note_is_sealed_and_read_as_it_was(tmp_path):
    path = tmp_path / "note.json"
    notes.write(path, NOTE)
    assert notes.read(path) == NOTE
    assert checksums.opened(path.read_bytes()) == (NOTE, "")


def test_a_note_of_an_earlier_version_is_read(tmp_path, caplog):
    (tmp_path / "note.json").write_text(json.dumps(NOTE))
    assert notes.read(tmp_path / "note.json") == NOTE
    assert notes.read(tmp_path / "none.json") == {} and not caplog.text
