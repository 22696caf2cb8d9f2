"""Which axes of a leaf are what: of every layer that flax has, and by rule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import linen as nn

from lthjax.analysis import curvature
from lthjax.channels import by_channel, layers_of, slimming, smaller
from lthjax.forward_selection import cut_network
from lthjax.program.build import assemble
from lthjax.program.build import plan as plan_lib
from lthjax.program.build.parts import DataKind
from lthjax.pruning import patterns, sparsities, views

KEY = jax.random.key(0)


@pytest.mark.parametrize("text", ["in out", "out in space space", "in copies out out"])
def test_a_leaf_goes_to_its_canonical_shape_and_back(text):
    found = views.view(text.split())
    shape = (2, 3, 4, 5)[: len(text.split())]
    x = np.arange(math.prod(shape)).reshape(shape)
    flat = views.canonical(x, found)
    assert flat.shape == views.sizes(shape, found)
    np.testing.assert_array_equal(views.restored(flat, found, shape), x)


def test_a_rule_of_the_same_axes_leaves_a_layer_what_it_is():
    words, kinds = ["space", "space", "in", "out"], {}
    for kind in ("Conv", "grouped Conv", "masked Conv", "grouped masked Conv"):
        known = {"kernel": views.view(words, kind)}
        kinds[kind] = views.joined(known, {"kernel": views.view(words)})["kernel"].kind
    assert all(kind == found for kind, found in kinds.items())
    turned = views.view(["space", "space", "out", "in"])
    for kind, left in {
        "Conv": "",
        "masked Conv": "",
        "grouped Conv": "grouped Conv",
    }.items():
        known = {"kernel": views.view(words, kind)}
        assert views.joined(known, {"kernel": turned})["kernel"].kind == left


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


class Attention(nn.Module):
    """A user's network: attention over rows, and a layer of its own beside it."""

    num_classes: int
    own: bool = False

    @nn.compact
    def __call__(self, images):
        """Returns the logits."""
        x = nn.Dense(8, name="rows")(images[..., 0])
        x = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x)
        if self.own:
            kernel = self.param("kernel", nn.initializers.normal(), (2, 8, 4))
            x = jnp.einsum("bti,nio->bto", x, kernel)
        return nn.Dense(self.num_classes, name="head")(x.mean(1))


FACTS = DataKind((8, 8, 1), 10)
OWN = {"model.name": f"{__name__}:Attention", "search.sparsities": (0.5,)}


def plan(changes):
    config = tiny.config(OWN | {"model.options": {}} | changes)
    ground = plan_lib.ground(config, FACTS, 48)
    assemble.check(ground)
    return ground.plan


def test_a_run_shares_over_the_layers_of_attention_as_matrices():
    found = plan({"search.scope": "erdos_renyi_kernel"})
    matrices = {
        name: views.sizes(shape, found.views[name])[-2:]
        for name, shape in found.shapes.items()
    }
    assert matrices["attention/query/kernel"] == (8, 8)
    (target,) = found.targets
    assert target.amount == sparsities.erdos_renyi(matrices, target.kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"search.scope": "erdos_renyi"},
        {"search.pattern": "channels"},
        {"search.pattern": "2x2"},
        {"search.pattern": "2:4"},
    ],
)
def test_a_run_refuses_a_layer_of_ones_own_where_axes_matter_until_it_is_ruled(changes):
    own = changes | {"model.options": {"own": True}}
    with pytest.raises(ValueError, match=r"got kernel of shape \(2, 8, 4\); say it"):
        plan(own)
    plan(own | {"model.views": (("^kernel$", "copies in out"),)})
    with pytest.raises(ValueError, match="must find a leaf, got 'kernal'"):
        plan(own | {"model.views": (("kernal", "copies in out"),)})


def test_where_axes_do_not_matter_every_shape_is_taken():
    assert plan({"model.options": {"own": True}}).shapes["kernel"] == (2, 8, 4)
    set_ = {"search.method": "set", "model.options": {"own": True}}
    plan(set_ | {"dynamic.end": 1.0, "dynamic.every": 1})


class Turned(nn.Module):
    """A chain of which one kernel is [height, width, out, in]."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        x = nn.ConvTranspose(4, (3, 3), transpose_kernel=True, name="conv")(images)
        x = nn.BatchNorm(use_running_average=not train, name="conv_norm")(x)
        return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


def test_slimming_refuses_a_layer_with_other_axes_before_training():
    with pytest.raises(ValueError, match="got conv/kernel, .* space space out in;"):
        plan({"model.name": f"{__name__}:Turned", "search.method": "slimming"})


def test_channels_of_kernels_that_cannot_be_cut_are_refused_by_name():
    params = {"a": {"kernel": jnp.zeros((8, 2, 4))}, "b": {"kernel": jnp.zeros((8, 3))}}
    for size, name in ((4, "a"), (8, "a")):
        group = layers_of.Group("a", ("a",), "b", size)
        with pytest.raises(ValueError, match=f"{size} channels for {name}/kernel"):
            by_channel.full(params, (group,))
    grouped = {"a": {"kernel": jnp.zeros((3, 4))}}
    grouped["b"] = {"kernel": jnp.zeros((3, 3, 2, 6))}
    with pytest.raises(ValueError, match="4 channels for b/kernel"):
        by_channel.full(grouped, (layers_of.Group("a", ("a",), "b", 4),))
    norm = {"a_norm": {"scale": jnp.ones(4)}, "head": {"kernel": jnp.ones((4, 2, 4))}}
    with pytest.raises(ValueError, match="got head/kernel of shape"):
        slimming.check(norm)


def test_a_layer_that_cannot_be_narrowed_or_cut_open_is_refused_by_name():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            """Returns the map."""
            x = nn.ConvTranspose(4, (3, 3), name="up")(images)
            return nn.Conv(3, (3, 3), kernel_dilation=2, name="wide")(x)

    slim, images = smaller.Slim(Net(), (("up", 2),)), jnp.zeros((1, 4, 4, 1))
    with pytest.raises(ValueError, match="got up, of ConvTranspose"):
        jax.eval_shape(slim.init, KEY, images)
    params = jax.eval_shape(Net().init, KEY, images)["params"]
    found = cut_network.geometry(Net(), params, {}, (4, 4, 1))
    with pytest.raises(ValueError, match="groups, a mask or dilation.*got wide"):
        cut_network.place(found, layers_of.Group("up", ("up",), "wide", 4))


def test_the_filters_of_a_surface_are_those_of_a_view():
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)))}
    masks = {"w": jnp.ones((5, 2, 3), bool)}
    draw = jax.jit(lambda p: curvature._filters(KEY, p, masks, {"w": VIEWS["query"]}))
    found = draw(params)
    norms = [np.linalg.norm(tree["w"], axis=0) for tree in (found, params)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_the_filters_of_a_leaf_of_unknown_axes_are_those_of_one_without_a_view():
    params = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 3)))}
    masks = {"w": jnp.ones((5, 2, 3), bool)}
    unknown = {"w": views.View(kind=views.UNKNOWN)}
    given = KEY, params, masks
    found, plain = (curvature._filters(*given, known) for known in (unknown, {}))
    np.testing.assert_array_equal(found["w"], plain["w"])
