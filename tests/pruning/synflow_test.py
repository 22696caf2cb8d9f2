"""SynFlow: conserved, exact at any depth, and it leaves no layer empty."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from trees import flat, partly

from lthjax.pruning import choose, masks, scores, sparsities
from lthjax.pruning import flows as flows_lib


def multilayer(widths, seed=0, dtype="float32"):
    """Returns He-normal kernels of dense layers with biases that are not zero."""
    rng = np.random.default_rng(seed)  # which compiles nothing
    return {
        f"layer{i:02}": {
            "kernel": jnp.asarray(rng.normal(0, np.sqrt(2 / pair[0]), pair), dtype),
            "bias": jnp.asarray(np.full(pair[1], 0.5), dtype),
        }
        for i, pair in enumerate(itertools.pairwise(widths))
    }


def dense(params, x):
    """A perceptron with relu units; names in their order."""
    for i, name in enumerate(sorted(params)):
        x = x @ params[name]["kernel"] + params[name]["bias"].reshape(1, -1)
        x = x if i == len(params) - 1 else nn.relu(x)
    return x


def residual(params, x):
    """A perceptron in which each inner layer is a skip around two halves."""
    first, *blocks, last = (params[name]["kernel"] for name in sorted(params))
    x = nn.relu(x @ first)
    for kernel in blocks:
        x = x + nn.relu(x @ kernel)
    return x @ last


class ConvNet(nn.Module):
    """Convolutions with batch norm, a pool and a head."""

    @nn.compact
    def __call__(self, x):
        """Returns the logits, by the running statistics."""
        for channels in (4, 6):
            x = nn.Conv(channels, (3, 3), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        return nn.Dense(3)(nn.max_pool(x, (2, 2), (2, 2)).mean((1, 2)))


def test_synflow_is_conserved_from_layer_to_layer_and_from_unit_to_unit():
    params = multilayer((5, 8, 7, 3))
    part = partly(params, 60)
    found = [leaf["kernel"] for _, leaf in sorted(flow(dense, params, part, 5).items())]
    for before, after in itertools.pairwise(found):
        np.testing.assert_allclose(before.sum(0), after.sum(1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose([leaf.sum() for leaf in found], np.ones(3), rtol=1e-5)


def test_synflow_is_conserved_through_batch_norm_and_pools():
    model = ConvNet()
    variables = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, 4, 4, 2)))
    params, stats = variables["params"], variables["batch_stats"]
    params["BatchNorm_0"]["scale"] = jnp.array([0.5, -2.0, 1e-20, 1.0])
    params["BatchNorm_0"]["bias"] = jnp.full(4, 3.0)

    def apply_fn(params, x):
        return model.apply({"params": params, "batch_stats": stats}, x)

    full = masks.full(params)
    found = flow(apply_fn, params, full, 4, 4, 2)
    sums = [float(jnp.sum(leaf)) for leaf in jax.tree.leaves(found)]
    np.testing.assert_allclose(sums, np.ones(3), rtol=1e-5)


@functools.partial(jax.jit, static_argnames=("apply_fn", "shape"))
def _flow(apply_fn, params, part, shape):
    return scores.synflow(apply_fn, params, part, shape)


def flow(apply_fn, params, part, *shape):
    return _flow(apply_fn, params, part, shape)


def test_synflow_depends_on_neither_signs_nor_biases_nor_the_scale_of_a_layer():
    params = multilayer((5, 8, 3))
    full = masks.full(params)
    other = jax.tree.map(lambda w: -w if w.ndim > 1 else 7 * w, params)
    other["layer01"]["kernel"] *= 2.0**60
    found, expected = (flat(flow(dense, p, full, 5)) for p in (other, params))
    np.testing.assert_array_equal(found, expected)


def reference(kernels):
    """SynFlow of `residual` in numpy: the forward and the backward sums of paths."""
    first, *blocks, last = kernels
    inputs, states = np.ones((1, first.shape[0])), [np.ones((1, len(first))) @ first]
    for kernel in blocks:
        states.append(states[-1] + states[-1] @ kernel)
    flows = np.ones((1, last.shape[1])) @ last.T
    found = [states[-1].T * last]
    for kernel, state in zip(blocks[::-1], states[-2::-1], strict=True):
        found.append(state.T @ flows * kernel)
        flows = flows + flows @ kernel.T
    found.append(inputs.T @ flows * first)
    total = found[0].sum()
    return [leaf / total for leaf in found[::-1]]


@pytest.mark.parametrize("depth, scale", [(2, 1), (20, 32)])
def test_synflow_equals_the_published_score_over_its_sum_with_skips(depth, scale):
    params = multilayer((5, *([24] * (depth + 1)), 3))
    params = jax.tree.map(lambda w: scale * w, params)
    found = jax.tree.leaves(flow(residual, params, masks.full(params), 5))
    kernels = [
        np.abs(np.asarray(params[name]["kernel"], "float64")) for name in sorted(params)
    ]
    expected = reference(kernels)
    paths = np.prod([kernel.sum(0).min() for kernel in kernels])
    assert (paths > np.finfo("float32").max) == (scale > 1)
    for score, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(score, wanted, rtol=1e-5)


@pytest.mark.slow
def test_synflow_is_finite_and_conserved_in_a_hundred_layers():
    params = multilayer([8] * 101)
    full = masks.full(params)

    def sums(scale):
        scaled = jax.tree.map(lambda w: scale * w, params)
        found = scores.synflow(dense, scaled, full, (8,))
        return jnp.stack([leaf.sum() for leaf in jax.tree.leaves(found)])

    found = jax.jit(jax.vmap(sums))(jnp.array([1e-3, 1, 1e3]))
    # Each layer rounds by about 1e-7, and the error of a hundred of them adds up.
    np.testing.assert_allclose(found, np.ones((3, 100)), rtol=1e-4)


@pytest.mark.parametrize("broken", range(3))
def test_a_network_that_nothing_passes_has_flow_zero(broken):
    params = multilayer((5, 8, 7, 3))
    full = masks.full(params)
    empty = jnp.zeros_like(full[f"layer{broken:02}"]["kernel"])
    full[f"layer{broken:02}"]["kernel"] = empty
    found = flat(flow(dense, params, full, 5))
    np.testing.assert_array_equal(found, np.zeros(found.size))
    with pytest.raises(ValueError, match="got zero for all"):
        scores.check(flow(dense, params, full, 5), full)


def test_in_many_rounds_synflow_keeps_every_layer_where_the_others_lose_some():
    params = multilayer((256, *([48] * 9), 10))
    full = masks.full(params)
    _, total = masks.count(full)
    kept = total // 1_000
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(64, 256)).astype("float32"), rng.integers(0, 10, 64)

    def loss(params):
        logits = nn.log_softmax(dense(params, x))
        return -jnp.mean(jnp.take_along_axis(logits, labels[:, None], 1))

    score = functools.partial(flow, dense, params)
    counts = sparsities.exponential(total, kept, 100)
    snip = jax.jit(functools.partial(scores.snip, loss))(params, full)
    collapsing = {
        "magnitude": choose.prune(full, scores.magnitude(params, full), kept=kept),
        "snip": choose.prune(full, snip, kept=kept),
        "one round": choose.prune(full, score(full, 256), kept=kept),
    }
    for name, found in collapsing.items():
        assert masks.collapsed(found), name
    found = choose.in_rounds(lambda masks: score(masks, 256), full, counts)
    assert masks.count(found) == (kept, total)
    assert masks.collapsed(found) == []


def squashed(activation):
    """A perceptron with another activation, for two kernels."""

    def apply_fn(params, x):
        x = activation(x @ params["layer00"]["kernel"])
        return x @ params["layer01"]["kernel"]

    return apply_fn


def normalised(x):
    return (x - x.mean()) / (x.std() + 1e-6)


@pytest.mark.parametrize(
    ("activation", "degree"),
    [
        (nn.relu, 1),
        (nn.leaky_relu, 1),
        (lambda x: nn.relu6(100 * x), 0),
        (normalised, 0),
        (jnp.square, 2),
    ],
)
def test_the_degree_of_a_flow_is_one_where_the_network_is_linear(activation, degree):
    params = multilayer((5, 8, 3))
    fn = squashed(activation)
    found = jax.jit(lambda p: flows_lib.degree(fn, p, masks.full(p), (5,)))(params)
    assert abs(found - degree) < 1e-3


def test_negative_flows_are_refused_outside_of_jit():
    params = multilayer((5, 8, 3))
    with pytest.raises(ValueError, match="linear above zero .* in layer0"):
        scores.synflow(
            squashed(lambda x: x.max() - x), params, masks.full(params), (5,)
        )


def test_a_counter_among_the_weights_is_refused_by_name():
    params = {"w": jnp.ones((2, 1)), "seen": jnp.array(3)}
    masks = {"w": jnp.ones((2, 1), bool), "seen": None}
    with pytest.raises(ValueError, match="must be floating.*got seen = int32; hand in"):
        scores.synflow(lambda w, x: x @ w["w"], params, masks, (2,))
