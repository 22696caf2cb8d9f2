"""On a mesh of explicit axes all give what they give without one, in its place."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import lthjax as lth
from lthjax import analysis, channels, dynamic, gates
from lthjax.analysis import curvature
from lthjax.pruning import masks, patterns, places, scores
from lthjax.tickets import Ticket, controls, stability

KEY = jax.random.key(3)
SHAPES = {"a": {"kernel": (8, 16), "bias": (16,)}, "b": {"kernel": (16, 4)}}
SPECS = {
    "a": {"kernel": P("data", "model"), "bias": P("model")},
    "b": {"kernel": P("model", None)},
}
SGD = optax.sgd(0.1, momentum=0.9)


def weights(key=KEY):
    leaves, treedef = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, s) for k, s in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


@pytest.fixture(scope="module")
def mesh():
    """A mesh whose axes are explicit, as `jax.make_mesh` makes them."""
    explicit = (jax.sharding.AxisType.Explicit,) * 2
    return jax.make_mesh((2, 2), ("data", "model"), axis_types=explicit)


def placed(mesh):
    return jax.tree.map(
        lambda w, spec: jax.device_put(w, NamedSharding(mesh, spec)), weights(), SPECS
    )


def half(params):
    full = masks.full(params)
    return lth.prune(full, scores.magnitude(params, full), 0.5)


def groups(prune, *shape):
    def pruned(params):
        full = masks.full(params)
        return prune(full, scores.magnitude(params, full), *shape, 0.5)

    return pruned


def loss(params):
    size = jnp.sum(params["a"]["kernel"] ** 3) + jnp.sum(params["b"]["kernel"] ** 2)
    return size**2 / 100


def trained(make):
    """Three steps of an optimizer that carries its masks."""

    def steps(params):
        tx = make()
        state = tx.init(params)
        for _ in range(3):
            grads = jax.tree.map(lambda w: 0.1 * w + 0.01, params)
            updates, state = tx.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params, dynamic.masks(state)

    return steps


def kept(params):
    tx = lth.keep(optax.adam(0.1))
    grads = jax.tree.map(jnp.sin, params)
    state = tx.init(params)
    updates, _ = tx.update(grads, state, params, masks=half(params))
    return optax.apply_updates(params, updates)


def control(name):
    def taken(params):
        ticket = Ticket(1, 0, 5, params, {}, half(params))
        return getattr(controls, name)(KEY, ticket, lambda key: (params, {})).masks

    return taken


GROUPS = (channels.Group("a", ("a",), "b", 16),)
NETWORK = lth.models.build("mlp", 4, options={"hidden": (16,)})


def halved(params):
    """Masks without every other channel."""
    stay = {"a": jnp.arange(16) % 2 == 0}
    return channels.spread(channels.full(params, GROUPS), stay, GROUPS)


def compacted(params):
    small = channels.compact(NETWORK, params, halved(params), groups=GROUPS)
    return small.params


def curved(measure, *first, **options):
    @jax.jit
    def measured(params):
        return measure(*first, loss, params, half(params), **options)

    return measured


MOVING = {"key": KEY, "every": 1, "until": 5}
CASES = {
    "full": masks.full,
    "prune": half,
    "apply": lambda p: masks.apply(p, half(p)),
    "by layer": lambda p: lth.prune(
        half(p), scores.magnitude(p, half(p)), 0.7, "layer"
    ),
    "minimum": lambda p: lth.prune(half(p), scores.energy(p, half(p)), 0.9, minimum=4),
    "sparsity": lambda p: masks.sparsity(half(p)),
    "random": lambda p: scores.random(KEY, p, half(p)),
    "snip": lambda p: scores.snip(loss, p, half(p)),
    "grasp": lambda p: scores.grasp(loss, p, half(p)),
    "average": lambda p: scores.average(
        lambda x: scores.snip(lambda w: x * loss(w), p, half(p)), jnp.arange(3.0)
    ),
    "rounds": lambda p: lth.prune_in_rounds(
        lambda left: scores.snip(loss, p, left), masks.full(p), [100, 50]
    ),
    "channels": groups(patterns.channels),
    "blocks": groups(patterns.blocks, (2, 2)),
    "n of m": lambda p: patterns.n_of_m(half(p), scores.magnitude(p, half(p)), 3, 4),
    "keep": kept,
    "rigl": trained(lambda: dynamic.rigl(SGD, 0.5, **MOVING)),
    "set": trained(lambda: dynamic.set(SGD, 0.5, **MOVING)),
    "gradual": trained(lambda: dynamic.gradual(SGD, 0.5, begin=0, end=3, every=1)),
    "straight through": trained(lambda: dynamic.straight_through(SGD, 0.5, every=1)),
    "wirings": trained(lambda: dynamic.wirings(SGD, 0.5)),
    "shuffle": control("shuffle"),
    "random masks": control("random"),
    "gates": lambda p: gates.apply(p, gates.init(half(p), 0.1), 2.0),
    "ranks": lambda p: analysis.rank_correlation(p, jax.tree.map(jnp.cos, p), half(p)),
    "distance": lambda p: analysis.distance(p, jax.tree.map(jnp.cos, p), half(p)),
    "gradient norm": curved(curvature.gradient_norm),
    "curvature": curved(curvature.top_eigenvalue, KEY),
    "trace": curved(curvature.trace, KEY, probes=4),
    "surface": curved(curvature.surface, KEY, points=3),
    "channels that go": halved,
    "channels that stay": lambda p: channels.kept(halved(p), GROUPS),
    "folded": lambda p: channels.fold(p, {"a": jnp.arange(16.0)}, GROUPS),
    "flatten": lambda p: stability.flatten(half(p)),
}


QUICK = ("prune", "apply", "random", "keep", "n of m", "ranks")
NAMED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.thorough)
    for name in CASES
]


@pytest.mark.parametrize("surrounded", [True, False])
@pytest.mark.parametrize("name", NAMED)
def test_on_explicit_axes_all_is_as_without_and_lies_where_the_weights_do(
    mesh, name, surrounded
):
    fn = CASES[name]
    if surrounded:
        with jax.set_mesh(mesh):
            found = jax.jit(fn)(placed(mesh))
    else:
        found = fn(placed(mesh))
    alone = fn(weights())
    assert jax.tree.structure(found) == jax.tree.structure(alone)
    for one, other in zip(*map(jax.tree.leaves, (found, alone)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        if one.shape == SHAPES["a"]["kernel"]:
            assert jax.typeof(one).sharding.spec == SPECS["a"]["kernel"]


def test_a_smaller_network_is_made_of_weights_on_explicit_axes(mesh):
    found, alone = compacted(placed(mesh)), compacted(weights())
    assert found["a"]["kernel"].shape == (8, 8)
    for one, other in zip(*map(jax.tree.leaves, (found, alone)), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.sharding.mesh == mesh and one.sharding.is_fully_replicated


def test_masks_of_the_host_go_with_weights_on_explicit_axes(mesh):
    own = jax.tree.map(np.asarray, half(weights()))
    found = masks.apply(placed(mesh), own)
    np.testing.assert_array_equal(
        found["a"]["kernel"], masks.apply(weights(), own)["a"]["kernel"]
    )


def test_scores_that_are_no_numbers_are_refused_there_too(mesh):
    full = masks.full(placed(mesh))
    wrong = jax.tree.map(lambda w: w / 0, scores.magnitude(placed(mesh), full))
    with pytest.raises(ValueError, match="scores must be finite"):
        lth.prune(full, wrong, 0.5)


def test_over_other_axes_nothing_is_placed():
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((2,), ("data",), axis_types=auto)
    w = jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, P("data")))
    mask = jnp.ones((4, 2), bool)
    assert places.place(w) is None and places.place(np.ones(2)) is None
    assert places.beside(mask, w) is mask
