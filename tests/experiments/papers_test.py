"""What the experiments compute from numbers alone, beside the published ones."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from commands import EXPERIMENTS, loaded

from lthjax.program.config import files, validate
from lthjax.program.workdir import results

pytestmark = pytest.mark.usefixtures("beside")


def test_a_draw_fires_by_its_threshold():
    loaded("you2020")
    draws = importlib.import_module("measures.draws")
    masks = np.arange(20) < np.arange(10, 15)[:, None]  # one bit of 20 an epoch
    for rule in ("consecutive", "newest"):
        assert draws.fired(masks, rule, queue=3, threshold=0.01) == -1
    # Three distances of a twentieth are known at the fourth mask.
    assert draws.fired(masks, queue=3, threshold=0.06) == 4


def test_where_no_detector_fires_a_ticket_is_drawn_an_epoch_before_the_end():
    loaded("you2020")
    draws = importlib.import_module("measures.draws")
    moving = np.arange(20) < np.arange(0, 20, 2)[:, None]  # two bits of 20 an epoch
    assert draws.early(moving[:8], 10) is None
    assert draws.early(moving[:9], 10) == draws.early(moving, 10) == 9
    equal = np.ones((10, 20), bool)
    assert draws.early(equal[:5], 10) is None
    assert draws.early(equal[:6], 10) == draws.early(equal, 10) == 6
    # At the last epoch the detector draws the dense network, and no ticket.
    assert draws.early(equal[:6], 6) == 5


def test_masks_come_back_from_their_rows_as_they_were():
    loaded("you2020")
    draws = importlib.import_module("measures.draws")
    masks = np.random.default_rng(0).random((3, 13)) < 0.5
    rows = [
        {"seed": seed, "share": 0.5, "way": draws.SEEN, "epoch": epoch}
        | {"channels": 13, "mask": np.packbits(mask).tobytes().hex()}
        for epoch, mask in reversed(list(enumerate(masks, start=1)))
        for seed in (0, 1)
    ]
    np.testing.assert_array_equal(draws.seen(rows, 1, 0.5), masks)
    assert len(draws.seen(rows, 2, 0.5)) == 0


def test_a_published_level_that_was_not_reached_has_no_number():
    experiment = loaded("frankle2019")
    rows = [
        {"seed": s, "level": n, "arm": arm, "best_step": 100 * (1 + s + n + late)}
        | {"best_test_accuracy": (90 + n - late) / 100, "test_accuracy": 0.9}
        | {"kept": 0.8**n, "prunable": 1}
        for s in range(3)
        for n in range(13)
        for arm, late in (("ticket", 0), ("reinit", 1))
        if n or not late
    ]
    claims = {claim.what: ours for claim, ours in experiment.claimed(rows)}
    first, unreached, *_ = claims
    assert "13.5" in first and np.allclose(claims[first], 9)  # points: the level
    assert "3.6" in unreached and len(claims.pop(unreached)) == 0
    assert all(len(ours) == 3 for ours in claims.values())
    assert f"| {unreached} | 0 points | not run | 0 |" in experiment.table(rows, "")


def test_what_is_left_of_carried_tickets_is_the_mean_of_their_seeds():
    experiment = loaded("chen2021")
    own = experiment.part(SimpleNamespace(part="mnist", smoke=True))
    arms = ("ticket", "reinit", "shuffle", "shuffle_reinit", "copies")
    rows = [
        {"run": "elastic_2_3", "seed": seed, "level": level, "arm": arm}
        | {"sparsity": 1 - kept if level else 0.0, "test_accuracy": 0.9}
        for seed, kept in enumerate((0.115, 0.114, 0.1163))
        for level in (0, 1)
        for arm in arms[: None if level else 1]
    ]
    mean = "11.51"  # of 11.5, 11.4 and 11.63
    assert f"| 97.95 | 90.00 ± 0.00 | {mean} | 3 |" in experiment.cells(rows, own)
    assert f"| 2 | 3 | {mean} | 90.00" in experiment.beside(rows, own)


def test_iterative_pruning_takes_a_fifth_a_level_and_meets_each_density():
    experiment = loaded("tanaka2020")
    kept = [1 - sparsity for sparsity in experiment.by_fifths([0.64, 0.1, 0.02])]
    ratios = np.array(kept) / [1.0, *kept[:-1]]
    for density in (0.64, 0.1, 0.02):
        assert np.isclose(kept, density).sum() == 1
    assert (ratios > 0.8 - 1e-9).all() and (ratios < 0.99).all()
    # Two, then nine more to 0.8^11 < 0.1, then eight to 0.1 * 0.8^8 < 0.02.
    assert len(kept) == 2 + 9 + 8
    assert (ratios < 0.8 + 1e-9).sum() == len(kept) - 2


def test_only_the_levels_at_the_densities_asked_for_are_shown():
    experiment = loaded("tanaka2020")
    asked = [0.64, 0.1]
    levels = {"iterative": experiment.by_fifths(asked), "one_shot": (1 - 0.64, 1 - 0.1)}
    found = {
        run: SimpleNamespace(search=SimpleNamespace(sparsities=sparsities))
        for run, sparsities in levels.items()
    }
    rows = [{"run": run, "level": n} for run in found for n in range(20)]
    shown = experiment.shown(rows, found, asked)
    assert [tuple(row.values()) for row in shown] == [
        *(("iterative", 0, None), ("iterative", 2, 0.64), ("iterative", 11, 0.1)),
        *(("one_shot", 0, None), ("one_shot", 1, 0.64), ("one_shot", 2, 0.1)),
    ]


@pytest.mark.parametrize("densities", ["0", "-0.1", "1.5", "0.1,nan"])
def test_a_density_is_a_part(densities):
    options = SimpleNamespace(densities=densities, smoke=False)
    with pytest.raises(ValueError, match="densities must be .*at most 1"):
        loaded("tanaka2020").densities(options)


def test_every_published_column_of_cifar_stands_beside_one_of_ours():
    experiment = loaded("wolfe2021_cifar")
    options = SimpleNamespace(sizes="", validation=5000)
    assert experiment.sizes(options) == [10_000, 30_000, 45_000]
    row = {"model": "resnet34", "draw_at": 60_000}
    shown = [experiment.beside({**row, "size": n}, options) for n in (10_000, 45_000)]
    assert shown == ["85.56", "94.28 (50,000 images)"]
    for other in ({"draw_at": 61_000}, {"model": "vgg11"}, {"size": 44_000}):
        missing = {**row, "size": 45_000, **other}
        assert experiment.beside(missing, options) == "not supplied"


def test_the_epochs_in_the_hull_are_told_with_what_they_say_of_the_network():
    experiment = loaded("wolfe2021_theory")
    options = SimpleNamespace(examples=1000, width=1300, margin_rate=0.1)
    margins = [(3e-4, 0.5), (-2e-5, 0.75), (1e-3, 1.0)]
    text = "\n".join(experiment.memberships(margins, options))
    assert "at epochs: 0, 2 of 0 to 2; published, the first: 1." in text
    assert "| 1 | -2e-05 | 75.0 |" in text
    none = experiment.memberships([(-1.0, 0.5)], options)[0]
    assert "at epochs: none of 0 to 0" in none


def detections(*runs):
    """Records of two seeds and levels, small objects lacking in one of them."""
    return [
        {
            **{"run": run, "level": level, "seed": seed, "arm": "ticket"},
            **{"sparsity": 0.8 * level, "sparsity_network": 0.1 * level},
            **{"test_ap": 0.2 + 0.1 * seed, "test_ap_small": [None, 0.1][seed]},
            **{"test_ap_medium": None, "test_ap_large": 0.3},
        }
        for run in runs
        for level in (0, 1)
        for seed in (0, 1)
    ]


def test_each_way_to_a_recogniser_has_its_sparsities_and_the_dense_network_is_one():
    experiment = loaded("girish2021")
    runs = ("detection_direct", "detection_mask", "detection_reset_0")
    rows = detections(*runs, "backbone", "keypoints_direct")
    own, _, published = experiment.table(rows, ("detection",)).partition("Published")
    assert own.splitlines()[2:-1] == [
        "| detection | dense | 0.0 | 0.0 | 25.00 ± 7.07 | 2 |",
        "| detection | direct | 80.0 | 10.0 | 25.00 ± 7.07 | 2 |",
        "| detection | mask | 80.0 | 10.0 | 25.00 ± 7.07 | 2 |",
        "| detection | reset_0 | 80.0 | 10.0 | 25.00 ± 7.07 | 2 |",
    ]
    assert "| detection | 80 | 28.1 | 27.7 |" in published
    by_size = experiment.by_size(rows, "detection").splitlines()
    assert by_size[5] == "| direct | 80.0 | 10.0 | 10.00 |  | 30.00 ± 0.00 | 2 |"
    (left, right) = experiment.figure(rows, ("detection",)).axes
    labels = {text.get_text() for text in left.get_legend().get_texts()}
    assert labels == {"dense", "direct", "mask", "reset_0"}
    assert right.get_xlabel() == "sparsity of the whole network, %"


def test_a_recognisers_runs_are_sound_configs_and_come_after_their_sources():
    experiment = loaded("girish2021")
    options = SimpleNamespace(smoke=False, workdir=EXPERIMENTS, data_dir="", scenes="")
    vars(options).update(experiment.NUMBERS, backbone="resnet8", width=0.5)
    found = experiment.recognisers.ways(options, "detection", first=True)
    names = ("direct", "reset_0", "reset_50", "once_80", "once_90")
    assert list(found) == [f"detection_{n}" for n in (*names, "ticket", "mask", "task")]
    assert found["detection_reset_50"].search.rewind_to == options.steps // 2
    assert found["detection_mask"].search.exclude == experiment.recognisers.OUTSIDE
    task = found["detection_task"]
    assert task.search.exclude == experiment.recognisers.OUTSIDE[1:]
    assert task.transplant.source == str(EXPERIMENTS / "keypoints_direct")
    for config in (experiment.recognisers.classifier(options), *found.values()):
        validate.validate(config)


def test_rows_that_are_kept_are_of_the_config_asked_for(tmp_path):
    loaded("you2020")
    kept = importlib.import_module("measures.kept")
    path, keys = tmp_path / "rows.jsonl", ("epoch",)
    mine, other = files.default(), files.default()
    other.model.width = 0.5
    kept.append(path, {"epoch": 1, "ticket": 50.0}, keys, mine)
    (row,) = kept.read(path, keys, lambda epoch: mine)
    assert row["ticket"] == 50.0
    with pytest.raises(ValueError, match="other options with epoch = 1 in .*row"):
        kept.read(path, keys, lambda epoch: other)
    results.append(path, [{"epoch": 2, "ticket": 60.0}], keys)  # an earlier version's
    with pytest.raises(ValueError, match="an earlier version in .*; move it away"):
        kept.read(path, keys, lambda epoch: mine)


def test_a_recogniser_s_tasks_are_known(monkeypatch):
    experiment = loaded("girish2021")
    every = tuple(experiment.recognisers.TASKS)
    assert experiment.asked(",".join(reversed(every))) == every
    with pytest.raises(ValueError, match="must be .*, got tasks = '.*keypoint'"):
        experiment.asked(f"{every[0]},keypoint")


def test_labels_that_are_in_no_hull_are_not_before_the_epochs_looked_at():
    experiment = loaded("wolfe2021_theory")
    first, *_ = experiment.PUBLISHED["hull"]["mnist"]
    own, published = SimpleNamespace(**first), first["epoch"]
    for margins, expected in (
        ([(-1.0, 0.5), (0.5, 1.0)], [1]),
        ([(-1.0, 0.5)] * published, []),  # it may be the next one
        ([(-1.0, 0.5)] * (published + 1), [published + 1]),
        ([], []),
    ):
        assert list(experiment.claimed(margins, own)[0][1]) == expected
        own.width += 1  # another network's epoch
        assert not any(ours for _, ours in experiment.claimed(margins, own))
        own.width -= 1


def test_a_carried_run_is_done_when_every_record_is_there(tmp_path):
    loaded("chen2021")
    work = importlib.import_module("measures.work")
    config = tiny.config(
        {"search.method": "elastic", "controls": ("reinit", "shuffle")}
    )
    config.elastic.levels = (2, 4)
    rows = [
        {"level": level, "seed": seed, "arm": arm, "seconds": 1.0}
        for seed in config.seeds
        for level in (0, 1, 2)
        for arm in ("ticket", *config.controls)
        if level or arm == "ticket"
    ]
    results.append(tmp_path / results.RESULTS, rows[:-1])
    assert 0.8 < work.of(config, tmp_path).done < 1
    results.append(tmp_path / results.RESULTS, rows[-1:])
    assert work.of(config, tmp_path).done == 1


def test_what_is_no_longer_asked_for_is_no_part_of_what_is_done(tmp_path):
    loaded("chen2021")
    work = importlib.import_module("measures.work")
    rows = [
        {"level": level, "seed": seed, "arm": arm}
        for seed in (0, 1)
        for level in range(5)
        for arm in ("ticket", "reinit", "shuffle")
        if level or arm == "ticket"
    ]
    results.append(tmp_path / results.RESULTS, rows)
    config = tiny.config({"seeds": (0, 1, 2, 3), "controls": ("reinit",)})
    assert work.of(config, tmp_path).done == 0.5
    results.append(tmp_path / results.RESULTS, [{**rows[0], "seed": 2}])
    assert work.of(config, tmp_path).done == 0.5 + 1 / (4 * (1 + 2 * 2))
