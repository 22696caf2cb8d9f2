"""What a network costs, against numbers computed by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from lthjax import models
from lthjax.analysis import costs
from lthjax.pruning import masks


def traced(name, image_shape, classes=10, **options):
    """Returns the shapes of a network's parameters, and their uses."""
    model = models.build(name, classes, **options)
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    init = functools.partial(models.initialise, model, jax.random.key(0))
    params, state = jax.eval_shape(init, images)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), state)

    def forward(params, images):
        return models.apply(model, params, state, images, train=False)[0]

    return params, costs.uses(forward, params, image_shape)


def test_each_weight_of_a_perceptron_is_used_once():
    params, uses = traced("lenet_300_100", (28, 28, 1))
    assert costs.flops(params, None, uses) == 2 * 266_200
    assert costs.parameters(params) == 266_610
    used = {name for name, number in uses.items() if number}
    assert used == {"dense1/kernel", "dense2/kernel", "head/kernel"}


def test_resnet20_takes_41_million_multiplications():
    params, uses = traced("resnet20", (32, 32, 3))
    # Kernels times the pixels of their results, stage by stage: 32, 16 and 8 wide.
    stem = 9 * 3 * 16 * 32**2
    first = 6 * 9 * 16 * 16 * 32**2
    later = [
        (9 * c * 2 * c + 5 * 9 * (2 * c) ** 2 + c * 2 * c) * width**2
        for c, width in ((16, 16), (32, 8))
    ]
    by_hand = stem + first + sum(later) + 64 * 10
    assert by_hand == 40_813_184
    assert costs.flops(params, None, uses) == 2 * by_hand


def test_uses_come_in_the_order_of_depth():
    _, uses = traced("resnet20", (8, 8, 1), options={"blocks": (1, 1)})
    kernels = [name for name in uses if uses[name]]
    assert kernels[0] == "stem/kernel" and kernels[-1] == "head/kernel"
    first, second = "stage1_block0/conv1/kernel", "stage2_block0/conv1/kernel"
    assert kernels.index(first) < kernels.index(second)


@pytest.mark.parametrize("fast", [False, True])
def test_a_depthwise_kernel_is_used_once_a_pixel(fast, request):
    if fast:
        request.getfixturevalue("lowered")
    params, uses = traced("mobilenet_v1", (32, 32, 3), width=0.25)
    # The second block has stride 2: 16 pixels wide; 16 channels, one kernel each.
    assert uses["stage2_block0/depthwise/kernel"] == 16 * 16
    assert params["stage2_block0"]["depthwise"]["kernel"].shape == (3, 3, 1, 16)


@pytest.mark.parametrize(
    ("stride", "padding", "groups", "pixels"),
    [
        (1, "SAME", 1, 49),
        (1, "VALID", 1, 25),
        (2, "SAME", 1, 16),
        (2, "VALID", 2, 9),
        (3, "SAME", 4, 9),
    ],
)
def test_a_kernel_is_used_once_for_every_pixel_of_its_result(
    stride, padding, groups, pixels
):
    conv = nn.Conv(
        8, (3, 3), stride, padding=padding, feature_group_count=groups, dtype="bfloat16"
    )
    params = jax.eval_shape(conv.init, jax.random.key(0), jnp.zeros((1, 7, 7, 4)))
    found = costs.uses(conv.apply, params, (7, 7, 4))
    assert found == {"params/kernel": pixels, "params/bias": 0}


def test_in_any_layout_a_kernel_is_found():
    kernel = jnp.zeros((8, 3, 3, 4))  # OHWI

    def forward(params, images):
        kernel = params["w"].astype("bfloat16").transpose(0, 3, 1, 2)
        images = images.transpose(0, 3, 1, 2).astype("bfloat16")
        return lax.conv_general_dilated(images, kernel, (1, 1), "VALID")

    assert costs.uses(forward, {"w": kernel}, (5, 6, 4)) == {"w": 3 * 4}


def test_a_dense_layer_is_used_at_every_leading_position():
    def forward(params, x):  # x [1, 5, 7, 3]
        return (
            jnp.einsum("bhwi,oi->bhwo", x, params["w"]) + params["b"][None, None, None]
        )

    params = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(4)}
    assert costs.uses(forward, params, (5, 7, 3)) == {"w": 35, "b": 0}


def test_a_weight_that_is_used_twice_counts_twice_and_a_slice_by_its_share():
    def forward(params, x):
        for _ in range(2):
            x = jax.nn.relu(x @ params["tied"])
        parts = jnp.split(params["joined"], 2, axis=1)
        return x @ parts[0] + jnp.tanh(x) @ parts[1]

    params = {"tied": jnp.zeros((3, 3)), "joined": jnp.zeros((3, 4))}
    assert costs.uses(forward, params, (3,)) == {"tied": 2, "joined": 1}


