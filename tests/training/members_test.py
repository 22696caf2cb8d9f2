"""How many members of a population are computed at once, by what they run on."""

import jax.numpy as jnp
import pytest

from lthjax.devices import backend
from lthjax.training import members

DENSE = {"kernel": jnp.zeros((3, 4))}
CONVOLUTION = {"kernel": jnp.zeros((3, 3, 2, 2))}


@pytest.mark.parametrize(
    "platform, dense, convolution", [("gpu", None, None), ("tpu", None, 1)]
)
def test_on_an_accelerator_all_but_a_tpus_convolutions(platform, dense, convolution):
    with backend.aimed(platform, ()):
        assert members.together(DENSE) == dense
        assert members.together(CONVOLUTION) == convolution
