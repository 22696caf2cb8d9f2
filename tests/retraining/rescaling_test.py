"""Re-scaled initialisation: factors alone move, and they go where the equations say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rest_slow
from trees import assert_same

from lthjax import models
from lthjax.models.layers import EPSILON
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import rescaling
from lthjax.retraining.rescaling import Options
from lthjax.training import losses

IMAGES = jax.random.normal(jax.random.key(1), (12, 4, 4, 3))
LABELS = jnp.arange(12) % 3
NETWORK = models.build("resnet20", 3, options={"blocks": (), "channels": (4,)})


def batches(i):
    """Two batches that share a half and differ from iteration to iteration."""
    first = (4 * i + jnp.arange(8)) % 12
    second = jnp.roll(first, 2)
    return tuple((IMAGES[index], LABELS[index]) for index in (first, second))


def fixed(i):
    del i
    return (IMAGES, LABELS), (IMAGES, LABELS)


@functools.cache
def ticket(sparsity=0.6):
    """Parameters, statistics, and masks that keep about that much less."""
    init = jax.jit(functools.partial(models.initialise, NETWORK))
    params, state = init(jax.random.key(0), IMAGES)
    full = masks_lib.full(params)
    kept = jax.tree.map(
        lambda m: jax.random.bernoulli(jax.random.key(2), 1 - sparsity, m.shape), full
    )
    return params, state, kept


def loss_fn(params, batch):
    images, labels = batch
    logits, _ = models.apply(NETWORK, params, ticket()[1], images, train=True)
    return jnp.mean(losses.cross_entropy(logits, labels))


@functools.partial(jax.jit, static_argnums=(2, 3))
def search(params, masks, options, batch_fn=batches):
    return rescaling.rescale(loss_fn, params, masks, batch_fn, options)


SHORT = Options(iterations=6)  # a scan: more of them compile nothing more


def leaves(tree):
    return dict(zip(masks_lib.names(tree), jax.tree.leaves(tree), strict=True))


def test_tensors_are_multiples_of_what_they_were_and_zeros_stay():
    params, _, kept = ticket()
    found, report = search(params, kept, SHORT)
    start = masks_lib.apply(params, kept)
    assert np.ptp(jax.tree.leaves(report.factors)) > 0
    for name, factor in leaves(report.factors).items():
        expected = factor * leaves(start)[name]
        np.testing.assert_allclose(leaves(found)[name], expected, rtol=1e-6)
        if not np.any(leaves(start)[name]):
            assert factor == 1
    assert not np.any(leaves(found)["stem_norm/bias"])


def test_floors_hold_and_biases_may_vanish():
    params, _, kept = ticket()
    ones = jax.tree.map(jnp.ones_like, params)  # so that biases have a factor too
    for floor in (0.01, 0.97):
        hurried = Options(iterations=4, rate=0.5, floor=floor)
        _, report = search(ones, kept, hurried)
        for name, factor in leaves(report.factors).items():
            assert factor >= (0 if name.endswith("bias") else np.float32(floor))
        assert min(jax.tree.leaves(report.factors)) <= np.float32(floor)


def iteration(factors, options, params=None, batch_fn=fixed):
    own, _, kept = ticket()
    start = masks_lib.apply(params or own, kept)
    return rescaling._iteration(loss_fn, start, kept, batch_fn, options)(factors, 0)


def moved(factors, name, by):
    return {**leaves(factors), name: leaves(factors)[name] + by}


@pytest.mark.parametrize("bound", rest_slow([0.0, np.inf], np.inf))
def test_derivatives_by_the_factors_are_finite_differences(bound):
    params, _, kept = ticket()
    start = masks_lib.apply(params, kept)
    ones = jax.tree.map(lambda w: jnp.ones(()), start)
    options = Options(bound=bound, clip=np.inf, normalise=False)
    slopes, _, lowered = jax.jit(lambda a: iteration(a, options))(ones)
    assert lowered == (bound == 0)
    gradient = jax.grad(loss_fn)
    held = masks_lib.apply(gradient(start, (IMAGES, LABELS)), kept)

    @jax.jit
    def objective(factors):
        theta = rescaling.scaled(start, factors)
        if bound == 0:
            grads = gradient(theta, (IMAGES, LABELS))
            return jnp.sqrt(
                sum(
                    jnp.sum(g**2) for g in jax.tree.leaves(masks_lib.apply(grads, kept))
                )
            )
        ahead = jax.tree.map(lambda w, g: w - options.step * g, theta, held)
        return loss_fn(ahead, (IMAGES, LABELS)) / options.step

    flat, treedef = jax.tree.flatten(ones)
    for i, name in enumerate(masks_lib.names(ones)):
        width = 1e-2
        ends = [flat[:i] + [1 + s * width] + flat[i + 1 :] for s in (-1, 1)]
        low, high = (objective(jax.tree.unflatten(treedef, e)) for e in ends)
        slope = (high - low) / (2 * width)
        # The third derivative times 1e-4, and float32 over a width of 1e-2.
        np.testing.assert_allclose(leaves(slopes)[name], slope, rtol=2e-2, atol=1e-3)


def test_a_norm_makes_the_loss_blind_to_the_scale_before_it():
    params, state, _ = ticket()
    doubled = {**params, "stem": jax.tree.map(lambda w: 2 * w, params["stem"])}
    logits = [
        models.apply(NETWORK, p, state, IMAGES, train=True)[0]
        for p in (params, doubled)
    ]
    # The norm's epsilon is seen: 1e-5 beside variances of about 1.
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-3, atol=100 * EPSILON)
    grads = [jax.grad(loss_fn)(p, (IMAGES, LABELS)) for p in (params, doubled)]
    stems = [np.asarray(g["stem"]["kernel"]) for g in grads]
    np.testing.assert_allclose(stems[0], 2 * stems[1], rtol=1e-2, atol=1e-4)


def test_on_survivors_pruned_weights_count_for_nothing():
    params, _, kept = ticket()
    other = jax.tree.map(
        lambda w, m: w if m is None else jnp.where(m, w, 7.0), params, kept
    )
    for a, b in zip(
        jax.tree.leaves(search(params, kept, SHORT)),
        jax.tree.leaves(search(other, kept, SHORT)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_before_the_masks_they_do_not_matter():
    params, _, kept = ticket()
    dense = SHORT._replace(masked=False)
    found = search(params, kept, dense)
    other = search(params, masks_lib.full(params), dense)
    assert_same(found, other)
    assert found[1].norms[0] != search(params, kept, SHORT)[1].norms[0]


def test_the_released_codes_norm_is_larger_for_it_sees_pruned_weights():
    params, _, kept = ticket()
    own = search(params, kept, SHORT)[1]
    all_of_it = search(params, kept, SHORT._replace(survivors=False))[1]
    assert own.norms[0] < all_of_it.norms[0]


def test_the_bound_decides_what_an_iteration_does():
    params, _, kept = ticket()
    free = search(params, kept, SHORT._replace(bound=float("inf")))[1]
    assert not np.any(free.lowered)
    tight = search(params, kept, Options(iterations=10, bound=0.0), fixed)[1]
    assert np.all(tight.lowered)
    assert tight.norms[-1] < tight.norms[0]


def test_a_quadratic_is_rescaled_to_its_minimum():
    target = {"a": jnp.array([2.0, 4.0]), "b": jnp.array([3.0])}
    start = jax.tree.map(lambda t: t / jnp.float32(1.5), target)
    nothing = {"a": None, "b": None}

    def loss(params, batch):
        del batch
        gaps = jax.tree.map(lambda w, t: jnp.sum((w - t) ** 2), params, target)
        return sum(jax.tree.leaves(gaps))

    # The look-ahead step is of size 0.01 and the gradient's, so that it vanishes too.
    options = Options(300, rate=0.02, bound=np.inf, step=0.01, normalise=False)
    found, report = jax.jit(
        lambda p: rescaling.rescale(loss, p, nothing, lambda i: (i, i), options)
    )(start)
    # Adam settles within a step of its rate.
    for factor in jax.tree.leaves(report.factors):
        np.testing.assert_allclose(factor, 1.5, atol=0.02)


def test_adam_of_two_objectives_is_as_written_by_hand():
    rng = np.random.default_rng(0)
    tx = rescaling.adam(0.1)
    a, state = jnp.float32(1), tx.init(jnp.float32(1))
    by_hand, m, n, v = 1.0, [0.0, 0.0], [0, 0], 0.0
    for lowered in (False, True, True, False, True):
        g, k = rng.normal(), int(lowered)
        updates, state = tx.update(jnp.float32(g), state, lowered=jnp.array(lowered))
        a = a + updates
        n[k] += 1
        m[k] = 0.9 * m[k] + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        root = np.sqrt(v / (1 - 0.999 ** sum(n)))
        by_hand -= 0.1 * m[k] / (1 - 0.9 ** n[k]) / (root + 1e-8)
        # 1 - 0.999 has four digits less than float32.
        np.testing.assert_allclose(a, by_hand, rtol=1e-4)


def test_without_a_gradient_the_factors_stay():
    params = {"kernel": jnp.array([[300.0, -300.0]])}
    masks = masks_lib.full(params)

    def loss_fn(params, batch):
        return losses.cross_entropy(batch @ params["kernel"], jnp.array([0])).mean()

    def batch_fn(i):
        return jnp.ones((1, 1)), jnp.ones((1, 1))

    found, report = rescaling.rescale(loss_fn, params, masks, batch_fn, Options(3))
    np.testing.assert_array_equal(found["kernel"], params["kernel"])
    np.testing.assert_array_equal(report.norms, 0)
