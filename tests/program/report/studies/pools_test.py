"""The study of pools through the whole program: chosen on validation, tested once."""

import logging

import numpy as np
import pytest
import tiny

from lthjax.program.run import experiment
from lthjax.program.workdir import results

CONFIG = {"search.levels": 3, "seeds": (0,), "studies": ("pools",)}


def rows(root):
    return results.read(root / "studies" / "pools.jsonl")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    experiment.run(tiny.config(CONFIG), root)
    return root


def test_a_pool_is_no_worse_on_validation_and_its_ticket_is_the_recorded_one(root):
    found, records = rows(root), tiny.records(root)
    assert [row["level"] for row in found] == [1, 2, 3]
    for row in found:
        record = records[row["level"], 0, "ticket"]
        assert row["validation"] >= row["validation_alone"]
        for name, column in (("validation_alone", "validation"), ("alone", "test")):
            np.testing.assert_allclose(
                row[name], record[f"{column}_accuracy"], atol=1e-6
            )
        others = [level for level, _ in row["taken"]]
        assert row["level"] not in others and len(set(others)) == len(others)
        assert all(0.05 <= alpha <= 0.95 for _, alpha in row["taken"])


def test_what_is_measured_stays_and_is_drawn(root):
    before = (root / "studies" / "pools.jsonl").read_bytes()
    experiment.run(tiny.config(CONFIG), root)
    assert (root / "studies" / "pools.jsonl").read_bytes() == before
    assert (root / "studies" / "pools.png").exists()


def test_tickets_that_were_not_rewound_are_said_to_fail(tmp_path, caplog):
    changes = {"search.restart": "fine_tune", "search.levels": 1}
    with caplog.at_level(logging.WARNING):
        experiment.run(tiny.config(CONFIG | changes), tmp_path)
    assert "with search.restart = 'fine_tune' they are known to fail" in caplog.text


def test_patterns_are_not_averaged(tmp_path, caplog):
    changes = {"search.pattern": "2:4", "search.levels": 1, "search.rate": 0.5}
    with caplog.at_level(logging.WARNING):
        experiment.run(tiny.config(CONFIG | changes), tmp_path)
    assert "search.pattern = '2:4' are not averaged" in caplog.text
    assert not (tmp_path / "studies" / "pools.jsonl").exists()


def test_an_arm_of_that_name_says_that_it_is_a_study(tmp_path):
    config = tiny.config({"retraining.arms": ("pools",)})
    with pytest.raises(ValueError, match="are a study, .*config.studies=pools"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
