"""The algebra of masks: which leaves are prunable, applied, counted, compared."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lthjax.pruning import masks, scores

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.fixture
def params():
    keys = iter(jax.random.split(jax.random.key(0), 6))
    shapes = {
        "conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
        "head": {"kernel": (4, 5), "bias": (5,)},
    }
    return jax.tree.map(
        lambda shape: jax.random.normal(next(keys), shape),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def half(params, seed=1):
    """Masks that keep a weight with probability a half."""
    key = jax.random.key(seed)
    return jax.tree.map(
        lambda mask: jax.random.bernoulli(key, shape=mask.shape), masks.full(params)
    )


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_every_kernel_is_prunable_and_kept_and_nothing_else_is(params):
    full = masks.full(params)
    assert masks.names(full) == ["conv/kernel", "head/kernel"]
    assert full["conv"]["bias"] is full["norm"]["scale"] is None
    assert all(mask.dtype == bool and mask.all() for mask in jax.tree.leaves(full))
    masks.compatible(params, full)


@pytest.mark.parametrize(
    "exclude, left",
    [
        (("head",), ["conv/kernel"]),
        (("^conv/",), ["head/kernel"]),
        (("h.*d/k", "head"), ["conv/kernel"]),
    ],
)
def test_what_a_pattern_finds_is_never_pruned(params, exclude, left):
    assert masks.names(masks.full(params, exclude)) == left


def test_other_leaves_can_be_made_prunable(params):
    assert masks.names(masks.full(params, include="scale$")) == ["norm/scale"]


@pytest.mark.parametrize("pattern", ["haed", "bias"])
def test_a_pattern_that_finds_nothing_raises_with_the_prunable_leaves(params, pattern):
    expected = f"got exclude = '{pattern}'.*conv/kernel, head/kernel"
    with pytest.raises(ValueError, match=expected):
        masks.full(params, ("conv", pattern))


def test_nothing_left_to_prune_raises_with_all_leaves(params):
    with pytest.raises(ValueError, match="at least one.*conv/bias.*norm/scale"):
        masks.full(params, ("kernel",))


def test_shapes_alone_are_enough(params):
    abstract = jax.eval_shape(masks.full, jax.eval_shape(lambda: params))
    expected = jax.eval_shape(lambda: masks.full(params))
    assert abstract == expected


def test_apply_zeroes_what_is_pruned_and_touches_nothing_else(params):
    tree = half(params)
    applied = masks.apply(params, tree)
    for name in ("conv", "head"):
        mask, before = tree[name]["kernel"], params[name]["kernel"]
        np.testing.assert_array_equal(applied[name]["kernel"][mask], before[mask])
        assert (applied[name]["kernel"][~mask] == 0.0).all()
        assert applied[name]["bias"] is params[name]["bias"]
    assert applied["norm"] == params["norm"]


def test_apply_is_idempotent(params):
    once = masks.apply(params, half(params))
    assert_equal(masks.apply(once, half(params)), once)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_is_no_number_at_a_pruned_weight_is_zero_with_derivative_zero(params, bad):
    tree = half(params)

    def spoil(w, mask):
        return w if mask is None else jnp.where(mask, w, jnp.full_like(w, bad))

    spoilt = jax.tree.map(spoil, params, tree)
    assert_equal(masks.apply(spoilt, tree), masks.apply(params, tree))

    def energy(params):
        squares = [jnp.sum(w**2) for w in jax.tree.leaves(masks.apply(params, tree))]
        return jnp.sum(jnp.stack(squares))

    expected = jax.tree.map(lambda w: 2 * w, masks.apply(params, tree))
    assert_equal(jax.grad(energy)(spoilt), expected)


def test_a_bad_weight_that_is_kept_stays_bad():
    assert jnp.isnan(masks.apply(jnp.array([jnp.nan]), jnp.array([True])))


def test_apply_and_the_counts_are_the_same_under_jit_and_vmap(params):
    trees = [half(params, seed) for seed in (1, 2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def everything(tree):
        return masks.apply(params, tree), masks.count(tree)[0], masks.sparsity(tree)

    mapped = jax.jit(jax.vmap(everything))(stacked)
    for i, tree in enumerate(trees):
        assert_equal(jax.tree.map(lambda leaf, i=i: leaf[i], mapped), everything(tree))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_apply_keeps_the_dtype(params, dtype):
    params = jax.tree.map(lambda w: w.astype(dtype), params)
    applied = masks.apply(params, half(params))
    assert {w.dtype for w in jax.tree.leaves(applied)} == {jnp.dtype(dtype)}


def test_counts_are_those_of_the_booleans(params):
    tree = half(params)
    kept = sum(int(np.sum(mask)) for mask in jax.tree.leaves(tree))
    total = 3 * 3 * 2 * 4 + 4 * 5
    assert masks.count(tree) == (kept, total)
    assert masks.sparsity(tree) == np.float32(total - kept) / np.float32(total)
    assert sum(k for k, _ in masks.layers(tree).values()) == kept
    assert [size for _, size in masks.layers(tree).values()] == [72, 20]


def test_one_pruned_weight_of_more_than_a_float_can_count_is_counted():
    size = 2**24 + 1
    mask = {"kernel": jnp.ones(size, bool).at[0].set(False)}
    assert masks.count(mask) == (size - 1, size)
    assert masks.sparsity(mask) > 0


def test_layers_with_nothing_left_are_named(params):
    tree = masks.full(params)
    assert masks.collapsed(tree) == []
    tree["head"]["kernel"] = jnp.zeros_like(tree["head"]["kernel"])
    assert masks.collapsed(tree) == ["head/kernel"]
    assert masks.collapsed({"nothing": jnp.ones((0, 3), bool)}) == []
    assert masks.layers(tree)["head/kernel"] == (0, 20)


def test_masks_of_another_network_are_refused_by_name(params):
    tree = masks.full(params)
    tree["head"]["kernel"] = jnp.ones((4, 6), bool)
    with pytest.raises(ValueError, match=r"head/kernel = \(4, 6\) for \(4, 5\)"):
        masks.compatible(params, tree)
    with pytest.raises(ValueError, match="other/kernel = .* for no parameter"):
        masks.compatible(params, {"other": {"kernel": jnp.ones((4, 5), bool)}})
    soft = jax.tree.map(lambda mask: mask.astype(jnp.float32), masks.full(params))
    with pytest.raises(ValueError, match="must be bool, .* got .*kernel = float32"):
        masks.compatible(params, soft)


def test_masks_that_lack_a_leaf_are_named_everywhere(params):
    lacking, more = masks.full(params), masks.full(params)
    del lacking["head"]["bias"]
    more["tail"] = None
    functions = [masks.apply, masks.alike, scores.magnitude]
    functions += [lambda *trees: scores.random(jax.random.key(0), *trees)]
    for fn in functions:
        with pytest.raises(ValueError, match="got masks without head/bias; masks.full"):
            fn(params, lacking)
        with pytest.raises(ValueError, match="masks of tail, which is no parameter"):
            fn(params, more)


def test_a_mask_of_another_shape_is_not_spread_over_its_parameter(params):
    tree = masks.full(params)
    tree["head"]["kernel"] = jnp.ones((4, 1), bool)
    with pytest.raises(ValueError, match=r"head/kernel = \(4, 1\) for \(4, 5\)"):
        masks.apply(params, tree)


class Node(nnx.Module):
    """A module of flax's nnx, whose leaves are boxes in dicts."""

    def __init__(self):
        self.layers = nnx.List([nnx.Param(jnp.ones((2, 2))) for _ in range(2)])
        self.kernel = nnx.Param(jnp.ones(3))


