"""Which axes of a leaf are what: of every layer that flax has, and by rule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import patterns, sparsities, views

KEY = jax.random.key(0)


def words(found, shape):
    """Returns a view as a word an axis."""
    text = [""] * len(shape)
    for word, field in views.WORDS.items():
        for axis in getattr(found, field):
            text[axis] = word
    return " ".join(text)


def seen(layer, shape, leaf="kernel"):
    """Returns the words of one leaf of a layer that is called on a shape."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    params, found = views.traced(layer.init, KEY, images)
    name = next(name for name in found if name.endswith(leaf))
    leaves = {"/".join(str(k.key) for k in path): x for path, x in _rows(params)}
    return words(found[name], leaves[name].shape)


def _rows(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


class Own(nn.Dense):
    """A layer of one's own, with another kernel than the one that it inherits from."""

    @nn.compact
    def __call__(self, x):
        """Returns the product."""
        return x @ self.param("kernel", self.kernel_init, (self.features, 3)).T


class Twice(nn.Dense):
    """A layer of one's own that calls the one it inherits from."""

    @nn.compact
    def __call__(self, x):
        """Returns twice the product."""
        return 2 * super().__call__(x)


class Block(nn.Module):
    """A residual block of attention, as it is scanned over."""

    @nn.compact
    def __call__(self, x, _=None):
        """Returns the block's result as what is carried."""
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(x)
        return x + nn.Dense(4)(nn.LayerNorm()(x)), None


def scanned(axis):
    return nn.scan(
        Block, variable_axes={"params": axis}, split_rngs={"params": True}, length=3
    )()


MAPPED = nn.vmap(
    nn.Conv, variable_axes={"params": -1}, split_rngs={"params": True}, axis_size=2
)


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (nn.Dense(5), (1, 3), "in out"),
        (Twice(5), (1, 3), "in out"),
        (nn.remat(nn.Dense)(5), (1, 3), "in out"),
        (nn.DenseGeneral((4, 16)), (1, 5, 64), "in out out"),
        (nn.DenseGeneral(64, axis=(-2, -1)), (1, 5, 4, 16), "in in out"),
        (nn.DenseGeneral(6, axis=-1, batch_dims=(0,)), (2, 5, 3), "copies in out"),
        (nn.Einsum((5, 2, 3), "bnd,dhk->bnhk"), (1, 4, 5), "in out out"),
        (nn.Einsum((2, 5, 3), "bhd,hdk->bhk"), (1, 2, 5), "copies in out"),
        (nn.Conv(6, (3,)), (1, 8, 4), "space in out"),
        (nn.Conv(6, (3, 3), feature_group_count=2), (1, 8, 8, 4), "space space in out"),
        (nn.Conv(6, (2, 2, 2)), (1, 4, 4, 4, 1), "space space space in out"),
        (nn.ConvLocal(6, (3,)), (1, 8, 4), "copies in out"),
        (nn.ConvTranspose(6, (3, 3)), (1, 4, 4, 2), "space space in out"),
        (
            nn.ConvTranspose(6, (3, 3), transpose_kernel=True),
            (1, 4, 4, 2),
            "space space out in",
        ),
        (MAPPED(6, (3,)), (2, 1, 8, 4), "space in out copies"),
    ],
)
def test_the_axes_of_a_kernel_are_those_of_its_layer(layer, shape, expected):
    assert seen(layer, shape) == expected


@pytest.mark.parametrize("axis, place", [(0, 0), (1, 1), (-1, 3)])
def test_stacked_kernels_have_their_copies_wherever_they_are_put(axis, place):
    shape = (1, 5, 4)
    params, found = views.traced(scanned(axis).init, KEY, jnp.zeros(shape))
    kernel = found["MultiHeadDotProductAttention_0/query/kernel"]
    assert kernel.copies == (place,) and len(kernel.outputs) == 2
    assert found["LayerNorm_0/scale"].copies == (min(place, 1),)
    query = params["MultiHeadDotProductAttention_0"]["query"]["kernel"]
    assert views.sizes(query.shape, kernel) == (3, 1, 4, 4)


