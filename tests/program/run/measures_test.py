"""Measures by name, in the curves and records of a run, resident or streamed."""

import numpy as np
import pytest
import tiny

from lthjax.program.report import run_report
from lthjax.program.run import check
from lthjax.program.workdir import measures, results

ASKED = {
    "seeds": (0,),
    "search.levels": 1,
    "measures": (
        "balanced_accuracy",
        "calibration_error",
        "class_accuracy",
        "confusion",
    ),
    "best_by": "balanced_accuracy",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, ASKED)


def test_numbers_are_in_curves_and_records_and_tables_in_records(whole):
    _, root = whole
    rows, found = results.read(root / results.RESULTS), measures.read(root)
    assert found.best_by == "balanced_accuracy" and found.shown == "accuracy"
    (curve, *_) = results.read(root / results.CURVES)
    assert "test_calibration_error" in curve and "test_confusion" not in curve
    for row in rows:
        counts = np.array(row["test_confusion"])
        assert counts.shape == (10, 10) and counts.sum() == 16
        assert np.trace(counts) / 16 == pytest.approx(row["test_accuracy"], abs=1e-6)
        shares = [x for x in row["test_class_accuracy"] if x is not None]
        assert np.mean(shares) == pytest.approx(row["test_balanced_accuracy"], abs=1e-5)
        assert len(shares) == np.count_nonzero(counts.sum(1))
    values = curve["validation_balanced_accuracy"]
    assert rows[0]["best_step"] == curve["step"][int(np.argmax(values))]
    assert run_report.write(root)


@pytest.mark.slow
def test_a_streamed_run_measures_the_same(whole, tmp_path_factory):
    _, root = whole
    streamed = {**ASKED, "data.stream": True}
    _, other = tiny.uninterrupted(tmp_path_factory, streamed)
    pairs = zip(*(tiny.records(r).values() for r in (root, other)), strict=True)
    for own, found in pairs:
        assert own["test_confusion"] == found["test_confusion"]
        error = own["test_calibration_error"]
        assert error == pytest.approx(found["test_calibration_error"], rel=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"measures": ("recall",)}, "the measure must be one of"),
        ({"measures": ("top5", "top5")}, "measures must all be different"),
        ({"measures": ("absolute_error",)}, "of outputs that are numbers"),
        (
            {"best_by": "confusion", "measures": ("confusion",)},
            "best_by must be one of",
        ),
        ({"best_by": "top5", "measures": ()}, "best_by must be one of loss, accuracy,"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))
