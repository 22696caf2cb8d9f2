"""The same function in PyTorch's layout: NCHW images, OIHW kernels, its names."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from cases import rest_slow
from flax import linen as nn
from jax import lax

from lthjax import models
from lthjax.models.mlp import MLP, ConvNet, LeNet5
from lthjax.models.resnet import ResNet
from lthjax.pruning import masks, views
from lthjax.saving import pytorch


def conv(tensors, name, x, stride=1, padding=None):
    weight = tensors[f"{name}.weight"]
    padding = weight.shape[-1] // 2 if padding is None else padding
    layout = ("NCHW", "OIHW", "NCHW")
    pads = [(padding, padding)] * 2
    y = lax.conv_general_dilated(x, weight, (stride,) * 2, pads, None, None, layout)
    bias = tensors.get(f"{name}.bias", np.zeros(len(weight), np.float32))
    return y + bias[None, :, None, None]


def norm(tensors, name, x):
    def row(leaf):
        return tensors[f"{name}.{leaf}"][None, :, None, None]

    scaled = (x - row("running_mean")) / np.sqrt(row("running_var") + 1e-5)
    return scaled * row("weight") + row("bias")


def linear(tensors, name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"][None]


def pool(x):
    n, c, h, w = x.shape
    cut = x[:, :, : h // 2 * 2, : w // 2 * 2]
    return cut.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


def perceptron(tensors, x):
    x = nn.relu(linear(tensors, "dense1", x.reshape(len(x), -1)))
    return linear(tensors, "head", x)


def lenet5(tensors, x):
    for name in ("conv1", "conv2"):
        x = pool(nn.relu(conv(tensors, name, x, padding=0)))
    return perceptron(tensors, x)


def conv2(tensors, x):
    for name in ("conv1", "conv2"):
        x = nn.relu(conv(tensors, name, x))
    return perceptron(tensors, pool(x))


def residual(tensors, x):
    x = nn.relu(norm(tensors, "bn1", conv(tensors, "conv1", x)))
    for stage in (1, 2):
        name, stride = f"layer{stage}.0", stage
        y = conv(tensors, f"{name}.conv1", x, stride)
        y = conv(tensors, f"{name}.conv2", nn.relu(norm(tensors, f"{name}.bn1", y)))
        y = norm(tensors, f"{name}.bn2", y)
        if stage == 2:
            x = conv(tensors, f"{name}.downsample.0", x, stride)
            x = norm(tensors, f"{name}.downsample.1", x)
        x = nn.relu(x + y)
    return linear(tensors, "fc", x.mean((2, 3)))


NETWORKS = {
    "mlp": (MLP(hidden=(6,)), perceptron, (2, 5, 4, 3)),
    "lenet5": (LeNet5(width=0.2), lenet5, (2, 20, 24, 3)),
    "conv2": (ConvNet(channels=(4,), hidden=(6,)), conv2, (2, 6, 10, 3)),
    "resnet": (ResNet(blocks=(1, 1), channels=(4, 6)), residual, (2, 8, 6, 3)),
}


@pytest.mark.parametrize("name", rest_slow(NETWORKS, "conv2", "resnet"))
def test_a_network_is_the_same_function_in_the_layout_of_pytorch(name):
    model, forward, shape = NETWORKS[name]
    images = jax.random.normal(jax.random.key(0), shape)
    params, state = networks.initialise(model, jax.random.key(1), images)
    params = jax.tree.map(lambda w: w + 0.1, params)  # biases are not zero
    _, state = models.apply(model, params, state, images, train=True)
    logits, _ = models.apply(model, params, state, images, train=False)
    form = pytorch.layout(model, params, shape[-1])
    tensors = pytorch.state_dict(form, params, state)
    found = forward(tensors, images.transpose(0, 3, 1, 2))
    # Sums in another order: float32 by the size of the logits.
    scale = float(jnp.abs(logits).max())
    assert float(jnp.ptp(logits, 0).max()) > 0.01 * scale  # the images are seen
    np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5 * scale)


def test_a_residual_network_has_the_names_and_shapes_of_torchvision():
    model = models.build("resnet50_imagenet", 1000, width=0.25)
    shapes = jax.eval_shape(
        lambda key: models.initialise(model, key, jnp.zeros((1, 64, 64, 3))),
        jax.random.key(0),
    )
    params, state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    found = pytorch.state_dict(pytorch.layout(model, params, 3), params, state)
    blocks = [f"layer{s + 1}.{i}" for s, n in enumerate((3, 4, 6, 3)) for i in range(n)]
    layers = [
        f"{b}.{kind}{i}" for b in blocks for kind in ("conv", "bn") for i in "123"
    ]
    layers += [f"layer{s}.0.downsample.{i}" for s in "1234" for i in "01"]
    layers += ["conv1", "bn1", "fc"]
    assert {name.rpartition(".")[0] for name in found} == set(layers)
    norms = [
        n for n in layers if ".bn" in n or n == "bn1" or n.endswith("downsample.1")
    ]
    statistics = (
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    )
    assert {n for n in found if n.rpartition(".")[0] in norms} == {
        f"{norm}.{name}" for norm in norms for name in statistics
    }
    assert found["conv1.weight"].shape == (16, 3, 7, 7)
    assert found["layer1.0.downsample.0.weight"].shape == (64, 16, 1, 1)
    assert found["fc.weight"].shape == (1000, 512)
    assert found["bn1.num_batches_tracked"].dtype == np.int64


def test_a_mask_is_named_and_laid_out_as_its_parameter():
    model, _, shape = NETWORKS["conv2"]
    params, _ = networks.initialise(model, jax.random.key(0), jnp.zeros(shape))
    kept = jax.tree.map(lambda w: w > 0, params)
    full = masks.full(params, exclude=["head", "dense1"])
    kept = jax.tree.map(
        lambda m, w: None if m is None else w, full, kept, is_leaf=_none
    )
    form = pytorch.layout(model, params, 3)
    found, tensors = pytorch.masks_dict(form, kept), pytorch.state_dict(form, params)
    assert found.keys() == {"conv1.weight", "conv2.weight"}
    for name, mask in found.items():
        np.testing.assert_array_equal(mask, tensors[name] > 0)


def _none(leaf):
    return leaf is None


class Own(nn.Module):
    """A user's network."""

    @nn.compact
    def __call__(self, images):
        """Returns logits."""
        x = nn.Conv(4, (3, 3))(images)
        return nn.Dense(3)(x.reshape(len(x), -1))