def test_masked_and_gated_weights_are_used_as_the_plain_ones():
    params = {"gate": jnp.zeros((3, 4)), "w": jnp.zeros((3, 4)), "v": jnp.zeros((4, 2))}
    kept = {"v": params["v"] > 0}

    def forward(params, x):
        w = params["w"] * jax.nn.sigmoid(params["gate"])
        return x @ w @ masks.apply({"v": params["v"]}, kept)["v"]

    assert costs.uses(forward, params, (3,)) == {"gate": 1, "w": 1, "v": 1}


def test_products_without_a_weight_do_not_count():
    def forward(params, x):  # x [1, 6, 4]: attention, and a product of two weights
        scores = x @ x.swapaxes(1, 2)
        return scores @ x @ (params["low"] @ params["rank"])

    params = {"low": jnp.zeros((4, 1)), "rank": jnp.zeros((1, 5))}
    # The product with x is of the 20 weights low @ rank, 6 times: it is the larger's.
    assert costs.uses(forward, params, (6, 4)) == {"low": 0, "rank": 6 * 20 / 5}


def test_loops_of_known_length_count_their_turns():
    def recurrent(params, x):
        def turn(state, slices):
            x, layer = slices
            return jnp.tanh(state @ params["w"] + x), state @ layer

        xs = jnp.broadcast_to(x, (5, *x.shape))
        return lax.scan(turn, jnp.zeros((1, 3)), (xs, params["layers"]))

    params = {"w": jnp.zeros((3, 3)), "layers": jnp.zeros((5, 3, 2))}
    assert costs.uses(recurrent, params, (3,)) == {"w": 5, "layers": 1}

    def repeated(params, x):
        return lax.fori_loop(0, 4, lambda i, x: x @ params["w"], x)

    assert costs.uses(jax.jit(repeated), {"w": jnp.zeros((3, 3))}, (3,)) == {"w": 4}


def test_wrappers_and_branches_are_looked_into():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, None), lambda _, g: (g, g))

    def forward(params, x):
        x = jax.checkpoint(product)(x, params["a"])
        twice = lambda x: x @ params["b"] @ params["b"]  # noqa: E731
        return lax.cond(x[0, 0] > 0, twice, lambda x: x @ params["b"], x)

    params = {name: jnp.zeros((3, 3)) for name in "ab"}
    assert costs.uses(forward, params, (3,)) == {"a": 1, "b": 2}


def test_a_loop_of_unknown_length_is_refused_with_the_weight():
    def forward(params, x):
        return lax.while_loop(lambda x: x[0, 0] < 1, lambda x: x @ params["w"], x)

    with pytest.raises(ValueError, match="known number of times, got w in a loop"):
        costs.uses(forward, {"w": jnp.zeros((3, 3))}, (3,))


def joined(params, x):
    return x @ jnp.concatenate([params["a"], params["b"]], axis=1)


def sliced(params, x):
    a, b = jnp.split(jnp.stack([params["a"], params["b"]]), 2)
    return x @ a[0] + jnp.tanh(x) @ a[0] + x @ b[0]


def padded(params, x):
    wide = jnp.pad(params["a"], ((0, 0), (1, 5)))
    return x @ wide + x @ jnp.tile(params["b"], (1, 2))


def filled(params, x):
    wide = jnp.zeros((8, 12)).at[:4, :6].set(params["a"]).at[4:, 6:].set(params["b"])
    return jnp.tile(x, (1, 2)) @ lax.optimization_barrier((wide, params["a"]))[0]


def normalised(params, x):
    both = jnp.concatenate([params["a"], params["b"]], axis=1)
    return x @ (both / jnp.sum(both, 0, keepdims=True))


def stacked(params, x):
    def turn(x, w):
        return jnp.pad(jnp.tanh(x @ w)[:, :4], ((0, 0), (0, 0))), None

    layers = jnp.stack([params["a"], params["b"], params["a"]])
    return lax.scan(turn, x, layers)[0]


def picked(params, x):
    layers = jnp.stack([params["a"], params["b"]])

    def turn(i, x):
        w = lax.dynamic_index_in_dim(layers, i, keepdims=False)
        return (x @ w)[:, :4]

    return lax.fori_loop(0, 4, turn, x)


def gated(params, x):
    both = jnp.concatenate([params["a"] * 0.5, params["b"]], axis=1)
    return x @ (both * jax.nn.sigmoid(jnp.concatenate([params["a"], params["b"]], 1)))


