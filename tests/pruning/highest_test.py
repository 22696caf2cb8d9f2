"""Ranks that a compiler computes anew for each reader: still exactly so many stay."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp

from lthjax.pruning import highest

# One reader may multiply and add at once, with one rounding, and another not.
UPDATED = """
import jax, jax.numpy as jnp, optax
import lthjax as lth

mask = jnp.ones((10, 10), bool)
@jax.jit
def pruned(w, grad, mask, k):
    new = w + -0.1 * jnp.where(mask, grad, 0)
    return lth.masks.count(lth.prune(mask, jnp.abs(new), kept=k))[0]

tx = lth.dynamic.gradual(optax.sgd(0.1), 0.8, begin=0, end=4, every=2)

@jax.jit
def begun(w, grad):
    state = tx.update(grad, tx.init(w), w)[1]
    return lth.masks.count(lth.dynamic.masks(state))[0]

found = set()
for seed in range(60):
    key = jax.random.key(seed)
    w = jax.random.normal(key, (10, 10))
    grad = jax.random.normal(jax.random.fold_in(key, 0), (10, 10))
    found.add(tuple(int(pruned(w, grad, mask, jnp.int32(k))) for k in (100, 99, 50)))
    found.add(int(begun({"kernel": w}, {"kernel": grad})))
print(sorted(found, key=str))
"""


def test_behind_an_update_as_many_stay_as_are_asked_for():
    # As a user's program is compiled; the flags of the tests know no such instructions.
    own = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", UPDATED]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env=own
    ).stdout
    assert found.strip() == "[(100, 99, 50), 100]"


def test_ranks_are_read_in_the_loop_alone_that_tells_what_is_above():
    rows = [jnp.arange(n, dtype=jnp.uint32) for n in (4, 8, highest._SMALL + 1)]
    program = jax.make_jaxpr(highest.of.__wrapped__)(rows, 3).jaxpr
    *ranks, _ = program.invars
    readers = set()
    for equation in program.eqns:
        read = [
            i for i, var in enumerate(equation.invars) if any(var is r for r in ranks)
        ]
        if read and equation.primitive.name == "concatenate":
            ranks += equation.outvars
        elif read:
            readers.add(f"{equation.primitive.name} {equation.invars[1]}")
    # Outside it is only asked whether a rank is any, which nothing rounds.
    outside = {one for one in readers if not one.startswith(("scan", "while"))}
    assert outside == {"gt Literal(0)"} and readers > outside


def test_the_highest_are_those_of_a_sort_and_the_first_of_equal_ones():
    rows = [jnp.array([3, 0, 7, 7], jnp.uint32), jnp.array([7, 1, 0], jnp.uint32)]
    for k, expected in {
        0: [],
        1: [2],
        2: [2, 3],
        3: [2, 3, 4],
        4: [0, 2, 3, 4],
        5: [0, 2, 3, 4, 5],
        7: [0, 2, 3, 4, 5],
    }.items():
        chosen = jnp.concatenate(highest.of(rows, k))
        assert jnp.flatnonzero(chosen).tolist() == expected
