"""A ticket as one file: bit for bit, readable by others, never silently another."""

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from lthjax.saving import safetensors as safetensors_lib
from lthjax.saving.checkpoints import DamagedError
from lthjax.tickets import Ticket, Trained

DTYPES = ("bfloat16", "float16", "float32", "float8_e4m3fn", "int8", "uint32", "bool")
KEY = jax.random.key(0)
MASK = jax.random.bernoulli(KEY, shape=(3, 3, 2, 4))
TICKET = Ticket(
    level=3,
    step=1_000,
    until=4_000,
    params={
        "conv": {"kernel": jax.random.normal(KEY, MASK.shape), "bias": jnp.ones(4)},
        "of every dtype": {name: jnp.arange(3).astype(name) for name in DTYPES},
        "odd": {"scalar": jnp.float32(jnp.nan), "none": jnp.zeros((0, 2)), "empty": {}},
    },
    model_state={"batch_stats": {"mean": jnp.arange(4.0)}, "cache": {}},
    masks={
        "conv": {"kernel": MASK, "bias": None},
        "of every dtype": dict.fromkeys(DTYPES),
        "odd": {"scalar": None, "none": None, "empty": {}},
    },
)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ticket.safetensors"
    safetensors_lib.write(path, TICKET, seed=7, arm="ticket", config={"seeds": [7]})
    return path


def bits(tree):
    return jax.tree.map(lambda x: (x.dtype, x.shape, np.asarray(x).tobytes()), tree)


def test_a_ticket_comes_back_bit_for_bit_with_its_metadata(file):
    found, metadata = safetensors_lib.read(file)
    assert isinstance(found, Ticket)
    numbers = ("level", "step", "until", "searching", "opt_state")
    assert [getattr(found, n) for n in numbers] == [3, 1_000, 4_000, 0, None]
    for name in ("params", "model_state", "masks"):
        assert bits(getattr(found, name)) == bits(getattr(TICKET, name))
    expected = {"seed": 7, "arm": "ticket", "config": {"seeds": [7]}, "kind": "ticket"}
    assert metadata == {**expected, "versions": safetensors_lib.versions()}


def test_numbers_of_arrays_beside_it_come_back_as_json_has_them(tmp_path):
    given = {"accuracy": jnp.float32(0.5), "seeds": (np.int64(1), 2)}
    safetensors_lib.write(tmp_path / "x", TICKET, **given)
    _, metadata = safetensors_lib.read(tmp_path / "x")
    assert (metadata["accuracy"], metadata["seeds"]) == (0.5, [1, 2])
    with pytest.raises(ValueError, match="what JSON holds .* got own = object"):
        safetensors_lib.write(tmp_path / "y", TICKET, own=object())


def test_a_trained_network_comes_back_as_one(tmp_path):
    trained = Trained(TICKET.params, {}, TICKET.masks, opt_state={"count": jnp.ones(2)})
    safetensors_lib.write(tmp_path / "x", trained)
    found, metadata = safetensors_lib.read(tmp_path / "x")
    assert metadata["kind"] == "trained" and found.opt_state is None
    assert bits(found.params) == bits(TICKET.params) and found.model_state == {}


def test_the_same_ticket_gives_the_same_bytes(file, tmp_path):
    found, metadata = safetensors_lib.read(file)
    kept = {name: metadata[name] for name in ("seed", "arm", "config")}
    safetensors_lib.write(tmp_path / "again", found, **kept)
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


class Pair(NamedTuple):
    first: Any
    rest: Any


def test_whole_keys_places_and_names_come_back_and_so_do_other_nodes(tmp_path):
    x = jnp.arange(2.0)
    params = Pair([x, {0: x + 1, 10: x + 2}], {"kernel": x + 3})
    masks = Pair([x > 0, {0: None, 10: x > 1}], {"kernel": None})
    given = Trained(params, {"empty": []}, masks)
    safetensors_lib.write(tmp_path / "x", given)
    found, _ = safetensors_lib.read(tmp_path / "x")
    rest, nodes = {"kernel": x + 3}, {0: x, 1: {0: x + 1, 10: x + 2}}
    assert bits(found.params) == bits({"first": nodes, "rest": rest})
    names = set(safetensors.numpy.load_file(tmp_path / "x"))
    assert {"params/first/1/10", "masks/first/1/10", "params/rest/kernel"} <= names
    found, _ = safetensors_lib.read(tmp_path / "x", given)
    assert bits(found) == bits(given)
    for other in (given._replace(params={"x": x}), given._replace(masks=params)):
        with pytest.raises(ValueError, match="the leaves and shapes of like, got"):
            safetensors_lib.read(tmp_path / "x", other)


class Valued(NamedTuple):
    """A field that is called as what a box holds, beside another one."""

    value: Any
    other: Any


class Box(NamedTuple):
    """A box of one array, or of several."""

    value: Any


@pytest.mark.parametrize(
    "node",
    [
        {"a": Valued(jnp.ones(2), jnp.zeros(3))},
        {"a": Box(jnp.ones(2)), "b": [Box({"kernel": jnp.ones(2)})]},
        Valued(Box(jnp.ones(2)), Box(Valued(jnp.ones(2), jnp.zeros(3)))),
    ],
)
def test_fields_called_value_come_back_as_the_nodes_that_they_were(tmp_path, node):
    ticket = Ticket(0, 0, 1, node, {}, jax.tree.map(lambda x: None, node))
    safetensors_lib.write(tmp_path / "a", ticket)
    found, _ = safetensors_lib.read(tmp_path / "a", ticket)
    assert jax.tree.structure(found) == jax.tree.structure(ticket)
    assert bits(found.params) == bits(node)


