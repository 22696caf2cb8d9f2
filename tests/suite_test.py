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


@pytest.mark.parametrize("chosen", [thorough.TESTS, expensive.SLOW, expensive.FEW])
def test_what_is_chosen_of_a_file_is_there(chosen):
    for name, tests in chosen.items():
        text = (ROOT / "tests" / name).read_text(encoding="utf-8")
        functions = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))
        assert {test.partition("[")[0] for test in tests} <= functions, name


@pytest.mark.parametrize("place", expensive.FEW)
def test_of_many_cases_the_first_run_and_the_others_are_slow(place):
    for test, few in expensive.FEW[place].items():
        slow = [expensive.is_slow(place, f"{test}[{n}]", n) for n in (1, few, few + 1)]
        assert slow == [False, False, True]
