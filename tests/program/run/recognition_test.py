"""A detector goes all the way that digits go, and takes over what others have found."""

import json

import numpy as np
import pytest
import tiny
from flax import linen as nn
from PIL import Image

from lthjax.program.report import run_report
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout, measures, results
from lthjax.pruning import masks as masks_lib
from lthjax.saving.tickets import load_trained

SIDE, WAYS = 16, ("ticket", "mask", "task")


class Body(nn.Module):
    """Maps of a quarter of the image's side."""

    @nn.compact
    def __call__(self, images, train=False):
        """Returns [batch, h / 4, w / 4, 8]."""
        x = nn.Conv(8, (4, 4), (4, 4), padding="VALID", use_bias=False, name="stem")(
            images
        )
        return nn.relu(nn.BatchNorm(use_running_average=not train, name="norm")(x))


class Classifier(Body):
    """The body, its layers at the top, and a head."""

    num_classes: int = 10

    @nn.compact
    def __call__(self, images, train=False):
        """Returns logits."""
        x = Body.__call__(self, images, train).mean((1, 2))
        return nn.Dense(self.num_classes, name="head")(x)


class Heads(nn.Module):
    """One convolution for all maps."""

    channels: int

    @nn.compact
    def __call__(self, x):
        """Returns [batch, h, w, channels]."""
        return nn.Conv(self.channels, (1, 1), name="all")(x)