def test_recurrent_cells_and_embeddings_are_known():
    cell = nn.OptimizedLSTMCell(5)
    carry = (jnp.zeros((1, 5)), jnp.zeros((1, 5)))
    found = views.of(cell.init, KEY, carry, jnp.zeros((1, 3)))
    kernels = {name for name in found if name.endswith("kernel")}
    assert len(kernels) == 8
    assert {found[name] for name in kernels} == {views.view(["in", "out"], "Dense")}
    images = jnp.zeros((1, 4), int)
    assert views.of(nn.Embed(7, 3).init, KEY, images)["embedding"].kind == "Embed"


def test_a_layer_of_ones_own_has_no_view_but_that_of_a_rule():
    own, x = Own(5), jnp.zeros((1, 3))
    assert views.of(own.init, KEY, x) == {}
    found = views.of(own.init, KEY, x, rules=[("kernel$", "out in")])
    assert found == {"kernel": views.View((1,), (0,))}


def test_a_network_makes_plain_leaves_after_it_was_looked_at():
    init, x = jax.jit(nn.Dense(5).init), jnp.zeros((1, 3))
    assert views.of(init, KEY, x)
    assert jax.tree.structure(init(KEY, x)) == jax.tree.structure(
        {"params": {"kernel": 0, "bias": 0}}
    )


