"""Which axes the kernels of flax's layers have, and what a rule may say."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from lthjax.pruning import views

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


class Mapped(nn.Module):
    """Layers whose variables are mapped over, which takes arrays."""

    spectral: bool = False

    @nn.compact
    def __call__(self, x):
        """Returns the result."""
        x = nn.DenseGeneral((2, 2), name="first")(x).reshape(1, 4)
        if self.spectral:
            return nn.SpectralNorm(nn.Dense(3, name="inner"))(x, update_stats=False)
        halved = nn.map_variables(
            nn.Dense,
            "params",
            lambda tree: jax.tree.map(lambda w: jax.lax.mul(w, w), tree),
            init=True,
        )
        return nn.WeightNorm(nn.Dense(3, name="inner"))(halved(4)(x))


@pytest.mark.parametrize("spectral", [True, False])
def test_layers_whose_variables_are_mapped_over_are_looked_at_too(spectral):
    model, x = Mapped(spectral), jnp.zeros((1, 4))
    shapes, found = views.traced(model.init, KEY, x)
    plain = jax.eval_shape(model.init, KEY, x)["params"]
    assert jax.tree.structure(shapes) == jax.tree.structure(plain)
    assert found["first/kernel"] == views.view(["in", "out", "out"], "Dense")
    kind = "SpectralNorm" if spectral else "WeightNorm"
    assert found["inner/kernel"] == views.view(["in", "out"], kind)


def transposed(tree):
    return jax.tree.map(jnp.transpose, tree)


class Turned(nn.Module):
    """A layer that holds its kernel turned about, [out, in]."""

    features: int
    back: bool = True

    @nn.compact
    def __call__(self, x):
        """Returns the product."""
        how = {"trans_out_fn": transposed, "mutable": True} if self.back else {}
        how |= {"init": self.is_initializing()} if not self.back else {}
        layer = nn.map_variables(nn.Dense, "params", transposed, **how)
        return layer(self.features, use_bias=False, name="turned")(x)


@pytest.mark.parametrize("inputs, back", [(7, True), (5, True), (5, False)])
def test_a_kernel_that_was_turned_is_refused_until_a_rule_says_its_axes(inputs, back):
    model, x = Turned(5, back), jnp.zeros((1, inputs))
    shapes, found = views.traced(model.init, KEY, x)
    assert shapes["turned"]["kernel"].shape == (5, inputs)
    with pytest.raises(ValueError, match="must be known .*'in out'.*, or exclude"):
        views.one("turned/kernel", (5, inputs), found)
    said = views.of(model.init, KEY, x, rules=[("turned", "out in")])
    assert views.one("turned/kernel", (5, inputs), said).outputs == (0,)


class Tied(nn.Module):
    """Stacked attention whose last layer is the embedding, read off its variables."""

    @nn.compact
    def __call__(self, tokens):
        """Returns the logits."""
        table = nn.Embed(7, 4, name="table")
        x, _ = scanned(0)(table(tokens), None)
        return x @ table.variables["params"]["embedding"].T


def test_stacked_layers_whose_axes_are_not_seen_are_no_convolutions():
    tokens = jnp.zeros((1, 5), int)
    shapes, found = views.traced(Tied().init, KEY, tokens)
    assert found["table/embedding"].kind == "Embed"
    name, shape = "ScanBlock_0/MultiHeadDotProductAttention_0/out/kernel", (3, 2, 2, 4)
    leaves = {"/".join(str(k.key) for k in path): x for path, x in _rows(shapes)}
    assert leaves[name].shape == shape
    with pytest.raises(ValueError, match="must be known which axes .*out/kernel"):
        views.one(name, shape, found)
    rules = [("Dense_0/kernel", "copies in out"), ("out/kernel", "copies in in out")]
    said = views.of(Tied().init, KEY, tokens, rules=rules)
    assert views.one(name, shape, said).inputs == (1, 2)


def test_a_network_that_is_looked_at_twice_is_seen_as_at_first():
    init, x = jax.jit(Mapped(True).init), jnp.zeros((1, 4))
    once, again = (views.of(init, KEY, x) for _ in range(2))
    assert once == again and once["inner/kernel"].kind == "SpectralNorm"


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


def test_a_rule_goes_by_what_is_no_array():
    tree = {"weight": jnp.ones((2, 3)), "activation": jax.nn.relu}
    assert views.ruled(tree, [("weight", "out in")]).keys() == {"weight"}
    with pytest.raises(ValueError, match="must find a leaf.*the leaves are weight$"):
        views.ruled(tree, [("activation", "out in")])
