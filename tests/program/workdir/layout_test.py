"""Tickets and checkpoints in a workdir stay, or go as wholes."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from trees import assert_same

from lthjax.program.run import population
from lthjax.program.workdir import layout
from lthjax.program.workdir.member import Member
from lthjax.tickets import Ticket


def ticket(value=1.0, level=1):
    params = {"kernel": jnp.full((2, 3), value), "bias": jnp.zeros(3)}
    masks = {"kernel": jnp.arange(6).reshape(2, 3) % 2 == 0, "bias": None}
    return Ticket(level, 2, 9, params, {}, masks)


def test_a_ticket_once_written_stays(tmp_path):
    assert_same(layout.save_ticket(tmp_path, 3, ticket()), ticket())
    path = layout.ticket_path(tmp_path, 3, 1)
    assert path == tmp_path / "tickets" / "seed_3" / "level_01"
    before = tiny.contents(tmp_path)
    assert_same(layout.save_ticket(tmp_path, 3, ticket(2.0)), ticket())
    assert tiny.contents(tmp_path) == before
    assert_same(layout.load_ticket(tmp_path, 3, 1), ticket())


def test_what_is_left_of_a_training_that_is_over_goes_whole_or_not_at_all(tmp_path):
    training = tmp_path / "training"
    for name in ("level_01", ".level_01", ".level_02", "level_03"):
        (training / name / "7").mkdir(parents=True)
    layout.drop_stale(tmp_path, {3})
    assert [path.name for path in training.iterdir()] == ["level_03"]
    layout.drop_training(tmp_path, 3)
    assert not training.exists()


def test_a_training_whose_removal_was_killed_is_none_to_go_on_with(
    tmp_path, monkeypatch, caplog
):
    layout.save_training(tmp_path, 1, {"a": np.zeros(3)}, {})

    def killed(path, **options):
        if path.exists():
            (path / "0" / "metadata").rename(tmp_path / "elsewhere")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(layout.shutil, "rmtree", killed)
        layout.drop_training(tmp_path, 1)
    assert layout.load_training(tmp_path, 1, {"a": 0}) is None
    assert not caplog.text
    layout.drop_stale(tmp_path, {1})
    assert not (tmp_path / "training").exists()


def test_what_a_round_of_a_level_left_is_not_taken_for_damage_by_its_ticket(
    tmp_path, caplog
):
    numbers = {"members": [["ticket", 0, None]], "span": [1, 2, 9, 1], "at": 3}
    layout.save_training(tmp_path, 1, {"a": np.zeros(3)}, numbers | {"seconds": 1.0})
    parts = types.SimpleNamespace(begin=lambda ticket: {"b": jnp.zeros(4)})
    job = population.Job("ticket", Member(0), ticket())
    assert population.restore(tmp_path, parts, [job]) is None
    assert not caplog.text