def test_a_network_of_ones_own_says_what_it_flattens():
    model, images = Own(), jax.random.normal(jax.random.key(0), (2, 4, 5, 1))
    params, _ = networks.initialise(model, jax.random.key(1), images)
    with pytest.raises(ValueError, match=r"got a network of your own, model = Own"):
        pytorch.layout(model, params, 1)
    found = views.of(model.init, jax.random.key(1), images)
    tensors = pytorch.state_dict(pytorch.Layout({"Dense_0": 4}, views=found), params)
    x = conv(tensors, "Conv_0", images.transpose(0, 3, 1, 2)).reshape(2, -1)
    expected, _ = models.apply(model, params, {}, images, train=False)
    found = linear(tensors, "Dense_0", x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_kernel_of_channels_by_themselves_is_laid_out_too():
    model = nn.Conv(6, (3, 3), feature_group_count=3)
    images = jax.random.normal(jax.random.key(0), (1, 5, 4, 3))
    params, _ = networks.initialise(model, jax.random.key(1), images)
    form = pytorch.Layout({}, views=views.of(model.init, jax.random.key(1), images))
    weight = pytorch.state_dict(form, params)["weight"]
    assert weight.shape == (6, 1, 3, 3)
    found = lax.conv_general_dilated(
        images.transpose(0, 3, 1, 2),
        weight,
        (1, 1),
        "SAME",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=3,
    )
    expected, _ = models.apply(model, params, {}, images, train=False)
    found = found.transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def scattered(x, weight, stride):
    """Returns a transposed convolution as PyTorch defines it [batch, out, h, w].

    y[b, o, stride i + k, stride j + l] += x[b, c, i, j] weight[c, o, k, l]
    """
    (batch, _, height, width), (_, out, h, w) = x.shape, weight.shape
    y = np.zeros((batch, out, (height - 1) * stride + h, (width - 1) * stride + w))
    for i, j in np.ndindex(height, width):
        put = np.einsum("bc,cokl->bokl", x[:, :, i, j], weight)
        y[:, :, i * stride : i * stride + h, j * stride : j * stride + w] += put
    return y


@pytest.mark.parametrize("transpose_kernel", [True, False])
def test_a_transposed_convolution_is_turned_about(transpose_kernel):
    model = nn.ConvTranspose(
        3, (3, 2), (2, 2), padding="VALID", transpose_kernel=transpose_kernel
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 2)).astype(np.float32)
    variables = model.init(jax.random.key(1), x)
    form = pytorch.Layout({}, views=views.of(model.init, jax.random.key(1), x))
    found = pytorch.state_dict(form, variables["params"])
    assert found["weight"].shape == (2, 3, 3, 2)
    expected = np.asarray(model.apply(variables, x)).transpose(0, 3, 1, 2)
    y = scattered(x.transpose(0, 3, 1, 2), found["weight"], 2)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


