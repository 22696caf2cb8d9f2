"""Chains: where they go on when interrupted, and how one ends before the others."""

import contextlib
import itertools
import shutil

import pytest
import tiny

from lthjax.program.run import experiment, population
from lthjax.program.run.search_progress import CollapsedError
from lthjax.program.workdir import results

pytestmark = pytest.mark.usefixtures("compiled_once")

LAST = -3.0  # no gate that begins there opens in a few steps
CHANGES = {
    "seeds": (0,),
    "controls": ("shuffle",),
    "search.method": "continuous",
    "search.rewind_to": 2,
    "search.gates.learning_rate": 1.0,
    "search.gates.initial": (LAST, 0.1),
}
TOTAL = 64 * 8 + 8 * 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two chains of two rounds, one of which loses all its weights in the first."""
    return tiny.uninterrupted(tmp_path_factory, CHANGES)


def interrupted(settings, root):
    """Runs to the end in lives, each cut by a save in a training or by a move on.

    Returns:
      What was saved: populations in their training, and jobs at the end of theirs.
    """
    saves, places = [], [(population, "save"), (experiment, "_move_on")]

    def dying(function):
        def call(*args):
            function(*args)
            saves.append(args[1])
            raise KeyboardInterrupt

        return call

    for module, name in itertools.islice(itertools.cycle(places), 100):
        cut = pytest.MonkeyPatch.context()
        with contextlib.suppress(KeyboardInterrupt), cut as patch:
            patch.setattr(module, name, dying(getattr(module, name)))
            experiment.run(settings, root)
            return saves
    raise AssertionError("each life must get somewhere")


@pytest.mark.slow
def test_a_run_stopped_inside_any_round_ends_with_the_same_bits(whole, tmp_path):
    settings, root = whole
    saves = interrupted(settings, tmp_path)
    inside = [p for p in saves if hasattr(p, "at") and 0 < p.at < p.ticket.until]
    assert {(p.ticket.level, p.ticket.searching) for p in inside} >= {(1, 1), (2, 1)}
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_a_chain_that_loses_everything_ends_alone(whole, caplog):
    settings, root = whole
    rows = tiny.records(root)
    assert {key[0::2] for key in rows if key[3] == LAST} == {
        (0, "ticket"),
        (1, "search"),
    }
    row = rows[1, 0, "search", LAST]
    assert row["kept"] == 0 and row["collapsed_first"] in row["collapsed"]
    assert {key[0::2] for key in rows if key[3] != LAST} == {
        (0, "ticket"),
        *itertools.product((1, 2), ("search", "ticket", "shuffle")),
    }
    before = tiny.contents(root)
    experiment.run(settings, root)
    assert tiny.contents(root) == before
    said = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(said) == 1
    assert said[0].startswith(f"seed 0, first logit -3: none of {TOTAL} weights left")


def test_a_run_whose_chains_all_lose_everything_names_them_each_time(tmp_path):
    settings = tiny.config({"search.method": "continuous", "search.levels": 1})
    settings = tiny.changed(settings, {"search.gates.initial": (LAST,)})
    for _ in range(2):
        with pytest.raises(CollapsedError, match=r"0: none of 592 .*; seed 1: none of"):
            experiment.run(settings, tmp_path)
    assert {row["kept"] for row in tiny.records(tmp_path).values()} == {0, TOTAL}


@pytest.mark.parametrize("arm", ["search", "ticket"])
def test_a_round_that_has_lost_its_record_is_trained_again(
    whole, tmp_path, arm, caplog
):
    settings, root = whole
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / results.RESULTS
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(row for row in rows if f'"arm": "{arm}"' not in row))
    experiment.run(settings, tmp_path)
    assert f"level 1 ({arm})" in caplog.text
    assert tiny.outcome(tmp_path) == tiny.outcome(root)