def test_arrays_of_64_bits_and_in_any_order_of_memory_survive(tmp_path):
    params = {"x": np.arange(6).reshape(2, 3).T, "y": np.float64(1 / 3)}
    safetensors_lib.write(tmp_path / "x", Trained(params, {}, {"x": None, "y": None}))
    found, _ = safetensors_lib.read(tmp_path / "x")
    np.testing.assert_array_equal(found.params["x"], params["x"])
    assert found.params["y"] == params["y"]


def test_the_file_is_read_by_safetensors_alone(file):
    tensors = {
        "masks/conv/kernel": MASK,
        "params/conv/bias": TICKET.params["conv"]["bias"],
        "params/of every dtype/bfloat16": jnp.arange(3, dtype=jnp.bfloat16),
    }
    with safetensors.safe_open(file, framework="np") as opened:
        assert "masks/conv/bias" not in set(opened.keys())
        for name, expected in tensors.items():
            found = opened.get_tensor(name)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        assert json.loads(opened.metadata()["lthjax"])["metadata"]["seed"] == 7


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "x"
    small = {"kernel": jnp.arange(4.0)}
    safetensors_lib.write(
        path, Trained(small, {}, {"kernel": jnp.array([True, False] * 2)})
    )
    whole, refused = path.read_bytes(), 0
    before = bits(safetensors_lib.read(path)[0].params)
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1
        path.write_bytes(damaged)
        try:
            assert bits(safetensors_lib.read(path)[0].params) == before
        except ValueError:
            refused += 1
    # All but the spaces that pad the header to a multiple of eight bytes.
    assert refused >= len(whole) - 8


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_a_file_cut_short_is_refused(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DamagedError, match="ticket.safetensors cannot be read"):
        safetensors_lib.read(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DamagedError, match="nowhere cannot be read"):
        safetensors_lib.read(tmp_path / "nowhere")


def test_a_file_of_others_is_refused(tmp_path):
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "x", {"format": "pt"})
    with pytest.raises(ValueError, match=r"must have 'lthjax', got .*\['format'\]"):
        safetensors_lib.read(tmp_path / "x")


def rewritten(file, change):
    """Writes the file again with another header, {"tensors", "head"} changed."""
    with safetensors.safe_open(file, framework="np") as opened:
        head = json.loads(opened.metadata()["lthjax"])
    tensors = safetensors.numpy.load_file(file)
    change(tensors, head)
    safetensors.numpy.save_file(tensors, file, {"lthjax": json.dumps(head)})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tensors, head: head.pop("kind"), "KeyError: 'kind'"),
        (lambda tensors, head: head.pop("tree"), "KeyError: 'tree'"),
        (lambda tensors, head: head.update(kind="model"), "KeyError: 'model'"),
        (lambda tensors, head: head.update(tree=[]), "other ones for"),
        (lambda tensors, head: head["numbers"].update(level=4), "the checksum of"),
        (lambda tensors, head: head["metadata"].update(seed=8), "the checksum of"),
        (
            lambda tensors, head: tensors.pop("masks/conv/kernel"),
            "other ones for masks/conv/kernel",
        ),
        (
            lambda tensors, head: tensors.update(more=np.ones(1)),
            "other ones for more",
        ),
        (
            lambda tensors, head: tensors.update(
                {"params/conv/bias": np.ones(4, "f8")}
            ),
            "must be",
        ),
    ],
)
def test_what_was_changed_by_hand_is_refused(file, change, message):
    dtypes = [name for name in DTYPES if "float8" not in name]  # which numpy lacks
    of_every = {name: TICKET.params["of every dtype"][name] for name in dtypes}
    params = TICKET.params | {"of every dtype": of_every}
    kept = TICKET.masks | {"of every dtype": dict.fromkeys(dtypes)}
    safetensors_lib.write(file, TICKET._replace(params=params, masks=kept), seed=7)
    rewritten(file, lambda tensors, head: None)
    safetensors_lib.read(file)
    rewritten(file, change)
    with pytest.raises(DamagedError, match=message):
        safetensors_lib.read(file)


@pytest.mark.parametrize(
    "params, name",
    [
        ({"a": {"b": jnp.ones(2)}, "a/b": jnp.ones(2)}, "params/a/b = "),
        ({(0, 1): jnp.ones(2)}, "params = dict"),
        ({"x": "text"}, "params/x = str"),
    ],
)
def test_what_a_file_cannot_say_is_refused_and_nothing_is_written(
    tmp_path, params, name
):
    masks = jax.tree.map(lambda _: None, params)
    with pytest.raises(ValueError, match=f"a tree of arrays, .* got {name}"):
        safetensors_lib.write(tmp_path / "x", Trained(params, {}, masks))
    assert not list(tmp_path.iterdir())


def test_numbers_in_the_other_order_of_bytes_come_back_as_they_were(tmp_path):
    trained = Trained({"k": np.arange(4.0).astype(">f4")}, {}, {"k": np.ones(4, bool)})
    safetensors_lib.write(tmp_path / "a.safetensors", trained)
    found, _ = safetensors_lib.read(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found.params["k"], [0, 1, 2, 3])


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DamagedError, match="cannot be read"):
        safetensors_lib.read(tmp_path)


@pytest.mark.parametrize(
    "leaf", [jax.random.key(0), jnp.ones(2, jnp.int4), np.ones(2, np.complex128)]
)
def test_a_type_that_the_format_does_not_hold_is_named(tmp_path, leaf):
    network = Trained({"w": jnp.ones(2)}, {"own": {"x": leaf}}, {"w": None})
    with pytest.raises(ValueError, match=r"got model_state/own/x of .*; cast it"):
        safetensors_lib.write(tmp_path / "x", network)
    assert not list(tmp_path.iterdir())
