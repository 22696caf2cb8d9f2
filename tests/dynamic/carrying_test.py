"""What every optimizer that carries masks has in common, around anybody's optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from carriers import CLIPPED, INNERS, NEVER, OFTEN, WRAPPED, made
from cases import rest_slow
from flax.training.train_state import TrainState

from lthjax import dynamic
from lthjax.pruning import masks as masks_lib
from lthjax.training import schedules, zeros


def kept(inner, masks, steps):
    """Returns the parameters that `training.keep` trains."""
    tx = zeros.keep(INNERS[inner])
    params = masks_lib.apply(toy.PARAMS, masks)

    def step(at, carry):
        return toy.step(tx, at, carry, masks=masks)

    state = tx.init(params)
    return jax.jit(lambda c: jax.lax.fori_loop(0, steps, step, c))((params, state))[0]


EACH_AND_ALL = [
    *[("rigl", inner) for inner in INNERS],
    ("gradual", "clipped"),
    ("set", "clipped"),
]
CLIPPED_ONES = EACH_AND_ALL[-2:]


# By default one kind of optimizer for each law, and in the first every method.
@pytest.mark.parametrize(
    "method, inner",
    rest_slow(EACH_AND_ALL, ("rigl", "nesterov"), *CLIPPED_ONES),
)
def test_where_no_change_is_due_it_is_keep_with_constant_masks(method, inner):
    tx, masks = made(method, inner, options=NEVER), toy.draw(1)
    params, state = toy.train(tx, toy.begin(tx, masks), 0, 6)
    toy.same(params, kept(inner, masks, 6))
    toy.same(dynamic.masks(state), masks, rtol=0)


def test_straight_through_kept_weights_are_those_of_keep_while_the_masks_stay():
    # Of an optimizer that treats every weight by itself, the masked half is keep's.
    tx, masks = made("straight_through", "adam", options=NEVER), toy.draw(1)
    params, state = toy.train(tx, toy.begin(tx, masks), 0, 6)
    toy.same(dynamic.forward(params, state), kept("adam", masks, 6))


@pytest.mark.parametrize(
    "method, inner",
    rest_slow(
        [*EACH_AND_ALL, ("straight_through", "clipped")],
        ("rigl", "injected"),
        ("straight_through", "clipped"),
    ),
)
def test_a_dense_network_trains_as_with_the_plain_optimizer(method, inner):
    tx = made(method, inner, 0.0)
    params, state = toy.train(tx, toy.begin(tx), 0, 6)
    assert toy.counts(dynamic.masks(state)) == toy.SIZES
    plain = kept(inner, masks_lib.full(toy.PARAMS), 6)
    # Six steps, of which a compiler may round one otherwise: Adafactor's by row.
    toy.same(params, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "method, inner",
    rest_slow(EACH_AND_ALL, ("rigl", "masked"), *CLIPPED_ONES),
)
def test_pruned_weights_are_zero_after_every_update_that_moves_masks(method, inner):
    tx = made(method, inner)
    params, masks = toy.path(tx, toy.begin(tx), 6)
    weights, alive = toy.rows(kernels_of(params, masks)), toy.rows(masks)
    assert (weights[~alive] == 0.0).all()
    assert np.isfinite(weights).all()
    assert (alive[0] != alive[-1]).any()


@pytest.mark.parametrize("inner", [optax.sgd(0.1, 0.9), optax.lamb(0.1)])
def test_what_gradual_pruning_takes_away_leaves_no_moments(inner):
    tx = dynamic.gradual(inner, 0.5, begin=2, end=3, every=1)
    _, state = toy.train(tx, toy.begin(tx), 0, 4)
    off = ~dynamic.masks(state)["first"]["kernel"]
    own = [x for x in jax.tree.leaves(state.inner) if x.shape == off.shape]
    assert own and all((x[off] == 0).all() and (x[~off] != 0).any() for x in own)


def kernels_of(params, masks):
    return jax.tree.map(lambda w, mask: None if mask is None else w, params, masks)


@pytest.mark.parametrize("method", rest_slow(OFTEN, "rigl"))
def test_under_vmap_with_one_step_members_are_separate_runs_and_a_change_a_branch(
    method,
):
    tx = made(method, "nesterov")
    seeds, targets = (1, 2), ([100], [60])
    if method in ("set", "rigl"):
        targets = (None, None)
    members = [
        toy.begin(tx, toy.draw(s), None if k is None else k[0])
        for s, k in zip(seeds, targets, strict=True)
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    def run(carry, stop):
        return jax.vmap(lambda member: toy.train(tx, member, 0, stop))(carry)

    found = jax.jit(run)(stacked, 5)
    for i, member in enumerate(members):
        alone = toy.train(tx, member, 0, 5)
        mine = jax.tree.map(lambda leaf, i=i: leaf[i], found)
        toy.same(dynamic.masks(mine[1]), dynamic.masks(alone[1]), rtol=0)
        # Training steps, their sums in another order.
        toy.same(mine[0], alone[0], rtol=1e-4, atol=1e-5)

    def one(at):
        return jax.vmap(lambda member: toy.step(tx, at, member, step=at))(stacked)

    assert " cond[" in str(jax.make_jaxpr(one)(0))


def test_one_program_serves_all_masks_and_targets():
    traces = []

    @jax.jit
    def train(carry):
        traces.append(1)
        return toy.train(tx, carry, 0, 6)

    tx = made("gradual", "nesterov")
    full = masks_lib.full(toy.PARAMS)
    for target in (150, 31, 200):
        _, state = train(toy.begin(tx, full, target))
        assert sum(toy.counts(dynamic.masks(state))) == target
    assert len(traces) == 1


def test_without_a_step_the_state_counts_by_itself_and_schedules_move_it():
    tx = made("gradual", "nesterov", begin=9, end=10)
    params, state = toy.begin(tx)
    moved = schedules.at_step(state, 9)
    _, after = toy.step(tx, 0, (params, state))
    assert (sum(toy.counts(dynamic.masks(after))), after.clock.count) == (200, 1)
    for at, expected in [(9, 200), (10, 100)]:
        params, moved = toy.step(tx, at, (params, moved))
        assert sum(toy.counts(dynamic.masks(moved))) == expected
        assert moved.clock.count == at + 1


def test_a_key_of_either_kind_draws_the_same_and_another_key_other_masks():
    def masks(key, carried=None):
        tx = made("set", "nesterov", key=key)
        params, state = toy.begin(tx)
        if carried is not None:
            state = dynamic.start(state, toy.draw(1), key=carried)
        return toy.flat(dynamic.masks(toy.train(tx, (params, state), 0, 3)[1]))

    typed, raw = jax.random.key(3), jax.random.PRNGKey(3)
    np.testing.assert_array_equal(masks(typed), masks(raw))
    assert (masks(typed) != masks(jax.random.key(4))).any()
    ours, others = masks(typed, typed), masks(typed, jax.random.key(4))
    assert (ours != others).any()


def test_it_goes_into_a_train_state_of_flax():
    tx = made("rigl", "adam")
    params, state = toy.begin(tx)
    state = TrainState.create(apply_fn=None, params=params, tx=tx)
    for _ in range(3):
        state = state.apply_gradients(grads=jax.grad(toy.loss)(state.params))
    masks = dynamic.masks(state.opt_state)
    assert (state.params["first"]["kernel"][~masks["first"]["kernel"]] == 0.0).all()


def test_the_forward_weights_are_masked_and_the_gradient_passes_straight():
    tx, masks = made("straight_through", "adam"), toy.draw(1)
    _, state = toy.begin(tx, masks)
    masked = dynamic.forward(toy.PARAMS, state)
    toy.same(masked, masks_lib.apply(toy.PARAMS, masks), rtol=0)
    through = jax.grad(lambda w: toy.loss(dynamic.forward(w, state)))(toy.PARAMS)
    toy.same(through, jax.grad(toy.loss)(masked))
    assert (through["first"]["kernel"][~masks["first"]["kernel"]] != 0).all()
    spoilt = jax.tree.map(lambda w: jnp.where(jnp.isfinite(w), jnp.nan, w), toy.PARAMS)
    kernel = dynamic.forward(spoilt, state)["first"]["kernel"]
    assert (kernel[~masks["first"]["kernel"]] == 0.0).all()


@pytest.mark.parametrize("method", ["gradual", "set", "rigl"])
def test_where_zeros_are_in_the_weights_the_forward_weights_are_the_parameters(method):
    params, state = toy.begin(made(method, "adam"))
    assert dynamic.forward(params, state) is params
    toy.same(params, masks_lib.apply(params, dynamic.masks(state)), rtol=0)


def test_an_optimizer_without_masks_has_none_and_starts_as_it_is():
    state = optax.chain(CLIPPED, optax.adam(0.1)).init(toy.PARAMS)
    assert dynamic.masks(state) is None
    assert dynamic.forward(toy.PARAMS, state) is toy.PARAMS
    toy.same(dynamic.start(state, toy.draw(1)), state, rtol=0)


def test_masks_are_found_inside_what_wraps_the_optimizer():
    tx = optax.MultiSteps(made("rigl", "adam"), 2)
    state = tx.init(toy.PARAMS)
    started = dynamic.start(state, toy.draw(1))
    toy.same(dynamic.masks(started), toy.draw(1), rtol=0)


@pytest.mark.parametrize("method", OFTEN)
def test_what_is_prunable_is_said_by_an_expression(method):
    tx = made(method, "nesterov", include="bias$|second", exclude=("second",))
    state = jax.eval_shape(tx.init, toy.PARAMS)
    assert masks_lib.names(dynamic.masks(state)) == ["first/bias"]


def test_traced_counts_are_taken_alone_and_in_a_list():
    masks = {"a": jnp.ones(2, bool), "b": jnp.ones(2, bool)}

    def checked(kept):
        masks_lib.check_counts("kept", kept, masks)
        masks_lib.check_counts("kept", [kept, 1], masks)
        return kept

    assert jax.jit(checked)(jnp.int32(99)) == 99


@pytest.mark.parametrize("name", ["straight_through", "gradual", "bounded"])
def test_extra_arguments_reach_an_optimizer_of_several_steps(name):
    plateau = optax.contrib.reduce_on_plateau()
    tx = WRAPPED[name](optax.MultiSteps(optax.chain(optax.sgd(0.1), plateau), 2))
    params = {"kernel": jnp.ones((2, 2))}
    state = tx.init(params)
    updates, _ = tx.update(params, state, params, value=jnp.float32(1))
    assert jax.tree.structure(updates) == jax.tree.structure(params)


@pytest.mark.usefixtures("strict_dtypes", "double")
@pytest.mark.parametrize("method", ["gradual", "set", "rigl", "straight_through"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_masks_move_under_strict_promotion_with_64_bits_too(method, dtype):
    params = {name: jnp.arange(4, dtype=dtype) for name in ("one", "two")}
    more = {"include": "one|two", **OFTEN[method]}
    more |= {"distribution": "uniform"} if method in ("set", "rigl") else {}
    tx = dynamic.METHODS[method](optax.trace(0.9), [0.5, 0.25], **more)
    state = tx.init(params)
    for _ in range(6):
        updates, state = tx.update(params, state, params)
    assert jax.tree.leaves(jax.tree.map(jnp.sum, dynamic.masks(state))) == [2, 3]
    assert updates["one"].dtype == dtype
