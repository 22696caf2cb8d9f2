"""What a network costs whose weights a loop carries, or the images pick, by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from lthjax.analysis import costs

PARAMS = {name: jnp.zeros((4, 4)) for name in "abc"}
EXPERTS = {"gate": jnp.zeros((4, 3)), "w": jnp.zeros((3, 4, 4))}


def filled(params, x):
    def turn(i, wide):
        return wide.at[i].set(params["a"][0] * i)

    return x @ lax.fori_loop(0, 4, turn, jnp.zeros((4, 4)))


def circulant(params, x):
    def turn(i, wide):
        row = jnp.roll(params["a"][0], i)[None]
        return lax.dynamic_update_slice(wide, row, (i, 0))

    return x @ lax.fori_loop(0, 4, turn, jnp.zeros((4, 4)))


def scanned(params, x):
    def turn(wide, i):
        return wide.at[i].set(params["a"][0]), None

    return x @ lax.scan(turn, jnp.zeros((4, 4)), jnp.arange(4))[0]


def prefetched(params, x):
    layers = jnp.stack([params[name] for name in "abc"])

    def turn(i, carry):
        x, w = carry
        return x @ w, layers[(i + 1) % 3]

    return lax.fori_loop(0, 3, turn, (x, layers[0]))[0]


def two_ahead(params, x):
    layers = jnp.stack([params[name] for name in "abc"])

    def turn(i, carry):
        x, w, following = carry
        return x @ w, following, layers[(i + 2) % 3]

    return lax.fori_loop(0, 3, turn, (x, layers[0], layers[1]))[0]


def swapped(params, x):
    def turn(carry, _):
        x, w, other = carry
        return (x @ w, other, w), None

    return lax.scan(turn, (x, params["a"], params["b"]), None, length=4)[0][0]


def replaced(params, x):
    def turn(carry, _):
        x, w = carry
        return (x @ w, params["b"]), None

    return lax.scan(turn, (x, params["a"]), None, length=4)[0][0]


def power(params, x):
    return x @ lax.fori_loop(0, 4, lambda _, w: w @ params["a"], params["a"])


def summed(params, x):
    layers = jnp.stack([params[name] for name in "abc"])
    return x @ lax.fori_loop(0, 3, lambda i, w: w + layers[i], jnp.zeros((4, 4)))


@pytest.mark.parametrize(
    "forward, uses",
    [
        (filled, (1, 0, 0)),
        (circulant, (1, 0, 0)),
        (scanned, (1, 0, 0)),
        (prefetched, (1, 1, 1)),
        (two_ahead, (1, 1, 1)),
        (swapped, (2, 2, 0)),
        (replaced, (2, 2, 0)),  # the turns are taken as alike: in truth 1 and 3
        (power, (1, 0, 0)),
        (summed, (1, 1, 1)),
    ],
)
def test_what_a_loop_carries_is_of_all_that_it_was_in_a_turn(forward, uses):
    found = costs.uses(forward, PARAMS, (4,))
    assert found == pytest.approx(dict(zip("abc", uses, strict=True)))


def test_a_loop_over_many_layers_that_it_adds_up_comes_to_an_end():
    layers = {f"w{i}": jnp.zeros((2, 2)) for i in range(40)}

    def forward(params, x):
        whole = jnp.stack(list(params.values()))
        return x @ lax.fori_loop(0, 40, lambda i, w: w + whole[i], whole[0])

    assert costs.uses(forward, layers, (2,)) == pytest.approx(dict.fromkeys(layers, 1))


def gathered(params, x):
    expert = jnp.argmax(x @ params["gate"], -1)
    return jnp.einsum("bi,bij->bj", x, params["w"].astype("bfloat16")[expert])


def sliced(params, x):
    expert = jnp.argmax((x @ params["gate"])[0])
    return x @ lax.dynamic_index_in_dim(params["w"], expert, keepdims=False)


def switched(params, x):
    expert = jnp.argmax((x @ params["gate"])[0])
    return x @ lax.switch(expert, [lambda i=i: params["w"][i] for i in range(3)])


def ragged(params, x):
    sizes = jnp.bincount(jnp.argmax(x @ params["gate"], -1), length=3)
    return lax.ragged_dot(x, params["w"], sizes)


@pytest.mark.parametrize("forward", [gathered, sliced, switched, ragged])
def test_of_experts_that_the_image_picks_each_is_used_by_its_share(forward):
    found = costs.uses(forward, EXPERTS, (4,))
    assert found == pytest.approx({"gate": 1, "w": 1 / 3})


def test_weights_that_a_branch_picks_are_used_as_those_of_every_branch():
    def forward(params, x):
        w = lax.cond(x[0, 0] > 0, lambda: params["a"], lambda: params["b"])
        return x @ w

    assert costs.uses(forward, PARAMS, (4,)) == {"a": 1, "b": 1, "c": 0}


def test_what_an_embedding_looks_up_is_no_weight_of_a_product():
    def forward(params, tokens):  # [1, 5]: scores of what is looked up
        x = params["table"][tokens].astype("bfloat16")
        return x @ x.swapaxes(1, 2) @ jnp.tanh(x) @ params["w"]

    params = {"table": jnp.zeros((7, 3)), "w": jnp.zeros((3, 2))}
    found = costs.uses(forward, params, (5,), dtype=jnp.int32)
    assert found == {"w": 5, "table": 0}


def test_rows_that_are_summed_over_in_groups_meet_only_their_own():
    numbers = lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), (0,), ())

    def forward(params, x):  # x [1, 6, 4], its rows in three groups: [3, 4, 5]
        sizes = jnp.array([1, 2, 3])
        return lax.ragged_dot_general(x[0], params["w"], sizes, numbers)

    assert costs.uses(forward, {"w": jnp.zeros((6, 5))}, (6, 4)) == {"w": 4}


@pytest.mark.parametrize("other", [jax.nn.relu, 0.5, True])
def test_what_is_no_array_is_refused_by_name_and_not_counted(other):
    params = {"layer": jnp.ones((2, 3)), "other": other}
    for count in (costs.parameters, lambda tree: costs.flops(tree, None, {})):
        with pytest.raises(ValueError, match="must be arrays, .* got other = "):
            count(params)
    assert costs.parameters({"layer": params["layer"], "other": None}) == 6
