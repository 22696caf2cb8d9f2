"""A regression, a text and an objective of one's own go all the way that digits go."""

import importlib
import re
import sys

import jax.numpy as jnp
import pytest
import tiny
from paths import ROOT

from lthjax.program.report import command, run_report
from lthjax.program.report.studies import study
from lthjax.program.run import check, dry_run, experiment
from lthjax.program.sweep import table as sweep_table
from lthjax.program.workdir import measures, origin, results
from lthjax.training.objective import Objective

SHORT = {
    "data.options": {},
    "seeds": (0,),
    "search.levels": 1,
    "controls": ("reinit",),
    "eval_every": 20,
    "train.steps": 40,
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.01,
}
WAVES = {
    **SHORT,
    "data.name": "own_objective:waves",
    "objective": "own_objective:ROBUST",
    "studies": ("flops", "barrier"),
}
LETTERS = {
    **SHORT,
    "data.name": "own_text:letters",
    "model.name": "own_text:Reader",
    "model.options": {},
    "objective": "next_token",
    "search.score": "snip",
    "retraining.arms": ("smoothing",),
}


@pytest.fixture(scope="module", autouse=True)
def pages(tmp_path_factory):
    """The modules of the page on objectives of one's own."""
    folder = tmp_path_factory.mktemp("own")
    text = (ROOT / "docs" / "guides" / "own_objective.md").read_text()
    found = re.findall("```python\n# (.*?).py\n(.*?)```", text, re.S)
    for name, code in found:
        (folder / f"{name}.py").write_text(code)
    sys.path.insert(0, str(folder))
    yield [importlib.import_module(name) for name, _ in found]
    sys.path.remove(str(folder))
    for name, _ in found:
        del sys.modules[name]