@pytest.mark.parametrize(
    "forward, a, b",
    [
        (joined, 1, 1),
        (sliced, 2, 1),
        (padded, 1, 2),
        (filled, 1, 1),
        (normalised, 1, 1),
        (stacked, 2, 1),
        (picked, 2, 2),
        (gated, 1, 1),
    ],
)
def test_of_kernels_put_together_each_has_its_own_part(forward, a, b):
    params = {"a": jnp.zeros((4, 6)), "b": jnp.zeros((4, 6))}
    found = costs.uses(forward, params, (4,))
    assert found == pytest.approx({"a": a, "b": b})


def test_one_of_two_kernels_put_together_that_is_pruned_halves_the_operations():
    params = {"a": jnp.zeros((4, 6)), "b": jnp.zeros((4, 6))}
    kept = {"a": jnp.zeros((4, 6), bool), "b": jnp.ones((4, 6), bool)}
    found = costs.uses(joined, params, (4,))
    assert costs.flops(params, None, found) == 96
    assert costs.flops(params, kept, found) == 48


def test_the_gates_of_a_recurrent_cell_are_used_once_a_step():
    network = nn.RNN(nn.OptimizedLSTMCell(5))
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 7, 3)))
    found = costs.uses(network.apply, params, (7, 3))
    kernels = [found[name] for name in found if name.endswith("kernel")]
    assert kernels == [7] * 8


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("transpose_kernel", [True, False])
def test_a_transposed_kernel_is_used_once_for_every_pixel_of_its_input(
    padding, transpose_kernel
):
    conv = nn.ConvTranspose(
        3, (3, 3), (2, 2), padding=padding, transpose_kernel=transpose_kernel
    )
    params = jax.eval_shape(conv.init, jax.random.key(0), jnp.zeros((1, 8, 8, 2)))
    found = costs.uses(conv.apply, params, (8, 8, 2))
    assert found == {"params/kernel": 64, "params/bias": 0}


def test_what_a_convolution_dilates_is_no_pixel_and_no_weight():
    for options, by in (({"input_dilation": 2}, 1), ({"kernel_dilation": 2}, 2)):
        conv = nn.Conv(3, (3, 3), padding=[(by, by)] * 2, **options)
        params = jax.eval_shape(conv.init, jax.random.key(0), jnp.zeros((1, 8, 8, 2)))
        assert costs.uses(conv.apply, params, (8, 8, 2))["params/kernel"] == 64


@pytest.fixture(scope="module")
def small():
    params, uses = traced("conv2", (8, 8, 1), width=0.1)
    full = masks.full(jax.tree.map(lambda w: jnp.zeros(w.shape), params), ["head"])
    return params, full, uses


def test_full_masks_cost_what_the_dense_network_costs(small):
    params, full, uses = small
    assert costs.flops(params, full, uses) == costs.flops(params, None, uses)
    total = sum(math.prod(w.shape) for w in jax.tree.leaves(params))
    assert costs.parameters(params, full) == costs.parameters(params) == total


def test_costs_are_linear_in_the_masks(small):
    params, full, uses = small
    key = jax.random.key(0)
    a = jax.tree.map(lambda m: jax.random.bernoulli(key, shape=m.shape), full)
    rest = jax.tree.map(jnp.logical_not, a)
    none = jax.tree.map(jnp.zeros_like, full)
    for cost in (
        lambda m: costs.flops(params, m, uses),
        lambda m: costs.parameters(params, m),
    ):
        assert cost(a) + cost(rest) == cost(full) + cost(none)
        assert cost(none) < cost(a) < cost(full)


def test_what_is_never_pruned_is_always_paid_for(small):
    params, full, uses = small
    none = jax.tree.map(jnp.zeros_like, full)
    head = math.prod(params["head"]["kernel"].shape)
    assert costs.flops(params, none, uses) == 2 * head
    prunable = sum(m.size for m in jax.tree.leaves(full))
    assert costs.parameters(params, none) == costs.parameters(params) - prunable


def test_one_weight_costs_two_operations_a_use(small):
    params, full, uses = small
    mask = full["conv1"]["kernel"]
    one = {**full, "conv1": {**full["conv1"], "kernel": mask.at[0, 0, 0, 0].set(False)}}
    saved = costs.flops(params, full, uses) - costs.flops(params, one, uses)
    assert saved == 2 * uses["conv1/kernel"] == 2 * 8 * 8


def test_what_belongs_to_another_network_is_refused(small):
    params, full, uses = small
    with pytest.raises(ValueError, match="must be of these parameters.*head/bias"):
        costs.flops(params, full, {n: u for n, u in uses.items() if n != "head/bias"})
    wrong = {**full, "conv1": {"kernel": np.ones((1, 1), bool)}}
    with pytest.raises(ValueError, match="conv1/kernel"):
        costs.flops(params, wrong, uses)
    with pytest.raises(ValueError, match="conv1/kernel"):
        costs.parameters(params, wrong)
