"""`lthjax WORD ...`: what each word leads to, and what is said of a wrong one."""

import subprocess
import sys

import pytest
from paths import ROOT

from lthjax import __main__ as command
from lthjax import federate, report, sweep
from lthjax import main as main_lib
from lthjax.program.config import defaults, entries
from lthjax.program.config.validate import flat


def said(capsys, *words):
    """Returns what a command prints, or the sentence that ends it."""
    try:
        command.main(words)
    except SystemExit as error:
        return str(error)
    return capsys.readouterr().out


def test_without_a_word_it_shows_what_there_is(capsys):
    for words in ((), ("--help",), ("help",)):
        text = said(capsys, *words)
        for word in (*command.MODULES, "keys", "version"):
            assert f"lthjax {word}" in text


def test_nothing_heavy_is_imported_to_say_so():
    code = (
        "import sys; from lthjax import __main__ as c; c.main(['--help']); "
        "c.main(['keys', 'rate']); c.main(['version']); print('jax' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert found.stdout.splitlines()[-1] == "False", found.stderr


@pytest.mark.parametrize(
    "words, expected",
    [
        (("run", "digits", "--workdir=W"), ["--config=", "--workdir=W"]),
        (("plan", "mnist:short"), ["--dry_run", "--config="]),
        (("run", "--config=a.py"), ["--config=a.py"]),
        (("report", "runs/a", "runs/b"), ["runs/a", "runs/b"]),
    ],
)
def test_a_word_hands_the_rest_over(words, expected, monkeypatch):
    seen = []
    module = report if words[0] == "report" else main_lib
    name = "main" if words[0] == "report" else "start"
    monkeypatch.setattr(module, name, lambda: seen.extend(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", ["lthjax"])
    command.main(words)
    assert len(seen) == len(expected)
    assert all(map(str.startswith, seen, expected))


@pytest.mark.parametrize("words", [("run", "--help"), ("plan", "-h"), ("run", "help")])
def test_a_run_and_a_plan_tell_their_flags(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lthjax"])
    with pytest.raises(SystemExit) as stop:
        command.main(words)
    assert not stop.value.code
    text = capsys.readouterr().out
    for part in ("--config.a.b=value", "--workdir: The folder", "--[no]dry_run: Print"):
        assert part in text


def test_what_a_word_tells_of_itself_is_whole_and_true(capsys):
    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("--workdir=runs/sweep \\") for line in lines)
    with pytest.raises(SystemExit):
        report.main(["--help"])
    assert "compare" not in capsys.readouterr().out
    federate.main(["--keys"])
    lines = capsys.readouterr().out.splitlines()
    assert "model.options = {}" in lines and "" not in lines


def test_configs_go_by_their_names_with_a_variant(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()  # a folder, such as a run's, is no config
    monkeypatch.chdir(tmp_path)
    assert command.config("digits") == str(ROOT / "configs" / "digits.py")
    assert command.config("mnist:short").endswith("mnist.py:short")
    assert command.config("configs/mnist.py:short") == "configs/mnist.py:short"
    assert set(command.configs()) >= {"digits", "mnist", "cifar10", "imagenet"}


@pytest.mark.parametrize(
    "words, message",
    [
        (("rum",), "got 'rum', did you mean 'run'?"),
        (("run", "digit"), "got 'digit', did you mean 'digits'?"),
        (("run",), "run needs a config: a file, or one of characters_gpt"),
        (("keys", "momentom"), "no key of a config has 'momentom' in it; near it are"),
        (
            ("keys", "rate", "levels"),
            "one word at the most, got rate levels",
        ),
    ],
)
def test_a_wrong_word_is_answered_in_one_sentence(words, message, capsys):
    assert message in said(capsys, *words)


def test_every_key_has_its_default_and_a_word_on_it():
    found, known = entries.entries(), flat(defaults.default())
    assert sorted(entry.key for entry in found) == sorted(known)
    for entry in found:
        assert entry.kind in ("tuple", "dict", type(known[entry.key]).__name__)
    silent = [entry.key for entry in found if not entry.said]
    assert silent == []


def test_keys_are_shown_with_the_names_that_they_may_have(capsys):
    text = said(capsys, "keys", "search.score")
    assert "\n    magnitude | energy | random | snip" in text
    assert said(capsys, "keys", "erdos_renyi_kernel").startswith("search.scope")


def test_no_reader_is_needed_for_all_keys():
    shown = f"{sys.executable} -m lthjax keys | head -n 1"
    done = subprocess.run(shown, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("objective") and not done.stderr


def test_keys_are_found_by_a_word(capsys):
    text = said(capsys, "keys", "rewind_to")
    assert text.startswith("search.rewind_to") and "int = 0" in text
    assert said(capsys, "keys").count("\n") >= len(flat(defaults.default()))


def test_a_report_of_no_run_names_those_near_by(tmp_path):
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    (tmp_path / "runs" / "digits" / "results.jsonl").write_text("")
    with pytest.raises(SystemExit, match="near it there are records in .*digits"):
        report.main([str(tmp_path / "runs")])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "results.jsonl").write_text("")
    with pytest.raises(SystemExit, match="are records in .*runs/digits, .*/a$"):
        report.main([str(tmp_path / "runs")])
    with pytest.raises(SystemExit, match="got .*digits/tickets without.*in .*digits$"):
        report.main([str(tmp_path / "runs" / "digits" / "tickets")])
    with pytest.raises(SystemExit, match="digits without .*; the first is written"):
        report.main([str(tmp_path / "runs" / "digits")])


@pytest.mark.parametrize("word", ["report", "compare", "export"])
def test_an_empty_workdir_is_not_taken_for_the_folder_that_one_is_in(word, capsys):
    with pytest.raises(SystemExit):
        command.main([word, ""])
    assert "it must name a folder, got ''" in capsys.readouterr().err
