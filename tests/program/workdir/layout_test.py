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
from lthjax.saving import checkpoints, tickets
from lthjax.tickets import Ticket, Trained


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


def swap(*paths):
    one, other = paths
    aside = one.rename(one.with_name("aside"))
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    "one, other, words",
    [
        ((3, 1), (4, 1), "of level 1, seed 3, got one of level 1, seed 4; .* made"),
        ((3, 1), (3, 2), "of level 1, seed 3, got one of level 2, seed 3; .* made"),
        ((Member(3, 0.1), 1), (Member(3, -0.1), 1), "initial 0.1, .* initial -0.1;"),
    ],
)
def test_a_ticket_in_the_place_of_another_is_damaged(tmp_path, one, other, words):
    for seed, level in (one, other):
        layout.save_ticket(tmp_path, seed, ticket(level=level))
    swap(*(layout.ticket_path(tmp_path, *place) for place in (one, other)))
    with pytest.raises(checkpoints.DamagedError, match=words):
        layout.load_ticket(tmp_path, *one)
    new = ticket(2.0, level=one[1])
    assert_same(layout.save_ticket(tmp_path, one[0], new), new)
    assert_same(layout.load_ticket(tmp_path, *one), new)


def test_so_are_a_network_and_a_search(tmp_path):
    own = ticket()
    given = Trained(own.params, {}, own.masks)
    for seed in (3, 4):
        path = layout.trained_path(tmp_path, "ticket", seed, 1)
        tickets.save_trained(path, given, level=1, arm="ticket", seed=seed)
        layout.save_search(tmp_path, seed, {"a": jnp.ones(2)}, own, given)
    swap(*(layout.trained_path(tmp_path, "ticket", seed, 1) for seed in (3, 4)))
    with pytest.raises(checkpoints.DamagedError, match="seed 3, got .* seed 4; to ha"):
        layout.load_trained(tmp_path, "ticket", 3, 1)
    like = {"state": {"a": 0}, "ticket": own, "trained": given}
    assert layout.load_search(tmp_path, 3, lambda metadata: like)[1].level == 1
    swap(*(tmp_path / "search" / f"seed_{seed}" for seed in (3, 4)))
    assert layout.load_search(tmp_path, 3, lambda metadata: like) is None


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
