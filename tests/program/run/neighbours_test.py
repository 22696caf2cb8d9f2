"""A run that also trains its dense network at other learning rates, and says so."""

import shutil

import pytest
import tiny

from lthjax.program.build import assemble, criterion
from lthjax.program.config import files, validate
from lthjax.program.report import learning_rates, run_report
from lthjax.program.run import experiment, neighbours
from lthjax.program.workdir import results, text_files
from lthjax.program.workdir.measures import ACCURACY

CHANGES = {"search.levels": 1, "search.rewind_to": 1, "optimizer.learning_rate": 1e-4}
CHANGES |= {"studies": ("learning_rate",), "controls": ("reinit",)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run at a rate that is far too low, with its config and workdir."""
    root, config = tmp_path_factory.mktemp("rates"), tiny.config(CHANGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        experiment.run(config, root)
    return config, root


def test_the_dense_network_alone_is_trained_at_another_rate():
    config = tiny.config({**CHANGES, "search.method": "one_shot", "search.rate": 0.5})
    found = neighbours.at(config, 0.3)
    assert found.optimizer.learning_rate == 0.3
    assert (found.search.levels, found.search.rewind_to) == (0, 0)
    assert found.search.method == "iterative" and found.controls == ()
    own, other = (validate.flat(c) for c in (config, found))
    different = {k.partition(".")[0] for k in own if own[k] != other[k]}
    assert different == {"search", "controls", "studies", "optimizer"}
    assert config.search.rate == 0.5


@pytest.mark.parametrize("key, value", [("include", "^h"), ("exclude", ("^head/",))])
def test_what_is_prunable_is_so_at_every_rate(key, value):
    config = tiny.config({**CHANGES, f"search.{key}": value})
    assert neighbours.at(config, 0.3).search[key] == value


def test_an_early_stop_is_by_the_same_rule_at_every_rate():
    stop = {"train.stop.by": "loss", "train.stop.patience": 1}
    config = tiny.config(CHANGES | stop)
    assert neighbours.at(config, 0.3).search.rewind_to == 1


def test_fewer_seeds_than_there_are_records_of_are_studied_alone(run, tmp_path):
    config, root = run
    copied = tmp_path / "run"
    shutil.copytree(root, copied)
    shutil.rmtree(copied / results.STUDIES)
    experiment.run(tiny.changed(config, {"seeds": config.seeds[:1]}), copied)
    rows = results.read(copied / learning_rates.STUDY)
    assert {row["seed"] for row in rows} == {config.seeds[0]} and len(rows) == 3


def test_the_dense_network_keeps_the_basis_that_it_trains_in():
    basis = {"search.basis": (("dense1", "svd_rows"),), "search.pattern": "channels"}
    config = tiny.config(basis | {"search.score": "energy"})
    found = neighbours.at(config, 0.3).search
    assert found.basis == config.search.basis
    assert (found.pattern, found.score) == ("channels", "energy")


def test_a_score_of_rows_is_taken_as_often_at_every_rate():
    own = {"search.basis": (("kernel$", "groups"),), "search.pattern": "channels"}
    own |= {"search.score": "iterative_snip", "search.rounds": 1}
    found = neighbours.at(tiny.config({**CHANGES, **own}), 0.3)
    assert criterion.resolve(found).rounds == 1


def test_rows_are_the_run_s_own_and_those_of_runs_inside_it(run):
    config, root = run
    rows = results.read(root / learning_rates.STUDY)
    rates = [factor * 1e-4 for factor in (1 / 3, 1, 3)]
    assert {(r["rate"], r["seed"]) for r in rows} == {
        (rate, seed) for rate in rates for seed in config.seeds
    }
    for row in rows:
        folder = root
        if row["rate"] != 1e-4:
            folder = root / "studies" / f"rate_{row['rate']:g}"
            assert {level for level, *_ in tiny.records(folder)} == {0}
        found = tiny.records(folder)[0, row["seed"], "ticket"]
        for name in ("test_accuracy", "validation_accuracy"):
            assert row[name] == found[name]


def test_the_report_names_the_rate_and_a_neighbour_that_is_better(run, capsys):
    _, root = run
    run_report.show(root, results.read(root / results.RESULTS))
    shown = " ".join(capsys.readouterr().out.split())
    assert "one mask, several starts" in shown
    assert "dense network: learning rate 0.0001, test accuracy" in shown
    rows = results.read(root / results.RESULTS)
    assert learning_rates.ASK not in learning_rates.sentence(root, rows, ACCURACY)


def noted(tmp_path, config, values, dense, shift=0.1):
    """Leaves what a run and its study would have; returns its records.

    Validation is so far below test; `None`: as an earlier version left the rows.
    """

    def both(value):
        known = (
            {} if shift is None else {"validation_accuracy": value and value - shift}
        )
        return {"test_accuracy": value} | known

    text_files.write(tmp_path / "config.json", files.to_json(config))
    head = {"level": 0, "kept": 1.0, "label": "test accuracy, %"}
    rows = [
        head | {"seed": 0, "other": f"rate {r}", "rate": r} | both(a)
        for r, a in values.items()
    ]
    (tmp_path / "studies").mkdir()
    identity = ("level", "seed", "other")
    results.append(tmp_path / learning_rates.STUDY, rows, identity)
    head = {"level": 0, "arm": "ticket", "kept": 9, "prunable": 9}
    return [head | {"seed": s} | both(a) for s, a in enumerate(dense)]


@pytest.mark.parametrize(
    "high, dense, warned",
    [
        (0.9221, (0.92,), True),  # 0.21 points, of which one seed explains 0.2
        (0.9219, (0.92,), False),
        (0.935, (0.91, 0.93), True),  # 1.5 points above, with a deviation of 1.41
        (0.934, (0.91, 0.93), False),
        (None, (0.92,), False),  # it diverged
    ],
)
def test_a_better_rate_is_warned_of_beyond_the_spread(tmp_path, high, dense, warned):
    config = tiny.config({"optimizer.learning_rate": 0.01})
    values = {0.01 / 3: 0.5, 0.01: 0.92, 0.03: high}
    rows = noted(tmp_path, config, values, dense)
    text = learning_rates.better(tmp_path, rows, ACCURACY)
    assert text.startswith("learning rate 0.03 trains the dense") == warned
    assert bool(text) == warned
    shown = learning_rates.sentence(tmp_path, rows, ACCURACY)
    assert "learning rate 0.01, test accuracy 92.00" in shown
    assert "50.00 at 0.00333333" in shown


def test_rates_are_chosen_among_by_validation_and_the_test_split_is_reported(tmp_path):
    config = tiny.config({"optimizer.learning_rate": 0.01})
    values = {0.01 / 3: 0.97, 0.01: 0.9, 0.03: 0.93}
    rows = noted(tmp_path, config, values, (0.9,))
    path = tmp_path / learning_rates.STUDY
    studied = results.read(path)
    studied[0]["validation_accuracy"] = 0.5  # the best on the test split alone
    path.unlink()
    results.append(path, studied, ("level", "seed", "other"))
    text = learning_rates.better(tmp_path, rows, ACCURACY)
    assert text.startswith("learning rate 0.03 trains the dense network better than ")
    assert "by 3.00 on the validation split, to a test accuracy of 93.00: " in text


def test_rows_of_an_earlier_version_are_compared_on_the_test_split(tmp_path):
    config = tiny.config({"optimizer.learning_rate": 0.01})
    rows = noted(tmp_path, config, {0.03: 0.93}, (0.9,), shift=None)
    assert (
        "by 3.00 on the test split, as validation is not known of all rates"
        in learning_rates.better(tmp_path, rows, ACCURACY)
    )
