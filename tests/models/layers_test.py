import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P
from trees import assert_same

from lthjax import models
from lthjax.models import layers


@pytest.mark.parametrize(
    ("name", "variance"),
    # Of a 3x3 kernel from 64 to 128 channels: fan_in 576, fan_out 1,152.
    [
        ("kaiming_normal", 2 / 576),
        ("kaiming_normal_fan_out", 2 / 1152),
        ("glorot_normal", 2 / (576 + 1152)),
        ("pytorch", 1 / 576 / 3),
    ],
)
def test_initialisers_have_their_variance(name, variance):
    kernel = layers.INITIALISERS[name](jax.random.key(0), (3, 3, 64, 128))
    # 73,728 entries: a normal variance has the standard error sqrt(2 / 73,728) = 0.5 %.
    np.testing.assert_allclose(kernel.var(), variance, rtol=0.03)
    np.testing.assert_allclose(kernel.mean(), 0, atol=5 * math.sqrt(variance / 73_728))


def reference_norm(train, **options):
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, **options
    )


def norm_case():
    keys = jax.random.split(jax.random.key(0), 4)
    x = 2 + 3 * jax.random.normal(keys[0], (8, 4, 4, 5))
    weights = jax.random.normal(keys[1], x.shape)
    params = {"scale": 1 + jax.random.uniform(keys[2], (5,)), "bias": jnp.arange(5.0)}
    stats = {"mean": jnp.arange(5.0), "var": 1 + jax.random.uniform(keys[3], (5,))}
    return x, weights, params, stats


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_that_of_flax_in_value_derivative_and_statistics(train):
    x, weights, params, stats = norm_case()

    def outcome(norm):
        def loss(params, x):
            variables = {"params": params, "batch_stats": stats}
            y, after = norm.apply(variables, x, mutable=["batch_stats"])
            return jnp.sum(weights * jnp.sin(y)), (y, after)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    ours, theirs = outcome(layers.BatchNorm(train)), outcome(reference_norm(train))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        # Sums of 128 terms of either sign: relative to the largest entry.
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * jnp.abs(b).max())


def test_batch_norm_in_bfloat16_rounds_its_result_only():
    x, _, params, stats = norm_case()
    x = x.astype(jnp.bfloat16)
    variables = {"params": params, "batch_stats": stats}
    y, after = layers.BatchNorm(True, dtype=jnp.bfloat16).apply(
        variables, x, mutable=["batch_stats"]
    )
    full, full_after = layers.BatchNorm(True).apply(
        variables, x.astype(jnp.float32), mutable=["batch_stats"]
    )
    assert jnp.array_equal(y, full.astype(jnp.bfloat16))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after, full_after))


def test_batch_norm_over_four_devices_is_that_of_the_whole_batch():
    x, _, params, stats = norm_case()
    variables = {"params": params, "batch_stats": stats}
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((4,), ("data",), axis_types=auto)

    def normalise(axis_name, x):
        norm = layers.BatchNorm(True, axis_name=axis_name)
        return norm.apply(variables, x, mutable=["batch_stats"])

    split = jax.shard_map(
        functools.partial(normalise, "data"),
        mesh=mesh,
        in_specs=P("data"),
        out_specs=(P("data"), P()),
        check_vma=False,
    )
    for a, b in zip(
        jax.tree.leaves(jax.jit(split)(x)),
        jax.tree.leaves(normalise(None, x)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_max_pool_is_that_of_flax_where_no_pixels_are_equal():
    x = jax.random.normal(jax.random.key(0), (2, 5, 4, 3))
    ours, pull = jax.vjp(layers.max_pool, x)
    theirs, pull_theirs = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    assert jnp.array_equal(ours, theirs)
    assert jnp.array_equal(pull(ours)[0], pull_theirs(ours)[0])


def small_resnet(**kwargs):
    options = {"blocks": (1,), "channels": (4,)}
    model = models.build("resnet20", 3, options=options, **kwargs)
    images = jax.random.normal(jax.random.key(1), (4, 4, 4, 3))
    init = jax.jit(functools.partial(models.initialise, model))
    return model, images, *init(jax.random.key(0), images)


def test_batch_statistics_move_in_training_only():
    model, images, params, state = small_resnet(axis_name=None)
    apply = jax.jit(functools.partial(models.apply, model), static_argnames="train")
    _, trained = apply(params, state, images, train=True)
    _, evaluated = apply(params, state, images, train=False)
    same = functools.partial(jax.tree.map, jnp.array_equal)
    assert not any(jax.tree.leaves(same(state, trained)))
    assert all(jax.tree.leaves(same(state, evaluated)))


def test_a_mesh_axis_is_needed_in_training_only():
    model, images, params, state = small_resnet(axis_name="data")
    models.apply(model, params, state, images, train=False)
    with pytest.raises(NameError, match="data"):
        models.apply(model, params, state, images, train=True)


@pytest.mark.parametrize("name, drawn", [("small_normal", 0.01), ("pytorch", None)])
def test_a_classifier_starts_as_released_codes_have_it(name, drawn):
    network = models.build("lenet_300_100", 10, options={"head_init": name})
    plain = models.build("lenet_300_100", 10)
    images, key = jnp.zeros((1, 28, 28, 1)), jax.random.key(0)
    params, _ = models.initialise(network, key, images)
    others, _ = models.initialise(plain, key, images)
    head, bound = params.pop("head"), 100**-0.5
    others.pop("head")
    assert_same(params, others)
    if drawn:  # 1,000 draws: the deviation's own is 2.2 %
        assert 0.9 * drawn < np.std(head["kernel"]) < 1.1 * drawn
        assert not np.any(head["bias"])
    else:
        assert bound / 2 < np.abs(head["bias"]).max() <= bound
        assert 0.9 * bound < np.abs(head["kernel"]).max() <= bound
