"""What a command takes of numbers, and refuses in a sentence."""

import pytest

from lthjax.program import command_line


@pytest.fixture
def parser():
    found = command_line.arguments("")
    command_line.numbers(found, {"steps": 100, "limit": 0, "width": 0.5, "rate": 0.0})
    return found


def parsed(parser, word):
    return parser.parse_args(["--workdir=W", *([word] if word else [])])


def test_numbers_are_of_the_type_of_their_default(parser):
    found = parsed(parser, "")
    assert (found.steps, found.limit, found.width, found.rate) == (100, 0, 0.5, 0.0)
    assert parsed(parser, "--steps=7").steps == 7
    assert parsed(parser, "--limit=0").limit == 0
    assert parsed(parser, "--width=2").width == 2.0


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("--steps=0", "a whole number above 0, got '0'"),
        ("--steps=-1", "a whole number above 0, got '-1'"),
        ("--steps=1.5", "a whole number above 0, got '1.5'"),
        ("--limit=-1", "a whole number of at least 0, got '-1'"),
        ("--width=0", "a number above 0, got '0'"),
        ("--width=nan", "a number above 0, got 'nan'"),
        ("--rate=inf", "a number of at least 0, got 'inf'"),
        ("--rate=x", "a number of at least 0, got 'x'"),
    ],
)
def test_other_numbers_end_the_command(parser, capsys, word, wanted):
    with pytest.raises(SystemExit, match="2"):
        parsed(parser, word)
    assert f"it must be {wanted}" in capsys.readouterr().err


def test_several_counts_are_read_by_commas():
    assert command_line.counts("sizes", "400, 50,1000") == [400, 50, 1000]


@pytest.mark.parametrize("text", ["", "0", "5,0", "-3", "4,4", "3,", "1.5", "a"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match=f"sizes must be .*, got sizes = '{text}'"):
        command_line.counts("sizes", text)