@pytest.fixture(scope="module", params=[WAVES, LETTERS], ids=["waves", "letters"])
def whole(request, tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def waves(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, {**WAVES, "objective": "regression"})


def test_a_run_learns_and_its_records_have_the_columns_of_its_measures(whole):
    _, root = whole
    found = measures.read(root)
    rows = results.read(root / results.RESULTS)
    assert {(r["level"], r["arm"]) for r in rows} >= {
        (0, "ticket"),
        (1, "ticket"),
        (1, "reinit"),
    }
    (curve,) = (
        c
        for c in results.read(root / results.CURVES)
        if (c["level"], c["arm"]) == (0, "ticket")
    )
    assert set(found.columns) < curve.keys()
    assert curve["validation_loss"][-1] < curve["validation_loss"][0]
    assert not {"test_accuracy"} & rows[0].keys() or found.shown == "perplexity"
    sense = max if found.best_by in found.higher else min
    for row in rows:
        assert row["layers"] and row[f"best_{found.value}"] > 0
    at = curve["step"].index(rows[0]["best_step"])
    values = curve[f"validation_{found.best_by}"]
    assert values[at] == sense(values)


def test_perplexity_is_the_exponential_of_the_mean_loss(whole):
    _, root = whole
    for row in results.read(root / results.RESULTS):
        if "test_perplexity" in row:
            assert row["test_perplexity"] == pytest.approx(
                float(jnp.exp(row["test_loss"])), rel=1e-4
            )
        else:
            assert 0 <= row["test_near"] <= 1 and row["test_distance"] > 0


def test_a_run_that_is_interrupted_goes_on_with_the_same_bits(
    whole, tmp_path, monkeypatch
):
    config, root = whole
    monkeypatch.setattr(experiment.assemble, "build", tiny.build)
    tiny.interrupted(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_figures_and_tables_are_of_the_measure(whole, capsys):
    _, root = whole
    rows, found = results.read(root / results.RESULTS), measures.read(root)
    (axes,) = run_report.curve(rows, measures=found).axes
    labels = {"near": "test near, %", "perplexity": "test perplexity"}
    assert axes.get_ylabel() == labels[found.shown]
    command.main([str(root)])
    printed = capsys.readouterr().out
    assert f"test {found.shown}" in printed and "accuracy" not in printed
    assert (root / run_report.CURVE).exists() and (root / run_report.LAYERS).exists()


def test_studies_are_of_the_measure(waves):
    _, root = waves
    flops = results.read(root / study.FOLDER / "flops.jsonl")
    assert {"test_loss", "label"} <= flops[0].keys()
    drawn = study.STUDIES["flops"].draw(flops)
    assert drawn.axes[1].get_ylabel() == "test loss"
    lines = results.read(root / study.FOLDER / "barrier.jsonl")
    assert {row["of"] for row in lines} == {"loss"}
    assert study.STUDIES["barrier"].draw(lines).axes[0].get_ylabel().startswith("loss")


def test_a_sweeps_table_has_a_column_for_each_measure():
    own = {"kept": 0.5, "arm": "ticket", "level": 1, "n": 2, "state": "finished"}
    loss = {"test_loss": 0.25, "test_loss_std": 0.5}
    loss |= {f"best_{name}": value for name, value in loss.items()}
    right = {name.replace("loss", "accuracy"): value for name, value in loss.items()}
    text = sweep_table.markdown(
        [{"lr": 1, **own, **loss, "of": "test loss"}, {"lr": 2, **own, **right}]
    )
    head, _, first, second = text.splitlines()
    assert head.startswith("| lr | level | arm | % kept | test loss | at best valid")
    assert "0.25 ± 0.5 | 0.25 ± 0.5 |  |  | 2 |" in first
    assert "|  |  | 25.00 ± 50.00 | 25.00 ± 50.00 | 2 |" in second


def test_a_folder_that_does_not_say_what_it_measures_is_refused(tmp_path):
    row = {"level": 0, "seed": 0, "arm": "ticket", "test_loss": 0.5}
    results.append(tmp_path / results.RESULTS, [row])
    with pytest.raises(ValueError, match=f"the {origin.COPY} of a workdir must say"):
        run_report.write(tmp_path)


def settled(changes):
    return check.check(tiny.config({**LETTERS, "retraining.arms": (), **changes}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"objective": "guess"}, "must be one of classification, detection"),
        (
            {"objective": f"{__name__}:settled"},
            "a training.objective.Objective",
        ),
        ({"objective": f"{__name__}:LOSS_OF_ALL"}, "one float for each example"),
        ({"best_by": "absolute_error"}, "best_by must be one of loss, accuracy, perpl"),
        ({"objective": "classification"}, r"objective = 'classification'"),
        ({"search.score": "synflow"}, "feeds the network ones needs inputs that are"),
        ({"search.corrupt": "labels"}, "labels are drawn at random where each example"),
        ({"search.corrupt": "pixels"}, "only images have pixels to be shuffled"),
        ({"data.crop": 1}, "only images are cropped, .* got data.crop = 1"),
        ({"data.flip": True}, "only images are cropped, .* got data.flip = True"),
        ({"data.mean": (0.5,)}, "only images are cropped, .* got data.mean"),
    ],
)
def test_what_does_not_go_with_a_text_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        settled(changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"search.score": "grasp"},
            "needs an objective whose outputs are logits",
        ),
        ({"retraining.arms": ("smoothing",)}, "'smoothing' needs an objective with a"),
        ({"retraining.arms": ("distillation",)}, "'distillation' needs an objective"),
        ({"search.method": "forward", "search.levels": 1}, "accuracy of a classifier"),
        ({"objective": "next_token"}, "objective = 'next_token'"),
    ],
)
def test_what_does_not_go_with_a_regression_is_refused_by_name(changes, message):
    asked = tiny.config({**WAVES, "objective": "regression", **changes})
    with pytest.raises(ValueError, match=message):
        check.check(asked)


LOSS_OF_ALL = Objective(lambda outputs, labels: jnp.mean(outputs))


def test_a_regression_is_planned(waves, capsys):
    config, _ = waves
    dry_run.show(config)
    assert "estimated time here" in capsys.readouterr().out


@pytest.mark.slow
def test_a_regression_is_streamed_with_the_numbers_of_a_resident_one(waves, tmp_path):
    config, root = waves
    streamed = tiny.changed(config, {"data.stream": True, "studies": ()})
    experiment.run(streamed, tmp_path)
    pairs = zip(
        tiny.records(root).values(), tiny.records(tmp_path).values(), strict=True
    )
    for own, other in pairs:
        assert own["kept"] == other["kept"]
        assert own["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)
