"""What is said of the classes of a set when a run begins."""

import logging

import numpy as np

from lthjax.data.splits import Source, Split
from lthjax.program.build import source


def made(counts, names=()):
    labels = [np.repeat(np.arange(len(n)), n) for n in counts]
    pairs = [Split(np.zeros((len(y), 1, 1, 1), np.uint8), y) for y in labels]
    return Source(*pairs, len(counts[0]), (0.5,), (0.5,), classes=names)


def test_counts_stand_in_a_table_with_the_share_of_the_largest(caplog):
    caplog.set_level(logging.INFO)
    found = made([(6, 3, 1), (2, 1, 1), (3, 0, 1)], ("cat", "dog", "eel"))
    note = source.counted("folder", found)
    rows = [line.replace("│", "").split() for line in caplog.text.splitlines()]
    largest = "always the largest class 60.00 % 50.00 % 75.00 %"
    for row in ("cat 6 2 3", "dog 3 1 0", "eel 1 1 1", "all 10 4 4", largest):
        assert row.split() in rows
    assert "the test split has no image of class 'dog' of 3" in caplog.text
    assert note["classes"] == ["cat", "dog", "eel"]


def test_many_classes_are_a_sentence(caplog):
    caplog.set_level(logging.INFO)
    source.counted("folder", made([[2] * 21, [1] * 21, [1] * 21]))
    assert "train 42 in 21 classes of 2" in caplog.text and "│" not in caplog.text
