"""A text as pieces: what is in them, what follows, and where it is cut."""

import re

import numpy as np
import pytest

from lthjax.data import characters, in_memory
from lthjax.program.config import files, shrink

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
NUMBERS += ("eight", "nine")


@pytest.fixture(scope="module")
def text():
    return characters.composed(20_000)


def test_the_text_is_the_same_one_however_much_of_it_is_taken(text):
    assert characters.composed(700) == text[:700]
    assert len(text) == 20_000 and text.isascii() and text == text.lower()


def test_sums_are_right_and_verbs_agree(text):
    sums = re.findall(r"(\w+) and (\w+) are (\w+)\.", text)
    assert len(set(sums)) == len(characters.GRAMMAR["sum"])
    for a, b, c in sums:
        assert NUMBERS.index(a) + NUMBERS.index(b) == NUMBERS.index(c)
    nouns = "|".join(characters.GRAMMAR["noun"])
    several = re.findall(rf"[.\n] ?many \w+ (?:{nouns})s (?!that)(\w+)", text)
    single = re.findall(rf"[.\n] ?a \w+ (?:{nouns}) (?!that)(\w+)", text)
    assert len(several) > 20 and not any(verb.endswith("s") for verb in several)
    assert len(single) > 20 and all(verb.endswith("s") for verb in single)


def test_labels_are_the_letters_that_follow_and_the_last_tenth_is_for_test(tmp_path):
    text = "the winner and its ticket. " * 20
    (tmp_path / "own.txt").write_text(text)
    found = in_memory.load("characters", path=str(tmp_path / "own.txt"), length=5)
    letters, cut = sorted(set(text)), len(text) * 9 // 10
    assert (found.num_classes, found.mean, found.std) == (len(letters), (), ())
    whole = {"train": text[:cut], "test": text[cut:]}
    for name, part in whole.items():
        images, labels = getattr(found, name)
        assert images.dtype == labels.dtype == np.int32
        rows = {
            "".join(letters[i] for i in [*x, y[-1]])
            for x, y in zip(images, labels, strict=True)
        }
        assert len(images) == (len(part) - 1) // 5
        assert rows == {part[i : i + 6] for i in range(0, len(part) - 5, 5)}
        np.testing.assert_array_equal(images[:, 1:], labels[:, :-1])


def test_facts_are_those_of_the_text():
    known = in_memory.facts("characters", length=7, letters=900)
    assert (known.image_shape, known.label_shape, known.dtype) == ((7,), (7,), "int32")
    assert known.train == (810 - 1) // 7 and known.test == (90 - 1) // 7


def test_a_text_made_small_is_of_the_grammar():
    config = files.default()
    config.data.name = "characters"
    config.data.options = {"path": "absent.txt"}
    small = shrink.shrunk(config, lambda small: None)
    found = in_memory.load("characters", options=small.data.options.to_dict())
    assert found.train.images.shape == ((1800 - 1) // 8, 8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "absent.txt"}, "a file in UTF-8, got path = 'absent.txt'"),
        ({"length": 0}, "whole number from 1, got length = 0"),
        ({"length": True}, "got length = True"),
        ({"letters": -1}, "from 0, got letters = -1"),
        ({"letters": 600, "length": 60}, "600 letters of .* length = 60; give a long"),
        ({"lenght": 3}, "'lenght'"),
    ],
)
def test_what_is_no_text_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        in_memory.load("characters", options=options)


def test_a_file_of_other_bytes_or_of_one_character_is_refused(tmp_path):
    for content, message in ((b"\xff\xfe\xfa", "UTF-8"), (b"a" * 900, "1 characters")):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            in_memory.load("characters", path=str(tmp_path / "x"))
