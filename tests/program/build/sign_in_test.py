"""The arm of Sign-In through the whole program: plain at the end, killed, refused."""

import jax
import numpy as np
import pytest
import tiny

from lthjax.program.run import experiment
from lthjax.program.run import population as population_lib
from lthjax.program.workdir import layout
from lthjax.saving.tickets import load as load_ticket
from lthjax.saving.tickets import load_trained

ARMS = ("sign_in", "sign_in+smoothing", "smoothing")
CONFIG = {
    "seeds": (0, 1),
    "search.levels": 1,
    "retraining.arms": ARMS,
    "retraining.levels": (1,),
    "retraining.sign_in.every": 0.5,
    "eval_every": 2,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    config, root = tiny.config(CONFIG), tmp_path_factory.mktemp("whole")
    experiment.run(config, root)
    return config, root


def test_factors_train_other_weights_of_the_same_ticket(whole):
    _, root = whole
    rows = tiny.records(root)
    for seed in (0, 1):
        ticket = rows[1, seed, "ticket"]
        for arm in ARMS:
            row = rows[1, seed, arm]
            assert row["kept"] == ticket["kept"] and row["retrained"]
            assert row["train_loss"] != ticket["train_loss"]
        losses = {rows[1, seed, arm]["test_loss"] for arm in ARMS}
        assert len(losses) == len(ARMS)


def test_what_is_deployed_is_one_weight_for_two_factors_and_zero_where_pruned(whole):
    _, root = whole
    ticket = load_ticket(layout.ticket_path(root, 0, 1))
    found = load_trained(layout.trained_path(root, "sign_in", 0, 1))
    assert jax.tree.structure(found.params) == jax.tree.structure(ticket.params)
    for name in ("dense1", "head"):
        kernel, mask = (
            np.asarray(t[name]["kernel"]) for t in (found.params, ticket.masks)
        )
        assert (kernel[~mask] == 0).all() and (kernel[mask] != 0).any()


def test_a_run_killed_in_the_middle_ends_with_the_same_bits(
    whole, tmp_path, monkeypatch
):
    config, root = whole
    save, killed = population_lib.save, []

    def deadly(folder, population):
        save(folder, population)
        if population.jobs[0].arm in ARMS and not killed:
            killed.append(population.at)
            raise KeyboardInterrupt

    monkeypatch.setattr(population_lib, "save", deadly)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(config, tmp_path)
    monkeypatch.undo()
    assert killed
    experiment.run(config, tmp_path)
    rows, again = tiny.records(root), tiny.records(tmp_path)
    for name, row in rows.items():
        apart = {k for k in row if row[k] != again[name][k]}
        assert apart <= {"seconds"}


def test_factors_go_with_ghosts_of_a_network(tmp_path):
    changes = {
        "model.name": "resnet20",
        "model.options": {"blocks": (1,), "channels": (4,)},
        "retraining.arms": ("sign_in+neurons+skips", "frozen_skips"),
        "seeds": (0,),
    }
    experiment.run(tiny.config(CONFIG | changes), tmp_path)
    rows = tiny.records(tmp_path)
    assert {"sign_in+neurons+skips", "frozen_skips"} <= {arm for _, _, arm in rows}
    assert rows[1, 0, "frozen_skips"]["ghost_steps"] > 0


def test_masks_that_move_are_refused_before_anything_is_trained(tmp_path):
    config = tiny.config(CONFIG | {"search.method": "set", "dynamic.every": 1})
    with pytest.raises(ValueError, match="masks stay, .* 'sign_in' with .* 'set'"):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["beta", "every"])
def test_numbers_that_are_not_positive_are_refused(key, tmp_path):
    config = tiny.config(CONFIG | {f"retraining.sign_in.{key}": 0.0})
    with pytest.raises(ValueError, match=f"sign_in.{key}.* 0.0"):
        experiment.run(config, tmp_path / "run")
