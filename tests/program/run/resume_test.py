"""A run may be killed at any moment: the same command ends it with the same bits."""

import contextlib
import itertools
import logging
import os
import re
import shutil
import signal

import pytest
import tiny
from cases import rest_slow

from lthjax.forward_selection import layer_growth
from lthjax.program import progress
from lthjax.program.run import experiment
from lthjax.program.workdir import results, text_files
from lthjax.saving import checkpoints

pytestmark = pytest.mark.usefixtures("compiled_once")

WRITES = ((checkpoints, "save"), (results, "append"), (text_files, "write"))
WRITES += ((shutil, "rmtree"),)
# Late rewinding: the dense training comes in two parts.
MLP = {"search.rewind_to": 1, "controls": ("shuffle",)}
RIGL = {"search.method": "rigl", "search.scope": "erdos_renyi", "dynamic.every": 1}
ADMM = {"search.method": "admm", "search.admm.steps": 2, "search.rewind_to": 1}
CONV = {**tiny.CONV, "search.rewind_to": 1, "search.levels": 1}
BASED = {
    "search.basis": (("dense1", "svd_rows"), ("head", "random_orthogonal_both")),
    "search.pattern": "channels",
    "search.score": "energy",
    "search.rewind_to": 1,
    "search.rate": 0.4,
    "controls": ("reinit",),
}
MIXED = {**MLP, "data.crop": 1, "data.augment": "cutout+mixup"}
CHANNELS = {
    "seeds": (0,),
    "model.name": "vgg11",
    "model.options": {"depths": (1, 1), "channels": (4, 6)},
    "search.levels": 1,
}
EARLY_BIRD = {
    **CHANNELS,
    "search.method": "early_bird",
    "search.sparsities": (0.5,),
    "early_bird.queue": 2,
    "early_bird.threshold": 1.0,
    "train.steps": 12,
}
FORWARD = {
    **CHANNELS,
    "search.method": "forward",
    "forward.tune": 4,
    "forward.most": 2,
    "forward.number": 3,
    "forward.batch_size": 12,
}


ARMS = ("ticket", "shuffle")


class Killed(BaseException):
    """What no `except Exception` catches."""


def changed_at(path):
    return path.stat().st_mtime_ns if path.exists() else None


def die_after_writes(monkeypatch, number, died_at):
    """Makes the `number`-th change of the disk from now on the last one."""
    left = itertools.count(number - 1, -1)

    def deadly(function, name):
        def write(path, *args, **kwargs):
            before = changed_at(path)
            function(path, *args, **kwargs)
            if changed_at(path) != before and next(left) == 0:
                died_at.append(name)
                raise Killed

        return write

    for module, name in WRITES:
        monkeypatch.setattr(module, name, deadly(getattr(module, name), name))


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, MLP)


@pytest.fixture(scope="module")
def conv(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, CONV)


@pytest.fixture(scope="module")
def rigl(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, RIGL)


@pytest.fixture(scope="module")
def admm(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, ADMM)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, {**MLP, "data.stream": True})


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, MIXED)


@pytest.fixture(scope="module")
def based(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, BASED)


@pytest.mark.parametrize(
    "whole",
    rest_slow(["mlp", "conv", "rigl", "admm", "streamed", "mixed", "based"], "mlp"),
)
def test_a_run_killed_after_whatever_it_writes_ends_the_same(
    whole, request, tmp_path, monkeypatch, caplog
):
    config, root = request.getfixturevalue(whole)
    caplog.set_level(logging.INFO)
    died_at = lives(config, tmp_path, monkeypatch)
    assert set(died_at) == {name for _, name in WRITES}
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
    for level in range(config.search.levels + 1):
        assert re.search(rf"resuming level {level}, step \d of 4", caplog.text)


def lives(config, root, monkeypatch):
    """Runs to the end, killed again and again, and returns after what writes."""
    died_at = []
    # Every life is of one, two or three writes, most of one: all kinds are a last one.
    for number in itertools.cycle((1, 2, 1, 1, 3)):
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            die_after_writes(patch, number, died_at)
            experiment.run(config, root)
            break
        assert len(died_at) < 200  # each life got somewhere
    return died_at


@pytest.fixture(scope="module")
def forward(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, FORWARD)


@pytest.fixture(scope="module")
def early_bird(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, EARLY_BIRD)


@pytest.mark.slow
@pytest.mark.parametrize("whole", ["forward", "early_bird"])
def test_a_search_for_channels_killed_after_whatever_it_writes_ends_the_same(
    whole, request, tmp_path, monkeypatch
):
    config, root = request.getfixturevalue(whole)
    died_at = lives(config, tmp_path, monkeypatch)
    assert set(died_at) == {name for _, name in WRITES}
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


