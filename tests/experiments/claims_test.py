"""What an experiment says of its numbers: beside which published ones, and how sure."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import loaded

from lthjax.program.config import files
from lthjax.program.workdir import results, spreads
from lthjax.pruning import cuts

pytestmark = pytest.mark.usefixtures("beside")


def test_a_criterion_that_is_undecided_is_named_and_the_others_go_on(
    tmp_path, monkeypatch
):
    experiment = loaded("tanaka2020")
    rows = [{"level": 1, "seed": seed, "arm": "ticket"} for seed in (0, 7)]
    config = files.default()

    def run(configs, root):
        (name,) = configs
        if name == "undecided":
            raise cuts.UndecidedError("scores must tell weights apart")
        if name == "broken":
            raise ValueError("another config")
        return [{"run": name, **rows[0]}]

    monkeypatch.setattr(experiment.grid, "run", run)
    (tmp_path / "undecided").mkdir()
    results.append(tmp_path / "undecided" / results.RESULTS, rows)
    found, refused = experiment.trained({"undecided": config, "snip": config}, tmp_path)
    named = [(row["run"], row["seed"]) for row in found]
    assert named == [("undecided", 0), ("snip", 0)]
    assert refused == {"undecided": "scores must tell weights apart"}
    with pytest.raises(ValueError, match="another config"):
        experiment.trained({"broken": config}, tmp_path)


def retrained(restart, level, values):
    """Records of a way to retrain, a seed each."""
    return [
        {"run": restart, "level": level, "seed": seed, "test_accuracy": value}
        for seed, value in enumerate(values)
    ]


def test_ways_to_retrain_another_network_are_compared_by_their_gaps_alone():
    experiment = loaded("renda2020")
    rows = retrained("weights", 1, [0.90, 0.94]) + retrained("weights", 0, [0.9, 0.9])
    rows += retrained("fine_tune", 1, [0.89, 0.92])
    found = {
        claim.what: (claim, ours) for claim, ours in experiment.claimed(rows, False)
    }
    claim, ours = found["fine-tuning - weight rewinding, 80.0 % left"]
    np.testing.assert_allclose(ours, [-1, -2])
    assert claim.published == -0.05 and claim.relation == "order"
    own, _ = found["fine-tuning, 80.0 % left"]
    assert own.relation == "order" and own.published == 91.71
    assert sum(len(ours) > 0 for _, ours in found.values()) == 4
    same = {claim.what: ours for claim, ours in experiment.claimed(rows)}
    np.testing.assert_allclose(same["fine-tuning, 80.0 % left"], [89, 92])


@pytest.mark.parametrize(
    "options, same",
    [
        ({}, True),
        ({"model": "resnet20"}, True),
        ({"data": "mnist"}, False),
        ({"model": "resnet8"}, False),
        ({"width": 0.5}, False),
    ],
)
def test_only_the_published_network_stands_beside_published_accuracies(options, same):
    given = {"data": "cifar10", "model": "", "width": 1.0, **options}
    assert loaded("renda2020").published(SimpleNamespace(**given)) is same


def test_criteria_on_another_network_are_compared_by_their_order_alone():
    experiment = loaded("tanaka2020")
    same = {"seed": 0, "arm": "ticket", "run": "snip"}
    rows = [
        {**same, "level": 0, "density": None, "test_accuracy": 0.98},
        {**same, "level": 1, "density": 0.1, "test_accuracy": 0.97},
    ]
    for network, relation in ((True, "equal"), (False, "order")):
        found = experiment.claimed(rows, network)
        assert {claim.relation for claim, _ in found} == {relation}
        ours = {claim.what: values for claim, values in found if values}
        assert ours == {"dense": [98.0], "snip, 10 % left": [97.0]}


def test_tickets_stand_beside_their_way_and_draws_as_parts_of_the_schedule():
    experiment = loaded("you2020")
    draws = importlib.import_module("measures.draws")
    model, data = SimpleNamespace(name="vgg16", width=1.0), SimpleNamespace()
    data.name = "cifar100"
    settings = SimpleNamespace(model=model, data=data)
    mask = {"channels": 8, "mask": "ff"}  # equal masks: the detector fires at the sixth
    same = {"seed": 0, "share": 0.5}
    rows = [
        same | mask | {"way": draws.SEEN, "epoch": epoch, "accuracy": 60.0 + epoch}
        for epoch in range(1, 21)
    ]
    ways = {"drawn": 6, "EB re-init": 6, "LT one-shot": 20, "Network Slimming": 20}
    rows += [
        same | {"way": way, "epoch": epoch, "accuracy": 50.0 + number}
        for number, (way, epoch) in enumerate(ways.items())
    ]
    found = draws.Found(rows, draws.Asked((0.5,), (), ()), 20)
    told = {c.what: (c, ours) for c, ours in experiment.claimed(found, settings)}
    ours = {what: list(values) for what, (_, values) in told.items() if len(values)}
    assert ours == {
        "LT one-shot, p = 0.5": [52.0],
        "Network Slimming, p = 0.5": [53.0],
        "EB re-init, p = 0.5": [51.0],
        "EB Train, p = 0.5": [50.0],
    }
    assert found.dense() == [80.0]
    assert {claim.relation for claim, _ in told.values()} == {"equal"}
    drawn, _ = told["drawn after this part of the schedule, p = 0.4"]
    assert drawn.published == pytest.approx(19.4)  # 31 of 160
    watched = draws.Found(
        [row | {"share": 0.4} for row in rows], draws.Asked((0.4,), (), ()), 20
    )
    model.width = 0.25
    told = {c.what: (c, ours) for c, ours in experiment.claimed(watched, settings)}
    drawn, ours = told["drawn after this part of the schedule, p = 0.4"]
    assert ours == [30.0] and drawn.relation == "order"


def test_of_early_birds_the_rows_of_the_seeds_asked_for_are_told(tmp_path, monkeypatch):
    experiment = loaded("you2020")
    draws, config = importlib.import_module("measures.draws"), files.default()
    for seed in range(3):
        row = {"seed": seed, "share": 0.5, "way": draws.SEEN, "epoch": 1}
        path = tmp_path / experiment.RECORDS
        experiment.kept.append(path, row, draws.KEYS, config)
    nothing = SimpleNamespace(**dict.fromkeys(("load", "of", "build"), lambda *_: None))
    for name in ("source_lib", "plan_lib", "assemble"):
        monkeypatch.setattr(experiment, name, nothing)
    monkeypatch.setattr(draws, "check", lambda study: None)
    monkeypatch.setattr(draws, "run", lambda *_: ())
    options = SimpleNamespace(seeds=2, workdir=tmp_path)
    found = experiment.run(config, options, draws.Asked((0.5,), (), ()))
    assert [row["seed"] for row in found] == [0, 1]


@pytest.mark.parametrize("epochs", [1, 2])
def test_epochs_in_which_the_rate_cannot_fall_twice_are_refused(epochs):
    given = {"data_dir": "", "data": "", "model": "", "width": 1.0, "limit": 0}
    options = SimpleNamespace(**given, validation=0, epochs=epochs)
    with pytest.raises(ValueError, match=f"got epochs = {epochs}; give 3 or more"):
        loaded("you2020").config(options)


def test_gains_are_counted_of_pruned_networks_with_intervals_alone():
    experiment = loaded("jaiswal2021_fit")
    options = SimpleNamespace(steps=10, seeds=3)
    half, loss = 0.5, spreads.Spread(0.01, 0.0, 3)
    rows = [
        {"run": "a", "arm": experiment.ALL, "level": level, "sparsity": 90.0}
        | {"loss": loss, "accuracy": loss, "gain": experiment.gains.Gain(gain, half, 3)}
        for level, gain in ((0, 3.0), (1, 3.0), (2, 0.4))
    ]
    text = experiment.text(options, rows)
    assert "2 of 2 plain tickets end below" in text
    assert "of these 1 gain by more than their interval" in text
    single = [
        row | {"gain": experiment.gains.Gain(3.0, float("nan"), 1)} for row in rows
    ]
    assert "one seed gives no interval" in experiment.text(options, single)


def test_traffic_is_held_against_the_printed_less_what_is_above_the_rule():
    federated = importlib.import_module("measures.federated")
    claim, _ = federated._traffic(("fedavg", "0", "20"), [])
    assert claim.what.endswith("traffic less 21.15")
    assert (claim.published, claim.band) == (37.75, 1.89)


def test_scenes_that_cannot_be_written_are_one_sentence(tmp_path):
    scenes = importlib.import_module("measures.scenes")
    options = SimpleNamespace(scenes=tmp_path / "s", side=40, smoke=False)
    options.data_dir = tmp_path / "nowhere"
    with pytest.raises(ValueError, match="scenes could not be written: .*nowhere"):
        scenes.written(options)


@pytest.mark.parametrize("sizes", [(30, 20, 64), (12, 28, 20)])
def test_digits_must_be_of_sizes_that_scenes_have_room_for(tmp_path, sizes):
    scenes = loaded("scenes")
    options = SimpleNamespace(**scenes.NUMBERS, smoke=True)
    options.smallest, options.largest, options.side = sizes
    with pytest.raises(ValueError, match=f"largest = {sizes[1]}, side = {sizes[2]}"):
        scenes.write(tmp_path, "", options)
    assert not any(tmp_path.iterdir())


CELLS = ["--models=vgg11, foo", "--sizes=640", "--draws=2", "--steps=4"]


@pytest.mark.parametrize(
    "name, words, said",
    [
        ("seo2021", ["--samples=20", "--left=3"], "policy.limit must be in"),
        ("wolfe2021_cifar", [*CELLS, "--width=0.1"], "model .*got .*'foo'"),
    ],
)
def test_what_a_later_cell_refuses_is_said_before_the_first_is_run(
    tmp_path, monkeypatch, name, words, said
):
    experiment, run = loaded(name), []
    for function in {"run", "cell"} & vars(experiment).keys():
        monkeypatch.setattr(experiment, function, lambda *_: run.append(_))
    monkeypatch.setattr(experiment.command_line, "prepare", lambda: None)
    monkeypatch.setattr(sys, "argv", [name, f"--workdir={tmp_path}", *words])
    with pytest.raises((SystemExit, ValueError), match=said):
        experiment.main()
    assert not run
