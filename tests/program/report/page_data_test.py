"""Which runs are of the same data: by what those are, wherever they lie."""

import json
import pathlib

import pytest
import tiny

from lthjax.data import fingerprints, in_memory
from lthjax.program.config import files
from lthjax.program.report import page, page_data
from lthjax.program.workdir import origin, results, text_files
from lthjax.program.workdir.measures import ACCURACY


def run(name, changes=None, data=None):
    config = json.loads(files.to_json(tiny.config(changes)))
    return page.Run(pathlib.Path(name), [], [], ACCURACY, config, data or {})


def made_up(**options):
    source = in_memory.load("synthetic", validation=16, options=options)
    return json.loads(json.dumps(fingerprints.fingerprint(source)))


def apart(*runs):
    return page_data.apart(runs, [run.root.name for run in runs])


def test_data_of_other_options_differ_in_the_splits_that_those_make():
    own = made_up(train=48, test=16)
    fewer = {"data.options": {"train": 40, "test": 16}}
    others = run("b", fewer, made_up(train=40, test=16))
    (said,) = apart(run("a", data=own), others, run("c", data=own))
    assert said.startswith(
        "The runs are of different data: b differs from a in train, "
    )
    told = apart(run("a", data=own), others, others._replace(root=pathlib.Path("c")))
    assert len(told) == 2 and "c differs from a" in told[1]
    relabelled = {**own, "test": {**own["test"], "labels": "0"}}
    (said,) = apart(run("a", data=own), run("b", data=relabelled))
    assert said == "The runs are of different data: b differs from a in test."


@pytest.mark.parametrize(
    "changes", [{"data_dir": "elsewhere"}, {"data.workers": 2}, {"data.flip": True}]
)
def test_the_same_data_are_the_same_wherever_they_lie_and_however_they_are_read(
    changes,
):
    own = made_up(train=48, test=16)
    assert apart(run("a", data=own), run("b", changes, own)) == []
    assert apart(run("a", data=own), run("b", changes)) == []


def test_what_else_a_workdir_notes_is_no_data():
    own = made_up(train=48, test=16)
    given = {name: {**own, "given": {"weights": name}} for name in "ab"}
    assert apart(*(run(name, data=data) for name, data in given.items())) == []


def test_labels_of_a_streamed_set_are_hashed_otherwise_and_are_no_difference():
    def noted(**hashes):
        return {"test": {"size": 3, **hashes}}

    held = noted(labels="0", images="1"), noted(labels="2", records="3")
    assert apart(*(run(name, data=x) for name, x in zip("ab", held, strict=True))) == []
    (said,) = apart(run("a", data=held[0]), run("b", data=noted(labels="2")))
    assert said.endswith("b differs from a in test.")


@pytest.mark.parametrize("key, value", [("options", {"train": 40}), ("limit", 9)])
def test_without_a_fingerprint_the_keys_of_the_data_are_compared(key, value):
    own = run("a", data=made_up(train=48, test=16))
    (said,) = apart(own, run("b", {f"data.{key}": value}), run("c"))
    assert said == f"The runs are of different data: b differs from a in data.{key}."
    assert apart(own, run("b")._replace(config={})) == []


def test_a_run_is_read_with_its_fingerprint(tmp_path):
    record = {"level": 0, "seed": 0, "arm": "ticket", "test_accuracy": 0.5}
    results.append(tmp_path / results.RESULTS, [record])
    assert page.read(tmp_path).data == {}
    noted = {"test": {"size": 3}}
    marks = {"begun": False, "marks": set()}
    text = origin.check(tmp_path, tiny.config(), noted, **marks)
    text_files.write(tmp_path / origin.COPY, text)
    assert page.read(tmp_path).data == noted
