"""What loops gives the same numbers where `jax.shard_map` maps it unchecked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lthjax as lth

FULL = {"a": jnp.ones(4, bool)}
ROWS = jnp.array([[3.0, 1.0, 2.0, 4.0]])


def in_rounds(row):
    return lth.pruning.in_rounds(lambda _: {"a": row}, FULL, [3, 2])["a"]


def over_batches(row):
    loss = lth.scores.over_batches(lambda w, x: jnp.sum(w * x), jnp.arange(3.0))
    return jax.grad(loss)(row)


def top_eigenvalue(row):
    return lth.analysis.curvature.top_eigenvalue(
        jax.random.key(0), lambda w: jnp.sum(w["a"] ** 4), {"a": row}, FULL
    )


LOOPS = {
    "prune": lambda row: lth.prune(FULL, {"a": row}, kept=2)["a"],
    "in rounds": in_rounds,
    "over batches": over_batches,
    "average": lambda row: lth.scores.average(lambda x: x * row, jnp.arange(3.0)),
    "overlap ratio": lambda row: lth.analysis.overlap_ratio(row, row, FULL["a"], 0.5),
    "top eigenvalue": top_eigenvalue,
}


@pytest.mark.parametrize("name", LOOPS)
def test_what_loops_is_mapped_over_devices_without_checks(name):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    row = jax.sharding.PartitionSpec("data")

    def one(rows):
        return LOOPS[name](rows[0])[None]

    mapped = jax.shard_map(one, mesh=mesh, in_specs=row, out_specs=row, check_vma=False)
    np.testing.assert_allclose(jax.jit(mapped)(ROWS)[0], LOOPS[name](ROWS[0]))
