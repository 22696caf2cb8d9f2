"""What every optimizer that carries masks has in common, around anybody's optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from cases import rest_slow
from flax.training.train_state import TrainState

from lthjax import dynamic
from lthjax.gates import hard_concrete
from lthjax.pruning import masks as masks_lib
from lthjax.training import optimizers

DROPS = optax.piecewise_constant_schedule(0.1, {2: 0.5, 4: 0.1})
CLIPPED = optax.clip_by_global_norm(0.5)
DECAYED = optax.add_decayed_weights(0.1)


def kernels(params):
    return jax.tree.map(lambda w: w.shape[0] > 1, params)


INNERS = {
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1),
    "injected": optax.inject_hyperparams(optax.adamw)(DROPS, weight_decay=0.1),
    "clipped": optax.chain(CLIPPED, DECAYED, optax.sgd(DROPS, momentum=0.9)),
    "masked": optax.chain(optax.masked(optax.trace(0.9), kernels), optax.scale(-0.1)),
    "noisy": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1, momentum=0.9)),
    "lbfgs": optax.lbfgs(0.1, linesearch=None),
    "factored": optax.adafactor(0.1, min_dim_size_to_factor=8),
}
NEVER = {
    "gradual": {"begin": 50, "end": 100, "every": 10},
    "set": {"every": 50, "until": 100, "key": toy.KEY},
    "rigl": {"every": 50, "until": 100, "key": toy.KEY},
    "straight_through": {"begin": 50, "end": 100, "every": 10},
}
OFTEN = {
    "gradual": {"begin": 1, "end": 5, "every": 2},
    "set": {"every": 2, "until": 100, "key": toy.KEY},
    "rigl": {"every": 2, "until": 100, "key": toy.KEY},
    "straight_through": {"begin": 1, "end": 5, "every": 2},
}


def made(method, inner, sparsity=0.5, *, options=OFTEN, **changes):
    factory = dynamic.METHODS[method]
    return factory(INNERS[inner], sparsity, **{**options[method], **changes})


def kept(inner, masks, steps):
    """Returns the parameters that `optimizers.keep` trains."""
    tx = optimizers.keep(INNERS[inner])
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
    moved = optimizers.at_step(state, 9)
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
def test_an_update_without_the_parameters_is_refused(method):
    tx = made(method, "adam")
    with pytest.raises(ValueError, match="needs the parameters, got params = None"):
        tx.update(toy.PARAMS, tx.init(toy.PARAMS))


def test_masks_and_targets_of_other_layers_are_refused():
    state = made("gradual", "adam").init(toy.PARAMS)
    with pytest.raises(ValueError, match=r"got masks of a for first/kernel, second"):
        dynamic.start(state, {"a": jnp.ones(3, bool)})
    other = {**toy.draw(1), "second": {"kernel": jnp.ones((4, 20), bool)}}
    with pytest.raises(ValueError, match=r"got second/kernel = \(4, 20\)"):
        dynamic.start(state, other)
    with pytest.raises(ValueError, match=r"of the shape \(\), got kept = \[5 6\]"):
        dynamic.start(state, toy.draw(1), [5, 6])


NAN = float("nan")
BAD = [
    ("gradual", 1.0, {}, r"in \[0, 1\), got sparsity = 1.0"),
    ("rigl", NAN, {}, r"in \[0, 1\), got sparsity = nan"),
    ("set", [0.5, -0.1], {}, r"in \[0, 1\), got sparsity = -0.1"),
    ("straight_through", -1, {}, r"in \[0, 1\), got sparsity = -1"),
    ("gradual", 0.5, {"initial": NAN}, r"in \[0, 1\), got initial = nan"),
    ("gradual", 0.5, {"every": 0}, "every must be a whole number of at least 1"),
    ("rigl", 0.5, {"every": 1.5}, "every must be a whole .* got every = 1.5"),
    ("set", 0.5, {"every": NAN}, "every must be a whole .* got every = nan"),
    ("rigl", 0.5, {"until": 0}, "until must be a whole .* got until = 0"),
    ("set", 0.5, {"every": 50, "until": 50}, "at least 51, got until = 50"),
    ("rigl", 0.5, {"until": float("inf")}, "until must be .* got until = inf"),
    ("gradual", 0.5, {"begin": -1}, "begin must be .* at least 0, got begin = -1"),
    ("gradual", 0.5, {"begin": 5}, "end must be .* at least 6, got end = 5"),
    ("straight_through", 0.5, {"end": 0}, "end must be .* at least 1, got end = 0"),
    ("straight_through", 0.5, {"until": 5}, "until must be .* least 6, got until = 5"),
    ("set", 0.5, {"fraction": 1.5}, r"fraction must be in \[0, 1\], got .* = 1.5"),
    ("rigl", 0.5, {"fraction": NAN}, r"fraction must be in \[0, 1\], got .* = nan"),
    ("gradual", 0.5, {"scope": "local"}, "'global' or 'layer', got scope = 'local'"),
    ("rigl", 0.5, {"distribution": "erc"}, "one of erk, er, uniform, got .* = 'erc'"),
]


@pytest.mark.parametrize("method, sparsity, changes, message", BAD)
def test_a_number_out_of_its_range_is_refused_at_once(
    method, sparsity, changes, message
):
    with pytest.raises(ValueError, match=message):
        made(method, "adam", sparsity, **changes)


@pytest.mark.parametrize("method", OFTEN)
def test_layers_that_are_not_there_are_refused_when_it_begins(method):
    with pytest.raises(ValueError, match="at least one leaf must be prunable"):
        made(method, "adam", exclude=("kernel",)).init(toy.PARAMS)
    for sparsity in ([0.5], {"first": {"kernel": 0.5}}, {"a": 0.5, "b": 0.5}):
        message = "one for each prunable layer.* layers first/kernel, second/kernel"
        with pytest.raises(ValueError, match=message):
            made(method, "adam", sparsity).init(toy.PARAMS)


@pytest.mark.parametrize("method", OFTEN)
def test_what_is_prunable_is_said_by_an_expression(method):
    tx = made(method, "nesterov", include="bias$|second", exclude=("second",))
    state = jax.eval_shape(tx.init, toy.PARAMS)
    assert masks_lib.names(dynamic.masks(state)) == ["first/bias"]


@pytest.mark.parametrize("kept", [-1, 5, [2, 9]])
def test_counts_that_no_weights_have_are_refused(kept):
    params = (
        {"a": jnp.ones(2), "b": jnp.ones(2)} if isinstance(kept, list) else jnp.ones(4)
    )
    masks = jax.tree.map(lambda w: jnp.ones(w.shape, bool), params)
    with pytest.raises(ValueError, match="kept must be from 0 to the"):
        masks_lib.check_counts("kept", kept, masks)
    with pytest.raises(ValueError, match="must be a whole number of weights"):
        masks_lib.check_counts("kept", 0.5, masks)


def test_traced_counts_are_taken_alone_and_in_a_list():
    masks = {"a": jnp.ones(2, bool), "b": jnp.ones(2, bool)}

    def checked(kept):
        masks_lib.check_counts("kept", kept, masks)
        masks_lib.check_counts("kept", [kept, 1], masks)
        return kept

    assert jax.jit(checked)(jnp.int32(99)) == 99


def test_a_start_holds_counts_against_the_weights_there_are():
    params = {"kernel": jnp.ones(4)}
    tx = dynamic.gradual(optax.sgd(0.1), 0.5, begin=0, end=4, every=2)
    masks = {"kernel": jnp.ones(4, bool)}
    with pytest.raises(ValueError, match="from 0 to the 4 weights .* got kept = 99"):
        dynamic.start(tx.init(params), masks, kept=99)
    with pytest.raises(ValueError, match="first sparsity must be at most the last one"):
        dynamic.gradual(optax.sgd(0.1), 0.2, begin=0, end=4, every=2, initial=0.8)


def test_a_key_of_another_kind_than_the_optimizer_s_is_refused():
    params, key = {"kernel": jnp.ones((2, 2))}, jax.random.key(0, impl="rbg")
    tx = dynamic.sparse_to_sparse.set_(optax.sgd(0.1), 0.5, key=key, every=2, until=4)
    state = tx.init(params)
    with pytest.raises(ValueError, match="of the kind that the optimizer was made"):
        dynamic.start(state, dynamic.masks(state), key=jax.random.key(0))


WRAPPED = {
    "gradual": lambda tx: dynamic.gradual(tx, 0.5, begin=0, end=2, every=1),
    "straight_through": lambda tx: dynamic.straight_through(tx, 0.5, every=1),
    "wirings": lambda tx: dynamic.wirings(tx, 0.5),
    "set": lambda tx: dynamic.set(tx, 0.5, every=1, until=4, key=toy.KEY),
    "rigl": lambda tx: dynamic.rigl(tx, 0.5, every=1, until=4, key=toy.KEY),
    "bounded": hard_concrete.bounded,
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_wraps_an_optimizer_refuses_pairs_of_networks_and_factories(name):
    params = {"kernel": jnp.ones((2, 2))}
    tx = WRAPPED[name](optax.lookahead(optax.sgd(0.1), 5, 0.5))
    for given in (params, optax.LookaheadParams.init_synced(params)):
        with pytest.raises(ValueError, match="of one network.*prune without"):
            tx.init(given)
    with pytest.raises(ValueError, match="call its factory first"):
        WRAPPED[name](optax.sgd)


@pytest.mark.parametrize("name", ["straight_through", "gradual", "bounded"])
def test_extra_arguments_reach_an_optimizer_of_several_steps(name):
    plateau = optax.contrib.reduce_on_plateau()
    tx = WRAPPED[name](optax.MultiSteps(optax.chain(optax.sgd(0.1), plateau), 2))
    params = {"kernel": jnp.ones((2, 2))}
    state = tx.init(params)
    updates, _ = tx.update(params, state, params, value=jnp.float32(1))
    assert jax.tree.structure(updates) == jax.tree.structure(params)
