"""A ticket on disk: whole, exact, of arrays and JSON, and never silently another."""

import json
import pathlib
import pickle
import pickletools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.saving import checkpoints, tickets
from lthjax.saving.checkpoints import DamagedError
from lthjax.tickets import Ticket, Trained

KEY = jax.random.key(0)
TICKET = Ticket(
    level=3,
    step=1_000,
    until=4_000,
    params={
        "conv": {"kernel": jax.random.normal(KEY, (3, 3, 2, 4)), "bias": jnp.ones(4)},
        "head": {"kernel": jax.random.normal(KEY, (4, 2), jnp.bfloat16)},
    },
    model_state={"batch_stats": {"mean": jnp.arange(4.0)}},
    masks={
        "conv": {"kernel": jax.random.bernoulli(KEY, shape=(3, 3, 2, 4)), "bias": None},
        "head": {"kernel": jnp.ones((4, 2), bool)},
    },
)


@pytest.fixture
def folder(tmp_path):
    tickets.save(tmp_path / "level_03", TICKET, seed=7)
    return tmp_path / "level_03"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert jnp.asarray(x).dtype == jnp.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def test_a_ticket_comes_back_as_it_was(folder):
    assert_same(tickets.load(folder), TICKET)


def test_what_is_kept_beside_it_must_be_what_is_asked_for_where_it_is_there(folder):
    assert_same(tickets.load(folder, seed=7, level=3, arm="ticket"), TICKET)
    with pytest.raises(DamagedError, match="must be of seed 8, got one of seed 7$"):
        tickets.load(folder, seed=8)


NUMBERS = {
    "accuracy": jnp.float32(0.5),
    "loss": np.float32(0.25),
    "rounded": jnp.bfloat16(0.5),
    "seeds": (np.int64(2), [jnp.arange(3)[2]]),
    "done": np.bool_(True),
    "by_class": {np.int64(1): (0.5, float("nan")), "none": None},
}
PLAIN = {
    "accuracy": 0.5,
    "loss": 0.25,
    "rounded": 0.5,
    "seeds": [2, [2]],
    "done": True,
    "by_class": {"1": [0.5, float("nan")], "none": None},
}


@pytest.mark.parametrize("asked", [NUMBERS, PLAIN])
def test_numbers_of_arrays_and_tuples_are_kept_as_json_has_them(tmp_path, asked):
    tickets.save(tmp_path / "x", TICKET, **NUMBERS)
    assert_same(tickets.load(tmp_path / "x", **asked), TICKET)
    _, found = checkpoints.restore(tmp_path / "x")
    kept = {name: found[name] for name in PLAIN}
    assert json.dumps(kept) == json.dumps(PLAIN)
    for other in ({"seeds": (2, [3])}, {"by_class": {}}, {"loss": float("nan")}):
        with pytest.raises(DamagedError, match="must be of"):
            tickets.load(tmp_path / "x", **other)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [0, {1}]}, "what JSON holds .* got own/a/1 = set; make it"),
        (jnp.arange(3), r"got own = ArrayImpl of shape \[3\]"),
        (1j, "got own = complex"),
        (np.datetime64("2021-01-01"), "got own = datetime64"),
        (jax.random.key(0), "got own = PRNGKeyArray"),
        ({(1, 2): 3}, "keys of metadata must be texts, got tuple in own; name it"),
        ({1: 2, "1": 3}, "must differ as texts, got own/1 twice"),
    ],
)
def test_what_json_does_not_hold_is_refused_by_its_key(folder, value, message):
    with pytest.raises(ValueError, match=message):
        tickets.save(folder, TICKET, own=value)
    assert_same(tickets.load(folder, seed=7), TICKET)


def test_a_ticket_without_statistics_comes_back_too(tmp_path):
    plain = TICKET._replace(model_state={})
    tickets.save(tmp_path / "plain", plain)
    assert_same(tickets.load(tmp_path / "plain"), plain)


def test_momentum_is_not_kept(tmp_path):
    tickets.save(tmp_path / "live", TICKET._replace(opt_state=TICKET.params))
    assert tickets.load(tmp_path / "live").opt_state is None


def test_what_can_be_read_without_us_says_what_it_is(folder):
    kept = int(TICKET.masks["conv"]["kernel"].sum()) + 8
    found = json.loads((folder / "metadata" / "metadata").read_text())["metadata"]
    numbers = {"level": 3, "step": 1_000, "until": 4_000}
    assert found == {**numbers, "kept": kept, "prunable": 72 + 8, "seed": 7}


