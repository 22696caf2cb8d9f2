"""A network's weights are read from files and folders, ours and others'."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save
from trees import assert_same

from lthjax.saving import DamagedError, networks, safetensors, tickets
from lthjax.tickets import Ticket, Trained

PARAMS = {"conv1": {"kernel": jnp.arange(4.0).reshape(2, 2), "bias": jnp.ones(2)}}
STATE = {"batch_stats": {"norm": {"mean": jnp.ones(2)}}}
MASKS = {"conv1": {"kernel": jnp.eye(2, dtype=bool), "bias": None}}


def saved(path, how):
    if how == "ticket":
        tickets.save(path, Ticket(1, 0, 4, PARAMS, STATE, MASKS))
    elif how == "trained":
        tickets.save_trained(path, Trained(PARAMS, STATE, MASKS))
    elif how == "ours":
        safetensors.write(path, Trained(PARAMS, STATE, MASKS))
    else:
        rows = {
            "conv1.kernel": np.arange(4.0, dtype=np.float32).reshape(2, 2),
            "conv1.bias": np.ones(2, np.float32),
            "batch_stats.norm.mean": np.ones(2, np.float32),
        }
        prefix = "params." if how == "params" else ""
        rows = {n if n[:5] == "batch" else prefix + n: x for n, x in rows.items()}
        path.write_bytes(save(rows))


@pytest.mark.parametrize("how", ["ticket", "trained", "ours", "others", "params"])
def test_weights_and_statistics_are_read_as_they_were(how, tmp_path):
    saved(tmp_path / "network", how)
    params, model_state = networks.read(tmp_path / "network")
    assert_same(params, PARAMS)
    assert_same(model_state, STATE)


@pytest.mark.parametrize("text", [None, b"no tensors"])
def test_what_is_no_network_is_refused(text, tmp_path):
    path = tmp_path / "network"
    if text:
        path.write_bytes(text)
    with pytest.raises(DamagedError, match=f"{path} cannot be read"):
        networks.read(path)


def test_a_folder_of_something_else_is_refused_plainly(tmp_path):
    with pytest.raises(DamagedError, match="the folder holds no saved network"):
        networks.read(tmp_path)


@pytest.mark.parametrize(
    "names", [("a", "a.b"), ("a/b", "a.b"), ("params/a", "a"), ("params.a", "a.b")]
)
def test_names_that_clash_are_refused(names, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({name: np.ones(2, np.float32) for name in names}))
    with pytest.raises(
        DamagedError, match="names of their own, .* a first params none"
    ):
        networks.read(path)


@pytest.mark.parametrize(
    "tensor",
    [np.array([2.0**40, 1e300]), np.array([1, 2**40]), np.array([2**40])]
    + [np.array([1.0, 7.7e-304])],
)
def test_numbers_that_32_bits_do_not_hold_are_refused(tensor, tmp_path):
    path = tmp_path / "network"
    path.write_bytes(save({"conv1.kernel": tensor}))
    with pytest.raises(DamagedError, match=f"conv1/?.?kernel of {tensor.dtype} with"):
        networks.read(path)
    path.write_bytes(save({"conv1.kernel": np.array([0.1, np.inf])}))
    params, _ = networks.read(path)
    assert params["conv1"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize("how", ["ticket", "ours"])
def test_so_are_those_that_we_saved_ourselves(how, tmp_path):
    state = {"counts": {"n": np.array([2**40])}}
    network = Ticket(1, 0, 4, PARAMS, state, MASKS)
    save_fn = {"ticket": tickets.save, "ours": safetensors.write}[how]
    save_fn(tmp_path / "network", network)
    with pytest.raises(DamagedError, match="counts/n of int64 with others"):
        networks.read(tmp_path / "network")


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_narrow_floats_of_other_programs_are_read(dtype, tmp_path):
    path = tmp_path / "network"
    tensor = np.array([0.5, -2.0, 0.0]).astype(jnp.dtype(dtype))
    path.write_bytes(save({"conv1.kernel": tensor}))
    found = networks.read(path)[0]["conv1"]["kernel"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, tensor)
