"""Zero is zero whatever the optimizer, and a schedule goes where it is told."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

from lthjax.pruning import masks as masks_lib
from lthjax.training import optimizers, schedules, zeros

DROPS = optax.piecewise_constant_schedule(0.1, {2: 0.5, 4: 0.1})
DECAYED = optax.add_decayed_weights(0.1)
CLIPPED = optax.clip_by_global_norm(0.5)
OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "scheduled": optax.sgd(DROPS, momentum=0.9),
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1, weight_decay=0.1),
    "rmsprop": optax.rmsprop(0.1, momentum=0.9),
    "adagrad": optax.adagrad(0.1),
    "lion": optax.lion(0.1, weight_decay=0.1),
    "lamb": optax.lamb(0.1, weight_decay=0.1),
    "lbfgs": optax.lbfgs(0.1, linesearch=None),
    "noisy": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1, momentum=0.9)),
    "clipped": optax.chain(CLIPPED, DECAYED, optax.sgd(0.1, momentum=0.9)),
    "injected": optax.inject_hyperparams(optax.adamw)(DROPS, weight_decay=0.1),
    "ours": optimizers.build("sgd", DROPS, weight_decay=0.1, clip=0.5),
}
KEYS = jax.random.split(jax.random.key(0), 4)
PARAMS = {
    "kernel": jax.random.normal(KEYS[0], (5, 4)),
    "bias": jax.random.normal(KEYS[1], (4,)),
}
GOAL = {"kernel": jax.random.normal(KEYS[2], (5, 4)), "bias": jnp.ones(4)}


def masks(seed):
    return {
        "kernel": jax.random.bernoulli(jax.random.key(seed), shape=(5, 4)),
        "bias": None,
    }


def loss(params):
    """A loss whose derivative at a weight depends on all the others."""
    squares = jax.tree.map(lambda w, g: jnp.sum((w - g) ** 2), params, GOAL)
    return jnp.log(1 + squares["kernel"] + squares["bias"])


def kept(name):
    """Returns the wrapped optimizer; what `build` returns is wrapped already."""
    inner = OPTIMIZERS[name]
    return inner if name == "ours" else zeros.keep(inner)


def step(tx, carry, masks, *, masked):
    """One update, its gradient with or without the masks in the forward pass."""
    params, state = carry

    def objective(params):
        return loss(masks_lib.apply(params, masks) if masked else params)

    grads = jax.grad(objective)(params)
    updates, state = tx.update(grads, state, params, masks=masks)
    return optax.apply_updates(params, updates), state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_are_zero_from_the_first_step_also_when_masks_change(name):
    tx, traces = kept(name), []

    @jax.jit
    def train(carry, masks):
        traces.append(1)
        return step(tx, carry, masks, masked=False)

    carry = PARAMS, tx.init(PARAMS)
    for seed in (1, 1, 1, 2, 2, 3):  # with momentum alive from the masks before
        before, tree = carry[0]["kernel"], masks(seed)["kernel"]
        carry = train(carry, masks(seed))
        after = carry[0]["kernel"]
        assert (after[~tree] == 0.0).all()
        assert (after[tree] != before[tree]).all()
        assert jnp.isfinite(after).all()
    assert (carry[0]["bias"] != PARAMS["bias"]).all()
    assert len(traces) == 1  # new masks compile nothing


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masking_the_forward_pass_is_the_same_as_keep_alone(name):
    tx, tree = kept(name), masks(1)
    start = masks_lib.apply(PARAMS, tree)

    @functools.partial(jax.jit, static_argnames="masked")
    def train(masked):
        return jax.lax.fori_loop(
            0,
            5,
            lambda _, carry: step(tx, carry, tree, masked=masked),
            (start, tx.init(start)),
        )

    for a, b in zip(*map(jax.tree.leaves, (train(True), train(False))), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        # Where w is pruned the two differentiate other sums; float32, five steps.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_masks_may_be_batched():
    tx = kept("clipped")
    trees = [masks(seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    carry = PARAMS, tx.init(PARAMS)
    one = functools.partial(step, tx, carry, masked=False)
    params, _ = jax.jit(jax.vmap(one))(stacked)
    for i, tree in enumerate(trees):
        alone, _ = one(tree)
        # One step of float32 algebra, its norms summed in another order.
        np.testing.assert_allclose(params["kernel"][i], alone["kernel"], rtol=1e-5)


def test_clipping_sees_the_gradients_of_kept_weights_only():
    tx = optimizers.build("sgd", 1.0, momentum=0.0, clip=1.0)
    params = {"kernel": jnp.zeros(2)}
    tree = {"kernel": jnp.array([True, False])}
    grads = {"kernel": jnp.array([0.5, 1e6])}
    updates, _ = tx.update(grads, tx.init(params), params, masks=tree)
    np.testing.assert_array_equal(updates["kernel"], [-0.5, 0.0])


def test_a_pruned_weight_is_zero_though_the_updates_are_coarser_than_the_weights():
    params = {"kernel": jnp.array([1 / 3, 2 / 3])}
    tree = {"kernel": jnp.array([True, False])}
    tx = zeros.keep(optax.sgd(0.1))
    grads = {"kernel": jnp.ones(2, jnp.bfloat16)}
    updates, _ = tx.update(grads, tx.init(params), params, masks=tree)
    assert optax.apply_updates(params, updates)["kernel"][1] == 0.0


def test_keep_needs_the_parameters_and_the_masks():
    tx = kept("sgd")
    state = tx.init(PARAMS)
    with pytest.raises(ValueError, match="needs the parameters, got params = None"):
        tx.update(PARAMS, state, masks=masks(1))
    with pytest.raises(ValueError, match="needs the masks, got none.*outermost"):
        tx.update(PARAMS, state, PARAMS)


def falling(step):
    return 1.0 / (1.0 + step)


SCHEDULED = {
    "sgd": optax.sgd(falling),
    "momentum": optax.sgd(falling, momentum=0.9),
    "adam": optax.adam(falling),
    "injected": optax.inject_hyperparams(optax.sgd)(falling),
    "within": optax.inject_hyperparams(
        lambda scale: optax.chain(optax.adam(falling), optax.scale(scale))
    )(scale=1.0),
    "kept": zeros.keep(optax.chain(CLIPPED, optax.adamw(falling))),
}


@pytest.mark.parametrize("name", SCHEDULED)
@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_fresh_optimizer_moved_to_a_step_has_the_rate_of_that_step(name, at):
    tx = SCHEDULED[name]
    params = {"kernel": jnp.zeros(3)}
    full = {"kernel": jnp.ones(3, bool)}
    extra = {"masks": full} if name == "kept" else {}
    state = jax.jit(schedules.at_step)(tx.init(params), at)
    # A gradient of length 0.5: the first update of SGD is it times the rate, that of
    # Adam its sign times the rate, if Adam's own count is still zero.
    grads = {"kernel": jnp.array([0.5, 0.0, 0.0])}
    size = 0.5 if name in ("sgd", "momentum", "injected") else 1.0
    for later in range(2 if name in ("sgd", "injected") else 1):
        updates, state = tx.update(grads, state, params, **extra)
        expected = [-size * falling(at + later), 0.0, 0.0]
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-5)


def test_moving_changes_nothing_but_the_counts_of_schedules():
    tx = optax.adam(falling)
    state = tx.init(PARAMS)
    moved = schedules.at_step(state, 9)
    assert moved[1] == optax.ScaleByScheduleState(9)
    assert_same(moved[0], state[0])
    assert jax.tree.structure(moved) == jax.tree.structure(state)


OWN = [  # what is called with the rate alone, the starts of tickets, what is wrong
    (optax.contrib.prodigy, (0, 4), "ProdigyState.*got step = 4"),
    (lambda rate: optax.MultiSteps(optax.sgd(rate), 2), (0, 3), "between two updates"),
    (optax.contrib.momo, (0,), "gradients, its state and the parameters alone.*value"),
    (lambda rate: optax.lookahead(optax.sgd(rate), 5, 0.5), (0,), "prune without it"),
]


@pytest.mark.parametrize("factory, starts, message", OWN)
def test_an_optimizer_that_cannot_serve_is_refused_before_training(
    factory, starts, message
):
    with pytest.raises(ValueError, match=message):
        optimizers.check(zeros.keep(factory(falling)), PARAMS, starts)


TWICE = [  # the same, and what a second start at step 0 does
    (OWN[0][0], pytest.raises(ValueError, match="ProdigyState")),
    (OWN[1][0], contextlib.nullcontext()),
]


@pytest.mark.parametrize("factory, again", TWICE, ids=["prodigy", "multi steps"])
def test_an_optimizer_that_starts_where_it_can_is_taken(factory, again):
    tx = zeros.keep(factory(falling))
    optimizers.check(tx, PARAMS, (0,))
    with again:
        optimizers.check(tx, PARAMS, (0,), again=True)


@pytest.mark.parametrize("name", ["optax:lookahead", "optax.contrib:schedule_free"])
def test_a_factory_that_asks_for_more_than_a_rate_says_so(name):
    with pytest.raises(ValueError, match=f"alone.*'{name}', which raises TypeError"):
        optimizers.build(name, falling)


SPAN = {"steps": 10, "drops": (4, 8), "factor": 0.5}


def rates(schedule, steps=12):
    return [float(jnp.float32(schedule(step))) for step in range(steps)]


def test_the_piecewise_rate_drops_at_the_start_of_the_named_steps():
    found = rates(optimizers.piecewise(1.0, **SPAN))
    assert found == [1.0] * 4 + [0.5] * 4 + [0.25] * 4


def test_the_constant_rate_is_constant():
    assert rates(optimizers.constant(0.5, **SPAN)) == [0.5] * 12


def test_the_cosine_falls_from_the_rate_through_its_half_to_zero():
    found = rates(optimizers.cosine(2.0, **SPAN))
    np.testing.assert_allclose([found[i] for i in (0, 5, 10)], [2, 1, 0], atol=1e-6)
    assert found[:11] == sorted(found[:11], reverse=True)


def test_warm_up_rises_linearly_to_the_schedule_and_then_is_it():
    plain = optimizers.piecewise(1.0, **SPAN)
    assert rates(optimizers.warmed(plain, 4)) == [0.25, 0.5, 0.75, *rates(plain)[3:]]
    assert optimizers.warmed(plain, 0) is plain


def test_a_held_schedule_stays_at_the_rate_of_its_last_step():
    found = rates(optimizers.held(falling, 5), 9)
    assert found[:5] == rates(falling, 5)
    assert found[5:] == [found[4]] * 4


def quadratic_path(tx, steps=2):
    """The path of a weight from 1.0 under a gradient that is always 1."""
    w, full = {"kernel": jnp.ones(())}, {"kernel": jnp.array(True)}
    state, path = tx.init(w), []
    for _ in range(steps):
        updates, state = tx.update({"kernel": jnp.ones(())}, state, w, masks=full)
        w = optax.apply_updates(w, updates)
        path.append(float(w["kernel"]))
    return path


def test_sgd_with_weight_decay_is_that_of_pytorch():
    # rate = momentum = decay = 1/2, w = 1, gradient 1, all exact in binary:
    # g = 1 + w/2 = 1.5, v = 1.5, w = 1 - v/2 = 0.25;
    # g = 1.125, v = v/2 + g = 1.875, w = 0.25 - v/2 = -0.6875.
    halves = {"momentum": 0.5, "weight_decay": 0.5}
    assert quadratic_path(optimizers.build("sgd", 0.5, **halves)) == [0.25, -0.6875]
    # Nesterov: w = 1 - (g + v/2)/2 = 1 - 2.25/2 = -0.125;
    # g = 0.9375, v = 0.75 + g = 1.6875, w = -0.125 - (g + v/2)/2 = -1.015625.
    nesterov = optimizers.build("sgd", 0.5, nesterov=True, **halves)
    assert quadratic_path(nesterov) == [-0.125, -1.015625]


@pytest.mark.parametrize("name, factor", [("adam", 0.0), ("adamw", 0.5)])
def test_adam_normalises_its_decay_and_adamw_does_not(name, factor):
    # Without gradients: Adam's decay is all its gradient, whose first update is
    # sign(w) rate = 1; AdamW's takes rate times decay of the weight. (Adam divides by
    # 1 - 0.999, which float32 knows to 6e-5 of itself.)
    tx = optimizers.build(name, 1.0, weight_decay=0.5)
    w = {"kernel": jnp.ones(1)}
    zero, full = {"kernel": jnp.zeros(1)}, {"kernel": jnp.ones(1, bool)}
    updates, _ = tx.update(zero, tx.init(w), w, masks=full)
    found = optax.apply_updates(w, updates)["kernel"]
    np.testing.assert_allclose(found, [factor], atol=6e-5)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_takes_the_options_that_are_no_keys_of_it(name):
    tx = optimizers.build(name, 0.5, options={"nesterov": True})
    nadam = optimizers.build({"adam": "nadam", "adamw": "nadamw"}[name], 0.5)
    assert quadratic_path(tx) == quadratic_path(nadam)
    assert quadratic_path(tx) != quadratic_path(optimizers.build(name, 0.5))


def test_an_optimizer_that_fails_on_the_parameters_is_refused_whatever_it_raises():
    with pytest.raises(ValueError, match="got IndexError"):
        optimizers.check(optimizers.build("sm3", 0.5), {"a": jnp.ones(())}, (0,))


def test_a_users_own_optimizer_is_called_with_the_rate_and_wrapped():
    tx = optimizers.build("optax:lion", 0.5)
    assert tx.update.__module__ == "lthjax.training.zeros"
    params, tree = {"kernel": jnp.ones(2)}, {"kernel": jnp.array([True, False])}
    updates, _ = tx.update(params, tx.init(params), params, masks=tree)
    assert optax.apply_updates(params, updates)["kernel"][1] == 0.0


def test_an_unknown_optimizer_names_the_choices():
    with pytest.raises(ValueError, match="adam, .*lion, .*sgd.*did you mean 'adam'"):
        optimizers.build("addam", 0.1)


def test_a_step_drops_once():
    with pytest.raises(ValueError, match=r"different steps, got drops = \(2, 2\)"):
        optimizers.piecewise(1.0, steps=10, drops=(2, 2), factor=0.1)