def is_pickle(content):
    """Says whether bytes are a pickle from their first to their last."""
    try:
        *_, (_, _, last) = pickletools.genops(content)
    except ValueError:
        return False
    return last == len(content) - 1


def test_nothing_in_the_folder_is_a_pickle(folder):
    assert is_pickle(pickle.dumps(TICKET.level))
    for path in files(folder):
        assert not is_pickle(path.read_bytes()), path


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "a flipped bit": lambda content: flip(content, len(content) // 2),
    "another flipped bit": lambda content: flip(content, len(content) // 3),
    "a missing half": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_anywhere_is_noticed_or_harmless(folder, damage):
    noticed = []
    for path in files(folder):
        content = path.read_bytes()
        if not content:
            continue
        path.write_bytes(DAMAGES[damage](content))
        try:
            assert_same(tickets.load(folder), TICKET)
        except DamagedError as error:
            assert str(folder) in str(error)
            noticed.append(path)
        path.write_bytes(content)
    largest = max(files(folder), key=lambda path: path.stat().st_size)
    assert largest in noticed
    assert_same(tickets.load(folder), TICKET)


@pytest.mark.parametrize("number", ["level", "step", "until"])
def test_a_changed_number_is_noticed(folder, number):
    path = folder / "metadata" / "metadata"
    found = json.loads(path.read_text())
    found["metadata"][number] += 1
    path.write_text(json.dumps(found))
    with pytest.raises(DamagedError):
        tickets.load(folder)


def test_a_missing_ticket_is_named(tmp_path):
    with pytest.raises(DamagedError, match="nowhere cannot be read"):
        tickets.load(tmp_path / "nowhere")


def test_saving_again_replaces_and_leaves_nothing_else(folder):
    other = TICKET._replace(level=4)
    tickets.save(folder, other)
    assert tickets.load(folder).level == 4
    assert [path.name for path in pathlib.Path(folder.parent).iterdir()] == ["level_03"]


def test_that_it_only_looks_for_masks_is_kept(tmp_path):
    tickets.save(tmp_path / "searching", TICKET._replace(searching=1))
    assert tickets.load(tmp_path / "searching").searching == 1


def test_nodes_come_back_as_those_of_an_example(tmp_path):
    weights = {"layers": (jnp.ones(2), [jnp.zeros(3)])}
    held = {"layers": (jnp.ones(2, bool), [None])}
    ticket = TICKET._replace(params=weights, masks=held)
    tickets.save(tmp_path / "x", ticket)
    assert_same(tickets.load(tmp_path / "x", ticket), ticket)
    assert type(tickets.load(tmp_path / "x").params["layers"]) is list
    trained = Trained(weights, {}, held)
    tickets.save_trained(tmp_path / "y", trained)
    assert_same(tickets.load_trained(tmp_path / "y", trained), trained)


def test_what_another_function_saved_is_refused_plainly(tmp_path):
    tickets.save_trained(tmp_path / "y", Trained(TICKET.params, {}, TICKET.masks))
    checkpoints.save(tmp_path / "z", {"state": {"a": jnp.ones(2)}})
    with pytest.raises(DamagedError, match="a ticket must hold params, .* level, step"):
        tickets.load(tmp_path / "y")
    for read in (tickets.load, tickets.load_trained):
        with pytest.raises(DamagedError, match="must hold params, .*got state"):
            read(tmp_path / "z")


def test_arrays_of_64_bits_come_back_as_they_were(tmp_path):
    params = {"a": {"kernel": np.array([[1 / 3, 1e-300]])}}
    masks = {"a": {"kernel": np.ones((1, 2), bool)}}
    state = {"counts": {"n": np.array(2**40)}}
    tickets.save(tmp_path / "x", Ticket(0, 0, 4, params, state, masks))
    found = tickets.load(tmp_path / "x")
    assert_same((found.params, found.model_state), (params, state))
    assert isinstance(found.masks["a"]["kernel"], jax.Array)


def test_numbers_of_python_come_back_as_numbers(tmp_path):
    state = {"rate": 0.25, "count": 3}
    tickets.save(tmp_path / "x", TICKET._replace(model_state=state))
    assert tickets.load(tmp_path / "x").model_state == state


def test_levels_and_steps_may_be_numbers_of_arrays(tmp_path):
    numbers = {"level": np.int64(1), "step": jnp.int32(2), "until": np.int32(3)}
    tickets.save(tmp_path / "x", TICKET._replace(**numbers, searching=np.int32(1)))
    found = tickets.load(tmp_path / "x")
    assert (found.level, found.step, found.until, found.searching) == (1, 2, 3, 1)
