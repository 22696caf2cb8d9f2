"""SET and RigL: as many weights as ever, at other places, new ones from zero."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from lthjax import dynamic, training
from lthjax.pruning import kept_counts
from lthjax.pruning import masks as masks_lib

METHODS = {"set": dynamic.set, "rigl": dynamic.rigl}
DECAYING = optax.chain(
    optax.add_decayed_weights(0.01), optax.sgd(0.05, momentum=0.9, nesterov=True)
)


def made(method, inner=DECAYING, sparsity=0.7, **changes):
    options = {"key": toy.KEY, "every": 3, "until": 100, **changes}
    return METHODS[method](inner, sparsity, **options)


@functools.partial(jax.jit, static_argnums=0)
def watched(tx, carry, steps):
    """Trains, and watches the counts by layer and the pruned weights at every step."""

    def body(at, loop):
        carry, low, high, zero = loop
        carry = toy.step(tx, at, carry, step=at)
        masks = dynamic.masks(carry[1])
        now = jnp.stack([jnp.sum(mask) for mask in jax.tree.leaves(masks)])
        cut = masks_lib.apply(carry[0], masks)
        pairs = zip(jax.tree.leaves(cut), jax.tree.leaves(carry[0]), strict=True)
        zero = zero & jnp.all(jnp.stack([jnp.all(a == b) for a, b in pairs]))
        return carry, jnp.minimum(low, now), jnp.maximum(high, now), zero

    low, high = jnp.full(2, 1000), jnp.zeros(2, int)
    return jax.lax.fori_loop(0, steps, body, (carry, low, high, jnp.array(True)))


@pytest.mark.parametrize("method", METHODS)
def test_counts_stay_through_a_thousand_steps_with_momentum_and_decay(method):
    tx = made(method, every=10, until=900)
    start = toy.begin(tx)
    before = dynamic.masks(start[1])
    (params, state), low, high, zero = watched(tx, start, 1000)
    assert toy.counts(before) == list(low) == list(high)
    assert sum(low) == kept_counts.kept_count(sum(toy.SIZES), 0.7)
    assert zero
    after = toy.flat(dynamic.masks(state))
    assert (after != toy.flat(before)).any()
    assert toy.loss(params) < toy.loss(start[0])


@pytest.mark.parametrize("method", METHODS)
def test_masks_change_at_multiples_of_every_after_step_0_and_before_the_end(method):
    tx = made(method, every=3, until=12, fraction=1.0)
    masks = toy.rows(toy.path(tx, toy.begin(tx), 16)[1])
    changed = [at for at in range(16) if (masks[at] != masks[at + 1]).any()]
    assert changed == [3, 6, 9]


@pytest.mark.parametrize("method", METHODS)
def test_without_a_fraction_the_masks_stay(method):
    tx = made(method, every=1, fraction=0.0)
    masks = toy.rows(toy.path(tx, toy.begin(tx), 4)[1])
    assert (masks == masks[0]).all()


def test_the_share_that_moves_is_half_a_cosine():
    # cos of 0, pi/4, pi/2, 3 pi/4, pi is 1, sqrt(1/2), 0, -sqrt(1/2), -1.
    half = math.sqrt(0.5)
    expected = [0.15 * (1 + c) for c in (1, half, 0, -half, -1)]
    found = dynamic.drop_fraction(jnp.arange(5), 0.3, 4)
    np.testing.assert_allclose(found, expected, atol=1e-7)


KERNEL = {"kernel": jnp.array([4.0, -1.0, 2.0, 3.0, 0.0, 0.0])}
MASK = {"kernel": jnp.array([True, True, True, True, False, False])}
GRADS = {"kernel": jnp.array([0.1, 5.0, 0.2, 0.3, -6.0, 4.0])}
MOMENTUM = {"kernel": jnp.arange(1.0, 7.0)}


def by_hand(method, inner, state, **changes):
    """One update of step 1, its momentum 1 ... 6; 4 weights of 6 are kept.

    With fraction 0.8 and until 3 the share is 0.4 (1 + cos(pi / 3)) = 0.6, and
    floor(4 * 0.6) = 2 of the 4 move.
    """
    tx = made(method, inner, [1 / 3], every=1, until=3, **{"fraction": 0.8, **changes})
    state = dynamic.start(tx.init(KERNEL), MASK)._replace(inner=state)
    updates, state = tx.update(GRADS, state, KERNEL, step=1)
    weights = optax.apply_updates(KERNEL, updates)["kernel"]
    return weights, state.masks["kernel"], state.inner


def test_rigl_by_hand():
    # Of |w| = 4, 1, 2, 3 the weights 1 and 2 fall. Not kept are now 1, 2, 4 and 5, with
    # |g| = 5, 0.2, 6 and 4: 4 and 1 grow. Weight 1 goes on as it was, weight 4 is new.
    # What is off or new has no momentum.
    momentum = optax.TraceState(MOMENTUM)
    weights, mask, inner = by_hand("rigl", optax.trace(0.5), momentum)
    assert mask.tolist() == [True, True, False, True, True, False]
    assert weights.tolist() == [4.0, -1.0, 0.0, 3.0, 0.0, 0.0]  # and no step is taken
    assert inner.trace["kernel"].tolist() == [1.0, 2.0, 0.0, 4.0, 0.0, 0.0]


def test_set_by_hand():
    # The step first: momentum = gradient (0 where pruned) + momentum / 2, and at rate
    # 0.1 w = 4 - 0.06, -1 - 0.6, 2 - 0.17, 3 - 0.23. So 1 and 2 fall again, and two of
    # 1, 2, 4 and 5 grow, whichever: those of 4 and 5 are new.
    inner = optax.sgd(-0.1, momentum=0.5)
    slots = (optax.TraceState(MOMENTUM), optax.ScaleByScheduleState(0))
    slots = (slots[0], inner.init(KERNEL)[1])
    drawn = set()
    momentum = np.array([0.6, 6.0, 1.7, 2.3, 2.5, 3.0])
    stepped = np.array([4.0, -1.0, 2.0, 3.0, 0.0, 0.0]) + 0.1 * momentum
    for seed in range(12):
        key = jax.random.key(seed)
        weights, mask, after = by_hand("set", inner, slots, key=key)
        mask = np.asarray(mask)
        drawn.add(tuple(mask))
        assert mask.sum() == 4 and mask[[0, 3]].all()
        old = mask & MASK["kernel"]
        np.testing.assert_allclose(weights, np.where(old, stepped, 0.0), rtol=1e-6)
        trace = after[0].trace["kernel"]
        np.testing.assert_allclose(trace, np.where(old, momentum, 0.0), rtol=1e-6)
    assert len(drawn) > 3  # of the six pairs there are


def test_rigl_grows_where_the_dense_gradient_is_largest():
    tx = made("rigl", every=1)
    params, state = toy.train(tx, toy.begin(tx), 0, 1)
    grads = jax.grad(toy.loss)(params)
    before = dynamic.masks(state)
    after = dynamic.masks(toy.step(tx, 1, (params, state))[1])
    for layer in before:
        old, now = before[layer]["kernel"], after[layer]["kernel"]
        size = jnp.abs(grads[layer]["kernel"])
        assert (now & ~old).any()
        assert size[now & ~old].min() >= size[~now].max()


def test_a_dense_layer_of_a_sparse_network_stays_dense():
    tx = made("rigl", sparsity=[0.0, 0.5], every=2, fraction=1.0)
    params, state = toy.train(tx, toy.begin(tx), 0, 6)
    assert toy.counts(dynamic.masks(state)) == [120, 40]
    assert (params["first"]["kernel"] != 0).all()


@pytest.mark.parametrize("sparsity, advances", [(0.7, 0), (0.0, 1)])
def test_at_a_change_rigl_pauses_all_but_the_schedules(sparsity, advances):
    inner = optax.chain(
        optax.scale_by_adam(),
        optax.scale_by_schedule(lambda step: -0.1 / (1 + step)),
        optax.inject_hyperparams(optax.scale)(lambda step: 1.0 + step),
    )
    tx = made("rigl", inner, sparsity, every=2)
    params, state = toy.train(tx, toy.begin(tx), 0, 2)
    after, later = toy.step(tx, 2, (params, state), step=2)
    adam, schedule, injected = later.inner
    assert adam.count == 2 + advances
    assert schedule.count == 3
    assert injected.hyperparams_states["step_size"].count == 3
    same_bias = (after["first"]["bias"] == params["first"]["bias"]).all()
    assert same_bias == (not advances)
    last = toy.step(tx, 3, (after, later), step=3)[1].inner
    assert last[2].hyperparams["step_size"] == 4.0


@pytest.mark.parametrize("distribution", ["erk", "er", "uniform"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.98])
def test_first_masks_meet_the_sparsity_exactly(distribution, sparsity):
    tx = made("rigl", sparsity=sparsity, distribution=distribution)
    kept = toy.counts(dynamic.masks(tx.init(toy.PARAMS)))
    assert sum(kept) == kept_counts.kept_count(sum(toy.SIZES), sparsity)


def test_erdos_renyi_gives_the_smaller_layer_the_higher_density():
    # The layers have 6 x 20 and 20 x 4 weights: (6 + 20) / 120 < (20 + 4) / 80.
    first, second = toy.counts(dynamic.masks(made("set").init(toy.PARAMS)))
    assert first / 120 < second / 80


def test_layers_may_have_sparsities_of_their_own():
    named = {"first/kernel": 0.9, "second/kernel": 0.25}
    tree = {"first": {"kernel": 0.9, "bias": None}, "second": {"kernel": 0.25}}
    for sparsity in ([0.9, 0.25], named, tree):
        masks = dynamic.masks(made("rigl", sparsity=sparsity).init(toy.PARAMS))
        assert toy.counts(masks) == [12, 60]
        assert masks["first"]["bias"] is None


def test_an_excluded_layer_is_never_pruned():
    tx = made("rigl", sparsity=0.5, exclude=("first",))
    params, state = toy.train(tx, toy.begin(tx), 0, 4)
    assert toy.counts(dynamic.masks(state)) == [40]
    assert (params["first"]["kernel"] != 0).all()


def test_what_grew_trains_although_the_masks_change_at_every_step():
    tx = dynamic.set(optax.sgd(0.5), 0.5, key=toy.KEY, every=1, until=8, fraction=0.3)
    params = {"kernel": jnp.ones((10, 1))}
    grads = {"kernel": -jnp.ones((10, 1))}
    state = tx.init(params)
    params = masks_lib.apply(params, dynamic.masks(state))
    on = np.zeros((10, 1), int)  # steps since each weight came back
    for _ in range(8):
        before = dynamic.masks(state)["kernel"]
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        after = dynamic.masks(state)["kernel"]
        on = np.where(np.asarray(before & after), on + 1, 0)
        grown = np.asarray(after & ~before)
        np.testing.assert_array_equal(params["kernel"][grown], 0)
        assert (np.asarray(params["kernel"])[on > 0] > 0).all()


def test_a_weight_that_was_off_but_not_zero_comes_back_as_zero():
    params = {"kernel": jnp.arange(1.0, 11.0)[:, None]}
    options = {"key": toy.KEY, "every": 2, "until": 100, "fraction": 0.6}
    tx = dynamic.rigl(optax.sgd(0.1), 0.5, **options)
    off = {"kernel": jnp.arange(10)[:, None] >= 5}
    state = dynamic.start(tx.init(params), off)
    grads = {"kernel": jnp.where(off["kernel"], 0.1, 9.0)}
    updates, state = tx.update(grads, state, params, step=2)
    after = optax.apply_updates(params, updates)["kernel"]
    back = dynamic.masks(state)["kernel"] & ~off["kernel"]
    assert back.any()
    np.testing.assert_array_equal(after[back], 0)


@pytest.mark.parametrize("fraction", [0.3, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("at, until, share", [(4, 8, 0.5), (4, 6, 0.25), (8, 12, 0.25)])
def test_what_moves_is_a_whole_number_where_the_formula_is_one(
    fraction, at, until, share
):
    kept = 120 if share == 0.25 else 100
    tx = dynamic.rigl(
        optax.sgd(0.0),
        0.5,
        key=jax.random.key(0),
        every=4,
        until=until,
        fraction=fraction,
    )
    w = {"kernel": jnp.arange(1.0, 2 * kept + 1).reshape(-1, 2)}
    state = training.at_step(tx.init(w), at)
    before = dynamic.masks(state)["kernel"]
    grads = {"kernel": jnp.where(before, 0.0, 1.0)}
    state = tx.update(grads, state, {"kernel": jnp.where(before, w["kernel"], 0)})[1]
    dropped = before & ~dynamic.masks(state)["kernel"]
    assert jnp.sum(dropped) == round(kept * fraction * share)


def test_the_share_that_moves_is_half_a_cosine_to_its_end():
    at = np.arange(0, 10_001, 50)
    found = dynamic.drop_fraction(jnp.asarray(at), 0.3, 10_000)
    expected = 0.15 * (1 + np.cos(np.pi * at / 10_000))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-18)
    assert found[0] == np.float32(0.3) and found[-1] == 0
