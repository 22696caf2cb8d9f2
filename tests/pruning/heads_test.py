"""Heads of an attention: kept or gone as one, in every kernel, whatever its axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax.pruning import heads, pattern_names, targets, views

NAMES = ("query", "key", "value", "out")
X = jnp.ones((2, 5, 6))


class Stack(nn.Module):
    """Two attentions, and two more stacked by `nn.scan`."""

    @nn.compact
    def __call__(self, x):
        """Returns the result for `x` [batch, places, features]."""
        for name in ("first", "second"):
            x = x + nn.MultiHeadDotProductAttention(3, name=name)(x)
        scan = nn.scan(
            _Step, variable_axes={"params": 1}, split_rngs={"params": True}, length=2
        )
        return scan(name="rest")(x, None)[0]


class _Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return x + nn.MultiHeadDotProductAttention(2, name="own")(x), None


@pytest.fixture(scope="module")
def given():
    """Returns (masks, scores, views) of the kernels of a stack."""
    shapes, said = views.traced(Stack().init, jax.random.key(0), X)
    draw = np.random.default_rng(0).uniform
    kernels = jax.tree.map(
        lambda shape: {"kernel": np.float32(draw(size=shape["kernel"].shape))},
        shapes,
        is_leaf=lambda x: "kernel" in x,
    )
    return jax.tree.map(lambda x: jnp.ones(x.shape, bool), kernels), kernels, said


def split(tree):
    """Returns {attention: [heads, weights]} by transposes written out."""
    rows = {}
    for name in ("first", "second"):
        own = [tree[name][k]["kernel"] for k in NAMES]
        parts = [np.moveaxis(np.asarray(x), 1, 0) for x in own[:3]] + [own[3]]
        rows[name] = np.concatenate([p.reshape(3, -1) for p in parts], 1)
    stack = {k: np.moveaxis(np.asarray(x["kernel"]), 1, 0) for k, x in _own(tree)}
    parts = [np.moveaxis(stack[k], 2, 1) for k in NAMES[:3]] + [stack["out"]]
    rows["rest/own"] = np.concatenate([p.reshape(4, -1) for p in parts], 1)
    return rows


def _own(tree):
    return tree["rest"]["own"].items()


def test_the_heads_with_the_highest_means_stay_whole(given):
    masks, scores, said = given
    means = {name: rows.mean(1) for name, rows in split(scores).items()}
    cut = np.sort(np.concatenate(list(means.values())))[-4]
    prune = jax.jit(lambda m, s: heads.heads(m, s, kept=4, views=said))
    found = split(prune(masks, scores))
    for name, rows in found.items():
        np.testing.assert_array_equal(rows.all(1), means[name] >= cut)
        np.testing.assert_array_equal(rows.any(1), rows.all(1))
    assert heads.sizes(masks, said) == {"first": 3, "rest/own": 4, "second": 3}


def test_what_is_gone_stays_gone_and_every_attention_can_keep_one(given):
    masks, scores, said = given
    prune = jax.jit(lambda m, s: heads.heads(m, s, kept=4, minimum=1, views=said))
    before = jax.tree.map(lambda s: s > 0.2, scores)
    found = prune(before, scores)
    alive = {name: rows.any(1) for name, rows in split(found).items()}
    assert [alive[name].sum() for name in ("first", "second")] == [1, 1]
    assert alive["rest/own"].reshape(2, 2).sum(1).tolist() == [1, 1]  # stacked
    assert all(
        jax.tree.leaves(jax.tree.map(lambda a, b: (b | ~a).all(), found, before))
    )


def test_a_target_of_weights_is_the_same_share_of_heads(given):
    masks, _, said = given
    total = sum(leaf.size for leaf in jax.tree.leaves(masks))
    found = pattern_names.target("heads", masks, targets.target(total // 2), said)
    assert found.kept == 5
    by_layer = [leaf.size * 2 // 3 for leaf in jax.tree.leaves(masks)]
    found = pattern_names.target("heads", masks, targets.target(by_layer), said)
    assert found.layers == (2, 3, 2)
    assert pattern_names.layers("heads", masks, said) == ["first", "rest/own", "second"]


@pytest.mark.parametrize(
    "shapes, axes, message",
    [
        ({"up": (4, 8)}, {}, r"got up/kernel of shape \(4, 8\); leave .*include"),
        (
            {"query": (4, 2, 3), "out": (3, 2, 4)},
            {"query": "in out out", "out": "in in out"},
            "number of heads, got 3 and 2",
        ),
    ],
)
def test_what_has_no_heads_is_refused(shapes, axes, message):
    masks = {name: {"kernel": jnp.ones(shape, bool)} for name, shape in shapes.items()}
    said = {f"{name}/kernel": views.view(text.split()) for name, text in axes.items()}
    with pytest.raises(ValueError, match=message):
        heads.layers(masks, said)
