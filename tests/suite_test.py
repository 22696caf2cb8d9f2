"""What the suite itself must be: no file of it is left out."""

import fnmatch

import pytest
import quick
import tiers
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


@pytest.mark.parametrize("name", quick.FILES)
def test_what_is_quick_is_there(name):
    assert (ROOT / "tests" / name).exists()


@pytest.mark.parametrize(
    "listed", [tiers.SLOW, tiers.THOROUGH], ids=["slow", "thorough"]
)
def test_what_is_left_to_later_is_there(listed):
    for line in listed:
        place, _, test = line.partition("::")
        text = (ROOT / "tests" / place).read_text(encoding="utf-8")
        assert not test or f"\ndef {test.partition('[')[0]}(" in text, line


@pytest.mark.parametrize("line", [line for line, few in tiers.SLOW.items() if few])
def test_of_many_cases_the_first_run_and_the_others_are_slow(line):
    (place, _, test), few = line.partition("::"), tiers.SLOW[line]
    slow = [
        tiers.named(tiers.SLOW, place, f"{test}[{n}]", n) for n in (1, few, few + 1)
    ]
    assert slow == [False, False, True]
