"""A workdir belongs to one config and one process at a time."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lthjax.program.config import files
from lthjax.program.run import population
from lthjax.program.workdir import layout, origin
from lthjax.program.workdir.member import Member
from lthjax.tickets import Ticket

# The data may move, what is shown may change, and there may be more to train.
FREE = {"data_dir": "elsewhere", "logging.line_seconds": 1.0, "seeds": (0, 5)}


def ticket(value=1.0, level=1):
    params = {"kernel": jnp.full((2, 3), value), "bias": jnp.zeros(3)}
    masks = {"kernel": jnp.arange(6).reshape(2, 3) % 2 == 0, "bias": None}
    return Ticket(level, 2, 9, params, {}, masks)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_claimed_folder_holds_the_config(tmp_path):
    config, root = tiny.config(), tmp_path / "a" / "b"
    with layout.claimed(root, config):
        saved = json.loads((root / layout.CONFIG).read_text())
    assert files.changed(saved, config) == {}


def test_one_process_at_a_time_has_a_folder(tmp_path):
    config = tiny.config()
    with (
        layout.claimed(tmp_path, config),
        pytest.raises(ValueError, match="one process at a time .* another one is"),
        layout.claimed(tmp_path, config),
    ):
        pass
    with layout.claimed(tmp_path, config):
        pass


def test_keys_that_are_new_and_at_their_default_are_no_change(tmp_path):
    config = tiny.config()
    with layout.claimed(tmp_path, config):
        saved = json.loads((tmp_path / layout.CONFIG).read_text())
    del saved["best_by"], saved["schedule"]
    (tmp_path / layout.CONFIG).write_text(json.dumps(saved))
    with layout.claimed(tmp_path, tiny.changed(config, FREE)):
        now = json.loads((tmp_path / layout.CONFIG).read_text())
    assert (now["best_by"], now["seeds"]) == ("", [0, 5])
    with (
        pytest.raises(ValueError, match="best_by: '' -> 'loss'; take another"),
        layout.claimed(tmp_path, tiny.changed(config, {"best_by": "loss"})),
    ):
        pass


def test_a_ticket_once_written_stays(tmp_path):
    assert_same(layout.save_ticket(tmp_path, 3, ticket()), ticket())
    path = layout.ticket_path(tmp_path, 3, 1)
    assert path == tmp_path / "tickets" / "seed_3" / "level_01"
    before = tiny.contents(tmp_path)
    assert_same(layout.save_ticket(tmp_path, 3, ticket(2.0)), ticket())
    assert tiny.contents(tmp_path) == before
    assert_same(layout.load_ticket(tmp_path, 3, 1), ticket())


def test_room_that_is_there_is_no_error(tmp_path):
    layout.check_space(tmp_path, 1)


def test_an_old_folder_keeps_the_cut_of_its_time(tmp_path):
    config = tiny.config()
    assert layout.with_own_cut(tmp_path, config).data.cut == ""
    (tmp_path / layout.CONFIG).write_text('{"data": {"cu')
    assert layout.with_own_cut(tmp_path, config).data.cut == ""
    (tmp_path / layout.CONFIG).unlink()
    with layout.claimed(tmp_path, config):
        saved = json.loads((tmp_path / layout.CONFIG).read_text())
    assert saved["data"]["cut"] == ""
    del saved["data"]["cut"]
    (tmp_path / layout.CONFIG).write_text(json.dumps(saved))
    (tmp_path / origin.COPY).unlink()  # of this version
    for _ in range(2):
        assert layout.with_own_cut(tmp_path, config).data.cut == "first"
        with layout.claimed(tmp_path, config):
            now = json.loads((tmp_path / layout.CONFIG).read_text())
        assert (now["data"]["cut"], config.data.cut) == ("first", "")
    other = tiny.changed(config, {"data.cut": "stratified"})
    with (
        pytest.raises(
            ValueError, match="data.cut: 'first' -> 'stratified'; take anoth"
        ),
        layout.claimed(tmp_path, other),
    ):
        pass
    with layout.claimed(tmp_path, tiny.changed(config, {"data.cut": "first"})):
        pass


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