class Mixed(nn.Module):
    """A network of layers that PyTorch has as others: all matrices are of two axes."""

    @nn.compact
    def __call__(self, x):
        """Returns the result for `x` [batch, words]."""
        x = nn.Embed(7, 8, name="embed")(x)
        x = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(x)
        x = nn.Conv(4, (3,), name="conv")(x)
        scan = nn.scan(_Step, variable_axes={"params": 1}, split_rngs={"params": True})
        return scan(name="layers")(x, jnp.zeros((3, 1)))[0]


class _Step(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.Dense(4, name="dense")(nn.LayerNorm(name="norm")(x)), None


@pytest.fixture(scope="module")
def mixed():
    """Returns the parameters of `Mixed`, drawn on the host, and their views."""
    words = jnp.zeros((1, 5), jnp.int32)
    shapes, found = views.traced(Mixed().init, jax.random.key(0), words)
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda x: np.float32(draw(size=x.shape)), shapes), found


def test_every_matrix_is_written_as_inputs_and_outputs_whatever_its_axes(mixed):
    params, found = mixed
    tensors = pytorch.state_dict(pytorch.Layout({}, views=found), params)
    query, out = (params["attention"][name]["kernel"] for name in ("query", "out"))
    assert query.shape == (8, 2, 4) and out.shape == (2, 4, 8)
    same = np.testing.assert_array_equal
    same(tensors["attention.query.weight"], query.reshape(8, 8).T)
    same(tensors["attention.out.weight"], out.reshape(8, 8).T)
    bias = params["attention"]["query"]["bias"]
    same(tensors["attention.query.bias"], bias.reshape(8))
    same(tensors["embed.weight"], params["embed"]["embedding"])
    same(tensors["conv.weight"], params["conv"]["kernel"].transpose(2, 1, 0))
    # Stacked layers lie on the first axis, as in torch.func.stack_module_state.
    stack = params["layers"]["dense"]["kernel"]
    same(tensors["layers.dense.weight"], stack.transpose(1, 2, 0))
    same(tensors["layers.norm.weight"], params["layers"]["norm"]["scale"].T)


