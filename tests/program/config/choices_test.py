"""The names that `lthjax keys` shows are those that the package takes."""

import re

import pytest
from paths import ROOT

from lthjax.data import augmentations, in_memory, splits
from lthjax.models import by_name
from lthjax.program.build import criterion, examples, levels, methods
from lthjax.program.config import choices, entries
from lthjax.program.report.studies import study
from lthjax.program.run import check
from lthjax.pruning import pattern_names
from lthjax.retraining import arms
from lthjax.tickets import controls
from lthjax.tickets.iterative import span as pruned_span
from lthjax.training import measures, objective, optimizers

BEHIND = {
    **check.CHOICES,
    **check.OPEN_CHOICES,
    "objective": objective.OBJECTIVES,
    "measures": measures.MEASURES,
    "controls": (*controls.CONTROLS, *controls.STARTS, "copies"),  # of elastic tickets
    "data.name": in_memory.SOURCES,
    "data.cut": filter(None, splits.CUTS),
    "data.augment": augmentations.AUGMENTATIONS,
    "model.name": by_name.MODELS,
    "model.dtype": by_name.DTYPES,
    "optimizer.name": optimizers.OPTIMIZERS,
    "schedule.name": optimizers.SCHEDULES,
    "search.method": methods.METHODS,
    "search.score": criterion.SCORES,
    "search.corrupt": examples.CORRUPTIONS,
    "search.scope": ("global", "layer", *levels.SHARED),
    "search.gates.optimizer": optimizers.OPTIMIZERS,
    "retraining.arms": (*arms.PRESETS, arms.POOLS),
    "studies": study.STUDIES,
}
TRIED = {"search.pattern", "search.restart"}


def test_they_are_of_keys_that_there_are():
    known = {entry.key: entry for entry in entries.entries()}
    assert choices.CHOICES.keys() == BEHIND.keys() | TRIED
    for key, names in choices.CHOICES.items():
        assert known[key].choices == names


@pytest.mark.parametrize("key", BEHIND)
def test_they_are_those_of_the_functions(key):
    names = choices.CHOICES[key]
    assert sorted(names) == sorted(BEHIND[key])


@pytest.mark.parametrize(
    "key", ["controls", "data.name", "model.name", "search.method"]
)
def test_the_guide_lists_them_all_and_no_others(key):
    guide = (ROOT / "docs/guides/choose.md").read_text()
    listed = re.search(rf"^\| `{key}` \| (.*) \|$", guide, re.MULTILINE)[1]
    listed = listed.split("; or [your own")[0].replace("](", "] (")
    while listed != (outside := re.sub(r"\([^()]*\)", "", listed)):
        listed = outside
    assert sorted(re.findall("`(.*?)`", listed)) == sorted(choices.CHOICES[key])


def test_patterns_and_ways_to_restart_are_taken():
    for name in choices.CHOICES["search.pattern"]:
        pattern_names.parse(name)
    with pytest.raises(ValueError, match="restart must be") as wrong:
        pruned_span(10, 0, "nothing")
    listed = re.search("one of (.*), got", str(wrong.value))[1].split(", ")
    assert tuple(listed) == choices.CHOICES["search.restart"]
