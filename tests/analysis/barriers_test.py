"""The line between two networks, and the barrier on it."""

import flax
import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import linen as nn
from two_networks import SHAPES, A, B, weights

from lthjax import models
from lthjax.analysis import barriers
from lthjax.pruning import masks


def same(x, y):
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_line_begins_and_ends_at_its_ends_and_is_straight(dtype):
    a, b = ({"w": w["conv"], "n": jnp.int32(3)} for w in (weights(0), weights(1)))
    a, b = (
        jax.tree.map(lambda x: x if x.ndim == 0 else x.astype(dtype), t) for t in (a, b)
    )
    assert same(barriers.interpolate(0, a, b), a)
    assert same(barriers.interpolate(1, a, b), b)
    assert all(same(barriers.interpolate(alpha, a, a), a) for alpha in (0.1, 0.3, 0.7))
    half = barriers.interpolate(0.5, a, b)
    middle = jax.tree.map(lambda x, y: (x + y) / 2, a["w"], b["w"])
    limit = 1e-5 if dtype == "float32" else 2**-7  # bfloat16 has 8 bits
    for x, y in zip(jax.tree.leaves(half["w"]), jax.tree.leaves(middle), strict=True):
        gap = jnp.abs(x - y).astype(jnp.float32)
        assert gap.max() <= limit * jnp.abs(y).astype(jnp.float32).max()


def test_a_line_between_infinities_has_its_ends_and_what_both_are():
    far = jnp.inf
    a = {"w": jnp.array([far, -far, 1.0, -3e38, far])}
    b = {"w": jnp.array([far, -far, far, 3e38, -far])}
    assert same(barriers.interpolate(0, a, b), a)
    assert same(barriers.interpolate(1, a, b), b)
    for alpha in (0.3, 0.7):
        found = jax.jit(barriers.interpolate)(alpha, a, b)["w"]
        np.testing.assert_allclose(
            found, [far, -far, far, (2 * alpha - 1) * 3e38, jnp.nan], rtol=1e-6
        )


def test_a_line_of_complex_numbers_is_straight():
    a, b = jnp.array([1 + 2j]), jnp.array([3 - 2j])
    assert same(barriers.interpolate(0.5, a, b), jnp.array([2 + 0j]))


def test_a_line_between_tickets_keeps_the_union_of_their_masks():
    pair = [masks.apply(w, m) for w, m in ((weights(0), A), (weights(1), B))]
    half = barriers.interpolate(0.5, *pair)
    for name in SHAPES:
        union = A[name]["kernel"] | B[name]["kernel"]
        np.testing.assert_array_equal(half[name]["kernel"] != 0, union)


def height_of_a_bump(x):
    """Two at 1/2, falling to zero at the ends 0 and 1."""
    return 2 - 4 * jnp.abs(x - 0.5)


def test_a_known_bump_is_found():
    def error(params, model_state):
        # A ramp of slope 1 takes the ends to 0 and 1: their mean is a half.
        return height_of_a_bump(params["x"]) + params["x"] + model_state["offset"]

    a, b = (({"x": jnp.float32(x)}, {"offset": jnp.float32(3)}) for x in (0, 1))
    found = barriers.barrier(error, a, b, points=5)
    np.testing.assert_array_equal(found.alphas, [0, 0.25, 0.5, 0.75, 1])
    # 2 + 1/2 at the middle, 3 everywhere; the mean of the ends is 3 + 1/2.
    assert found.height == 2
    assert barriers.barrier(error, b, a, points=5).height == 2
    # With two points there are only the ends: half of what they differ by.
    assert barriers.barrier(error, a, b, points=2).height == 0.5
    compiled = jax.jit(lambda a, b: barriers.barrier(error, a, b, points=5).height)
    assert compiled(a, b) == 2


@pytest.mark.parametrize("points", [2, 7, 30])
def test_between_a_network_and_itself_there_is_no_barrier(points):
    params = weights(0)

    def error(params, model_state):
        return sum(jnp.sum(w**3) for w in jax.tree.leaves(params)) + model_state["x"]

    end = params, {"x": jnp.float32(0.1)}
    found = barriers.barrier(error, end, end, points=points)
    assert found.height == 0
    assert len(set(np.asarray(found.errors).tolist())) == 1


def test_errors_of_half_precision_have_a_height_in_float32():
    errors = jnp.array([1, 1.0078125, 1.0078125], jnp.bfloat16)

    def error(place, _):
        return errors[(2 * place).astype(int)]

    found = barriers.barrier(error, (0.0, {}), (1.0, {}), points=3)
    assert found.errors.dtype == found.height.dtype == jnp.float32
    assert found.height == 1.0078125 - (1 + 1.0078125) / 2


def test_statistics_are_recomputed_at_every_point():
    def error(params, model_state):
        return model_state["seen"]

    def recompute(params, model_state):
        return {"seen": model_state["seen"] * 0 + jnp.square(params["x"] - 0.5)}

    a, b = (({"x": jnp.float32(x)}, {"seen": jnp.float32(x)}) for x in (0, 1))
    found = barriers.barrier(error, a, b, points=3, recompute_fn=recompute)
    np.testing.assert_array_equal(found.errors, [0.25, 0, 0.25])


def test_a_line_of_one_point_or_of_two_networks_is_refused():
    a = weights(0), {}

    def never(*args):
        raise AssertionError

    with pytest.raises(ValueError, match="at least 2, got points = 1"):
        barriers.barrier(never, a, a, points=1)
    with pytest.raises(ValueError, match="conv/kernel"):
        barriers.barrier(never, a, ({}, {}))


