"""What a page shows of classes, where a run has measured them."""

import json

import numpy as np

from lthjax.program.report import page_classes, run_report

NAMES = ["cat", "dog", "$x"]


def rows(levels=(0, 2)):
    found = []
    for level in levels:
        for seed in (0, 1):
            right = [1.0, 0.5 - 0.1 * level + 0.1 * seed, None]
            taken = [[4.0, 0, 0], [1.0 + level, 1.0, 0], [0, 0, 0]]
            row = {"level": level, "seed": seed, "arm": "ticket"}
            row |= {"test_class_accuracy": right, "test_confusion": taken}
            found.append(row)
    return found


def test_classes_are_named_and_means_are_over_seeds(tmp_path):
    (tmp_path / run_report.CLASSES).write_text(json.dumps({"classes": NAMES}))
    shown = dict(page_classes.of(tmp_path, rows()))
    axes = shown["test accuracy by class"].axes[0]
    values = np.asarray(axes.images[0].get_array().filled(np.nan))
    np.testing.assert_allclose(values[:2], [[100, 100], [55, 35]])
    assert np.isnan(values[2]).all()
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cat", "dog", r"\$x"]


def test_the_dense_network_and_the_last_level_are_taken_for_what(tmp_path):
    dense, last = [
        axes
        for axes in dict(page_classes.of(tmp_path, rows((0, 1, 2))))[
            "what is taken for what"
        ].axes
        if axes.images
    ]
    assert (dense.get_title(), last.get_title()) == (
        "dense, n = 2 seeds",
        "level 2, n = 2 seeds",
    )
    np.testing.assert_allclose(last.images[0].get_array()[1], [75, 25, 0])
    assert [t.get_text() for t in last.get_yticklabels()] == ["0", "1", "2"]


def test_a_run_that_measured_no_classes_has_none(tmp_path):
    assert not list(page_classes.of(tmp_path, [{"arm": "ticket", "level": 0}]))
