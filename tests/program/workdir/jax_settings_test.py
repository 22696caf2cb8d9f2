"""A workdir goes on with the settings of JAX that its numbers were made with."""

import json

import jax
import pytest
import tiny

from lthjax.program.config import checksums
from lthjax.program.federated import ownership
from lthjax.program.workdir import claim, jax_settings, origin, results

RECORD = {"level": 0, "seed": 0, "arm": "ticket", "test_accuracy": 0.5}
OTHERS = [
    (lambda: jax.enable_x64(True), "jax_enable_x64 = True .* set JAX_ENABLE_X64=False"),
    (
        lambda: jax.default_prng_impl("rbg"),
        "prng_impl = 'rbg' .* set JAX_DEFAULT_PRNG_IMPL=threefry2x32 in the env",
    ),
    (
        lambda: jax.threefry_partitionable(False),
        "partitionable = False .* set JAX_THREEFRY_PARTITIONABLE=True",
    ),
    (
        lambda: jax.default_matmul_precision("bfloat16"),
        "= 'bfloat16' .* set JAX_DEFAULT_MATMUL_PRECISION=default in the env",
    ),
]


def begun(root):
    """Claims a workdir, as a run with a record does."""
    with claim.claimed(root, tiny.config()) as mark:
        results.append(root / results.RESULTS, [RECORD], run=mark)


@pytest.mark.parametrize("other, message", OTHERS)
def test_a_run_does_not_go_on_with_other_settings(tmp_path, other, message):
    begun(tmp_path)
    with other(), pytest.raises(ValueError, match=message):
        begun(tmp_path)
    begun(tmp_path)


@pytest.mark.parametrize("other, message", OTHERS)
def test_nor_does_a_federated_one(tmp_path, other, message):
    data = {"train": {"size": 4}}
    ownership.check_data(tmp_path, data)
    (tmp_path / ownership.ROUNDS).write_text("{}\n")
    with other(), pytest.raises(ValueError, match=message):
        ownership.check_data(tmp_path, data)
    ownership.check_data(tmp_path, data)


def test_one_of_64_bits_goes_on_with_64(tmp_path):
    with jax.enable_x64(True):
        begun(tmp_path)
    with pytest.raises(ValueError, match="= False in .*; set JAX_ENABLE_X64=True in"):
        begun(tmp_path)
    with jax.enable_x64(True):
        begun(tmp_path)


def test_before_anything_is_trained_the_settings_may_change(tmp_path):
    with claim.claimed(tmp_path, tiny.config()):
        pass
    with jax.enable_x64(True):
        begun(tmp_path)
    assert origin.copy(tmp_path)["jax"] == jax_settings.now() | {"jax_enable_x64": True}


def test_a_workdir_of_before_goes_on_and_notes_its_settings(tmp_path):
    begun(tmp_path)
    path = tmp_path / origin.COPY
    found, _ = checksums.opened(path.read_bytes())
    del found["jax"]
    path.write_text(json.dumps(checksums.sealed(found)))
    begun(tmp_path)
    assert origin.copy(tmp_path)["jax"] == jax_settings.now()
