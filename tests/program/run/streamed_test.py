"""Experiments whose data stay on the disk, and those of data in memory."""

import itertools

import numpy as np
import on_disk
import pytest
import tiny

from lthjax.program.build import source
from lthjax.program.run import dry_run, experiment
from lthjax.program.workdir import results
from lthjax.training import steps

PHOTOGRAPHS = {
    **tiny.CONV,
    "seeds": (0,),
    "data.name": "imagenet",
    "data.stream": True,
    "data.size": 8,
    "data.options": {},
    "data.crop": 0,
    "data.validation": 3,
    "train.batch_size": 3,
    "search.levels": 1,
    "eval_batch": 2,
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return on_disk.photographs(tmp_path_factory.mktemp("imagenet"))


def run(photographs, root, changes):
    """Runs an experiment on a folder of photographs and returns its records."""
    changes = {**PHOTOGRAPHS, "data_dir": str(photographs), **changes}
    return experiment.run(tiny.config(changes), root)


CONV = {"model.name": "conv2", "model.options": {"hidden": (8,)}, "model.width": 0.1}
CONV |= {"data.crop": 1, "data.flip": True, "search.levels": 1}
CONV |= {"data.augment": "cutout+mixup"}


@pytest.fixture(scope="module")
def resident(tmp_path_factory):
    root = tmp_path_factory.mktemp("resident")
    experiment.run(tiny.config(CONV), root)
    return root


@pytest.mark.parametrize("mesh", [(1, 1), pytest.param((2, 2), marks=pytest.mark.slow)])
def test_a_streamed_run_has_the_numbers_of_the_resident_one(mesh, resident, tmp_path):
    streamed = {"data.stream": True, "mesh.ticket": mesh[0], "mesh.data": mesh[1]}
    experiment.run(tiny.config(CONV | streamed), tmp_path)
    found, expected = tiny.curves(tmp_path), tiny.curves(resident)
    assert found.keys() == expected.keys()
    for row, metric in itertools.product(found, steps.COLUMNS):
        values = found[row][metric], expected[row][metric]
        np.testing.assert_allclose(*values, rtol=1e-4)
    kept = [
        [row["kept"] for row in results.read(root / results.RESULTS)]
        for root in (tmp_path, resident)
    ]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_photographs_are_trained_scored_and_studied(photographs, tmp_path):
    changes = {"search.score": "snip", "studies": ("barrier",), "train.steps": 2}
    rows = run(photographs, tmp_path, changes)
    assert [row["level"] for row in rows] == [0, 1]
    assert rows[-1]["kept"] == round(0.8 * rows[-1]["prunable"])
    assert (tmp_path / "studies" / "barrier.csv").exists()


@pytest.mark.slow
def test_channels_are_selected_from_examples_read_on_the_way(photographs, tmp_path):
    changes = {"model.name": "vgg11", "search.method": "forward", "train.steps": 2}
    changes |= {"model.options": {"depths": (1,), "channels": (4,)}}
    changes |= {"forward.most": 2, "forward.check": 4, "forward.batch_size": 3}
    rows = run(photographs, tmp_path, {**changes, "forward.tune": 2})
    assert rows[-1]["kept"] < rows[-1]["prunable"]


@pytest.mark.slow
def test_an_arm_is_rescaled_on_examples_read_on_the_way(photographs, tmp_path):
    changes = {"retraining.arms": ("rescaling",), "train.steps": 2}
    rows = run(photographs, tmp_path, {**changes, "retraining.rescaling.iterations": 2})
    assert {row["arm"] for row in rows} == {"ticket", "rescaling"}
    assert np.isfinite([row["test_loss"] for row in rows]).all()


def test_an_unreadable_image_ends_the_run_with_its_name(tmp_path):
    folder = on_disk.photographs(tmp_path / "images")
    path = folder / "train" / "n02" / "n02_2.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged one in .*n02_2.JPEG"):
        run(folder, tmp_path / "run", {})


def test_a_plan_is_made_without_an_image(photographs, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(dry_run, "_seconds", lambda *_: 0.0)
    here = {"data_dir": str(photographs), "data.size": 8}
    away = {"data_dir": str(tmp_path), "data.validation": 10_000}
    for place, images in ((here, "6"), (away, "1,271,167")):
        dry_run.show(tiny.config({**PHOTOGRAPHS, **place}))
        assert f"imagenet: {images} training images" in capsys.readouterr().out


@pytest.mark.parametrize("act", [dry_run.show, source.load])
def test_what_cannot_be_streamed_is_refused_in_the_plan_too(act):
    config = tiny.config({"data.name": "digits", "data.stream": True})
    with pytest.raises(ValueError, match="streamed data set must be .* 'digits'"):
        act(config)
