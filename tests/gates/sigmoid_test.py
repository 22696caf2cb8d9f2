"""The formulas of soft masks, against published numbers and their own limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import assert_same

from lthjax.gates import sigmoid, soft_threshold

INITIAL = -0.05
W = jnp.array([0.5, -0.4, 0.3, -0.2, 0.1])
S = jnp.array([-0.3, -0.05, 0.0, 0.02, 0.5])
G = jnp.array([1.0, -2.0, 0.5, 0.25, -0.1])
# Reference values at temperature 10, from the formulas in float64: the multipliers, the
# derivatives by w and by s of g . (m w), the penalty of weight 0.01 and its derivative.
PAPER = (
    [0.04742587, 0.37754067, 0.5, 0.549834, 0.99330715],
    [0.04742587, -0.75508134, 0.25, 0.1374585, -0.09933071],
    [0.225883299, 1.88002970, 0.375, -0.123758286, -0.000664805667],
    0.0246810769,
    [0.00451767, 0.02350037, 0.025, 0.02475166, 0.00066481],
)
CODE = (
    [0.09728332, 0.77443826, 1.02563555, 1.12785859, 2.03754224],
    [0.09728332, -1.54887652, 0.51281777, 0.28196465, -0.20375422],
    [0.463347882, 3.85645058, 0.769226661, -0.253861796, -0.00136369665],
    0.0506275796,
    [0.00926696, 0.04820563, 0.05128178, 0.05077236, 0.0013637],
)
# What both resets make of a logit after a round that ended at temperature 200, by s0.
BEFORE = [-1, -0.1, -0.001, 0, 0.0003, 0.01, 2]
RESETS = {
    ("paper", -0.05): [-200, -20, -0.2, -0.05, -0.05, -0.05, -0.05],
    ("paper", 0.0): [-200, -20, -0.2, 0, 0, 0, 0],
    ("paper", 0.02): [-200, -20, -0.2, 0, 0.02, 0.02, 0.02],
    ("code", -0.05): [-1, -0.1, -0.05, -0.05, -0.05, -0.05, -0.05],
    ("code", 0.0): [-1, -0.1, -0.001, 0, 0, 0, 0],
    ("code", 0.02): [-1, -0.1, -0.001, 0, 0.0003, 0.01, 0.02],
}


@pytest.mark.parametrize("scale, expected", [(1.0, PAPER), ("code", CODE)])
def test_values_and_derivatives_are_the_published_ones(scale, expected):
    scale = sigmoid.constant(INITIAL) if scale == "code" else scale

    def task(w, s):
        return jnp.sum(G * sigmoid.apply({"k": w}, {"k": s}, 10.0, scale)["k"])

    def price(s):
        return 0.01 * sigmoid.penalty({"k": s}, 10.0, scale)

    found = (
        sigmoid.soft(S, 10.0, scale),
        *jax.grad(task, (0, 1))(W, S),
        price(S),
        jax.grad(price)(S),
    )
    for ours, theirs in zip(found, expected, strict=True):
        # Eight published digits behind the point, and float32.
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-8)


@pytest.mark.parametrize("temperature", [1.0, 7.0, 200.0])
@pytest.mark.parametrize("initial", [-0.3, 0.1])
def test_the_derivative_by_a_logit_is_the_formula_in_both_forms(temperature, initial):
    for scale in (1.0, sigmoid.constant(initial)):
        m = sigmoid.soft(S, temperature, scale)
        found = jax.grad(lambda s, c=scale: W @ sigmoid.soft(s, temperature, c))(S)
        expected = temperature * m * (1 - m / scale) * W
        # 1 - m / c cancels: its error is that of one, not of itself.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * temperature)


def test_in_the_form_of_the_code_training_begins_with_the_dense_network():
    for initial in (-0.3, -0.05, 0.0, 0.1):
        logits = jnp.full_like(W, initial)
        begun = sigmoid.apply(W, logits, 1.0, sigmoid.constant(initial))
        np.testing.assert_array_max_ulp(np.asarray(begun), np.asarray(W), maxulp=1)


@pytest.mark.parametrize("initial", [0, np.int64(1), jnp.uint8(2)])
def test_the_constant_of_a_whole_number_is_that_of_a_float(initial):
    assert_same(sigmoid.constant(initial), sigmoid.constant(jnp.float32(initial)))


def test_gates_tend_to_the_hard_mask_and_a_gate_at_zero_is_a_half_for_ever():
    s = jnp.concatenate([jnp.linspace(-3, -0.2, 9), jnp.linspace(0.2, 3, 9)])
    for temperature in (1.0, 10.0, 50.0):
        distance = jnp.abs(sigmoid.soft(s, temperature) - sigmoid.harden(s))
        assert distance.max() <= np.exp(-0.2 * temperature) + 1e-6  # and rounding
    np.testing.assert_array_equal(sigmoid.soft(s, 1e4), sigmoid.harden(s))
    assert (sigmoid.soft(jnp.zeros(1), 1e4) == 0.5).all()


def test_a_weight_is_kept_by_a_logit_above_zero_only():
    smallest = np.finfo(np.float32).tiny
    hard = sigmoid.harden(jnp.array([-0.0, 0.0, smallest, -smallest]))
    assert hard.tolist() == [False, False, True, False]


def test_what_is_never_pruned_has_no_gate_and_what_is_pruned_a_closed_one():
    masks = {"kernel": jnp.array([True, False]), "bias": None}
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(3)}
    logits = sigmoid.init(masks, 0.25)
    assert logits["bias"] is None
    hard = sigmoid.apply(params, logits, 1e3)
    assert hard["kernel"].tolist() == [1, 0]
    assert hard["bias"] is params["bias"]
    assert sigmoid.penalty(logits, 1e3) == 1
    assert sigmoid.reset(logits, 0.1, 200.0)["bias"] is None


def test_the_penalty_of_the_code_begins_as_the_number_of_gates():
    logits = sigmoid.init({"a": jnp.ones((3, 4), bool), "b": None}, -0.1)
    begun = sigmoid.penalty(logits, 1.0, sigmoid.constant(-0.1))
    np.testing.assert_allclose(begun, 12, rtol=1e-6)


@pytest.mark.parametrize("form, initial", RESETS)
def test_resets_are_those_of_the_table(form, initial):
    after = sigmoid.reset(jnp.array(BEFORE, jnp.float32), initial, 200.0, form)
    np.testing.assert_allclose(after, RESETS[form, initial], rtol=1e-6)
    if form == "code":
        again = sigmoid.reset(after, initial, 200.0, form)
        np.testing.assert_array_equal(again, after)


def test_the_papers_reset_leaves_closed_gates_as_closed_as_they_were():
    s = jnp.linspace(-0.3, -0.001, 40)
    before, after = (
        sigmoid.soft(s, 200.0),
        sigmoid.soft(sigmoid.reset(s, 0.0, 200.0), 1.0),
    )
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_closed_gate_survives_any_number_of_the_papers_resets():
    s = jnp.array([-2804.0])
    for _ in range(3):
        s = sigmoid.reset(s, 0.0, 200.0)
        assert jnp.isfinite(s).all() and sigmoid.soft(s, 1.0) == 0
    assert s == sigmoid.LOWEST


def test_the_stochastic_reset_closes_what_fell_below_its_start():
    after = sigmoid.reset_stochastic(jnp.array([-0.1, 0.2, 0.3]), 0.2)
    np.testing.assert_array_equal(after, np.float32([sigmoid.LOWEST, 0.2, 0.2]))


def test_the_temperature_rises_by_a_constant_factor_from_one_to_its_end():
    steps = jnp.arange(85 * 4)
    by_epoch = sigmoid.temperature(steps, final=200.0, steps=340, every=4)
    values = by_epoch[::4]
    np.testing.assert_array_equal(by_epoch, jnp.repeat(values, 4))
    assert values[0] == 1
    np.testing.assert_allclose(values[-1], 200, rtol=1e-6)
    # 200^(1/84), the growth of an epoch out of 85.
    np.testing.assert_allclose(values[1:] / values[:-1], 1.06511, rtol=1e-5)
    epochs = [2, 10, 28, 42, 56, 71]
    table = [1.1345, 1.8790, 5.8480, 14.1421, 34.1995, 88.0883]
    np.testing.assert_allclose(values[jnp.array(epochs)], table, rtol=5e-5)
    by_step = sigmoid.temperature(steps, final=200.0, steps=340)
    np.testing.assert_allclose(by_step[jnp.array([0, 339])], [1, 200], rtol=1e-6)
    assert (jnp.diff(by_step) > 0).all()
    after = sigmoid.temperature(400, final=200.0, steps=340, every=4)
    assert after == values[-1]
    assert sigmoid.temperature(0, final=200.0, steps=4, every=4) == 200


def test_the_temperature_is_the_same_when_all_of_it_is_traced():
    numbers = {"final": 200.0, "steps": 9, "every": 2}
    traced = jax.jit(sigmoid.temperature)
    for step in (-3, 0, 4, 8, 20):
        inside = sigmoid.temperature(min(max(step, 0), 8), **numbers)
        assert sigmoid.temperature(step, **numbers) == inside
        np.testing.assert_allclose(traced(step, **numbers), inside, rtol=1e-6)
    one_period = {**numbers, "every": 9}
    np.testing.assert_allclose(traced(0, **one_period), 200, rtol=1e-6)


@pytest.mark.parametrize("kind", ["uint8", "uint32", "int8"])
def test_steps_and_periods_of_any_type_of_whole_numbers_are_the_same(kind):
    steps = np.array([0, 50, 99])
    expected = sigmoid.temperature(steps, final=200.0, steps=100, every=10)
    hundred, ten = jnp.asarray(100, kind), np.asarray(10, kind)
    rise = functools.partial(sigmoid.temperature, final=200.0)
    assert_same(rise(steps, steps=hundred, every=10), expected)
    assert_same(rise(steps.astype(kind), steps=100, every=ten), expected)
    traced = jax.jit(rise)(jnp.asarray(steps, kind), steps=hundred, every=ten)
    np.testing.assert_allclose(traced, expected, rtol=1e-6)
    after = rise(jnp.uint32(2**32 - 1), steps=100, every=200)
    assert after == 200 and rise(np.uint32(2**31), steps=hundred) == 200


def test_extreme_logits_give_finite_values_and_gradients():
    s = jnp.array([-1e6, -100.0, -17.0, 0.0, 17.0, 100.0, 1e6])
    value, slope = jax.value_and_grad(lambda s: sigmoid.soft(s, 1.0).sum())(s)
    assert jnp.isfinite(value) and jnp.isfinite(slope).all()
    assert slope[jnp.array([0, 4, 5, 6])].tolist() == [0, 0, 0, 0]


def test_undecided_gates_are_those_within_a_hundredth_of_neither_end():
    # sigmoid(200 s) is in (0.01, 0.99) where |s| < log(99) / 200 = 0.02298.
    logits = {"a": jnp.array([0.0, 0.0229, -0.0229, 0.0231]), "b": None}
    assert sigmoid.undecided(logits, 200.0) == 0.75
    assert sigmoid.undecided({"a": None}, 200.0) == 0


def test_temperature_and_initial_logit_are_traced_and_mapped():
    traces = []

    @jax.jit
    def effective(initial, temperature):
        traces.append(1)
        logits = sigmoid.init(jnp.ones(5, bool), initial)
        return sigmoid.apply(W, logits, temperature, sigmoid.constant(initial))

    initials = jnp.array([-0.1, 0.0, 0.1])
    many = jax.vmap(effective, (0, None))(initials, 10.0)
    one = [effective(initial, 10.0) for initial in initials]
    assert len(traces) == 1
    np.testing.assert_allclose(many, jnp.stack(one), rtol=1e-6)


def test_what_cannot_be_learnt_is_refused():
    for final in (1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"end above 1.*_temperature = {final}"):
            sigmoid.temperature(0, final=final, steps=10)
    for numbers in ({"steps": 0}, {"steps": 10, "every": 0}):
        with pytest.raises(ValueError, match=r"at least 1, got \w+ = 0"):
            sigmoid.temperature(0, final=2.0, **numbers)
    with pytest.raises(ValueError, match="leaves are bool, got .* dtype = float32"):
        sigmoid.init({"k": W, "bias": None}, 0.1)
    with pytest.raises(ValueError, match="paper, code, got reset = 'other'"):
        sigmoid.reset(S, 0.0, 200.0, "other")
    for initial in (20.0, -90.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1 in float32, got initial"):
            sigmoid.check_initial(initial)
    sigmoid.check_initial(-0.3)


def test_a_gate_that_is_no_number_is_no_answer():
    gates = {"kernel": jnp.array([jnp.nan, 0.5, -0.5])}
    assert float(sigmoid.undecided(gates, 200.0)) == pytest.approx(1 / 3)
    found = sigmoid.reset_stochastic(gates, 0.0)["kernel"]
    np.testing.assert_array_equal(found, [jnp.nan, 0.0, sigmoid.LOWEST])
    with jax.enable_x64(True):
        again = sigmoid.reset_stochastic({"kernel": jnp.ones(2, jnp.float32)}, 0.0)
        assert again["kernel"].dtype == jnp.float32


def test_weights_keep_their_bits_and_their_imaginary_parts_under_open_gates():
    open_ = {"kernel": jnp.ones(2, jnp.float32)}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        for weights in (np.array([1 / 3, 1e300]), np.array([1 + 2j, -1j], "complex64")):
            found = sigmoid.multiply({"kernel": jnp.asarray(weights)}, open_)["kernel"]
            assert found.dtype == weights.dtype
            np.testing.assert_array_equal(found, weights)


@pytest.mark.parametrize("initial", [20.0, -200.0, float("nan")])
def test_gates_that_nothing_would_move_are_refused(initial):
    masks = {"kernel": jnp.ones(2, bool)}
    with pytest.raises(ValueError, match="between 0 and 1 in float32"):
        sigmoid.init(masks, initial)
    jax.jit(sigmoid.init)(masks, initial)  # what is traced is the caller's


def test_several_first_logits_are_refused():
    with pytest.raises(ValueError, match=r"must be one number, got shape \(2,\)"):
        sigmoid.init({"kernel": jnp.ones(2, bool)}, np.array([0.1, 0.2]))


def test_a_scalar_of_64_bits_widens_no_gate():
    gates = {"kernel": jnp.array([-0.1, 0.0, 0.2], jnp.float32)}
    expected = sigmoid.soft(gates, 7.0, 2.0), sigmoid.reset(gates, 0.1, 7.0)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        seven, two, first = (jnp.float64(x) for x in (7, 2, 0.1))
        assert_same(sigmoid.soft(gates, seven, two), expected[0])
        assert_same(sigmoid.reset(gates, first, seven), expected[1])
        closed = sigmoid.reset_stochastic(gates, first)["kernel"]
        assert closed.dtype == jnp.float32 and closed[2] == jnp.float32(0.1)


def test_gates_in_half_precision_are_computed_in_float32():
    s = jnp.array([-0.1, 0.0, 0.2], jnp.bfloat16)
    soft = sigmoid.soft(s, 7.0)
    assert_same(soft, jax.nn.sigmoid(7 * s.astype(jnp.float32)))
    assert sigmoid.reset(s, jnp.float32(0.1), 200.0).dtype == s.dtype


@pytest.mark.parametrize("form", ["gates", "thresholds"])
def test_whole_numbers_have_no_gate(form):
    params = {"a": {"kernel": jnp.arange(3)}, "n": jnp.int32(7)}
    found = {"a": {"kernel": jnp.full(3, 0.6)}, "n": None}
    effect = sigmoid.multiply if form == "gates" else soft_threshold.shrink
    with pytest.raises(
        ValueError, match="must be floating, got a/kernel = int32; cast"
    ):
        effect(params, found)
    floating = {"a": {"kernel": jnp.arange(3.0)}, "n": jnp.int32(7)}
    assert effect(floating, found)["n"] is floating["n"]


@pytest.mark.parametrize("shape", [(3,), (1, 1), ()])
def test_gates_are_spread_over_no_weights(shape):
    params = {"a": {"kernel": jnp.ones((3, 1))}, "bias": jnp.ones(3)}
    gates = {"a": {"kernel": jnp.zeros(shape)}, "bias": None}
    for effect in (sigmoid.multiply, lambda w, s: sigmoid.apply(w, s, 1.0)):
        with pytest.raises(ValueError, match=r"got a/kernel = \(.*\) for \(3, 1\)"):
            effect(params, gates)
