"""What a command takes of numbers, and refuses in a sentence."""

import runpy
import sys

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


def test_several_numbers_and_names_are_read_by_commas():
    assert command_line.reals("rates", "0.1, 1e-3,2") == [0.1, 1e-3, 2]
    assert command_line.reals("shares", "0,1", most=1, zero=True) == [0, 1]
    assert command_line.words("only", "snip, grasp", ("grasp", "snip")) == [
        "snip",
        "grasp",
    ]


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "x", "nan", "inf", "0.1,0.1", "2,", "3"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=f"rates must be .*, got rates = '{text}'"):
        command_line.reals("rates", text, most=2)


@pytest.mark.parametrize("text", ["", "snap", "snip,snip", "snip,", "['snip']"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(ValueError, match="only must be different ones of snip, grasp"):
        command_line.words("only", text, ("snip", "grasp"))


def test_a_script_s_own_refusal_is_one_sentence_and_its_fault_is_not(
    tmp_path, monkeypatch
):
    path = tmp_path / "mine.py"
    path.write_text(
        "def refuse():\n"
        "    raise ValueError(\n"
        "        'rates must be above 0, got -1'\n"
        "    )\n"
        "def fail():\n"
        "    return float('x')\n"
    )
    script = runpy.run_path(str(path))
    with pytest.raises(ValueError, match="rates must"), command_line.plain_errors():
        script["refuse"]()  # of another script than the one that runs
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(path), raising=False)
    with pytest.raises(SystemExit) as ended, command_line.plain_errors():
        script["refuse"]()
    assert ended.value.code == "error: rates must be above 0, got -1"
    with pytest.raises(ValueError, match="not convert"), command_line.plain_errors():
        script["fail"]()


def test_ctrl_c_while_nothing_trains_ends_with_a_sentence(caplog):
    with pytest.raises(SystemExit) as ended, command_line.plain_errors():
        raise KeyboardInterrupt
    assert ended.value.code == command_line.STOPPED
    assert caplog.messages == ["stopped; the same command goes on from what is saved"]


@pytest.mark.parametrize("text", ["", "0", "5,0", "-3", "4,4", "3,", "1.5", "a"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match=f"sizes must be .*, got sizes = '{text}'"):
        command_line.counts("sizes", text)