@pytest.mark.parametrize(
    "whole, name",
    rest_slow(
        [("rigl", "results"), ("early_bird", "curves"), ("forward", "results")],
        ("forward", "results"),
    ),
)
def test_what_a_search_has_lost_of_its_records_is_trained_again(
    whole, name, request, tmp_path, caplog
):
    config, root = request.getfixturevalue(whole)
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    searches = {p: p.stat().st_mtime_ns for p in (tmp_path / "search").glob("*/*")}
    rows = (tmp_path / f"{name}.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / f"{name}.jsonl").write_text("".join(rows[1:]))
    experiment.run(config, tmp_path)
    assert "have lost is trained again: level" in caplog.text
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
    # Where the search stands is not forgotten for it.
    assert searches == {p: p.stat().st_mtime_ns for p in searches}


def counted_picks(monkeypatch, stop_at=None):
    """Returns a list that gets the layer of every pick; one of them brings SIGTERM."""
    found, growth = [], layer_growth.growth

    def counted(*args, **options):
        for stand in growth(*args, **options):
            found.append(options["group"].name)
            if len(found) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield stand

    monkeypatch.setattr(layer_growth, "growth", counted)
    return found


def test_a_selection_hears_the_wish_to_stop_and_goes_on_from_the_pick_it_was_at(
    forward, tmp_path, monkeypatch
):
    config, root = forward
    unhurried = tiny.changed(config, {"logging.checkpoint_seconds": 1e6})
    with monkeypatch.context() as patch:
        before = counted_picks(patch, stop_at=3)
        with pytest.raises(progress.Interrupted, match="search after level 0 .seed 0"):
            experiment.run(unhurried, tmp_path)
    assert before == ["conv1_1"] * 2 + ["conv2_1"]
    later = counted_picks(monkeypatch)
    experiment.run(unhurried, tmp_path)
    assert later == ["conv2_1"]
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


@pytest.mark.slow
def test_a_damaged_selection_is_made_again_and_said_so(
    forward, tmp_path, monkeypatch, caplog
):
    config, root = forward
    with monkeypatch.context() as patch, pytest.raises(progress.Interrupted):
        counted_picks(patch, stop_at=3)
        experiment.run(config, tmp_path)
    newest = max((tmp_path / "search" / "seed_0").iterdir(), key=lambda p: int(p.name))
    for path in (newest / "tree").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    later = counted_picks(monkeypatch)
    experiment.run(config, tmp_path)
    assert "falling back to what was saved before it" in caplog.text
    assert later == ["conv2_1"] * 2
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_a_finished_run_says_so_and_touches_nothing(mlp, caplog):
    config, root = mlp
    before = tiny.contents(root)
    caplog.set_level(logging.INFO)
    rows = experiment.run(config, root)
    assert f"finished: {root} has all that was asked for" in caplog.text
    assert tiny.contents(root) == before
    assert rows == results.read(root / results.RESULTS)


def test_more_seeds_levels_and_controls_go_on_from_what_is_there(mlp, tmp_path):
    config, root = mlp
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    expected = set(tiny.records(root))
    for changes, added in (
        ({"seeds": (2, 3)}, {(0, "ticket"), *((n, a) for n in (1, 2) for a in ARMS)}),
        ({"search.levels": 3}, {(3, arm) for arm in ARMS}),
        ({"controls": tiny.ALL[1:]}, {(n, "random") for n in (1, 2)}),
    ):
        before = (tmp_path / results.RESULTS).read_text()
        earlier = tiny.saved_tickets(tmp_path)
        now = tiny.changed(config, changes)
        experiment.run(now, tmp_path)
        assert (tmp_path / results.RESULTS).read_text().startswith(before)
        assert earlier.items() <= tiny.saved_tickets(tmp_path).items()
        expected |= {(n, seed, arm) for seed in now.seeds for n, arm in added}
        assert tiny.records(tmp_path).keys() == expected


def test_fewer_seeds_controls_and_levels_are_a_finished_run(mlp, tmp_path, caplog):
    config, root = mlp
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    fewer = {"seeds": (0,), "controls": (), "search.levels": 0}
    caplog.set_level(logging.INFO)
    rows = experiment.run(tiny.changed(config, fewer), tmp_path)
    assert "finished" in caplog.text
    assert rows == results.read(root / results.RESULTS)


def test_a_population_that_lost_a_seed_on_its_way_goes_on_without(
    mlp, tmp_path, caplog, monkeypatch
):
    config, root = mlp
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after_writes(patch, 14, [])
        experiment.run(config, tmp_path)
    caplog.set_level(logging.INFO)
    experiment.run(tiny.changed(config, {"seeds": (1,)}), tmp_path)
    assert re.search(r"resuming level \d, step \d of \d", caplog.text)
    kept = {seed: r["kept"] for (_, seed, _), r in tiny.records(tmp_path).items()}
    assert set(kept) == {1}
    experiment.run(config, tmp_path)
    assert tiny.records(tmp_path).keys() == tiny.records(root).keys()
