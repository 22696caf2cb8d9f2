"""What is studied: a network, and what a run of it has left."""

import jax
import jax.numpy as jnp
import pytest
from studied import ALL, MODEL, SHAPE, apply_fn, dense_at, fill, prepare, split

from lthjax import models
from lthjax.data import in_memory
from lthjax.program.report.studies import study


@pytest.fixture(scope="module")
def network():
    source = in_memory.Source(split(20), split(4), split(10), 3, (0.0,), (1.0,))
    init = jax.eval_shape(
        lambda key: models.initialise(MODEL, key, jnp.zeros((1, *SHAPE))),
        jax.random.key(0),
    )
    found = study.network(apply_fn, prepare, init, source, chunk=6, images=8)
    return found._replace(rate=0.3, dense_at=dense_at)


@pytest.fixture(scope="module")
def run(tmp_path_factory, network):
    root = tmp_path_factory.mktemp("run")
    fill(root)
    study.write(root, ALL, network)
    return root
