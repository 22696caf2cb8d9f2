"""What compilers are told: by backend, and by network."""

import jax
import jax.numpy as jnp
import pytest

from lthjax.devices import backend, compilers, cpu_convolutions

SMALL = {"kernel": jnp.zeros((3, 3, 8, 8))}
CONVOLUTION = {"kernel": jax.ShapeDtypeStruct((3, 3, 512, 512), "float32")}
DENSE = {"kernel": jax.ShapeDtypeStruct((2048, 1000), "float32")}


class Chip:
    def __init__(self, kind):
        self.device_kind = kind


def test_on_a_cpu_they_are_those_of_its_convolutions():
    for params in (DENSE, CONVOLUTION):
        expected = cpu_convolutions.compiler_options(params)
        assert compilers.options(params, deterministic=True) == expected


@pytest.mark.parametrize("kind, room", [("TPU v5 lite", 32768), ("TPU v2", None)])
def test_on_a_tpu_convolutions_may_take_more_of_a_core_s_own_memory(kind, room):
    with backend.aimed("tpu", [Chip(kind)]):
        found = compilers.options(CONVOLUTION, dtype="bfloat16")
        assert found.get("xla_tpu_scoped_vmem_limit_kib") == room
        assert compilers.options(CONVOLUTION) == {}
        for params in (DENSE, SMALL):
            assert compilers.options(params, dtype="bfloat16") == {}


def test_a_gpu_sums_in_one_order_where_it_is_asked_to():
    with backend.aimed("gpu", [Chip("H100")]):
        assert compilers.options(CONVOLUTION) == {}
        found = compilers.options(CONVOLUTION, deterministic=True)
        assert found == {"xla_gpu_deterministic_ops": True}
