"""What the suite itself must be: no file of it is left out."""

import fnmatch
import re

import expensive
import pytest
import quick
import thorough
from paths import ROOT


def test_no_folder_of_tests_is_passed_by(pytestconfig):
    passed_by = pytestconfig.getini("norecursedirs")
    files = [p.relative_to(ROOT) for p in (ROOT / "tests").rglob("*_test.py")]
    left_out = [
        file
        for file in files
        if any(fnmatch.fnmatch(p, rule) for p in file.parts for rule in passed_by)
    ]
    assert files and not left_out


@pytest.mark.parametrize("name", [*quick.FILES, *thorough.FILES])
def test_what_is_quick_or_thorough_is_there(name):
    assert (ROOT / "tests" / name).exists()


@pytest.mark.parametrize("name", thorough.TESTS)
def test_what_is_thorough_among_others_is_there(name):
    place, _, test = name.partition("::")
    text = (ROOT / "tests" / place).read_text(encoding="utf-8")
    assert f"def {test}(" in text


@pytest.mark.parametrize("name", expensive.SLOW)
def test_what_is_expensive_is_there(name):
    text = (ROOT / "tests" / name).read_text()
    functions = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
    assert {test.partition("[")[0] for test in expensive.SLOW[name]} <= functions
