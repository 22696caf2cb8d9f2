"""What a score is: a number for each prunable weight, in which higher means keep."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from trees import assert_same, flat, partly

from lthjax.pruning import choose, masks, scores

KEY = jax.random.key(0)


def network(dtype="float32"):
    keys = jax.random.split(KEY, 2)
    return {
        "first": {
            "kernel": jax.random.normal(keys[0], (6, 7), dtype),
            "bias": jnp.ones(7, dtype),
        },
        "second": {"kernel": jax.random.normal(keys[1], (6, 7), dtype)},
    }


def forward(params, x):
    x = jnp.tanh(x.astype(params["second"]["kernel"].dtype) @ params["first"]["kernel"])
    x = x + params["first"]["bias"].reshape(1, 7)
    return x @ params["second"]["kernel"].T


def squares(params, x=None):
    """A loss of `network`, smooth in every weight."""
    x = jax.random.normal(jax.random.key(1), (4, 6)) if x is None else x
    return jnp.mean(forward(params, x) ** 2)


LOSSES = {"snip": scores.snip, "taylor": scores.taylor, "grasp": scores.grasp}
FUNCTIONS = {
    "magnitude": scores.magnitude,
    "random": lambda params, masks: scores.random(KEY, params, masks),
    "synflow": lambda params, masks: scores.synflow(forward, params, masks, (6,)),
    **{name: functools.partial(score, squares) for name, score in LOSSES.items()},
}
EXACT = ("magnitude", "random")


@pytest.mark.usefixtures("strict_dtypes")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_are_float32_where_masks_are_and_none_elsewhere(name, dtype):
    params = network(dtype)
    full = masks.full(params)
    found = jax.eval_shape(FUNCTIONS[name], params, full)
    assert jax.tree.structure(found) == jax.tree.structure(full)
    for score, mask in zip(jax.tree.leaves(found), jax.tree.leaves(full), strict=True):
        assert (score.shape, score.dtype) == (mask.shape, jnp.float32)


@pytest.mark.usefixtures("strict_dtypes")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_scores_are_the_same_under_jit_and_vmap(name):
    params = network()
    other = jax.tree.map(lambda w: 2 * w, params)
    part = partly(params, 50)
    stacked = jax.tree.map(lambda *ws: jnp.stack(ws), params, other)
    mapped = jax.jit(jax.vmap(lambda params: FUNCTIONS[name](params, part)))(stacked)
    for i, tree in enumerate((params, other)):
        np.testing.assert_allclose(
            flat(jax.tree.map(lambda leaf, i=i: leaf[i], mapped)),
            flat(FUNCTIONS[name](tree, part)),
            rtol=0 if name in EXACT else 1e-5,
            atol=0 if name in EXACT else 1e-5,
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_scores_are_mapped_and_derived_outside_of_jit(name):
    params = network()
    part = partly(params, 50)
    stacked = jax.tree.map(lambda w: w[None], params)
    found = flat(FUNCTIONS[name](params, part))
    near = {"rtol": 0 if name in EXACT else 1e-5, "atol": 0 if name in EXACT else 1e-5}
    mapped = jax.vmap(lambda params: FUNCTIONS[name](params, part))(stacked)
    np.testing.assert_allclose(
        flat(jax.tree.map(lambda x: x[0], mapped)), found, **near
    )
    again = jax.jvp(lambda w: FUNCTIONS[name](w, part), (params,), (params,))[0]
    np.testing.assert_allclose(flat(again), found, **near)


def test_a_loss_that_closes_over_a_mapped_batch_is_mapped():
    masks_of_it = {"w": jnp.ones(2, bool)}

    def one(batch, params):
        return scores.snip(lambda p: jnp.sum(batch * p["w"]), params, masks_of_it)

    batches = jnp.array([[1.0, 2.0], [3.0, 5.0]])
    found = jax.vmap(one, (0, None))(batches, {"w": jnp.array([1.0, -1.0])})
    np.testing.assert_array_equal(found["w"], batches)


def test_magnitude_is_the_absolute_value_of_each_prunable_weight():
    params = network()
    found = scores.magnitude(params, masks.full(params))
    for name in ("first", "second"):
        expected = np.abs(np.asarray(params[name]["kernel"]))
        np.testing.assert_array_equal(found[name]["kernel"], expected)


def test_the_derivative_of_magnitude_is_the_sign():
    params = network()

    def total(params):
        found = jax.tree.leaves(scores.magnitude(params, masks.full(params)))
        return jnp.sum(jnp.stack(found))

    gradient = jax.grad(total)(params)
    kernel = params["first"]["kernel"]
    np.testing.assert_array_equal(gradient["first"]["kernel"], jnp.sign(kernel))
    assert (gradient["first"]["bias"] == 0).all()


def test_random_scores_are_the_keys_and_not_the_weights():
    params = network()
    full = masks.full(params)
    other = jax.tree.map(lambda w: -3 * w, params)
    found = scores.random(KEY, params, full)
    assert_same(found, scores.random(KEY, other, full))
    another = scores.random(jax.random.key(1), params, full)
    assert (found["first"]["kernel"] != another["first"]["kernel"]).any()
    assert (found["first"]["kernel"] != found["second"]["kernel"]).any()


def test_pruning_by_random_scores_keeps_every_weight_equally_often():
    params = {"kernel": jnp.zeros(10)}
    full = masks.full(params)
    trials = 1_000

    def survivors(key):
        drawn = scores.random(key, params, full)
        return choose.prune(full, drawn, kept=5)["kernel"]

    counts = np.sum(jax.vmap(survivors)(jax.random.split(KEY, trials)), axis=0)
    # Five standard deviations of a binomial count with probability a half.
    assert np.max(np.abs(counts - trials // 2)) < 5 * np.sqrt(trials / 4)


def gated(params, part):
    """Returns L(c * w) as a function of gates c in one row, and the row of masks."""
    kernels, treedef = jax.tree.flatten(masks.full(params))
    shapes = [kernel.shape for kernel in kernels]
    ends = np.cumsum([kernel.size for kernel in kernels])[:-1]

    def loss(row):
        rows = jnp.split(row, ends)
        gates = [c.reshape(s) for c, s in zip(rows, shapes, strict=True)]
        gates = jax.tree.unflatten(treedef, gates)
        return squares(
            jax.tree.map(lambda w, c: w if c is None else c * w, params, gates)
        )

    return loss, flat(part).astype("float64")


def test_snip_is_the_derivative_by_the_mask_of_kept_and_of_pruned_weights():
    with jax.enable_x64(True):
        params = network("float64")
        part = partly(params, 50)
        loss, gates = gated(params, part)
        step = 1e-5 * jnp.eye(gates.size)
        differences = jax.vmap(lambda h: (loss(gates + h) - loss(gates - h)) / 2e-5)
        expected = np.abs(jax.jit(differences)(step))
        found = flat(jax.jit(FUNCTIONS["snip"])(params, part))
    assert (expected[gates == 0] > 0).any()
    # A central difference errs by step^2 = 1e-10 and by 1e-16 / step.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_taylor_is_snip_where_kept_and_zero_where_pruned():
    params = network()
    part = partly(params, 50)
    snip, taylor = (flat(LOSSES[n](squares, params, part)) for n in ("snip", "taylor"))
    np.testing.assert_array_equal(taylor, np.where(flat(part), snip, 0))


@pytest.mark.parametrize("name", ["snip", "taylor"])
def test_a_loss_times_a_constant_has_scores_times_that_constant(name):
    params = network()
    full = masks.full(params)
    found = flat(LOSSES[name](lambda p: 8 * squares(p), params, full))
    np.testing.assert_array_equal(found, 8 * flat(LOSSES[name](squares, params, full)))


def test_grasp_is_the_weight_times_the_explicit_hessian_times_the_gradient():
    with jax.enable_x64(True):
        params = network("float64")
        part = partly(params, 50)
        loss, gates = gated(params, part)
        # By gates c at w * c: dL/dc = w g and d2L/dc2 = w H w, w not masked.
        w = flat(jax.tree.map(lambda w, m: w if m is not None else None, params, part))
        slope, curved = jax.jit(lambda c: (jax.grad(loss)(c), jax.hessian(loss)(c)))(
            gates
        )
        g, hessian = np.asarray(slope) / w, np.asarray(curved) / np.outer(w, w)
        found = flat(jax.jit(FUNCTIONS["grasp"])(params, part))
    expected = w * gates * (hessian @ (gates * g))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_twice_grasp_is_how_far_the_gradient_norm_falls_without_the_weight():
    with jax.enable_x64(True):
        params = network("float64")
        full = masks.full(params)

        def norm(params):
            grads = jax.grad(squares)(params)
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(_pruned(grads, full)))

        rate = flat(_pruned(jax.jit(jax.grad(norm))(params), full))
        weights = flat(_pruned(params, full))
        found = flat(jax.jit(FUNCTIONS["grasp"])(params, full))
    np.testing.assert_allclose(2 * found, weights * rate, rtol=1e-5)


def _pruned(tree, full):
    """Returns the prunable leaves of a tree."""
    return jax.tree.map(lambda w, mask: None if mask is None else w, tree, full)


def test_in_filters_that_are_normalised_grasp_sums_to_minus_their_gradient_norm():
    with jax.enable_x64(True):
        x = jax.random.normal(KEY, (9, 5), "float64")
        keys = jax.random.split(jax.random.key(2), 2)
        shapes = {"a": (5, 4), "head": (4, 3)}
        params = {
            name: {"kernel": jax.random.normal(key, shape, "float64")}
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

        def loss(params):
            z = x @ params["a"]["kernel"]
            z = (z - z.mean(0, keepdims=True)) / z.std(0, keepdims=True)
            logits = nn.relu(z) @ params["head"]["kernel"]
            return jnp.mean(nn.logsumexp(logits, axis=-1) - logits[:, 0])

        full = masks.full(params)
        grads = np.asarray(jax.grad(loss)(params)["a"]["kernel"])
        found = np.asarray(scores.grasp(loss, params, full)["a"]["kernel"])
    # L(t w_b) = L(w_b) for every t > 0, so that w_b . g_b = 0 wherever w is; along v
    # that says v_b . g_b + w_b . (H v)_b = 0, and v = g gives the law.
    np.testing.assert_allclose(found.sum(0), -(grads**2).sum(0), rtol=1e-4)
    assert (np.abs(found).sum(0) > 2 * (grads**2).sum(0)).any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_without_a_gradient_is_refused(name):
    params = network()

    def flat_loss(params):
        return jnp.sum(params["first"]["bias"])

    with pytest.raises(ValueError, match="must have a gradient.*got zero for all"):
        LOSSES[name](flat_loss, params, masks.full(params))


def test_inverted_scores_keep_the_lowest():
    params = network()
    full = masks.full(params)
    found = scores.magnitude(params, full)
    best, worst = (
        choose.prune(full, s, kept=42) for s in (found, scores.inverted(found))
    )
    np.testing.assert_array_equal(flat(best), ~flat(worst))


@pytest.mark.parametrize("damage", [jnp.nan, jnp.inf, -jnp.inf])
def test_damaged_scores_are_refused_with_their_layer_unless_pruned(damage):
    params = network()
    full = masks.full(params)
    found = scores.magnitude(params, full)
    scores.check(found, full)
    found["second"]["kernel"] = found["second"]["kernel"].at[1, 2].set(damage)
    with pytest.raises(ValueError, match="got NaN or infinity in second/kernel$"):
        scores.check(found, full)
    scores.check(found, jax.tree.map(jnp.isfinite, found))


def test_scores_of_nothing_but_zero_are_refused():
    params = network()
    full = masks.full(params)
    found = jax.tree.map(lambda mask: jnp.zeros(mask.shape), full)
    with pytest.raises(ValueError, match="must tell weights apart, got zero for all"):
        scores.check(found, full)
    found["first"]["kernel"] = jnp.eye(6, 7)
    scores.check(found, full)
    with pytest.raises(ValueError, match="must tell weights apart"):
        scores.check(found, jax.tree.map(lambda score: score == 0, found))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_scores_of_half_precision_are_products_in_float32(dtype):
    w = {"w": jnp.array([1e-4, 2e-4, 3e-4, 1.0], dtype)}
    full = masks.full(w, include="w")
    slope = jnp.array(1e-4, dtype)
    found = scores.snip(lambda p: jnp.sum(p["w"] * slope), w, full)["w"]
    exact = np.asarray(w["w"], np.float64) * float(slope)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    large = {"w": jnp.array([300.0, 1e-4], dtype)}
    found = scores.energy(large, masks.full(large, include="w"))["w"]
    np.testing.assert_allclose(
        found, np.asarray(large["w"], np.float64) ** 2, rtol=1e-6
    )


def test_the_energy_of_a_complex_weight_is_its_squared_length():
    weights = jnp.array([3j, 2, 1 + 1j])
    found = scores.energy({"w": weights}, {"w": jnp.ones(3, bool)})["w"]
    np.testing.assert_allclose(found, [9, 4, 2], rtol=1e-6)


@pytest.mark.parametrize("score", [scores.snip, scores.taylor, scores.grasp])
def test_scores_by_a_gradient_of_complex_weights_are_refused(score):
    params, masks = {"w": jnp.array([3j, 2])}, {"w": jnp.ones(2, bool)}
    with pytest.raises(ValueError, match="real weights, got complex ones in w"):
        score(lambda p: jnp.sum(jnp.abs(p["w"])), params, masks)


COUNTED = {"w": jnp.ones((2, 1)), "seen": jnp.array(3)}


@pytest.mark.parametrize("score", [scores.snip, scores.taylor, scores.grasp])
def test_a_counter_among_the_weights_is_refused_by_name(score):
    with pytest.raises(ValueError, match="must be floating.*got seen = int32; hand in"):
        score(squares, COUNTED, {"w": jnp.ones((2, 1), bool), "seen": None})