@pytest.mark.parametrize(
    "rules, message",
    [
        ([("kernel", "in out out")], r"got kernel of shape \(3, 5\) for a view of 3"),
        ([("kernel", "in height")], "one of in, out, space, copies.*'in height'"),
        ([("nothing", "in out")], "must find a leaf, got 'nothing'; the leaves are b"),
        ([("(", "in out")], "must be a regular expression, got '\\('"),
        (["kernel"], "a pair of texts"),
        ([("kernel", 2)], "a pair of texts"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        views.of(nn.Dense(5).init, KEY, jnp.zeros((1, 3)), rules=rules)


@pytest.mark.parametrize("text", ["in out", "out in space space", "in copies out out"])
def test_a_leaf_goes_to_its_canonical_shape_and_back(text):
    found = views.view(text.split())
    shape = (2, 3, 4, 5)[: len(text.split())]
    x = np.arange(math.prod(shape)).reshape(shape)
    flat = views.canonical(x, found)
    assert flat.shape == views.sizes(shape, found)
    np.testing.assert_array_equal(views.restored(flat, found, shape), x)


# The attention of the issue, and a layer beside it: as matrices 64 x 64 and 64 x 256.
SHAPES = {"query": (64, 4, 16), "out": (4, 16, 64), "up": (64, 256)}
VIEWS = {
    "query": views.view(["in", "out", "out"]),
    "out": views.view(["in", "in", "out"]),
}
MATRICES = {"query": (64, 64), "out": (64, 64), "up": (64, 256)}


@pytest.mark.parametrize("kernel", [True, False])
def test_layers_share_as_the_matrices_that_they_are(kernel):
    given = {"kernel": kernel, "kept": 2458}
    found = sparsities.erdos_renyi(SHAPES, views=VIEWS, **given)
    assert found == sparsities.erdos_renyi(MATRICES, **given)


def test_stacked_and_turned_kernels_share_as_those_that_they_are_made_of():
    stacked = {"a": (4, 8, 3), "b": (16, 4, 3, 3)}
    said = {"a": views.view(["in", "out", "copies"])}
    said["b"] = views.view(["out", "in", "space", "space"])
    plain = {"a0": (4, 8), "a1": (4, 8), "a2": (4, 8), "b": (3, 3, 4, 16)}
    for kernel in (True, False):
        found = sparsities.erdos_renyi(stacked, 99, kernel=kernel, views=said)
        each = sparsities.erdos_renyi(plain, 99, kernel=kernel)
        assert abs(found[0] - sum(each[:3])) <= 1 and sum(found) == 99


# Heads, stacked layers, and a kernel as PyTorch has it: 20, 15 and 4 channels.
LEAVES = {"heads": "in out out", "stack": "copies in out", "turned": "out in space"}
SIZES = {"heads": (4, 4, 5), "stack": (3, 4, 5), "turned": (4, 8, 3)}


@pytest.fixture(scope="module")
def chosen():
    """Returns the scores, and the masks of three patterns, compiled as one program."""
    said = {name: views.view(text.split()) for name, text in LEAVES.items()}
    draw = np.random.default_rng(1).normal
    scores = {name: np.float32(draw(size=shape)) for name, shape in SIZES.items()}

    @jax.jit
    def prune(scores):
        masks = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
        blocks = {name: scores[name] for name in ("stack", "turned")}
        full = {name: masks[name] for name in blocks}
        return {
            "channels": patterns.channels(masks, scores, kept=13, views=said),
            "2:4": patterns.n_of_m(masks, scores, 2, 4, views=said),
            "blocks": patterns.blocks(full, blocks, (4, 1), kept=13, views=said),
        }

    return scores, jax.tree.map(np.asarray, prune(scores))


def rows(tree):
    """Returns {name: [copies, space, inputs, outputs]} by transposes written out."""
    shapes = {"heads": (1, 1, 4, 20), "stack": (3, 1, 4, 5), "turned": (1, 3, 8, 4)}
    return {
        name: (leaf.transpose(2, 1, 0) if name == "turned" else leaf).reshape(
            shapes[name]
        )
        for name, leaf in tree.items()
    }


def test_channels_of_heads_and_of_copies_are_chosen_one_by_one(chosen):
    scores, found = chosen
    means = [x.mean((1, 2)).ravel() for x in rows(scores).values()]
    means = np.concatenate(means)
    expected = np.isin(np.arange(len(means)), np.argsort(-means)[:13])
    kept = rows(found["channels"])
    ends = [mask.all((1, 2)).ravel() for mask in kept.values()]
    np.testing.assert_array_equal(np.concatenate(ends), expected)
    assert all((mask.any((1, 2)) == mask.all((1, 2))).all() for mask in kept.values())
    assert len(np.unique(kept["stack"].all((1, 2)), axis=0)) > 1  # not one for all


def test_n_of_m_goes_along_the_inputs_whatever_their_place(chosen):
    for mask in rows(chosen[1]["2:4"]).values():
        quads = mask.reshape(*mask.shape[:2], -1, 4, mask.shape[-1])
        assert (quads.sum(3) == 2).all()


def test_blocks_are_of_inputs_and_outputs(chosen):
    tiles = [
        mask.reshape(*mask.shape[:2], -1, 4, mask.shape[-1])
        for mask in rows(chosen[1]["blocks"]).values()
    ]
    assert all((tile.all(3) == tile.any(3)).all() for tile in tiles)
    assert sum(tile.all(3).sum() for tile in tiles) == 13


@pytest.mark.parametrize("shape", [(5,), (3, 4, 6), (2, 3, 3, 4, 6)])
def test_what_has_no_view_is_refused_by_name_where_axes_matter(shape):
    masks = {"w": jnp.ones(shape, bool)}
    scores = {"w": jnp.zeros(shape)}
    for call in (
        lambda: sparsities.erdos_renyi({"w": shape}, 2),
        lambda: patterns.channels(masks, scores, kept=1),
        lambda: patterns.blocks(masks, scores, (1, 1), kept=1),
        lambda: patterns.n_of_m(masks, scores, 1, 1),
        lambda: sparsities.erdos_renyi({"w": shape}, 2, views={"w": views.View()}),
    ):
        with pytest.raises(ValueError, match="w of shape .*"):
            call()