def test_torch_loads_what_was_written_and_computes_the_same(mixed):
    torch = pytest.importorskip("torch")
    params, found = mixed
    tensors = pytorch.state_dict(pytorch.Layout({}, views=found), params)
    layer = torch.nn.Linear(8, 8)
    own = {n: torch.tensor(tensors[f"attention.out.{n}"]) for n in ("weight", "bias")}
    layer.load_state_dict(own, strict=True)
    x = np.float32(np.random.default_rng(1).normal(size=(3, 2, 4)))
    kernel, bias = params["attention"]["out"].values()
    kernel, bias = (kernel, bias) if kernel.ndim == 3 else (bias, kernel)
    expected = np.einsum("bhd,hdo->bo", x, kernel) + bias[None]
    y = layer(torch.tensor(x.reshape(3, 8))).detach().numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer, shape, kind",
    [
        (nn.ConvLocal(3, (3,)), (1, 8, 4), "ConvLocal"),
        (nn.Conv(3, (3,), mask=np.ones((3, 4, 3))), (1, 8, 4), "masked Conv"),
        (nn.WeightNorm(nn.Dense(3)), (1, 4), "WeightNorm"),
    ],
)
def test_a_layer_that_pytorch_has_not_is_refused_by_its_kind(layer, shape, kind):
    shapes, found = views.traced(layer.init, jax.random.key(0), jnp.zeros(shape))
    params = jax.tree.map(lambda x: np.zeros(x.shape), shapes)
    with pytest.raises(ValueError, match=f"must know a layer's kind.*{kind}"):
        pytorch.state_dict(pytorch.Layout({}, views=found), params)


def test_a_kernel_of_no_known_layer_is_refused_until_a_rule_says_its_axes():
    params = {"own": {"kernel": np.zeros((3, 4, 5, 6))}}
    for known in (None, {}):
        with pytest.raises(ValueError, match=r"got own/kernel of shape \(3, 4, 5, 6\)"):
            pytorch.state_dict(pytorch.Layout({}, views=known), params)
    said = views.ruled(jax.tree.map(jnp.asarray, params), [("own", "out in space in")])
    found = pytorch.state_dict(pytorch.Layout({}, views=said), params)
    assert found["own.weight"].shape == (3, 24, 5)
    said = views.ruled(jax.tree.map(jnp.asarray, params), [("own", "plain")])
    found = pytorch.state_dict(pytorch.Layout({}, views=said), params)
    assert found["own.weight"].shape == (3, 4, 5, 6)


OWN = views.of(Own().init, jax.random.key(0), jnp.zeros((1, 4, 5, 1)))


@pytest.mark.parametrize(
    "form, state, message",
    [
        (pytorch.Layout({"Dense_1": 4}), {}, "Dense_1 = 4 channels for no such layer"),
        (pytorch.Layout({"Dense_0": 3}), {}, "Dense_0 = 3 channels for 80"),
        (pytorch.Layout({}, ((".*_0", "x"),)), {}, r"two of \['x.bias', 'x.weight'\]"),
        (pytorch.Layout({}), {"cache": {"x": np.ones(2)}}, "model_state with cache"),
    ],
)
def test_what_does_not_fit_is_refused(form, state, message):
    params, _ = models.initialise(Own(), jax.random.key(0), jnp.zeros((1, 4, 5, 1)))
    form = form._replace(views=OWN)
    with pytest.raises(ValueError, match=message):
        pytorch.state_dict(form, params, state)


@pytest.mark.parametrize("name", ["detector", "keypoints", "segmenter"])
def test_recognisers_flatten_nothing_and_turn_their_neck_about(name):
    options = {"backbone": "resnet8", "features": 6, "stride": 2}
    model = models.build(name, 3, options=options, width=0.25)
    shape = jnp.zeros((1, 32, 32, 3))
    shapes, found = views.traced(
        lambda key: models.initialise(model, key, shape)[0], jax.random.key(0)
    )
    params = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    tensors = pytorch.state_dict(pytorch.layout(model, params, 3, found), params)
    assert len(tensors) == len(jax.tree.leaves(params))
    kernels = [n for n in tensors if n.startswith("neck") and tensors[n].ndim == 4]
    assert kernels and all(tensors[n].shape[1] == 6 for n in kernels)