class Detector(nn.Module):
    """The body as `backbone`, and `heads`."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        """Returns maps of centres, sizes and offsets."""
        x = Body(name="backbone")(images, train)
        return Heads(self.num_classes + 4, name="heads")(x)


def write(root, name, number):
    rng = np.random.default_rng(number)
    (root / name).mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, rows = [], []
    for i in range(number):
        x, y = (int(n) for n in rng.integers(0, SIDE - 6, 2))
        w, h, label = 5, 6, i % 2
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[y : y + h, x : x + w] = 100 + 100 * label
        Image.fromarray(pixels).save(root / name / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE})
        row = {"id": i, "image_id": i, "category_id": label, "iscrowd": 0}
        rows.append(row | {"bbox": [x, y, w, h], "area": w * h})
    found = {"images": images, "annotations": rows}
    found["categories"] = [{"id": 0}, {"id": 1}]
    path = root / "annotations" / f"instances_{name}.json"
    path.write_text(json.dumps(found))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write(root, "train", 24)
    write(root, "test", 8)
    return root


BOTH = {
    "seeds": (0,),
    "model.options": {},
    "studies": ("signs",),
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.01,
    "search.sparsities": (0.5, 0.75),
}


def detector(scenes, **changes):
    own = {
        **BOTH,
        "objective": "detection",
        "model.name": f"{__name__}:Detector",
        "data_dir": str(scenes),
        "data.name": "coco",
        "data.validation": 4,
        "data.options": {"train": "train", "test": "test", "size": 16, "grey": True},
    }
    return tiny.config(own | changes)


@pytest.fixture(scope="module")
def direct(scenes, tmp_path_factory):
    root = tmp_path_factory.mktemp("direct")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.assemble, "build", tiny.build)
        return root, experiment.run(detector(scenes), root)


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    own = {"model.name": f"{__name__}:Classifier", "search.exclude": ("^head/",)}
    own["data.options"] = {"train": 48, "test": 16, "image_shape": (16, 16, 1)}
    return tiny.uninterrupted(tmp_path_factory, BOTH | own)[1]


@pytest.fixture(scope="module")
def sources(classified, direct):
    return classified, direct[0]


def test_a_round_of_gates_is_measured_on_whole_sets_as_its_ticket_is(scenes, tmp_path):
    own = {"search.method": "continuous", "search.sparsities": (0.5,)}
    own |= {"search.gates.initial": (0.5,), "search.gates.period": 1, "studies": ()}
    rows = experiment.run(detector(scenes, **own), tmp_path)
    found = {row["arm"]: row for row in rows if row["level"]}
    assert {name for name in found["ticket"] if "_ap" in name} <= found["search"].keys()
    for name in ("sparsity", "sparsity_network"):
        assert found["search"][name] == found["ticket"][name] > 0


def taking(way, scenes, sources, **changes):
    own = {"search.method": "transplant", "transplant.way": way}
    own |= {"search.sparsities": (), "search.levels": 2, "search.exclude": ("^heads/",)}
    own["transplant.source"] = str(sources[way == "task"])
    return detector(scenes, **(own | changes))


@pytest.fixture(scope="module", params=WAYS)
def taken(request, scenes, sources, tmp_path_factory):
    """The way, where its networks are from, its workdir and its records."""
    config = taking(request.param, scenes, sources)
    root = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.assemble, "build", tiny.build)
        rows = experiment.run(config, root)
    return request.param, sources[request.param == "task"], root, rows


def network(root, level):
    return load_trained(layout.trained_path(root, "ticket", 0, level))


@pytest.mark.parametrize("level", [1, 2])
def test_each_way_takes_what_it_says_and_keeps_the_rest(taken, level):
    way, source, root, _ = taken
    own, sparse = layout.load_ticket(root, 0, level), network(source, level)
    dense = network(source, 0)
    inside = (lambda tree: tree["backbone"]) if way == "task" else lambda tree: tree
    weights = inside((dense if way == "mask" else sparse).params)["stem"]["kernel"]
    mask = own.masks["backbone"]["stem"]["kernel"]
    theirs = inside(sparse.masks)["stem"]["kernel"]
    np.testing.assert_array_equal(
        own.params["backbone"]["stem"]["kernel"], np.where(mask, weights, 0)
    )
    if way == "mask":  # as many, the largest of the dense network
        assert mask.sum() == theirs.sum()
        assert np.abs(weights[mask]).min() >= np.abs(weights[~mask]).max()
    else:
        np.testing.assert_array_equal(mask, theirs)
    mean = own.model_state["batch_stats"]["backbone"]["norm"]["mean"]
    theirs = inside(sparse.model_state["batch_stats"])["norm"]["mean"]
    assert np.array_equal(mean, theirs) == (way != "mask")
    assert (
        own.step == 0
        and own.until == 4
        and own.masks["heads"]["all"]
        == {
            "bias": None,
            "kernel": None,
        }
    )


def test_masked_weights_stay_zero_and_heads_dense(taken):
    _, _, root, rows = taken
    for level in (1, 2):
        trained = network(root, level)
        mask = trained.masks["backbone"]["stem"]["kernel"]
        assert (trained.params["backbone"]["stem"]["kernel"][~mask] == 0.0).all()
        assert (trained.params["heads"]["all"]["kernel"] != 0).all()
        (row,) = (r for r in rows if r["level"] == level)
        kept, prunable = map(int, masks_lib.count(trained.masks))
        whole = prunable + trained.params["heads"]["all"]["kernel"].size
        assert row["sparsity"] == (prunable - kept) / prunable
        assert row["sparsity_network"] == (prunable - kept) / whole
        assert row["source_level"] == level


@pytest.mark.parametrize("taken", ["ticket"], indirect=True)
def test_a_run_of_tickets_taken_over_goes_on_with_the_same_bits(
    scenes, sources, taken, tmp_path, monkeypatch
):
    way, _, root, _ = taken
    monkeypatch.setattr(experiment.assemble, "build", tiny.build)
    tiny.interrupted(taking(way, scenes, sources), tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_a_run_is_shown_and_chosen_by_precision_and_what_is_not_there_is_empty(direct):
    root, rows = direct
    found = measures.read(root)
    assert (found.shown, found.best_by, found.label) == ("ap", "ap", "test ap, %")
    (curve,) = (c for c in results.read(root / results.CURVES) if c["level"] == 0)
    at = curve["step"].index(rows[0]["best_step"])
    assert curve["validation_ap"][at] == max(curve["validation_ap"])
    empty = [{**row, "test_ap": None} for row in rows[:1]] + rows[1:]
    assert run_report.table(empty, measures=found).row_count == len(rows)
    run_report.curve(empty, measures=found)
    text = results.to_csv([{**rows[0], "test_ap": None}])
    assert text.splitlines()[1].split(",")[list(rows[0]).index("test_ap")] == ""


def test_a_detector_that_is_interrupted_goes_on_with_the_same_bits(
    scenes, direct, tmp_path, monkeypatch
):
    monkeypatch.setattr(experiment.assemble, "build", tiny.build)
    tiny.interrupted(detector(scenes), tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(direct[0])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"transplant.source": ""}, "workdir of a run .* got transplant.source = ''"),
        ({"transplant.source": "nowhere"}, "holds no results.jsonl"),
        ({"transplant.way": "tickets"}, "did you mean 'ticket'"),
        ({"transplant.levels": (1, 5)}, "got no level 5 of seed 0"),
        ({"seeds": (0, 7)}, "got no level 1 of seed 7"),
        ({"transplant.heads": ("(",)}, "transplant.heads"),
        ({"search.rate": 0.3}, "search.rate is not read by"),
        ({"transplant.way": "task"}, "which lacks .*backbone/stem/kernel"),
    ],
)
def test_what_cannot_be_taken_over_is_refused_before_training(
    changes, message, scenes, sources
):
    with pytest.raises(ValueError, match=message):
        check.check(taking("ticket", scenes, sources, **changes))
