"""Transplants: what is copied, kept and missing is said of every leaf."""

import flax
import jax.numpy as jnp
import pytest
from trees import assert_same

from lthjax.tickets import transplant as transplant_lib
from lthjax.tickets.transplant import Rule, transplant

SOURCE = {
    "stem": {"kernel": jnp.ones((2, 2)), "bias": None},
    "head": {"kernel": jnp.ones((2, 10))},
}
TARGET = {
    "backbone": {"stem": {"kernel": jnp.zeros((2, 2)), "bias": None}},
    "heat": {"kernel": jnp.zeros((2, 3))},
}
RULES = (Rule("^backbone/", prefix=""), Rule("^heat/", "keep"))


def test_leaves_are_copied_by_the_first_rule_that_finds_them():
    found, report = transplant(SOURCE, TARGET, RULES)
    assert_same(found["backbone"]["stem"], SOURCE["stem"])
    assert_same(found["heat"], TARGET["heat"])
    assert report.copied == {
        "backbone/stem/kernel": "stem/kernel",
        "backbone/stem/bias": "stem/bias",
    }
    assert report.kept == ("heat/kernel",)
    assert (report.missing, report.unused) == ((), ("head/kernel",))
    told = transplant_lib.text(report)
    assert told == "2 leaves copied; 1 kept; not taken over: head/kernel"


def test_what_the_source_has_not_stays_and_is_said():
    found, report = transplant({"stem": SOURCE["stem"]}, TARGET)
    assert_same(found, TARGET)
    assert report.missing == (
        "backbone/stem/bias",
        "backbone/stem/kernel",
        "heat/kernel",
    )
    assert "not in the source: backbone/stem/bias" in transplant_lib.text(report)


@pytest.mark.parametrize(
    "rules, message",
    [
        (RULES[:1], "'heat/kernel', which no rule finds"),
        ((*RULES[:1], Rule("heat", "error")), "'heat/kernel', which 'heat' refuses"),
        ((Rule("("), *RULES), r"a rule must be a regular expression, got '\('"),
        ((Rule("", "move"),), "must be one of copy, keep, error, got way = 'move'"),
        ((Rule("^heat", prefix="head"), *RULES), r"got \[2, 10\] of 'head/kernel' for"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        transplant(SOURCE, TARGET, rules)


def test_the_form_of_the_target_is_kept_with_what_is_empty_in_it():
    target = flax.core.freeze({"a": jnp.zeros(2), "none": {}, "rows": [jnp.zeros(3)]})
    found, report = transplant({"a": jnp.ones(2), "rows": [jnp.ones(3)]}, target)
    expected = flax.core.freeze({"a": jnp.ones(2), "none": {}, "rows": [jnp.ones(3)]})
    assert_same(found, expected)
    assert report.copied == {"a": "a", "rows/0": "rows/0"}


def test_two_leaves_of_one_name_are_refused():
    tree = {"a": {"b": jnp.ones(2)}, "a/b": jnp.zeros(2)}
    for pair in ((tree, {"a": jnp.ones(2)}), ({"a": jnp.ones(2)}, tree)):
        with pytest.raises(ValueError, match="got two called 'a/b'.*rename one"):
            transplant(*pair)
