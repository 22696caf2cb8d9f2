"""The arm "pools": no step of training, never worth less, the same bits again."""

import io
import json
import shutil
import threading

import numpy as np
import pytest
import rich.console
import tiny
from trees import assert_same

from lthjax.program.build import assemble, source
from lthjax.program.build import pools as pools_build
from lthjax.program.progress import Interrupted
from lthjax.program.run import check, dry_run, experiment, pools
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks
from lthjax.saving.tickets import load as load_ticket
from lthjax.saving.tickets import load_trained

WHOLE = {"retraining.arms": ("pools",), "search.rewind_to": 1}
pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two levels and two seeds that nothing interrupted."""
    config, root = tiny.uninterrupted(tmp_path_factory, WHOLE)
    return config, root, tiny.records(root)


def test_every_level_of_every_seed_is_pooled_and_worth_no_less(whole):
    _, root, rows = whole
    own = {name for name in rows if name[2] == "pools"}
    assert own == {(level, seed, "pools") for level in (1, 2) for seed in (0, 1)}
    for level, seed, arm in own:
        row, ticket = rows[level, seed, arm], rows[level, seed, "ticket"]
        assert row["kept"] == ticket["kept"] and row["prunable"] == ticket["prunable"]
        # Of six digits.
        assert row["validation_accuracy"] >= ticket["validation_accuracy"] - 1e-6
        assert row["best_validation_accuracy"] == row["validation_accuracy"]
        assert (row["steps"], row["best_step"], row["train_loss"]) == (0, 4, None)
        assert row["retrained"] and row["ghost_steps"] == 0
        others = [other for other, _ in row["pooled"]]
        assert set(others) <= {0, 1, 2} - {level} and len(set(others)) == len(others)
    assert any(rows[name]["pooled"] for name in own)
    assert (root / "gain.png").exists()


def test_what_is_deployed_is_what_is_recorded(whole):
    config, root, rows = whole
    parts = assemble.build(config, source.load(config))
    for level in (1, 2):
        found = load_trained(layout.trained_path(root, "pools", 1, level))
        row, ticket = (
            rows[level, 1, "pools"],
            load_ticket(root / f"tickets/seed_1/level_0{level}"),
        )
        masked = masks.apply(found.params, found.masks)
        assert_same(masked, found.params)
        assert masks.count(found.masks)[0] == masks.count(ticket.masks)[0]
        measured = parts.pools.evaluate(found.params, found.model_state)
        for name, value in measured.items():
            np.testing.assert_allclose(value, row[name], rtol=1e-5, atol=1e-6)
        assert measured.keys() > parts.pools.validate(*found[:2]).keys()


def test_its_first_choice_is_made_of_the_networks_that_were_kept(whole):
    config, root, rows = whole
    parts = assemble.build(config, source.load(config))
    kept = {
        n: load_trained(layout.trained_path(root, "ticket", 0, n)) for n in range(3)
    }
    seen = []

    def evaluate(params, model_state):
        seen.append(parts.pools.validate(params, model_state))
        return seen[-1]["validation_accuracy"]

    found = parts.pools.pool(kept, 1, evaluate)
    assert [[i, a] for i, a in found.taken] == rows[1, 0, "pools"]["pooled"]
    assert len(seen) == 1 + 2 * 11
    assert not any(name.startswith("test") for row in seen for name in row)


def test_killed_between_a_point_and_its_record_it_ends_the_same(
    whole, tmp_path, monkeypatch
):
    config, root, rows = whole
    append = results.append

    def dying(path, records, *args, **more):
        append(path, records, *args, **more)
        if records[0].get("arm") == "pools" and records[0]["level"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(results, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config, tmp_path)
    monkeypatch.setattr(results, "append", append)
    experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
    for level, seed, arm in rows:
        paths = (layout.trained_path(r, arm, seed, level) for r in (root, tmp_path))
        pair = [load_trained(path) for path in paths]
        assert_same(*pair)
    before = tiny.contents(tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.contents(tmp_path) == before


def without_pools(root, folder):
    """Copies a run, but for the records of what was pooled."""
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns("pools"))
    for name in (results.RESULTS, results.CURVES):
        lines = (folder / name).read_text().splitlines(keepends=True)
        own = [line for line in lines if json.loads(line)["arm"] != "pools"]
        (folder / name).write_text("".join(own))
    return folder


def test_a_finished_run_that_kept_its_networks_trains_nothing_for_it(
    whole, tmp_path, monkeypatch
):
    config, root, _ = whole
    folder = without_pools(root, tmp_path / "run")
    monkeypatch.setattr(experiment, "_train", None)
    experiment.run(config, folder)
    assert tiny.outcome(folder) == tiny.outcome(root)


def test_one_that_kept_none_is_refused(whole, tmp_path):
    config, root, _ = whole
    folder = without_pools(root, tmp_path / "run")
    shutil.rmtree(layout.trained_path(folder, "ticket", 1, 2))
    with pytest.raises(ValueError, match="a training of level 2, seed 1, that ended"):
        experiment.run(config, folder)
    assert {*tiny.records(folder)} == {r for r in tiny.records(root) if r[2] != "pools"}


def test_it_stops_when_it_is_asked_to(whole):
    asked = threading.Event()
    asked.set()
    config, _, _ = whole
    parts = assemble.build(config, source.load(config))

    class This:
        pass

    This.parts = parts
    with pytest.raises(Interrupted, match="stopped while tickets were averaged"):
        pools._validation(This, asked)({}, {})


def test_a_dry_run_says_what_it_costs():
    config = tiny.config({**WHOLE, "retraining.arms": ("pools", "smoothing")})
    facts, _, ground = check.check(config)
    console = rich.console.Console(file=io.StringIO(), width=200)
    dry_run.describe(console, config, facts, ground)
    text = console.file.getvalue()
    # Two seeds of two levels; to each belong two other networks, with 11 alphas.
    assert "pools: 4 averages, at most 92 validations, no step of training" in text
    assert "10 trainings, 4 of them with tweaks" in text


BAD = [
    ({"search.restart": "learning_rate"}, "the same weights: .* 'learning_rate', "),
    (
        {"search.method": "rigl", "search.rewind_to": 0, "dynamic.every": 1},
        "'rigl' with",
    ),
    ({"search.pattern": "channels"}, "weight by weight, got search.pattern"),
    ({"retraining.pools.alphas": ()}, r"one number or more in \(0, 1\)"),
    ({"retraining.pools.alphas": (0.5, 1.0)}, "retraining.pools.alphas must be in"),
    ({"retraining.pools.statistics": "average"}, "did you mean 'averaged'"),
    ({"retraining.arms": ("pools+smoothing",)}, "or pools by itself, got"),
    ({"retraining.arms": ("pool",)}, "did you mean 'pools'"),
    ({"retraining.levels": (3,)}, "retraining.levels must be from 0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_what_is_wrong_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config({**WHOLE, **changes}))


def test_a_method_that_prunes_otherwise_has_no_pools():
    ground = check.check(tiny.config(WHOLE))[2]
    own = ground._replace(method=ground.method._replace(prune=lambda ground: None))
    with pytest.raises(ValueError, match="weight by weight by a score, got search.me"):
        pools_build.check(own)


def test_a_start_at_step_zero_is_warned_of(caplog):
    check.check(tiny.config({**WHOLE, "search.rewind_to": 0}))
    assert "pools average tickets that restart from step 0" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["averaged", "recomputed"])
def test_networks_with_batch_norm_are_pooled_with_their_statistics(
    how, stream, tmp_path
):
    changes = {**WHOLE, **tiny.CONV, "seeds": (0,), "search.levels": 1}
    changes |= {"retraining.pools.statistics": how, "search.scope": "layer"}
    changes |= {"retraining.levels": (0, 1), "best_by": "loss", "data.stream": stream}
    experiment.run(tiny.config(changes), tmp_path)
    rows = tiny.records(tmp_path)
    for level in (0, 1):
        row, ticket = rows[level, 0, "pools"], rows[level, 0, "ticket"]
        assert row["layers"] == ticket["layers"] and row["best_step"] == 4
        assert row["validation_loss"] <= ticket["validation_loss"] + 1e-6