class Normed(nn.Module):
    """Two convolutions with flax's batch norms of different momenta."""

    @nn.compact
    def __call__(self, x, train=False):
        for features, momentum in ((3, 0.9), (4, 0.5)):
            x = nn.Conv(features, (3, 3))(x)
            x = nn.relu(nn.BatchNorm(not train, momentum=momentum)(x))
        return nn.Dense(5)(x.mean((1, 2)))


NETWORKS = {
    "flax": Normed(),
    "ours": models.build(
        "resnet20", 5, options={"blocks": (1,), "channels": (4,), "norm_scale": "half"}
    ),
}


@pytest.fixture(params=NETWORKS)
def normed(request):
    model = NETWORKS[request.param]
    images = 1 + 2 * jax.random.normal(jax.random.key(1), (8, 6, 6, 2))
    params, state = networks.initialise(model, jax.random.key(0), images)

    def apply_fn(params, model_state, images, train):
        return models.apply(model, params, model_state, images, train=train)

    return apply_fn, params, state, images


def test_by_recomputed_statistics_a_network_does_what_it_does_in_training(normed):
    apply_fn, params, state, images = normed
    expected, _ = apply_fn(params, state, images, True)
    found = barriers.recomputed(apply_fn, images[None])(params, state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    logits, _ = apply_fn(params, found, images, False)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * scale)


def test_recomputed_statistics_are_the_mean_of_those_of_the_batches(normed):
    apply_fn, params, state, images = normed
    halves = images.reshape(2, 4, *images.shape[1:])
    anything = jax.tree.map(lambda leaf: leaf + 7, state)
    found = barriers.recomputed(apply_fn, halves)(params, anything)
    each = [barriers.recomputed(apply_fn, h[None])(params, state) for h in halves]
    mean = jax.tree.map(lambda x, y: (x + y) / 2, *each)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(mean), strict=True):
        scale = float(jnp.abs(y).max())
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-5 * scale)


def test_what_is_no_running_statistic_stays_or_is_refused():
    def apply_fn(params, model_state, images, train):
        moved = 0.9 * model_state["mean"] + 0.1 * jnp.mean(images)
        return images, {"mean": moved, "fixed": model_state["fixed"]}

    state = {"mean": jnp.float32(0), "fixed": jnp.float32(4)}
    recompute = barriers.recomputed(apply_fn, jnp.full((3, 2), 5.0))
    found = recompute({}, state)
    np.testing.assert_allclose(found["mean"], 5, rtol=1e-5)
    assert found["fixed"] == 4
    with pytest.raises(ValueError, match="to be recomputed, got steps = int32"):
        recompute({}, {**state, "steps": jnp.int32(1)})


def test_statistics_are_held_as_they_came_whatever_the_network_returns():
    def apply_fn(params, model_state, images, train):
        moved = 0.9 * model_state["norm"]["mean"] + 0.1 * jnp.mean(images)
        return images, {"norm": {"mean": moved}}

    recompute = barriers.recomputed(apply_fn, jnp.full((3, 2), 5.0))
    state = flax.core.freeze({"norm": {"mean": jnp.float32(0)}})
    found = recompute({}, state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    np.testing.assert_allclose(found["norm"]["mean"], 5, rtol=1e-5)
    with pytest.raises(ValueError, match="the same leaves, got norm/deviation"):
        recompute({}, {"norm": {"mean": jnp.ones(()), "deviation": jnp.ones(())}})


def test_statistics_of_inputs_in_a_tree_are_means_over_the_batches():
    def apply_fn(params, model_state, images, train):
        mean = jnp.mean(images["a"]) + jnp.mean(images["b"])
        return images, {"mean": 0.9 * model_state["mean"] + 0.1 * mean}

    images = {"a": jnp.full((3, 4), 2.0), "b": jnp.full((3, 4), 3.0)}
    found = barriers.recomputed(apply_fn, images)({}, {"mean": jnp.float32(0)})
    np.testing.assert_allclose(found["mean"], 5, rtol=1e-5)


@pytest.mark.parametrize("images", [jnp.ones((0, 4)), jnp.float32(1), {}])
def test_statistics_of_no_batch_are_refused(images):
    with pytest.raises(ValueError, match="on a batch at least, got images = "):
        barriers.recomputed(lambda *args: args, images)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_statistics_held_in_half_precision_are_recomputed_in_float32(dtype):
    def apply_fn(params, model_state, images, train):
        return images, {"mean": 0.99 * model_state["mean"] + 0.01 * jnp.mean(images)}

    images = jnp.full((500, 2), 3.0)  # a sum of bfloat16 would end at 256 of them
    found = barriers.recomputed(apply_fn, images)({}, {"mean": jnp.zeros((), dtype)})
    assert found["mean"] == 3 and found["mean"].dtype == dtype


def test_ends_are_exact_where_their_difference_is_too_large_for_their_type():
    a, b = ({"w": jnp.array([x], jnp.float16)} for x in (40000.0, -40000.0))
    found = [float(barriers.interpolate(t, a, b)["w"][0]) for t in (0.0, 0.5, 1.0)]
    assert found == [40000.0, 0.0, -40000.0]


def test_complex_numbers_lie_on_the_line_too():
    ends = ({"w": jnp.array([x], jnp.complex64)} for x in (1 + 1j, 2 + 3j))
    assert barriers.interpolate(0.5, *ends)["w"][0] == 1.5 + 2j
