"""What no optimizer that carries masks takes: each is refused in a sentence."""

import jax
import jax.numpy as jnp
import optax
import pytest
import toy
from carriers import OFTEN, WRAPPED, made

from lthjax import dynamic
from lthjax.pruning import masks as masks_lib
from lthjax.training import zeros
from lthjax.training.train_state import TrainState

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


@pytest.mark.parametrize("name", [*WRAPPED, "keep"])
def test_an_optimizer_that_carries_masks_goes_into_no_other_that_has_some(name):
    wrap = {**WRAPPED, "keep": zeros.keep}[name]
    for inner in (made("rigl", "adam"), optax.chain(made("gradual", "adam"))):
        with pytest.raises(ValueError, match="carries no masks.*goes outermost"):
            wrap(inner).init(toy.PARAMS)


def test_a_train_state_whose_masks_are_given_refuses_an_optimizer_that_has_its_own():
    state = TrainState.create(apply_fn=None, params=toy.PARAMS, tx=made("rigl", "adam"))
    masks = dynamic.masks(state.opt_state)
    with pytest.raises(ValueError, match="give it to flax's own TrainState"):
        state.apply_gradients(grads=toy.PARAMS, masks=masks)
    with pytest.raises(ValueError, match="give it to flax's own TrainState"):
        state.pruned(masks)


@pytest.mark.parametrize("name", WRAPPED)
def test_what_wraps_an_optimizer_refuses_pairs_of_networks_and_factories(name):
    params = {"kernel": jnp.ones((2, 2))}
    tx = WRAPPED[name](optax.lookahead(optax.sgd(0.1), 5, 0.5))
    for given in (params, optax.LookaheadParams.init_synced(params)):
        with pytest.raises(ValueError, match="of one network.*prune without"):
            tx.init(given)
    with pytest.raises(ValueError, match="call its factory first"):
        WRAPPED[name](optax.sgd)
