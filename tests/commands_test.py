"""The commands that README, guides and configs print: each is one that runs."""

import re
import shlex
import sys

import pytest
from paths import ROOT

from lthjax import main
from lthjax.program.build import methods

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
PAGES += sorted((ROOT / "configs").glob("*.py"))
START = "python -m lthjax.main "


def commands(path):
    """Returns the commands of a page, each as the words that follow its name."""
    text = re.sub(r"\\+\n\s*", "", path.read_text())
    found = [line.partition(START)[2] for line in text.splitlines() if START in line]
    ends = [line.partition("`")[0] for line in found if line.startswith("--")]
    whole = [x.rpartition('"')[0] if x.count('"') % 2 else x for x in ends]  # of ssh
    return [line for line in whole if "NAME" not in line]  # which stands for any


FOUND = [(path, line) for path in PAGES for line in commands(path)]


@pytest.fixture
def config(monkeypatch):
    """Returns call(words) -> the config of a command's words."""
    monkeypatch.chdir(ROOT)

    def call(words):
        for name in [name for name in main.FLAGS if name.startswith("config.")]:
            delattr(main.FLAGS, name)
        main.FLAGS.unparse_flags()
        argv = ["lthjax.main", *words]
        monkeypatch.setattr(sys, "argv", argv)
        main._parse(argv)
        return main.CONFIG.value

    return call


def test_commands_are_found():
    assert len(FOUND) > 40
    assert {"README.md", "elastic.md", "mnist.py"} <= {path.name for path, _ in FOUND}


@pytest.mark.parametrize(
    "line", [pytest.param(x, id=f"{p.stem}-{i}") for i, (p, x) in enumerate(FOUND)]
)
def test_a_printed_command_sets_what_its_method_reads(config, line):
    found = config(shlex.split(line))
    if ":" not in found.search.method:  # a method of the page's own
        methods.check_keys(found)


def test_what_an_error_says_of_keys_that_are_not_read_mends_them(config):
    words = ["--config=configs/mnist.py", "--config.search.method=elastic"]
    with pytest.raises(ValueError, match="layer_rates is not read by") as error:
        methods.check_keys(config(words))
    mend = str(error.value).partition("its default: ")[2]
    assert "scope=global" in mend
    methods.check_keys(config([*words, *shlex.split(mend)]))
