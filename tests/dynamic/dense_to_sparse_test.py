"""Gradual pruning meets its schedule and only loses; straight-through lets return."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from lthjax import dynamic
from lthjax.pruning import masks as masks_lib

SGD = optax.sgd(0.1, momentum=0.9)
ADAM = optax.adam(0.05)


def counts_by_step(tx, steps):
    """Returns the kept weights after each step, and the masks, the first ones too."""
    masks = toy.rows(toy.path(tx, toy.begin(tx), steps)[1])
    return masks.sum(1).tolist()[1:], masks


def test_the_schedule_goes_through_the_points_of_the_paper():
    # s = 0.9 (1 - (1 - q)^3) at q = 0, 1/4 ... 1, that is 0, 0.5203125, 0.7875,
    # 0.8859375, 0.9: of 6,400 weights, whole numbers are kept.
    share = [1 - 0.9 * (1 - (1 - q) ** 3) for q in (0, 0.25, 0.5, 0.75, 1)]
    expected = [6400 * s for s in share]
    assert [round(e) for e in expected] == [6400, 3070, 1360, 730, 640]
    np.testing.assert_allclose(expected, np.round(expected))
    for i, count in enumerate(expected):
        at = jnp.array(10 + 5 * i)
        start, kept = jnp.array(6400), jnp.array(640)
        assert dynamic.cubic(at, start, kept, begin=10, end=30) == round(count)


@pytest.mark.parametrize(
    "step, sparsity", [(1, 0), (2, 0.2640625), (5, 0.7), (9, 0.8), (12, 0.8)]
)
def test_jaxpruner_is_a_step_ahead_on_the_same_cubic(step, sparsity):
    # Its schedule from 2 to 10 to sparsity 0.8; of 64,000 weights, whole numbers stay.
    found = dynamic.cubic(jnp.int32(step + 1), 64_000, 12_800, begin=2, end=10)
    assert found == round(64_000 * (1 - sparsity))


@pytest.mark.parametrize("total", [1, 7, 2**24 + 1, 25_502_913])
@pytest.mark.parametrize("kept", [0, 1, 7])
def test_the_ends_of_the_schedule_are_exact_and_it_never_rises(total, kept):
    at = jnp.arange(3, 15)
    found = [dynamic.cubic(t, total, kept, begin=3, end=12) for t in at]
    assert found[0] == max(total, kept)
    assert found[9:] == [kept] * 3
    assert found == sorted(found, reverse=True)


GOING = 200 - 20  # of sparsity 0.9 of 200 weights


def expected_counts(steps):
    """Returns the counts for begin 3, end 10, every 3: changes at 3, 6, 9 and 10."""
    lefts = {3: 1, 6: (4 / 7) ** 3, 9: (1 / 7) ** 3, 10: 0}
    found = [200]
    for at in range(steps):
        found.append(20 + round(GOING * lefts[at]) if at in lefts else found[-1])
    return found[1:]


def test_gradual_pruning_follows_the_schedule_inside_earlier_masks():
    tx = dynamic.gradual(SGD, 0.9, begin=3, end=10, every=3)
    counts, masks = counts_by_step(tx, 14)
    assert counts == expected_counts(14)
    assert (masks[1:] <= masks[:-1]).all()
    unchanged = [0, 1, 2, 3, 4, 5, 7, 8, 11, 12, 13]
    assert (masks[1:][unchanged] == masks[:-1][unchanged]).all()


def test_it_keeps_the_largest_weights_of_those_kept_after_the_step():
    tx = dynamic.gradual(SGD, 0.9, begin=0, end=8, every=4)
    params, state = toy.train(tx, toy.begin(tx), 0, 4)
    plain = optax.apply_updates(
        params, SGD.update(jax.grad(toy.loss)(params), state.inner, params)[0]
    )
    after, later = toy.step(tx, 4, (params, state), step=4)
    sizes = jnp.abs(toy.flat(kernels(plain)))
    mask = toy.flat(dynamic.masks(later))
    assert mask.sum() == 20 + round(GOING / 8)
    assert sizes[mask].min() > sizes[~mask].max()
    toy.same(after, masks_lib.apply(plain, dynamic.masks(later)))


def kernels(params):
    return [params[layer]["kernel"] for layer in ("first", "second")]


@pytest.mark.parametrize(
    "sparsity, scope, expected",
    [
        (0.9, "layer", [12, 8]),
        ([0.5, 0.75], "global", [60, 20]),
        ({"first/kernel": 0.0, "second/kernel": 0.75}, "layer", [120, 20]),
    ],
)
@pytest.mark.parametrize("factory", [dynamic.gradual, dynamic.straight_through])
def test_layers_may_have_targets_of_their_own(factory, sparsity, scope, expected):
    tx = factory(ADAM, sparsity, begin=0, end=2, every=1, scope=scope)
    _, state = toy.train(tx, toy.begin(tx), 0, 3)
    assert toy.counts(dynamic.masks(state)) == expected


def test_it_may_begin_at_a_sparsity_and_never_prunes_below_a_denser_target():
    tx = dynamic.gradual(ADAM, 0.9, begin=0, end=4, every=4, initial=0.5)
    counts, _ = counts_by_step(tx, 5)
    assert counts == [100] * 4 + [20]
    full = masks_lib.full(toy.PARAMS)
    _, state = toy.train(tx, toy.begin(tx, full, 180), 0, 1)
    assert sum(toy.counts(dynamic.masks(state))) == 180


def test_straight_through_follows_the_schedule_over_all_weights():
    tx = dynamic.straight_through(ADAM, 0.9, begin=3, end=10, every=3, until=12)
    counts, masks = counts_by_step(tx, 14)
    assert counts == expected_counts(14)
    assert (masks[12:] == masks[12]).all()


def test_straight_through_masks_are_the_largest_of_all_weights_and_some_return():
    tx = dynamic.straight_through(ADAM, 0.7, every=1)
    params, masks = toy.path(tx, toy.begin(tx), 12)
    weights = [np.abs(np.asarray(w)).reshape(13, -1) for w in kernels(params)]
    weights, masks = np.concatenate(weights, 1), toy.rows(masks)
    assert (masks[0].all()) and (masks[1:].sum(1) == 60).all()
    for sizes, mask in zip(weights[1:], masks[1:], strict=True):
        assert sizes[mask].min() > sizes[~mask].max()
    assert (~masks[1:-1] & masks[2:]).any()


def test_wirings_are_the_largest_weights_of_each_layer_at_every_step():
    tx = dynamic.wirings(ADAM, 0.7)
    params, masks = toy.path(tx, toy.begin(tx), 12)
    for weights, mask in zip(kernels(params), kernels(masks), strict=True):
        for sizes, kept in zip(np.abs(weights)[1:], np.asarray(mask)[1:], strict=True):
            assert kept.sum() == round(0.3 * kept.size)
            assert sizes[kept].min() > sizes[~kept].max()


def test_straight_through_by_hand():
    # Loss (m1 w1 - 2 m2 w2)^2 / 2 with masks (1, 0) and w = (1, 0.75): its gradient by
    # the masked weights (1, 0) is (1, -2). At rate 0.25 w = (0.75, 1.25): they swap.
    tx = dynamic.straight_through(optax.sgd(0.25), 0.5, every=1)
    params = {"kernel": jnp.array([1.0, 0.75])}
    state = dynamic.start(tx.init(params), {"kernel": jnp.array([True, False])})

    def loss(params):
        return (params["kernel"] @ jnp.array([1.0, -2.0])) ** 2 / 2

    grads = jax.grad(loss)(dynamic.forward(params, state))
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    assert params["kernel"].tolist() == [0.75, 1.25]
    assert dynamic.masks(state)["kernel"].tolist() == [False, True]
    assert dynamic.forward(params, state)["kernel"].tolist() == [0.0, 1.25]


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_a_first_sparsity_above_the_last_is_refused_whatever_number_it_is(kind):
    with pytest.raises(ValueError, match="at most the last one, got initial = 0.5"):
        dynamic.gradual(optax.sgd(0.1), kind(0.2), begin=0, end=4, every=2, initial=0.5)