def test_names_have_places_and_keys_as_numbers_and_no_boxes():
    state = nnx.state(Node())
    expected = ["kernel", "layers/0", "layers/1"]
    assert masks.names(state) == masks.names(nnx.to_pure_dict(state)) == expected
    own = optax.TraceState(trace=[jnp.ones(1), {"value": jnp.ones(1)}])
    assert masks.names(own) == ["trace/0", "trace/1/value"]
    assert masks.names(jnp.ones(1)) == [""]


def test_a_function_says_what_is_prunable():
    params = {"a": {"weight": jnp.ones((2, 2))}, "b": {"weight": jnp.ones(2)}}
    found = masks.full(params, include=lambda name, w: w.ndim > 1)
    assert masks.names(found) == ["a/weight"]
    found = masks.full(params, exclude=["^a"], include=lambda name, w: "weight" in name)
    assert masks.names(found) == ["b/weight"]
    with pytest.raises(ValueError, match="at least one leaf must be prunable"):
        masks.full(params, include=lambda name, w: False)


def test_a_text_is_one_pattern():
    params = {n: {"kernel": jnp.ones((2, 2))} for n in ("conv1", "fc", "out")}
    found = masks.full(params, exclude="out")
    assert masks.names(found) == ["conv1/kernel", "fc/kernel"]


def test_the_sparsity_of_nothing_is_refused():
    with pytest.raises(ValueError, match="got masks of none"):
        masks.sparsity({"b": None})


@pytest.mark.parametrize(
    "numbers", [np.array([0, 255], np.uint8), np.array([0.5, 0.5])]
)
def test_numbers_are_not_counted_as_masks(numbers):
    for count in (masks.count, masks.sparsity, masks.layers, masks.collapsed):
        with pytest.raises(ValueError, match="a mask must be bool, .* got k = "):
            count({"k": jnp.asarray(numbers)})
