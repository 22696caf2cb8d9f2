"""Studies go by their names, ours and those of a user's own."""

import pytest
import tiny

from lthjax.program.report.studies import study
from lthjax.program.workdir import results


@pytest.mark.parametrize(
    "act",
    [
        lambda root: study.check(["overlap", "sign"]),
        lambda root: study.write(root, ["overlap", "sign"], None),
        lambda root: study.keep(root, ["overlap", "sign"], 0, None, None),
    ],
)
def test_an_unknown_study_is_refused_before_anything_is_done(tmp_path, act):
    (tmp_path / results.RESULTS).write_text("{}\n")
    before = tiny.contents(tmp_path)
    expected = "study must be one of barrier, .*got study = 'sign', did you mean 'sign"
    with pytest.raises(ValueError, match=expected):
        act(tmp_path)
    assert tiny.contents(tmp_path) == before


def of_one(root):
    """Jobs that take no network."""
    return []


SHORT = study.Study(of_one, lambda rows: None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("os:path", "must be a studies.Study .* got study = 'os:path'"),
        (
            f"{__name__}:SHORT",
            f"'{__name__}:SHORT', which raised TypeError: too many",
        ),
    ],
)
def test_a_study_of_ones_own_is_called_as_ours_are(name, message):
    with pytest.raises(ValueError, match=message):
        study.check((name,))
